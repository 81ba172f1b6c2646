/// The head of a request as its bytes say it.
struct Head {
    var method: [UInt8]
    var version: [UInt8]
    /// Values without the blanks before them, and with those behind.
    var headers: [(name: [UInt8], value: [UInt8])] = []
    /// Bytes that the library passed over: what follows a zero byte, a line that continues another.
    var hidesBytes = false
}

/// Where one request ends and the next one begins, as every recipient must see it the same way (RFC 9112 §6, §11.2).
///
/// The library is lenient: of two lengths it takes one, and the rest of the body becomes another request.
enum Framing {
    /// - Throws: `Refusal` for what somebody between client and server may read otherwise.
    static func check(_ head: Head, authority: String?, bodyMax: Int) throws(Refusal) {
        guard !head.hidesBytes else { throw Refusal("a zero byte, or a header in several lines") }
        guard !head.method.isEmpty, head.method.allSatisfy(isTokenByte) else { throw Refusal("the method is no token") }
        guard head.version.starts(with: "HTTP/1.".utf8) else {
            throw Refusal("this server speaks HTTP/1.1", status: 505)
        }
        var lengths: [[UInt8]] = []
        var encodings: [[UInt8]] = []
        var hosts: [[UInt8]] = []
        for (name, value) in head.headers {
            guard !name.isEmpty, name.allSatisfy(isTokenByte) else { throw Refusal("a header's name is no token") }
            guard value.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
                throw Refusal("a header's value holds a control character")
            }
            switch String(decoding: name, as: UTF8.self).lowercased() {
            case "content-length": lengths.append(value)
            case "transfer-encoding": encodings.append(value)
            case "host": hosts.append(value)
            default: break
            }
        }
        try checkHost(hosts, authority: authority, isRequired: head.version != Array("HTTP/1.0".utf8))
        guard lengths.count + encodings.count <= 1 else {
            throw Refusal("more than one Content-Length or Transfer-Encoding")
        }
        if let encoding = encodings.first {
            guard head.version != Array("HTTP/1.0".utf8) else { throw Refusal("Transfer-Encoding in HTTP/1.0") }
            guard String(decoding: encoding, as: UTF8.self).lowercased() == "chunked" else {
                throw Refusal("the only Transfer-Encoding is chunked")
            }
        }
        if let length = lengths.first {
            guard let count = Int(String(decoding: length, as: UTF8.self)), count <= bodyMax else {
                throw tooLarge(bodyMax)
            }
        }
    }

    static func tooLarge(_ bodyMax: Int) -> Refusal {
        Refusal("a body of more than \(bodyMax) bytes", status: 413)
    }

    private static func checkHost(_ hosts: [[UInt8]], authority: String?, isRequired: Bool) throws(Refusal) {
        guard hosts.count <= 1, !isRequired || hosts.count == 1 else { throw Refusal("one Host is needed") }
        guard let value = hosts.first else { return }
        let host = String(decoding: trimmed(value[...]), as: UTF8.self)
        guard host.utf8.allSatisfy(isHostByte) else { throw Refusal("the Host is none") }
        guard authority == nil || authority?.lowercased() == host.lowercased() else {
            throw Refusal("the Host is not that of the target")
        }
    }

    /// Without blanks at its ends.
    static func trimmed(_ value: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        var rest = value.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }

    /// RFC 9110 §5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }

    /// RFC 3986 §3.2.2: a registered name, an address, and a port.
    private static func isHostByte(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || "-._~!$&'()*+,;=:%[]".utf8.contains(byte)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
