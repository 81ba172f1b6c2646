internal import Contract

/// The lives of other services as their presences tell them, by `service/instance`.
///
/// A name stands for one process at a time, and a later life follows an earlier one. An earlier one that is heard again is
/// a second process under the same name: the broker gives the name's connection to whichever asked last, and both have it
/// by turns.
struct PeerLives {
    /// What a presence says of its sender.
    enum News: Equatable {
        case nothing
        /// A life not heard of before.
        case born
        /// An earlier life speaks again, the first time that this shows of its name.
        case duplicate
    }

    /// Lives that are remembered of one name.
    static let livesMax = 8

    private struct Peer {
        /// The lives that were heard themselves, oldest first.
        var lives: [String] = []
        /// The life of which the newest retained copy tells, which may be over.
        var retained: String?
        var isDuplicate = false
    }

    private var peers: [String: Peer] = [:]

    /// Takes a presence of a service that runs.
    mutating func heard(_ name: String, incarnation: String, isRetained: Bool) -> News {
        var peer = peers[name, default: Peer()]
        defer { peers[name] = peer }
        let isKnown = peer.lives.contains(incarnation)
        if isRetained {
            guard !isKnown, peer.retained != incarnation else { return .nothing }
            peer.retained = incarnation
            return .born
        }
        guard peer.lives.last != incarnation else { return .nothing }
        peer.lives.removeAll { $0 == incarnation }
        peer.lives = (peer.lives + [incarnation]).suffix(PeerLives.livesMax)
        guard isKnown else { return peer.retained == incarnation ? .nothing : .born }
        guard !peer.isDuplicate else { return .born }
        peer.isDuplicate = true
        return .duplicate
    }
}
