internal import Glibc
internal import Model
import ProvisionerCore

/// A directory of templates: `common/` (may be missing), `main/`, `lead/` and `worker/`, each with files only.
///
/// Entries that begin with a dot are skipped everywhere (editors and mounted configuration volumes leave them), and so
/// are files beside the folders, such as a README. Anything else that is not a template is an error: a folder by another
/// name is rather a misspelt one. Symbolic links are followed.
enum TemplateDirectory {
    /// Whether there is a directory that can be read.
    static func isThere(_ path: String) -> Bool { access(path, R_OK | X_OK) == 0 }

    /// Reads and parses the templates below `path`; errors name files by `path` as it is given.
    ///
    /// Blocks on the file system: call it from an ordinary thread.
    static func load(_ path: String) throws(TemplateDirectoryError) -> TemplateSet {
        var root = path
        while root.count > 1, root.hasSuffix("/") { root.removeLast() }

        for name in try visibleEntries(of: root) where !TemplateSet.isFolder(name) {
            if try kind(of: "\(root)/\(name)") == S_IFDIR { throw .unknownFolder("\(root)/\(name)") }
        }
        var files: [String: String] = [:]
        for folder in Role.allCases.map(\.rawValue) + [TemplateSet.commonFolder] {
            let names: [String]
            do throws(TemplateDirectoryError) {
                names = try visibleEntries(of: "\(root)/\(folder)")
            } catch .missingFolder where folder == TemplateSet.commonFolder {
                continue
            }
            // One more than allowed is enough for the set to refuse the role.
            for name in names.prefix(TemplateLimits.filesMax + 1) {
                files["\(folder)/\(name)"] = try text(of: "\(root)/\(folder)/\(name)")
            }
        }
        do throws(TemplateError) {
            return try TemplateSet(root: root, files: files)
        } catch {
            throw .template(error)
        }
    }

    /// What tells the templates of one time from those of another without reading them: which file each is, its size and when it
    /// was written.
    static func marks(_ path: String) -> [String] {
        (Role.allCases.map(\.rawValue) + [TemplateSet.commonFolder]).flatMap { folder in
            // What cannot be read is named by `load`.
            ((try? visibleEntries(of: "\(path)/\(folder)")) ?? []).prefix(TemplateLimits.filesMax + 1).map { name in
                var status = stat()
                stat("\(path)/\(folder)/\(name)", &status)
                let written = status.st_mtim
                return "\(folder)/\(name) \(status.st_ino) \(status.st_size) \(written.tv_sec) \(written.tv_nsec)"
            }
        }
    }

    /// Names in a directory without those that begin with a dot, sorted.
    private static func visibleEntries(of directory: String) throws(TemplateDirectoryError) -> [String] {
        guard let stream = opendir(directory) else {
            throw errno == ENOENT ? .missingFolder(directory) : .unreadable(directory, reason: lastFailure())
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            // readdir(3) tells its end from a failure by errno alone.
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        guard errno == 0 else { throw .unreadable(directory, reason: lastFailure()) }
        return names.sorted()
    }

    private static func kind(of path: String) throws(TemplateDirectoryError) -> mode_t {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .unreadable(path, reason: lastFailure()) }
        return status.st_mode & S_IFMT
    }

    private static func text(of path: String) throws(TemplateDirectoryError) -> String {
        // Not blocking: a FIFO among the templates is refused, not waited for.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw .unreadable(path, reason: lastFailure()) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw .unreadable(path, reason: lastFailure()) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .unreadable(path, reason: "not a regular file") }

        // Read up to one byte beyond the limit: what the file's size was before does not matter.
        var bytes = [UInt8](repeating: 0, count: TemplateLimits.fileBytesMax + 1)
        var count = 0
        while count < bytes.count {
            let result = bytes.withUnsafeMutableBytes { buffer in
                read(file, buffer.baseAddress! + count, buffer.count - count)
            }
            if result == 0 { break }
            if result < 0 {
                if errno == EINTR { continue }
                throw .unreadable(path, reason: lastFailure())
            }
            count += result
        }
        guard count <= TemplateLimits.fileBytesMax else { throw .tooLarge(path) }
        guard let text = String(validating: bytes[..<count], as: UTF8.self) else { throw .notUTF8(path) }
        return text
    }

    private static func lastFailure() -> String {
        String(cString: strerror(errno))
    }
}

/// Why a directory of templates could not be loaded; every case names the file or folder.
enum TemplateDirectoryError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The directory itself, or the folder of a role, does not exist.
    case missingFolder(String)
    /// A folder that belongs to no role.
    case unknownFolder(String)
    /// The operating system did not let it be read, or it is not a regular file.
    case unreadable(String, reason: String)
    /// Larger than `TemplateLimits.fileBytesMax`.
    case tooLarge(String)
    case notUTF8(String)
    /// What is in the files is at fault.
    case template(TemplateError)

    var description: String {
        switch self {
        case .missingFolder(let path): "\(path): no such directory of templates"
        case .unknownFolder(let path): "\(path): templates lie in common/, main/, lead/ and worker/ only"
        case .unreadable(let path, let reason): "\(path): \(reason)"
        case .tooLarge(let path): "\(path): larger than \(TemplateLimits.fileBytesMax) bytes"
        case .notUTF8(let path): "\(path): not UTF-8"
        case .template(let error): error.description
        }
    }
}
