/// Which client ids an identity may use, so that no session can be taken over by anybody else.
enum ClientIdRules {
    /// Whether an id is the username, or begins with it and `~`.
    static func isOwn(_ clientId: borrowing Span<UInt8>, of username: Username) -> Bool {
        guard clientId.begins(with: username.bytes.span) else { return false }
        return clientId.count == username.bytes.count || clientId[username.bytes.count] == .tilde
    }

    /// Whether an id has the form that the broker assigns: `auto-` and a UUID in upper case.
    ///
    /// A plugin cannot see whether the client or the broker chose an id; its 128 random bits cannot be guessed.
    static func isAssigned(_ clientId: borrowing Span<UInt8>) -> Bool {
        guard clientId.count == 41, clientId.begins(with: assignedPrefix.span) else { return false }
        for index in 5..<41 {
            switch (index - 5, clientId[index]) {
            case (8, UInt8(ascii: "-")), (13, UInt8(ascii: "-")), (18, UInt8(ascii: "-")), (23, UInt8(ascii: "-")):
                continue
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")), (_, UInt8(ascii: "A")...UInt8(ascii: "F")):
                continue
            default:
                return false
            }
        }
        return true
    }

    /// Whether `username` may use an id at all, whoever may hold it now.
    static func allows(_ clientId: borrowing Span<UInt8>, to username: Username, among identities: Identities) -> Bool {
        if isAssigned(clientId), !identities.contains(clientId) { return true }
        switch username.kind {
        case .agent, .gateway:
            return isOwn(clientId, of: username)
        case .operator, .service:
            return clientId.count > 0 && !beginsWithAnother(clientId, than: username, among: identities)
        }
    }

    /// Whether an id is, or begins with, a known username other than one's own. Of two names that both fit, as
    /// `svc:a/1` and `svc:a/10`, the longer one owns the id.
    private static func beginsWithAnother(
        _ clientId: borrowing Span<UInt8>, than username: Username, among identities: Identities
    ) -> Bool {
        let own = clientId.begins(with: username.bytes.span) ? username.bytes.count : 0
        let longest = min(clientId.count, Username.bytesMax)
        guard own < longest else { return false }
        for length in (own + 1)...longest where identities.contains(clientId.extracting(0..<length)) { return true }
        return false
    }

    private static let assignedPrefix = Array("auto-".utf8)
}
