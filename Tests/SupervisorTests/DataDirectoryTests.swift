import Glibc
import ServiceHost
import Testing

@testable import RollcallSupervisor

/// A directory that is gone after the test.
private final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/rollcall-data-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit {
        for name in ["a/b/secrets/op-admin", "a/b/secrets", "a/b/lock", "a/b", "a"] { remove(path + "/" + name) }
        remove(path)
    }
}

struct DataDirectoryTests {
    private let temporary = TemporaryDirectory()

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    @Test func aSecretIsMintedOnceAndKeptForItsOwnerAlone() throws {
        let directory = DataDirectory(temporary.path + "/a/b/")
        try directory.create()
        let secret = try directory.secret(of: "op:admin")
        #expect(secret.utf8.count == 43)
        #expect(try directory.secret(of: "op:admin") == secret)
        #expect(directory.keptSecret(of: "op:admin") == secret)
        #expect(directory.keptSecret(of: "op:other") == nil)
        #expect(mode(directory.path) == 0o700)
        #expect(mode(directory.secretsDirectory) == 0o700)
        #expect(mode(directory.secretFile(of: "op:admin")) == 0o600)
        try directory.create()
    }

    @Test func aDirectoryServesOneSystemAtATime() throws {
        let directory = DataDirectory(temporary.path + "/a/b")
        #expect(try DirectoryLock.take(directory, creating: false) == nil)
        try directory.create()
        var lock = try DirectoryLock.take(directory, creating: true)
        #expect(lock != nil)
        let refusal = #expect(throws: ServiceFailure.self) { try DirectoryLock.take(directory, creating: false) }
        #expect(refusal?.reason == "another rollcall up runs on \(directory.path) (process \(getpid()))")
        lock = nil
        #expect(try DirectoryLock.take(directory, creating: true) != nil)
    }

    @Test func aPathIsAbsoluteWhereverOneStands() {
        #expect(DataDirectory("/x//").path == "/x")
        #expect(DataDirectory("x").path.hasPrefix("/"))
        #expect(DataDirectory("/x").secretFile(of: "svc:status-store/1") == "/x/secrets/svc-status-store-1")
    }
}
