import Foundation
import SQLiteStorage
import Storage
import StorageFaults
import Testing

/// Each operation of the disk fails: an error that says so, nothing half done, and the same once more works.
@Suite struct FailingDiskTests {
    /// Which operation fails, and how.
    struct Fault: CustomTestStringConvertible {
        let failure: FaultyDisk.Failure
        let isLasting: Bool
        let kinds: Set<StorageError.Kind>

        var testDescription: String { "\(failure), \(isLasting ? "until mended" : "once")" }
    }

    @Test(arguments: [
        Fault(failure: .broken, isLasting: false, kinds: [.inputOutput, .cannotOpen]),
        Fault(failure: .broken, isLasting: true, kinds: [.inputOutput, .cannotOpen]),
        Fault(failure: .full, isLasting: true, kinds: [.full]),
    ])
    func eachOperationMayFail(fault: Fault) throws {
        let expectation = try Expectation()
        let count = try operations(expectation.workload)
        #expect(count > 1_000)
        var met: Set<StorageError.Kind> = []
        for operation in Swift.stride(from: 1, through: count, by: stride(23)) {
            let complaint = try complaint(expectation, at: operation, fault, &met)
            #expect(complaint == nil, "operation \(operation)")
            if complaint != nil { return }
        }
        #expect(met == fault.kinds)
    }

    private func operations(_ workload: Workload) throws -> Int {
        let place = try Place()
        let disk = FaultyDisk(name: "counting-\(UUID().uuidString)")
        let trial = Trial(path: place.path, disk: disk)
        defer { trial.close() }
        try trial.run(workload)
        return disk.count
    }

    /// What goes wrong when that operation fails: up to the step after the one in which it does.
    private func complaint(
        _ expectation: Expectation, at operation: Int, _ fault: Fault, _ met: inout Set<StorageError.Kind>
    ) throws -> String? {
        let place = try Place()
        let disk = FaultyDisk(name: "failing-\(UUID().uuidString)")
        disk.failAt = operation
        disk.failure = fault.failure
        disk.isLasting = fault.isLasting
        let trial = Trial(path: place.path, disk: disk)
        defer { trial.close() }
        if let error = try failing(disk, { () throws(StorageError) in _ = try trial.open() }, &met) { return error }
        for (index, step) in expectation.workload.steps.enumerated() {
            let failures = disk.failures
            if let error = try failing(disk, { () throws(StorageError) in try trial.perform(step, number: 0) }, &met) {
                return "step \(index + 1): \(error)"
            }
            guard failures > 0 else { continue }
            disk.mend()
            let dump = try DatabaseDump.of(place.path)
            return dump == expectation.dumps[index + 1] ? nil : "step \(index + 1) is not what it should be"
        }
        return nil
    }

    /// Does it until it works, as the store does, mended after the second failure. An error of another kind is a complaint.
    private func failing(
        _ disk: FaultyDisk, _ body: () throws(StorageError) -> Void, _ met: inout Set<StorageError.Kind>
    ) throws -> String? {
        for attempt in 1...4 {
            do throws(StorageError) {
                try body()
                return nil
            } catch {
                met.insert(error.kind)
                guard [.inputOutput, .full, .cannotOpen].contains(error.kind), disk.failures > 0 else {
                    return "\(error.kind): \(error) at \(disk.lastOperation)"
                }
                if attempt == 2 { disk.mend() }
            }
        }
        return "it does not work again"
    }
}
