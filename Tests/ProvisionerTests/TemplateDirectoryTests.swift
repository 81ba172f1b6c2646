import FoundationEssentials
import Glibc
import Model
import ProvisionerCore
import Testing

@testable import rollcall_provisioner

@Suite struct TemplateDirectoryTests {
    @Test func aDirectoryIsLoaded() throws {
        let directory = try TemporaryDirectory([
            "common/A.md": "shared", "main/B.md": "{{agent}}", "lead/.B.md.swp": "\u{0}", "lead/A.md": "lead's",
            "worker/A.md": "", "README.md": "{{", ".git/x": "{{",
        ])
        // A mounted configuration volume: files are links into a folder that begins with a dot.
        try directory.write("worker/..data/C.md", "linked")
        #expect(symlink("..data/C.md", directory.path + "/worker/C.md") == 0)

        let renderer = TemplateRenderer(try TemplateDirectory.load(directory.path + "//"))
        #expect(try renderer.render(for: subject(.main), variables: [:]).map(\.content) == ["shared", "gw/a1"])
        #expect(try renderer.render(for: subject(.lead), variables: [:]).map(\.content) == ["lead's"])
        #expect(try renderer.render(for: subject(.worker), variables: [:]).map(\.content) == ["", "linked"])
    }

    @Test func whatAllRolesShareMayBeMissing() throws {
        let directory = try TemporaryDirectory(["main/A.md": "", "lead/A.md": "", "worker/A.md": ""])
        _ = try TemplateDirectory.load(directory.path)
    }

    @Test func aMissingDirectoryIsNamed() {
        let error = #expect(throws: TemplateDirectoryError.self) { try TemplateDirectory.load("/nowhere/templates") }
        #expect(error?.description == "/nowhere/templates: no such directory of templates")
    }

    @Test(arguments: ["main", "lead", "worker"])
    func aMissingRoleIsNamed(role: String) throws {
        let roles = ["main", "lead", "worker"].filter { $0 != role }
        let directory = try TemporaryDirectory(
            Dictionary(uniqueKeysWithValues: roles.map { ("\($0)/A.md", "") }).merging(["common/A.md": ""]) { $1 })
        #expect(throws: TemplateDirectoryError.missingFolder("\(directory.path)/\(role)")) {
            try TemplateDirectory.load(directory.path)
        }
    }

    @Test func aMisspeltFolderIsNamed() throws {
        let directory = try TemporaryDirectory(["common/A.md": "", "workers/A.md": ""])
        #expect(throws: TemplateDirectoryError.unknownFolder("\(directory.path)/workers")) {
            try TemplateDirectory.load(directory.path)
        }
    }

    @Test func whatIsNoReadableFileIsNamed() throws {
        let directory = try TemporaryDirectory(["main/A.md": "", "lead/A.md": "", "worker/sub/A.md": ""])
        let path = directory.path + "/worker/sub"
        #expect(throws: TemplateDirectoryError.unreadable(path, reason: "not a regular file")) {
            try TemplateDirectory.load(directory.path)
        }
        try FileManager.default.removeItem(atPath: path)
        #expect(symlink("nowhere", path) == 0)
        #expect(throws: TemplateDirectoryError.unreadable(path, reason: "No such file or directory")) {
            try TemplateDirectory.load(directory.path)
        }
        #expect(unlink(path) == 0)
        #expect(mkfifo(path, 0o600) == 0)
        #expect(throws: TemplateDirectoryError.unreadable(path, reason: "not a regular file")) {
            try TemplateDirectory.load(directory.path)
        }
        #expect(throws: TemplateDirectoryError.unreadable(directory.path + "/main/A.md", reason: "Not a directory")) {
            try TemplateDirectory.load(directory.path + "/main/A.md")
        }
    }

    @Test func aFileThatIsNotTextOrTooLargeIsNamed() throws {
        let directory = try TemporaryDirectory(["main/A.md": "", "lead/A.md": "", "worker/A.md": ""])
        let path = directory.path + "/lead/A.md"
        try Data([0x61, 0xff, 0x62]).write(to: URL(filePath: path))
        #expect(throws: TemplateDirectoryError.notUTF8(path)) { try TemplateDirectory.load(directory.path) }

        let full = String(repeating: "x", count: TemplateLimits.fileBytesMax)
        try directory.write("lead/A.md", full)
        _ = try TemplateDirectory.load(directory.path)
        try directory.write("lead/A.md", full + "x")
        let error = #expect(throws: TemplateDirectoryError.self) { try TemplateDirectory.load(directory.path) }
        #expect(error?.description == "\(path): larger than 65536 bytes")
    }

    @Test func aFaultInATemplateNamesItsFile() throws {
        let directory = try TemporaryDirectory(["main/A.md": "", "lead/A.md": "\n{{", "worker/A.md": "{{owner}}"])
        let error = #expect(throws: TemplateDirectoryError.self) { try TemplateDirectory.load(directory.path) }
        #expect(error?.description.hasPrefix("\(directory.path)/lead/A.md:2: '{{' without '}}'") == true)

        try directory.write("lead/A.md", "")
        let renderer = TemplateRenderer(try TemplateDirectory.load(directory.path))
        let unknown = #expect(throws: TemplateError.self) {
            try renderer.render(for: subject(.worker), variables: [:])
        }
        #expect(unknown?.description == "\(directory.path)/worker/A.md:1: unknown variable 'owner'")
    }

    @Test func aBackupCopyIsRefused() throws {
        let directory = try TemporaryDirectory([
            "common/A.md~": "", "main/A.md": "", "lead/A.md": "", "worker/A.md": "",
        ])
        #expect(
            throws: TemplateDirectoryError.template(
                TemplateError(.invalidFileName, file: "\(directory.path)/common/A.md~"))
        ) { try TemplateDirectory.load(directory.path) }
    }

    @Test func aDigestIsWrittenWithItsAlgorithm() {
        // SHA-256 of the bytes that `theDigestInputIsFixed` pins, computed by another program.
        let files = [
            RenderedFile(name: "A", content: "", preserve: false),
            RenderedFile(name: "B.md", content: "ü", preserve: true),
        ]
        #expect(templatesDigest(of: files) == "sha256:f2aca5b9b7baba4e0ccba585cf847f12a3723f9b92fe773f338522e7decad0e4")
    }
}

/// A directory that is removed with the last reference to it.
private final class TemporaryDirectory {
    let path: String

    init(_ files: [String: String]) throws {
        var template = Array("/tmp/rollcall-templates-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        precondition(made, "no directory could be made in /tmp")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for (name, content) in files { try write(name, content) }
    }

    deinit {
        // A directory left behind in /tmp fails no test.
        try? FileManager.default.removeItem(atPath: path)
    }

    func write(_ name: String, _ content: String) throws {
        let file = URL(filePath: "\(path)/\(name)")
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(content.utf8).write(to: file)
    }
}
