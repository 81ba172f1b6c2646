import API
import Glibc
import Testing

@testable import RollcallOperator
@testable import RollcallRuntime

/// What is written to disk: templates and tokens.
struct FolderTests {
    private let base: TemporaryFolder
    private let folder: AgentFolder

    init() throws {
        base = try TemporaryFolder()
        folder = AgentFolder(base: base.path, agent: Samples.address("gw/a"))
    }

    @Test func filesAreWrittenAndRemembered() throws {
        #expect(folder.installedDigest == nil)
        try folder.install(answer([.init(name: "IDENTITY.md", content: "one", preserve: false)]))
        #expect(folder.installedDigest == "d1")
        #expect(base.read("gw/a/IDENTITY.md") == "one")
    }

    @Test func whatTheAgentChangesIsLeft() throws {
        try folder.make()
        try base.write("gw/a/MEMORY.md", "mine")
        try base.write("gw/a/IDENTITY.md", "old")
        try folder.install(
            answer([
                .init(name: "MEMORY.md", content: "new", preserve: true),
                .init(name: "IDENTITY.md", content: "new", preserve: false),
            ]))
        #expect(base.read("gw/a/MEMORY.md") == "mine")
        #expect(base.read("gw/a/IDENTITY.md") == "new")
    }

    @Test(arguments: ["../x", "a/b", ".profile", "", "a b", "..", "a\u{0}b", "ü"])
    func noNameLeadsOutOfTheFolder(_ name: String) {
        #expect(throws: FolderError.self) {
            try folder.install(
                answer([
                    .init(name: "first", content: "", preserve: false), .init(name: name, content: "", preserve: false),
                ]))
        }
        #expect(base.read("gw/a/first") == nil)
        #expect(folder.installedDigest == nil)
    }

    @Test func aLinkIsReplacedNotFollowed() throws {
        try folder.make()
        try base.write("outside", "kept")
        #expect(symlink("\(base.path)/outside", "\(folder.path)/IDENTITY.md") == 0)
        try folder.install(answer([.init(name: "IDENTITY.md", content: "new", preserve: false)]))
        #expect(base.read("outside") == "kept")
        #expect(base.read("gw/a/IDENTITY.md") == "new")
    }

    /// Whoever runs as another agent of the host may have put it there.
    @Test(arguments: ["gw", "gw/a"]) func aFolderThatIsALinkIsRefused(_ level: String) throws {
        for directory in ["outside", "outside/a"] + (level == "gw" ? [] : ["gw"]) {
            #expect(mkdir("\(base.path)/\(directory)", 0o755) == 0)
        }
        #expect(symlink("\(base.path)/outside\(level == "gw" ? "" : "/a")", "\(base.path)/\(level)") == 0)
        #expect(throws: FolderError.self) {
            try folder.install(answer([.init(name: "IDENTITY.md", content: "new", preserve: false)]))
        }
        #expect(throws: FolderError.self) { try folder.make() }
        #expect(base.read("outside/a/IDENTITY.md") == nil)
    }

    @Test func theBaseMayBeALink() throws {
        #expect(mkdir("\(base.path)/elsewhere", 0o755) == 0)
        #expect(symlink("\(base.path)/elsewhere", "\(base.path)/link") == 0)
        try AgentFolder(base: "\(base.path)/link", agent: Samples.address("gw/a")).install(
            answer([.init(name: "IDENTITY.md", content: "new", preserve: false)]))
        #expect(base.read("elsewhere/gw/a/IDENTITY.md") == "new")
    }

    @Test func aTokenIsForItsOwnerOnly() throws {
        try base.write("token", "old")
        try TokenFile("\(base.path)/token").write("secret")
        #expect(base.read("token") == "secret\n")
        #expect(base.mode("token") == 0o600)
    }

    @Test func aPlaceThatCannotBeWrittenIsFoundBeforeATokenIsMinted() {
        for path in ["\(base.path)", "\(base.path)/none/token", "", "\(base.path)/"] {
            #expect(throws: CommandFailure.self) { try TokenFile(path) }
        }
    }

    private func answer(_ files: [FilesAnswer.File]) -> FilesAnswer {
        FilesAnswer(templatesDigest: "d1", files: files)
    }
}
