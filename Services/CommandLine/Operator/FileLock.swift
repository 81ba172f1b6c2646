internal import Glibc

/// Keeps other processes of this program from changing a file between the reading and the writing of it, until its end (flock(2)).
///
/// The lock is on the file's directory: the file itself is replaced.
final class FileLock {
    private let descriptor: Int32

    /// Waits for whoever holds it.
    init(changing path: String) throws(CommandFailure) {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else {
            throw .failed("\(directory): \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
