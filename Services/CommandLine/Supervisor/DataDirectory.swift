internal import Glibc
internal import Secrets
internal import ServiceHost

/// The directory that holds everything of one system: database, secrets, the broker's configuration and socket.
struct DataDirectory: Hashable, Sendable {
    /// Absolute.
    let path: String

    /// - Parameter path: relative ones are taken from the present directory.
    init(_ path: String) {
        var absolute = path
        if !path.hasPrefix("/") {
            let present = getcwd(nil, 0)
            absolute = (present.map { String(cString: $0) } ?? "") + "/" + path
            free(present)
        }
        while absolute.count > 1, absolute.hasSuffix("/") { absolute.removeLast() }
        self.path = absolute
    }

    var secretsDirectory: String { path + "/" + SystemLocation.secrets }
    var brokerConfiguration: String { path + "/mosquitto.conf" }
    var brokerSocket: String { path + "/broker.sock" }
    var identities: String { path + "/" + SystemLocation.identities }
    var brokerState: String { path + "/broker-identities" }
    var database: String { path + "/" + SystemLocation.database }
    var operatorEnvironment: String { path + "/operator.env" }
    /// Operators' tokens over HTTP, as control-api reads them.
    var httpTokens: String { path + "/" + SystemLocation.httpTokens }
    var lock: String { path + "/lock" }

    /// The file of an identity's secret: `svc:reconciler/1` is kept in `secrets/svc-reconciler-1`.
    func secretFile(of username: String) -> String {
        secretsDirectory + "/" + SystemLocation.secretFileName(of: username)
    }

    /// Makes the directory, its parents and `secrets`, as far as they are missing.
    func create() throws(ServiceFailure) {
        var parents = ""
        for level in path.split(separator: "/") {
            parents += "/" + level
            try DataDirectory.makeDirectory(parents, mode: parents == path ? 0o700 : 0o777)
        }
        try DataDirectory.makeDirectory(secretsDirectory, mode: 0o700)
    }

    /// The secret of an identity: minted the first time, the same ever after.
    func secret(of username: String) throws(ServiceFailure) -> String {
        let file = secretFile(of: username)
        if access(file, F_OK) == 0 {
            do throws(UsageError) {
                return try ProgramOptions.secret(from: file)
            } catch {
                throw ServiceFailure(error.reason)
            }
        }
        let secret = Token().text
        try keep(secret: secret, of: username)
        return secret
    }

    /// The secret of an identity, if one is kept.
    func keptSecret(of username: String) -> String? {
        let file = secretFile(of: username)
        guard access(file, F_OK) == 0 else { return nil }
        return try? ProgramOptions.secret(from: file)  // unreadable is as good as absent: another one is asked for
    }

    func keep(secret: String, of username: String) throws(ServiceFailure) {
        try DataDirectory.write(secret + "\n", to: secretFile(of: username))
    }

    /// Replaces a file by one that only its owner reads.
    static func write(_ text: String, to path: String) throws(ServiceFailure) {
        do throws(FileFailure) {
            try SmallFile.replace(path, with: text)
        } catch {
            throw ServiceFailure(error.reason)
        }
    }

    /// The same with a line each; lines that are there and that `isOther` knows stay behind them.
    static func write(
        lines: [String], to path: String, keeping isOther: (Substring) -> Bool
    ) throws(ServiceFailure) {
        let present: [UInt8]
        do throws(FileFailure) {
            present = try SmallFile.read(path)
        } catch {
            guard error.isAbsent else { throw ServiceFailure(error.reason) }
            present = []
        }
        let others = String(decoding: present, as: UTF8.self).split(separator: "\n").filter(isOther).map(String.init)
        try write((lines + others).map { $0 + "\n" }.joined(), to: path)
    }

    private static func makeDirectory(_ path: String, mode: mode_t) throws(ServiceFailure) {
        guard mkdir(path, mode) != 0, errno != EEXIST else { return }
        let problem = errno
        var status = stat()
        // A read-only or foreign parent says so before it says that the directory is there.
        guard stat(path, &status) != 0 else { return }
        errno = problem
        throw failure(path)
    }

    private static func failure(_ path: String) -> ServiceFailure {
        ServiceFailure("\(path): \(String(cString: strerror(errno)))")
    }
}

/// The sole use of a data directory (flock(2)); it ends with the process at the latest.
final class DirectoryLock {
    private let descriptor: Int32

    private init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Takes the lock.
    ///
    /// - Parameter creating: whether a missing lock file is made; else a missing one gives `nil`.
    /// - Throws: when another process holds it.
    static func take(_ directory: DataDirectory, creating: Bool) throws(ServiceFailure) -> DirectoryLock? {
        let descriptor = open(directory.lock, O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0), 0o600)
        guard descriptor >= 0 else {
            if !creating, errno == ENOENT || errno == ENOTDIR { return nil }
            throw ServiceFailure("\(directory.lock): \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            var bytes = [UInt8](repeating: 0, count: 20)
            let count = pread(descriptor, &bytes, bytes.count, 0)
            close(descriptor)
            let holder = String(decoding: bytes.prefix(max(0, count)).prefix { $0 > 32 }, as: UTF8.self)
            throw ServiceFailure(
                "another rollcall up runs on \(directory.path)" + (holder.isEmpty ? "" : " (process \(holder))"))
        }
        ftruncate(descriptor, 0)
        let holder = Array("\(getpid())\n".utf8)
        pwrite(descriptor, holder, holder.count, 0)
        return DirectoryLock(descriptor: descriptor)
    }
}
