internal import Glibc
internal import Storage

/// The files of an open database as they were when it was opened.
///
/// One that is deleted or replaced under its program goes on taking commits, which are gone with the program: the name leads to
/// another file, or to none. Looking costs two system calls.
struct DatabaseFiles {
    private struct File: Hashable {
        let path: String
        let device: UInt
        let number: UInt

        /// - Returns: `nil` when there is no file of that name.
        init?(_ path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            (self.path, device, number) = (path, UInt(status.st_dev), UInt(status.st_ino))
        }
    }

    private let files: [File]

    /// - Parameter path: of a database in WAL mode that was written to.
    init(_ path: String) {
        // SQLite keeps the log beside the file itself, not beside a link to it.
        let resolved = realpath(path, nil)
        defer { free(resolved) }
        let log = (resolved.map { String(cString: $0) } ?? path) + "-wal"
        files = [path, log].compactMap { File($0) }
    }

    /// - Throws: when a name leads to another file.
    func check() throws(StorageError) {
        for file in files {
            guard let present = File(file.path) else {
                throw StorageError(.replaced, message: "\(file.path) was deleted", operation: "look at the file")
            }
            guard present == file else {
                throw StorageError(.replaced, message: "\(file.path) is another file", operation: "look at the file")
            }
        }
    }

    /// Refuses what is there and no database could be, before anything is made beside it.
    static func refuseIrregular(_ path: String) throws(StorageError) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG else { return }
        throw StorageError(.configuration, message: "it is no regular file", operation: "open")
    }
}
