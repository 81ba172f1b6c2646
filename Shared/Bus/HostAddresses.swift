internal import Glibc

/// The addresses of a host, one after the other.
enum HostAddresses {
    /// The address that the `attempt`th attempt to connect takes, as text.
    ///
    /// Asks the system's resolver, which blocks while a name server does not answer; an address is its own answer.
    static func address(of host: String, attempt: Int) throws(BusError) -> String {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard code == 0 else { throw BusError(operation: "find \(host)", reason: String(cString: gai_strerror(code))) }
        var addresses: [String] = []
        var next = list
        while let item = next {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            if getnameinfo(
                item.pointee.ai_addr, item.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                == 0
            {
                addresses.append(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
            }
            next = item.pointee.ai_next
        }
        guard !addresses.isEmpty else { throw BusError(operation: "find \(host)", reason: "no address") }
        return addresses[attempt % addresses.count]
    }
}
