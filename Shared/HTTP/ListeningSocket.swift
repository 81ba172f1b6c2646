internal import Glibc

/// The server cannot start.
public struct HTTPFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let reason: String

    init(_ reason: String) {
        self.reason = reason
    }

    public var description: String { reason }
}

/// A socket that takes connections.
enum ListeningSocket {
    /// - Throws: `HTTPFailure` with what the administrator can change.
    static func open(address: String, port: Int) throws(HTTPFailure) -> (descriptor: Int32, port: Int) {
        guard (0...65_535).contains(port) else { throw HTTPFailure("\(port) is no port") }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(address, String(port), &hints, &found)
        guard code == 0, let found else {
            throw HTTPFailure("the address \(address) is none of this host: \(String(cString: gai_strerror(code)))")
        }
        defer { freeaddrinfo(found) }
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(found.pointee.ai_family, kind, 0)
        guard descriptor >= 0 else { throw HTTPFailure("no socket: \(String(cString: strerror(errno)))") }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0, listen(descriptor, SOMAXCONN) == 0
        else {
            let problem = errno
            close(descriptor)
            throw HTTPFailure(
                problem == EADDRINUSE
                    ? "port \(port) of \(address) is taken"
                    : "port \(port) of \(address): \(String(cString: strerror(problem)))")
        }
        return (descriptor, boundPort(of: descriptor))
    }

    private static func boundPort(of descriptor: Int32) -> Int {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            // Both families have the port at the same place, in the order of the network.
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
            return pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                Int(UInt16(bigEndian: $0.pointee.sin_port))
            }
        }
    }
}
