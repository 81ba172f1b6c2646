internal import Glibc

/// Keeps other processes of this program from changing a file between the reading and the writing of it (flock(2)).
///
/// The lock is on the file's directory: the file itself is replaced.
enum FileLock {
    /// Waits for whoever holds it.
    static func whileChanging(
        _ path: String, _ body: () throws(CommandFailure) -> Void
    ) throws(CommandFailure) {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { if descriptor >= 0 { close(descriptor) } }
        guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else {
            throw .failed("\(directory): \(String(cString: strerror(errno)))")
        }
        try body()
    }
}
