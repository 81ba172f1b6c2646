public import SQLiteStorage
public import Storage

/// One run of the workload on one database.
public final class Trial {
    /// So small that the log is copied into the file several times in a run.
    public static let checkpointPages = 40

    public let path: String
    private let disk: FaultyDisk?
    private let synchronous: String
    private var database: SQLiteStatusDatabase?

    /// - Parameters:
    ///   - disk: what lies below the database; `nil` for the system's file system.
    ///   - synchronous: what a commit waits for (https://www.sqlite.org/pragma.html#pragma_synchronous).
    public init(path: String, disk: FaultyDisk? = nil, synchronous: String = "FULL") {
        self.path = path
        self.disk = disk
        self.synchronous = synchronous
    }

    /// The database, opened when it is not.
    public func open() throws(StorageError) -> SQLiteStatusDatabase {
        if let database { return database }
        let opened = try SQLiteStatusDatabase(
            path: path, partitions: nil, newIdentity: "identity", waitingAtMost: 1_000, layer: disk?.name,
            checkpointPages: Trial.checkpointPages, synchronous: synchronous)
        database = opened
        return opened
    }

    public func close() {
        database = nil
    }

    /// Does one step, and says so to the disk.
    public func perform(_ step: WorkloadStep, number: Int) throws(StorageError) {
        if case .reopen = step {
            close()
            _ = try open()
        } else {
            try Workload.perform(step, on: try open())
        }
        disk?.report(number)
    }

    /// Opens, and does every step.
    public func run(_ workload: Workload) throws(StorageError) {
        _ = try open()
        disk?.report(0)
        for (index, step) in workload.steps.enumerated() { try perform(step, number: index + 1) }
    }
}
