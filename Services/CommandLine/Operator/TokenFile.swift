internal import Glibc
internal import ServiceHost

/// The file that a minted token is written to: readable by its owner only, whole or not at all.
struct TokenFile {
    let path: String

    /// - Throws: when no file of that name could be made; to be asked before a token is minted.
    init(_ path: String) throws(CommandFailure) {
        self.path = path
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        var status = stat()
        if path.isEmpty || path.hasSuffix("/") || (stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR) {
            throw .usage("--token-file: '\(path)' is not the name of a file")
        }
        guard access(directory, W_OK | X_OK) == 0 else {
            throw .usage("--token-file: \(directory): \(String(cString: strerror(errno)))")
        }
    }

    /// Puts a file with the token and mode 0600 in its place.
    func write(_ token: String) throws(CommandFailure) {
        do throws(FileFailure) {
            try SmallFile.replace(path, with: "\(token)\n")
        } catch {
            throw .failed("\(error.reason); the token was minted and is lost: ask for another with rotate-token")
        }
    }
}
