import Foundation
import SQLiteStorage
import Storage
import StorageFaults
import Testing

/// At every change of a file: what is left when the process is killed there, or the power fails.
@Suite struct PowerLossTests {
    /// The changes of a whole run.
    private func changes(
        failingSync sync: Int? = nil, synchronous: String = "FULL", _ workload: Workload
    ) throws -> [FaultyDisk.Change] {
        let place = try Place()
        let disk = FaultyDisk(name: "noting-\(UUID().uuidString)")
        disk.isNoting = true
        disk.failAtSync = sync
        let trial = Trial(path: place.path, disk: disk, synchronous: synchronous)
        defer { trial.close() }
        try again { _ = try trial.open() }
        disk.report(0)
        for (index, step) in workload.steps.enumerated() {
            try again { try trial.perform(step, number: index + 1) }
        }
        return disk.changes
    }

    /// Once more when it fails.
    private func again(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as StorageError where error.kind == .inputOutput {
            try body()
        }
    }

    /// Every complaint about what `survivals` leave at every change, at most `limit`.
    private func complaints(
        _ expectation: Expectation, _ changes: [FaultyDisk.Change], limit: Int = 3, every step: Int = 1,
        onlyAtReports: Bool = false, ignoringSyncs: @escaping (String) -> Bool = { _ in false },
        _ survivals: (Int) -> [DiskImage.Survival]
    ) throws -> [String] {
        let place = try Place()
        var image = DiskImage(ignoringSyncs: ignoringSyncs)
        var reported: Int?
        var complaints: [String] = []
        for (index, change) in changes.enumerated() {
            image.apply(change)
            if case .reported(let step) = change { reported = step } else if onlyAtReports { continue }
            guard index % step == 0 || onlyAtReports else { continue }
            for survival in survivals(index) {
                try place.put(image.files(survival))
                guard let complaint = expectation.complaint(of: place.path, reported: reported) else { continue }
                complaints.append("after change \(index) of \(changes.count), \(survival): \(complaint)")
                if complaints.count == limit { return complaints }
            }
        }
        return complaints
    }

    @Test func aKilledProcessLeavesWholeSteps() throws {
        let expectation = try Expectation()
        let changes = try changes(expectation.workload)
        #expect(changes.count > 300)
        let found = try complaints(expectation, changes, every: stride(4)) { _ in [.everything] }
        #expect(found == [])
    }

    @Test func aPowerFailureTakesNothingThatWasReported() throws {
        let expectation = try Expectation()
        let changes = try changes(expectation.workload)
        let found = try complaints(expectation, changes, every: stride(4)) { _ in [.onlySynced] }
        #expect(found == [])
    }

    @Test(arguments: [UInt64(1), 2])
    func aPowerFailureMayTakeAnySectors(seed: UInt64) throws {
        let expectation = try Expectation()
        let changes = try changes(expectation.workload)
        let found = try complaints(expectation, changes, every: stride(5)) { index in
            [.someSectors(seed: seed &* 1_000_003 &+ UInt64(index))]
        }
        #expect(found == [])
    }

    /// The kernel drops what it could not write, and the next sync succeeds: it is to be written again.
    @Test func aSyncThatFailsOnceLosesNothing() throws {
        let expectation = try Expectation()
        let syncs = try changes(expectation.workload).count { if case .synced = $0 { true } else { false } }
        #expect(syncs > 20)
        for sync in Swift.stride(from: 1, through: syncs, by: stride(6)) {
            let changes = try changes(failingSync: sync, expectation.workload)
            let found = try complaints(expectation, changes, onlyAtReports: true) { _ in [.onlySynced] }
            #expect(found == [], "sync \(sync)")
        }
    }

    /// That these tests find something: commits are lost when the database waits for less than it does.
    @Test(arguments: ["NORMAL", "OFF"])
    func aWeakerSettingIsFound(synchronous: String) throws {
        let expectation = try Expectation()
        let changes = try changes(synchronous: synchronous, expectation.workload)
        let lost = try complaints(expectation, changes, limit: 1) { _ in [.onlySynced] }
        #expect(lost.count == 1)
        // A process that is killed takes nothing of the kernel's with it.
        let found = try complaints(expectation, changes, every: 20) { _ in [.everything] }
        #expect(found == [])
    }

    /// The same of a disk that lies, of the log or of the file alone.
    @Test(arguments: ["-wal", ".db"])
    func aDiskThatDoesNotSyncIsFound(suffix: String) throws {
        let expectation = try Expectation()
        let changes = try changes(expectation.workload)
        let isIgnored = { (path: String) in path.hasSuffix(suffix) }
        let found = try complaints(expectation, changes, limit: 1, ignoringSyncs: isIgnored) { index in
            [.onlySynced, .someSectors(seed: UInt64(index))]
        }
        #expect(found.count == 1)
    }
}
