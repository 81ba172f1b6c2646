import BrokerAccessCore

// Tests speak in strings: `#expect` cannot take apart a call that borrows a span.

extension TopicFilter {
    static func covers(_ wide: String, _ narrow: String) -> Bool {
        covers(Array(wide.utf8).span, Array(narrow.utf8).span)
    }

    static func overlap(_ left: String, _ right: String) -> Bool {
        overlap(Array(left.utf8).span, Array(right.utf8).span)
    }
}

extension Rights {
    func mayPublish(_ topic: String) -> Bool { mayPublish(Array(topic.utf8).span) }
}

extension SecretDigest {
    init?(hexadecimal text: String) { self.init(hexadecimal: Array(text.utf8).span) }
}

extension IdentityTable {
    func digest(of username: Username) -> SecretDigest? { digest(of: username.bytes.span) }
}

extension IdentityChange {
    static func parse(_ text: String) throws(BadLine) -> [IdentityChange] { try parse(Array(text.utf8).span) }
}

extension FixedIdentities {
    static func parse(_ text: String) throws(BadLine) -> IdentityTable { try parse(Array(text.utf8).span) }
}

extension BrokerAccess {
    func mayStay(_ number: UInt, _ username: String) -> Bool {
        mayStay(Connection(number), username: Array(username.utf8).span, at: at(0))
    }

    func allowsAnswer(on topic: String, to number: UInt) -> Bool {
        allowsAnswer(on: Array("rollcall/v1/\(topic)".utf8).span, to: Connection(number))
    }
}
