internal import Glibc
internal import ServiceHost

/// A file that is read again whenever it is another than before.
final class WatchedFile {
    private let path: String
    private var seen = stat()

    init(_ path: String) {
        self.path = path
    }

    /// Its text, when it was changed or replaced since the last time; `nil` also while it cannot be read.
    func readIfChanged() -> String? {
        var status = stat()
        guard stat(path, &status) == 0,
            status.st_ino != seen.st_ino || status.st_size != seen.st_size
                || status.st_mtim.tv_sec != seen.st_mtim.tv_sec || status.st_mtim.tv_nsec != seen.st_mtim.tv_nsec,
            let bytes = try? SmallFile.read(path)
        else { return nil }
        seen = status
        return String(decoding: bytes, as: UTF8.self)
    }
}
