internal import Glibc

/// A file that is read again whenever it is another than before.
final class TokenFile {
    private let path: String
    private var seen = stat()

    init(_ path: String) {
        self.path = path
    }

    /// Its text, when it was changed or replaced since the last time; `nil` also while it cannot be read.
    func readIfChanged() -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var status = stat()
        guard fstat(fileno(file), &status) == 0,
            status.st_ino != seen.st_ino || status.st_size != seen.st_size
                || status.st_mtim.tv_sec != seen.st_mtim.tv_sec || status.st_mtim.tv_nsec != seen.st_mtim.tv_nsec
        else { return nil }
        seen = status
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = fread(&block, 1, block.count, file)
            guard count > 0 else { break }
            bytes += block.prefix(count)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
