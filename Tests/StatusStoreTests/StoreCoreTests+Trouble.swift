import API
import Model
import StatusStoreCore
import Storage
import Testing

// What is said while nothing can be committed.
extension StoreCoreTests {
    @Test func aCommitThatFailsIsTriedAgainAndAcknowledgementsNothing() throws {
        var subject = try granted()
        subject.database.failing = [.commit: .full]
        subject.receive(1, change(1))
        #expect(subject.turn() == ["log commitFailed", "announce"])
        var presence = presence("1", service: .statusStore)
        subject.core.describe(&presence)
        #expect(presence.trouble == "full")
        #expect(subject.core.wakeAt == subject.now + .seconds(1))
        subject.database.failing = [:]
        subject.pass(0.5)
        #expect(!subject.turn().contains("acknowledge 1"), "not before its time")
        subject.pass(0.5)
        #expect(subject.turn().prefix(3) == ["log commitsAgain", "announce", "acknowledge 1"])
    }
}
