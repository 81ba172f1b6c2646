internal import Glibc

/// The file that a minted token is written to: readable by its owner only, whole or not at all.
struct TokenFile {
    let path: String
    private let directory: String

    /// - Throws: when no file of that name could be made; to be asked before a token is minted.
    init(_ path: String) throws(CommandFailure) {
        self.path = path
        directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        var status = stat()
        if path.isEmpty || path.hasSuffix("/") || (stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR) {
            throw .usage("--token-file: '\(path)' is not the name of a file")
        }
        guard access(directory, W_OK | X_OK) == 0 else {
            throw .usage("--token-file: \(directory): \(String(cString: strerror(errno)))")
        }
    }

    /// Writes the token with mode 0600 beside its place and moves it there.
    func write(_ token: String) throws(CommandFailure) {
        let temporary = "\(directory)/.rollcall-token-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure() }
        let bytes = Array("\(token)\n".utf8)
        let isWritten = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count
        let isSafe = isWritten && fsync(descriptor) == 0
        close(descriptor)
        guard isSafe, rename(temporary, path) == 0 else {
            let failure = failure()
            unlink(temporary)
            throw failure
        }
    }

    private func failure() -> CommandFailure {
        .failed(
            "\(path): \(String(cString: strerror(errno))); the token was minted and is lost: ask for another with rotate-token"
        )
    }
}
