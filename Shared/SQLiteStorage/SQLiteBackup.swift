internal import Glibc
public import Storage

/// A copy of a database whose store may be at work (`VACUUM INTO`, https://www.sqlite.org/lang_vacuum.html#vacuuminto).
public enum SQLiteBackup {
    /// How long a lock on the database is waited for, in milliseconds.
    private static let lockLimit: Int32 = 5_000

    /// Writes a new file that holds everything that was committed before the call, without its free pages.
    ///
    /// It reads one state of the database and holds up no commit. The write-ahead log is not used again meanwhile: it grows by what
    /// is committed. The file has the mode 0600 and is on the disk when this returns, whole or not at all.
    ///
    /// - Parameter target: must not be there.
    /// - Returns: the size of the file in bytes.
    public static func write(_ path: String, to target: String) throws(StorageError) -> Int64 {
        guard access(target, F_OK) != 0 else {
            throw StorageError(.other, message: "it is there already", operation: "write \(target)")
        }
        try DatabaseFiles.refuseIrregular(path)
        let database = try SQLiteDatabase(path: path, isMade: true)
        database.waitForLocks(atMost: lockLimit)
        let application = try database.first("PRAGMA application_id") { $0.integer(0) }
        guard application == SQLiteSchema.applicationID else {
            throw StorageError(.schema, message: "the file is no database of Rollcall", operation: "open \(path)")
        }
        let name = target.lastIndex(of: "/").map { target[...$0] } ?? ""
        let unfinished = "\(name).rollcall-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        let descriptor = open(unfinished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure(target) }
        defer {
            close(descriptor)
            unlink(unfinished)
        }
        try database.run("VACUUM INTO ?", .text(unfinished))
        // A name that was taken meanwhile stays as it is (link(2)).
        var status = stat()
        guard fsync(descriptor) == 0, fstat(descriptor, &status) == 0, link(unfinished, target) == 0 else {
            throw failure(target)
        }
        let directory = open(name.isEmpty ? "." : String(name), O_RDONLY | O_CLOEXEC)
        defer { if directory >= 0 { close(directory) } }
        // A directory that may be written and not read cannot be synchronised; the file is.
        guard directory < 0 || fsync(directory) == 0 else { throw failure(target) }
        return Int64(status.st_size)
    }

    private static func failure(_ path: String) -> StorageError {
        StorageError(
            errno == ENOSPC ? .full : .cannotOpen, message: String(cString: strerror(errno)),
            operation: "write \(path)")
    }
}
