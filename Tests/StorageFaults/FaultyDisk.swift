internal import CFaultyDisk
internal import Glibc

/// The file system below a database, as a test wants it: it notes what changes files, and fails, or ends the process, at one
/// of its operations.
///
/// One thread at a time uses it, and its database is closed before it goes.
public final class FaultyDisk {
    public enum Operation: Int32, Sendable {
        case open = 1
        case write, truncate, sync, delete, read, size, exists, lock, share

        /// Whether it can change what lies on the disk.
        var changesFiles: Bool {
            switch self {
            case .open, .write, .truncate, .sync, .delete: true
            case .read, .size, .exists, .lock, .share: false
            }
        }
    }

    /// What a failing operation says.
    public enum Failure: Int32, Sendable {
        case broken = 1
        case full
    }

    /// A change of a file, by its path.
    public enum Change: Sendable {
        case opened(String)
        case wrote(String, at: Int, [UInt8])
        case truncated(String, to: Int)
        case synced(String)
        /// The kernel forgets what it could not write: a later sync that works says nothing of it.
        case failedToSync(String)
        case deleted(String, isDurable: Bool)
        /// A mark of whoever uses the disk: the step of that number was reported as done.
        case reported(Int)
    }

    public let name: String
    /// Every operation so far.
    public private(set) var count = 0
    public private(set) var lastOperation = Operation.open
    public private(set) var changes: [Change] = []
    /// Whether changes are noted.
    public var isNoting = false
    /// The operation, counted from 1, at which the process ends as by a kill.
    public var killAt: Int?
    /// The operation at which it begins to fail, or the sync, counted from 1, and how.
    public var failAt: Int?
    public var failAtSync: Int?
    public private(set) var syncs = 0
    public var failure = Failure.broken
    /// It goes on failing until `mend`.
    public var isLasting = false
    public private(set) var failures = 0
    private var handle: UnsafeMutableRawPointer?

    public init(name: String) {
        self.name = name
        let context = Unmanaged.passUnretained(self).toOpaque()
        handle = rollcall_disk_register(
            name,
            { context, step in
                guard let context, let step else { return 0 }
                return Unmanaged<FaultyDisk>.fromOpaque(context).takeUnretainedValue().asked(step.pointee)
            }, context)
        precondition(handle != nil, "SQLite takes no file system")
    }

    deinit {
        if let handle { rollcall_disk_unregister(handle) }
    }

    public func report(_ step: Int) {
        if isNoting { changes.append(.reported(step)) }
    }

    public func mend() {
        failAt = nil
    }

    private func asked(_ step: rollcall_disk_step) -> Int32 {
        count += 1
        guard let operation = Operation(rawValue: step.operation) else { return 0 }
        lastOperation = operation
        if count == killAt { kill(getpid(), SIGKILL) }
        if operation == .sync { syncs += 1 }
        if operation == .sync, syncs == failAtSync { failAt = count }
        if let failAt, isLasting ? count >= failAt : count == failAt, failure == .broken || operation == .write {
            failures += 1
            if isNoting, operation == .sync { changes.append(.failedToSync(String(cString: step.path))) }
            return failure.rawValue
        }
        if isNoting, operation.changesFiles { note(operation, step) }
        return 0
    }

    private func note(_ operation: Operation, _ step: rollcall_disk_step) {
        let path = String(cString: step.path)
        switch operation {
        case .open: changes.append(.opened(path))
        case .write:
            let bytes = UnsafeRawBufferPointer(start: step.data, count: Int(step.count))
            changes.append(.wrote(path, at: Int(step.offset), Array(bytes)))
        case .truncate: changes.append(.truncated(path, to: Int(step.offset)))
        case .sync: changes.append(.synced(path))
        case .delete: changes.append(.deleted(path, isDurable: step.offset != 0))
        case .read, .size, .exists, .lock, .share: break
        }
    }
}

/// What a database holds, read past the product's own code: all rows of all tables.
public enum DatabaseDump {
    public struct Damage: Error, CustomStringConvertible {
        public let description: String
    }

    /// - Throws: `Damage` when the file cannot be read or `PRAGMA integrity_check` complains.
    public static func of(_ path: String) throws(Damage) -> String {
        var problem: UnsafeMutablePointer<CChar>?
        guard let text = rollcall_disk_dump(path, &problem) else {
            defer { rollcall_disk_free(problem) }
            throw Damage(description: problem.map { String(cString: $0) } ?? "unreadable")
        }
        defer { rollcall_disk_free(text) }
        return String(cString: text)
    }
}
