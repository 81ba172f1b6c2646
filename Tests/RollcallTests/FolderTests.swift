import Contract
import Glibc
import Lifecycle
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
