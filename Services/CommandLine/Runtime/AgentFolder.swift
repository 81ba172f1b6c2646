internal import API
internal import Glibc
internal import Model

/// Why something about files did not work.
struct FolderError: Error, CustomStringConvertible {
    let description: String

    init(_ operation: String) {
        description = "\(operation): \(String(cString: strerror(errno)))"
    }

    init(refusing reason: String) {
        description = reason
    }
}

/// The folder `DIR/GATEWAY/AGENT` of one agent: its templates are written there, its command runs there.
///
/// `DIR` may be anything that leads to a directory. Below it no symbolic link is followed: nothing is written elsewhere.
struct AgentFolder {
    static let digestFileName = ".rollcall-templates-digest"
    /// No template is named like it: a name that begins with a dot is not plain.
    static let tokenFileName = ".rollcall-token"
    static let nameLengthMax = 255

    let path: String
    private let base: String
    private let levels: [String]

    init(base: String, agent: AgentAddress) {
        self.base = base
        path = "\(base)/\(agent)"
        levels = agent.description.split(separator: "/").map(String.init)
    }

    /// Makes the folder and those above it; lends its descriptor to `body` (openat(2)).
    func make(_ body: (Int32) throws(FolderError) -> Void = { _ in }) throws(FolderError) {
        try AgentFolder.makeDirectory(base)
        var descriptor = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FolderError("open \(base)") }
        defer { close(descriptor) }
        for level in levels {
            guard mkdirat(descriptor, level, 0o755) == 0 || errno == EEXIST else { throw FolderError("mkdir \(path)") }
            let next = openat(descriptor, level, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard next >= 0 else {
                guard errno == ENOTDIR || errno == ELOOP else { throw FolderError("open \(path)") }
                throw FolderError(refusing: "\(path): \(level) is not a directory of its own")
            }
            close(descriptor)
            descriptor = next
        }
        try body(descriptor)
    }

    static func makeDirectory(_ path: String) throws(FolderError) {
        var made = path.hasPrefix("/") ? "" : "."
        for level in path.split(separator: "/") {
            made += "/\(level)"
            guard mkdir(made, 0o755) == 0 || errno == EEXIST || errno == EISDIR else {
                throw FolderError("mkdir \(made)")
            }
        }
        var status = stat()
        guard stat(path, &status) == 0 else { throw FolderError(path) }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw FolderError(refusing: "\(path) is not a directory") }
    }

    /// The digest of the files that were written last; `nil` when there are none.
    var installedDigest: String? {
        // Whatever the agent has put there, nobody is waited for.
        let file = open("\(path)/\(AgentFolder.digestFileName)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 1_024)
        let count = read(file, &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        return text.isEmpty ? nil : text
    }

    var tokenFile: String { "\(path)/\(AgentFolder.tokenFileName)" }

    /// Whether the agent was given a token here.
    var hasToken: Bool { access(tokenFile, R_OK) == 0 }

    /// Puts a token in the place of the one that may be there; its owner alone reads it.
    func install(token: String) throws(FolderError) {
        try make { (folder) throws(FolderError) in
            try write(Array("\(token)\n".utf8), to: AgentFolder.tokenFileName, in: folder, mode: 0o600)
        }
    }

    /// Whether `name` may name a file here: plain characters, not hidden, no way out of the folder.
    static func isPlain(_ name: String) -> Bool {
        guard let first = name.utf8.first, first != UInt8(ascii: "."), name.utf8.count <= nameLengthMax else {
            return false
        }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
    }

    /// Writes all files, then the digest that says so. Nothing is written when one name is not plain.
    ///
    /// - Parameter overwrite: also those that the agent edits.
    func install(_ answer: FilesAnswer, overwrite: Bool = false) throws(FolderError) {
        for file in answer.files where !AgentFolder.isPlain(file.name) {
            throw FolderError(refusing: "'\(file.name.prefix(80))' is not a plain file name")
        }
        try make { (folder) throws(FolderError) in
            for file in answer.files {
                if file.preserve, !overwrite, exists(file.name, in: folder) { continue }
                try write(Array(file.content.utf8), to: file.name, in: folder)
            }
            try write(Array("\(answer.templatesDigest)\n".utf8), to: AgentFolder.digestFileName, in: folder)
        }
    }

    /// Whether something of that name is there, a dangling link included.
    private func exists(_ name: String, in folder: Int32) -> Bool {
        var status = stat()
        return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0
    }

    /// Whole or not at all: a temporary file, then renameat(2), which replaces a link and does not follow it.
    private func write(
        _ bytes: [UInt8], to name: String, in folder: Int32, mode: mode_t = 0o644
    ) throws(FolderError) {
        let temporary = ".\(UInt64.random(in: .min ... .max)).tmp"
        let descriptor = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw FolderError("create \(path)/\(temporary)") }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let error = FolderError("write \(path)/\(name)")
                close(descriptor)
                unlinkat(folder, temporary, 0)
                throw error
            }
            rest = rest.dropFirst(count)
        }
        close(descriptor)
        guard renameat(folder, temporary, folder, name) == 0 else {
            let error = FolderError("rename to \(path)/\(name)")
            unlinkat(folder, temporary, 0)
            throw error
        }
    }
}
