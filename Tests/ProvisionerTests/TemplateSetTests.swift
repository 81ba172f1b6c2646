import Model
import ProvisionerCore
import Testing

@Suite struct TemplateSetTests {
    @Test func aRolesOwnFileWinsOverTheSharedOne() throws {
        let templates = try TemplateSet(
            root: "t",
            files: [
                "common/A.md": "{{!preserve}}\nshared", "common/B.md": "shared", "lead/A.md": "lead's",
                "worker/C.md": "worker's",
            ])
        let renderer = TemplateRenderer(templates)
        let shared = RenderedFile(name: "A.md", content: "shared", preserve: true)
        let second = RenderedFile(name: "B.md", content: "shared", preserve: false)
        #expect(try renderer.render(for: subject(.main), variables: [:]) == [shared, second])
        #expect(
            try renderer.render(for: subject(.lead), variables: [:])
                == [RenderedFile(name: "A.md", content: "lead's", preserve: false), second])
        #expect(
            try renderer.render(for: subject(.worker), variables: [:])
                == [shared, second, RenderedFile(name: "C.md", content: "worker's", preserve: false)])
    }

    @Test(arguments: [
        "main/../etc", "main/.hidden", "main/..", "main/.", "main/", "main/a b", "main/ü.md", "main/a\\b", "main/a\0",
        "main/a~", "main/" + String(repeating: "n", count: 129),
    ])
    func aFileNameIsPlain(path: String) {
        let error = #expect(throws: TemplateError.self) {
            try TemplateSet(root: "t", files: ["common/A.md": "", path: ""])
        }
        #expect(error?.file == "t/" + path)
        #expect(error?.reason == (path == "main/../etc" ? .unknownFolder : .invalidFileName))
    }

    @Test(arguments: ["A.md", "a", "0", "_", "-x", "a..b", String(repeating: "n", count: 128)])
    func theseFileNamesArePlain(name: String) {
        #expect(TemplateSet.isValidFileName(name))
    }

    @Test(arguments: ["A.md", "workers/A.md", "main/sub/A.md", "/main/A.md", "Main/A.md", "../main/A.md", ""])
    func aFileLiesInAFolderOfARole(path: String) {
        #expect(throws: TemplateError(.unknownFolder, file: path)) {
            try TemplateSet(root: "", files: ["common/A.md": "", path: ""])
        }
    }

    @Test func everyRoleHasFiles() {
        #expect(throws: TemplateError(.noFiles, file: "t/lead")) {
            try TemplateSet(root: "t", files: ["main/A.md": "", "worker/A.md": ""])
        }
    }

    @Test func theNumberOfFilesHasALimit() throws {
        var files = Dictionary(uniqueKeysWithValues: (1...31).map { ("common/\($0)", "") })
        files["lead/A.md"] = ""
        files["lead/1"] = ""
        _ = try TemplateSet(root: "t", files: files)
        files["lead/B.md"] = ""
        let error = #expect(throws: TemplateError.self) { try TemplateSet(root: "t", files: files) }
        #expect(error == TemplateError(.tooManyFiles, file: "t/lead"))
        #expect(error?.description == "t/lead: more than 32 templates for this role, common/ included")
    }

    @Test func aTemplateHasALimit() throws {
        let full = String(repeating: "x", count: TemplateLimits.fileBytesMax)
        _ = try TemplateSet(root: "t", files: ["common/A.md": full])
        #expect(throws: TemplateError(.fileTooLarge, file: "t/common/A.md")) {
            try TemplateSet(root: "t", files: ["common/A.md": full + "x"])
        }
    }

    @Test func faultsAreReportedInTheOrderOfPaths() {
        let error = #expect(throws: TemplateError.self) {
            try TemplateSet(root: "t", files: ["worker/A.md": "{{}}", "lead/Z.md": "\n{{", "main/B.md": "{{}}"])
        }
        #expect(error?.file == "t/lead/Z.md")
    }
}
