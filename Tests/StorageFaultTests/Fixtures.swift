import Foundation
import Model
import SQLiteStorage
import Storage
import StorageFaults
import Testing

/// A directory of one test, gone with it.
final class Place {
    let directory: URL
    var path: String { directory.appendingPathComponent("status.db").path }

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("faults-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit {
        // A directory that stays behind harms nobody.
        try? FileManager.default.removeItem(at: directory)
    }

    /// Only these files, named as they were elsewhere.
    func put(_ files: [String: [UInt8]]) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
            try FileManager.default.removeItem(at: directory.appendingPathComponent(name))
        }
        for (path, bytes) in files {
            try Data(bytes).write(to: directory.appendingPathComponent((path as NSString).lastPathComponent))
        }
    }
}

/// What the database holds after each step, the first being its opening, when nothing fails.
struct Expectation {
    let workload = Workload()
    let dumps: [String]

    init() throws {
        let place = try Place()
        let trial = Trial(path: place.path)
        _ = try trial.open()
        var dumps = [try DatabaseDump.of(place.path)]
        for (index, step) in workload.steps.enumerated() {
            try trial.perform(step, number: index + 1)
            dumps.append(try DatabaseDump.of(place.path))
        }
        self.dumps = dumps
    }

    /// What is wrong with the database at `path`, whose steps up to `reported` were reported as done; `nil` when it holds
    /// exactly them, or them and the whole next one, and goes on from there.
    func complaint(of path: String, reported: Int?) -> String? {
        do {
            let first = Trial(path: path)
            _ = try first.open()
            first.close()
            let dump = try DatabaseDump.of(path)
            let done = (reported ?? 0)...min((reported ?? -1) + 1, workload.steps.count)
            guard let step = done.first(where: { dumps[$0] == dump }) else {
                let other = dumps.firstIndex(of: dump).map { "it holds step \($0)" } ?? "it holds no step whole"
                return "\(other), and \(reported.map(String.init) ?? "nothing") was reported"
            }
            return try goesOn(path, from: step, again: reported)
        } catch {
            return "\(error)"
        }
    }

    /// Whoever sent the frames of the step that was not reported sends them again; then everything else follows.
    private func goesOn(_ path: String, from step: Int, again reported: Int?) throws -> String? {
        let trial = Trial(path: path)
        let next = (reported ?? 0) + 1
        guard next <= workload.steps.count else { return nil }
        if step == next, case .commit(let frames, let published) = workload.steps[next - 1] {
            let results = try trial.open().commit(frames, published: published, now: .init(millisecondsSince1970: 0))
                .results
            guard results == frames.map({ _ in .duplicate }) else { return "step \(next) was done twice: \(results)" }
        } else if step < next {
            try trial.perform(workload.steps[next - 1], number: next)
        }
        trial.close()
        let dump = try DatabaseDump.of(path)
        return dump == dumps[next] ? nil : "with step \(next) done again it is not what it should be"
    }
}

/// How many operations lie between two that are tried: 1 tries all (`ROLLCALL_FAULT_STRIDE=1`).
func stride(_ usual: Int) -> Int {
    ProcessInfo.processInfo.environment["ROLLCALL_FAULT_STRIDE"].flatMap(Int.init) ?? usual
}
