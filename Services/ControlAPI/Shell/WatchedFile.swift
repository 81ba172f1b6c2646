internal import Glibc

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
            let bytes = WatchedFile.read(path)
        else { return nil }
        seen = status
        return String(decoding: bytes, as: UTF8.self)
    }

    /// All that a file holds; `nil` when it cannot be read, and `errno` says why.
    static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4_096)
        while case let count = fread(&block, 1, block.count, file), count > 0 { bytes += block.prefix(count) }
        return ferror(file) == 0 ? bytes : nil
    }
}
