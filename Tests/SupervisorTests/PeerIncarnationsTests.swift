import Testing

@testable import ServiceHost

struct PeerIncarnationsTests {
    private static let name = "reconciler/1"
    private var peers = PeerIncarnations()

    private mutating func hear(_ incarnation: String, isRetained: Bool = false) -> PeerIncarnations.News {
        peers.heard(PeerIncarnationsTests.name, incarnation: incarnation, isRetained: isRetained)
    }

    @Test mutating func oneLifeAfterTheOther() {
        #expect(hear("a") == .born)
        #expect(hear("a") == .nothing)
        #expect(hear("b") == .born)
        #expect(hear("b") == .nothing)
    }

    @Test mutating func anEarlierIncarnationThatSpeaksAgainIsASecondProcess() {
        #expect([hear("a"), hear("b"), hear("a")] == [.born, .born, .duplicate])
        // Said once of a name.
        #expect([hear("b"), hear("a"), hear("a")] == [.born, .born, .nothing])
        #expect(peers.heard("reconciler/2", incarnation: "c", isRetained: false) == .born)
    }

    @Test mutating func aRetainedCopyOfALifeThatIsOverProvesNothing() {
        #expect([hear("a"), hear("b"), hear("a", isRetained: true), hear("b")] == [.born, .born, .nothing, .nothing])
        // Of one that was never heard, from a broker that started with an old state.
        #expect([hear("0", isRetained: true), hear("b")] == [.born, .nothing])
    }

    @Test mutating func aLifeFirstKnownByItsRetainedCopyIsBornOnce() {
        #expect([hear("a", isRetained: true), hear("a", isRetained: true), hear("a")] == [.born, .nothing, .nothing])
        #expect([hear("b"), hear("a")] == [.born, .duplicate])
    }

    @Test mutating func livesBeyondTheLimitAreForgotten() {
        for number in 0...PeerIncarnations.incarnationsMax { #expect(hear("\(number)") == .born) }
        #expect(hear("0") == .born)
        #expect(hear("2") == .duplicate)
    }
}
