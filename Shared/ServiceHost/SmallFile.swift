internal import Glibc

/// A file could not be read or replaced.
public struct FileFailure: Error, Hashable, Sendable {
    /// As `/etc/x: Permission denied`.
    public let reason: String
    /// There is no such file.
    public let isAbsent: Bool

    fileprivate init(_ path: String) {
        isAbsent = errno == ENOENT
        reason = "\(path): \(String(cString: strerror(errno)))"
    }

    fileprivate init(noGroup group: String) {
        isAbsent = false
        reason = "--group: there is no group '\(group)'"
    }
}

/// Files that are read whole and replaced in one step: secrets, identities, settings.
public enum SmallFile {
    public static func read(_ path: String) throws(FileFailure) -> [UInt8] {
        guard let file = fopen(path, "re") else { throw FileFailure(path) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4_096)
        while case let count = fread(&block, 1, block.count, file), count > 0 { bytes += block.prefix(count) }
        guard ferror(file) == 0 else { throw FileFailure(path) }
        return bytes
    }

    /// Puts a new file in the place of one that may be there (rename(2)): whoever reads sees the one or the other, whole.
    ///
    /// - Parameters:
    ///   - mode: its permission bits (chmod(2)); by default its owner alone reads it.
    ///   - group: the name of its group; `nil` leaves it that of this process.
    public static func replace(
        _ path: String, with text: String, mode: UInt32 = 0o600, group: String? = nil
    ) throws(FileFailure) {
        let directory = path.lastIndex(of: "/").map { path[...$0] } ?? ""
        let unfinished = "\(directory).rollcall-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        let descriptor = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw FileFailure(path) }
        do throws(FileFailure) {
            try write(Array(text.utf8), to: descriptor, mode: mode, group: group, of: path)
            guard rename(unfinished, path) == 0 else { throw FileFailure(path) }
        } catch {
            unlink(unfinished)
            throw error
        }
    }

    private static func write(
        _ bytes: [UInt8], to descriptor: Int32, mode: mode_t, group: String?, of path: String
    ) throws(FileFailure) {
        defer { close(descriptor) }
        if let group {
            guard let entry = getgrnam(group) else { throw FileFailure(noGroup: group) }
            guard fchown(descriptor, uid_t.max, entry.pointee.gr_gid) == 0 else { throw FileFailure(path) }
        }
        guard fchmod(descriptor, mode) == 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count,
            fsync(descriptor) == 0
        else { throw FileFailure(path) }
    }
}
