/// The incarnations of other services as their presences tell them, by `service/instance`.
///
/// A name stands for one process at a time, and a later incarnation follows an earlier one. An earlier one that is heard again is
/// a second process under the same name: the broker gives the name's connection to whichever asked last, and both have it
/// by turns.
struct PeerIncarnations {
    /// What a presence says of its sender.
    enum News: Equatable {
        case nothing
        /// An incarnation not heard of before.
        case born
        /// An earlier incarnation speaks again, the first time that this shows of its name.
        case duplicate
    }

    /// Incarnations that are remembered of one name.
    static let incarnationsMax = 8

    private struct Peer {
        /// The incarnations that were heard themselves, oldest first.
        var incarnations: [String] = []
        /// The incarnation of which the newest retained copy tells, which may be over.
        var retained: String?
        var isDuplicate = false
    }

    private var peers: [String: Peer] = [:]

    /// Takes a presence of a service that runs.
    mutating func heard(_ name: String, incarnation: String, isRetained: Bool) -> News {
        var peer = peers[name, default: Peer()]
        defer { peers[name] = peer }
        let isKnown = peer.incarnations.contains(incarnation)
        if isRetained {
            guard !isKnown, peer.retained != incarnation else { return .nothing }
            peer.retained = incarnation
            return .born
        }
        guard peer.incarnations.last != incarnation else { return .nothing }
        peer.incarnations.removeAll { $0 == incarnation }
        peer.incarnations = (peer.incarnations + [incarnation]).suffix(PeerIncarnations.incarnationsMax)
        guard isKnown else { return peer.retained == incarnation ? .nothing : .born }
        guard !peer.isDuplicate else { return .born }
        peer.isDuplicate = true
        return .duplicate
    }
}
