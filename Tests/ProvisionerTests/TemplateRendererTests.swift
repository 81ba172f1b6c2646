import Model
import ProvisionerCore
import Testing

@Suite struct TemplateRendererTests {
    @Test(arguments: [
        ("{{agent}}", "gw/a1"),
        ("{{agent_id}} of {{gateway_id}}", "a1 of gw"),
        ("{{role}} {{board_id}}", "worker b1"),
        ("{{topic_root}}", "rollcall/v1"),
        ("{{heartbeat_topic}}", "rollcall/v1/agents/gw/a1/heartbeat"),
        ("{{wake_topic}}", "rollcall/v1/agents/gw/a1/wake"),
        ("{{files_topic}}", "rollcall/v1/agents/gw/a1/files"),
        ("{{status_topic}}", "rollcall/v1/agents/gw/a1/status"),
        ("{{owner}}", "Ada"),
        ("{{ owner\t}}", "Ada"),
        ("{{time.zone-1}}", "UTC"),
        ("{{hostile}}", "{{agent}}\n{{{{"),
        ("{{owner}}{{owner}}", "AdaAda"),
    ])
    func aPlaceholderStandsForItsVariable(source: String, content: String) throws {
        #expect(try rendered(source).content == content)
    }

    @Test(arguments: [
        ("", ""),
        ("plain, ünïcode ✓\r\nand more\n", "plain, ünïcode ✓\r\nand more\n"),
        ("{a} }} } {\"x\": {\"y\": 1}}", "{a} }} } {\"x\": {\"y\": 1}}"),
        ("{{{{", "{{"),
        ("{{{{agent}}", "{{agent}}"),
        ("{{{{{{agent}}", "{{gw/a1"),
        ("{{agent}}}", "gw/a1}"),
        ("{{{{!preserve}}", "{{!preserve}}"),
        ("${X:+,\\\"a\\\":$X}}", "${X:+,\\\"a\\\":$X}}"),
    ])
    func allElseIsText(source: String, content: String) throws {
        let file = try rendered(source)
        #expect(file.content == content)
        #expect(!file.preserve)
    }

    @Test(arguments: faults)
    func aFaultNamesFileLineAndVariable(
        source: String, reason: TemplateError.Reason, line: Int, variable: String?, complaint: String
    ) {
        let error = #expect(throws: TemplateError.self) { try rendered(source) }
        let file = "infra/templates/worker/X.md"
        #expect(error == TemplateError(reason, file: file, line: line, variable: variable))
        #expect(error?.description == "\(file):\(line): \(complaint)")
    }

    @Test func aMainAgentHasNoBoard() throws {
        let templates = try TemplateSet(root: "t", files: ["common/X.md": "\n{{board_id}}"])
        let error = #expect(throws: TemplateError.self) {
            try TemplateRenderer(templates).render(for: subject(.main), variables: [:])
        }
        #expect(error?.description == "t/common/X.md:2: unknown variable 'board_id'")
    }

    @Test(arguments: TemplateVariables.builtIn.sorted())
    func aBuiltInVariableCannotBeShadowed(name: String) {
        let error = #expect(throws: TemplateError.self) { try rendered("text", variables: ["a": "", name: "x"]) }
        #expect(error == TemplateError(.shadowsBuiltIn, variable: name))
        #expect(error?.description == "variable '\(name)' is built in: an agent's own cannot have that name")
    }

    @Test(arguments: ["", "_x", "-x", ".x", "two words", "ü", "a}", String(repeating: "n", count: 64)])
    func anAgentsVariableHasAValidName(name: String) {
        #expect(throws: TemplateError(.invalidName, variable: name)) { try TemplateVariables.check([name: "x"]) }
    }

    @Test func variablesThatNoTemplateUsesDoNoHarm() throws {
        #expect(try rendered("x", variables: ["unused": "y", String(repeating: "n", count: 63): ""]).content == "x")
    }

    @Test(arguments: [
        ("{{!preserve}}", ""), ("{{!preserve}}\n# Memory\n", "# Memory\n"), ("{{! preserve}}", nil),
        ("{{ !preserve }}\r\n\r\n{{agent}}", "\r\ngw/a1"),
    ])
    func theFirstLineCanMarkAFileAsTheAgents(source: String, content: String?) throws {
        guard let content else {
            #expect(throws: TemplateError.self) { try rendered(source) }
            return
        }
        #expect(try rendered(source) == RenderedFile(name: "X.md", content: content, preserve: true))
    }

    @Test func filesAreSortedBytewise() throws {
        let names = ["b.md", "A.md", "_.md", "a.md", "B.md", "0.md", "a-b.md", "a.b"]
        let templates = try TemplateSet(
            root: "", files: Dictionary(uniqueKeysWithValues: names.map { ("common/\($0)", "") }))
        let files = try TemplateRenderer(templates).render(for: subject(.lead), variables: [:])
        #expect(files.map(\.name) == ["0.md", "A.md", "B.md", "_.md", "a-b.md", "a.b", "a.md", "b.md"])
    }

    // MARK: Limits

    @Test func aRenderedFileHasALimit() throws {
        let value = String(repeating: "v", count: TemplateLimits.fileBytesMax - 1)
        #expect(try rendered("x{{v}}", variables: ["v": value]).content.utf8.count == TemplateLimits.fileBytesMax)
        #expect(throws: TemplateError(.fileTooLarge, file: "infra/templates/worker/X.md")) {
            try rendered("xx{{v}}", variables: ["v": value])
        }
    }

    @Test func allFilesTogetherHaveALimit() throws {
        let full = String(repeating: "x", count: TemplateLimits.fileBytesMax)
        var sources = ["common/1": full, "common/2": full, "common/3": full, "common/4": full]
        let allowed = try TemplateRenderer(TemplateSet(root: "t", files: sources))
            .render(for: subject(.main), variables: [:])
        #expect(allowed.reduce(0) { $0 + $1.content.utf8.count } == TemplateLimits.allFilesBytesMax)

        sources["common/5"] = "x"
        let templates = try TemplateSet(root: "t", files: sources)
        #expect(throws: TemplateError(.allFilesTooLarge, file: "t/common/5")) {
            try TemplateRenderer(templates).render(for: subject(.main), variables: [:])
        }
    }

    // MARK: Digest input

    @Test func theDigestInputIsFixed() {
        let files = [
            RenderedFile(name: "B.md", content: "ü", preserve: true),
            RenderedFile(name: "A", content: "", preserve: false),
        ]
        let expected: [UInt8] =
            Array("rollcall-templates-1\n".utf8) + [0, 0, 0, 0, 0, 0, 0, 2]
            + [0, 0, 0, 0, 0, 0, 0, 1, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            + [0, 0, 0, 0, 0, 0, 0, 4, 0x42, 0x2e, 0x6d, 0x64, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0xc3, 0xbc]
        #expect(canonicalBytes(of: files) == expected)
        #expect(canonicalBytes(of: files.reversed()) == expected)
    }

    @Test func differentFilesHaveDifferentDigestInputs() {
        let lists: [[RenderedFile]] = [
            [],
            [RenderedFile(name: "a", content: "", preserve: false)],
            [RenderedFile(name: "a", content: "", preserve: true)],
            [RenderedFile(name: "a", content: "b", preserve: false)],
            [RenderedFile(name: "ab", content: "", preserve: false)],
            [
                RenderedFile(name: "a", content: "", preserve: false),
                RenderedFile(name: "b", content: "", preserve: false),
            ],
        ]
        #expect(Set(lists.map(canonicalBytes(of:))).count == lists.count)
    }
}

private let rule = "1 to 63 of A-Z a-z 0-9 . _ -, first one a letter or digit"
private let unclosed = "'{{' without '}}' on the same line (write '{{{{' for a literal '{{')"
private let alone = "directive '!preserve' must stand alone on the first line"

/// Template, reason, line, variable, complaint.
private let faults: [(String, TemplateError.Reason, Int, String?, String)] = [
    ("a\nb {{nobody}}", .unknownVariable, 2, "nobody", "unknown variable 'nobody'"),
    ("{{agent}}\r\n\r\n{{ nobody }}{{no_one}}", .unknownVariable, 3, "nobody", "unknown variable 'nobody'"),
    ("{{!preserve}}\n{{nobody}}", .unknownVariable, 2, "nobody", "unknown variable 'nobody'"),
    ("{{Agent}}", .unknownVariable, 1, "Agent", "unknown variable 'Agent'"),
    ("{{checkin_deadline}}", .unknownVariable, 1, "checkin_deadline", "unknown variable 'checkin_deadline'"),
    ("\n\n{{agent", .unclosedPlaceholder, 3, nil, unclosed),
    ("{{agent\n}}", .unclosedPlaceholder, 1, nil, unclosed),
    ("{{agent}", .unclosedPlaceholder, 1, nil, unclosed),
    ("{{", .unclosedPlaceholder, 1, nil, unclosed),
    ("x{{}}", .emptyName, 1, "", "placeholder without a variable name"),
    ("\n{{ \t }}", .emptyName, 2, "", "placeholder without a variable name"),
    ("{{two words}}", .invalidName, 1, "two words", "invalid variable name 'two words': \(rule)"),
    ("{{{agent}}", .invalidName, 1, "{agent", "invalid variable name '{agent': \(rule)"),
    ("{{a {{agent}}", .invalidName, 1, "a {{agent", "invalid variable name 'a {{agent': \(rule)"),
    ("{{!keep}}\n", .unknownDirective, 1, "!keep", "unknown directive '!keep': only '!preserve' is known"),
    ("\n{{!preserve}}\n", .misplacedDirective, 2, "!preserve", alone),
    ("{{!preserve}} x\n", .misplacedDirective, 1, "!preserve", alone),
    ("{{!preserve}}\r", .misplacedDirective, 1, "!preserve", alone),
]

private func rendered(
    _ source: String,
    variables: [String: String] = ["owner": "Ada", "time.zone-1": "UTC", "hostile": "{{agent}}\n{{{{"]
) throws -> RenderedFile {
    let templates = try TemplateSet(
        root: "infra/templates", files: ["main/M.md": "", "lead/L.md": "", "worker/X.md": source])
    let files = try TemplateRenderer(templates).render(for: subject(.worker), variables: variables)
    return try #require(files.first)
}

func subject(_ role: Role) -> TemplateSubject {
    TemplateSubject(
        gatewayID: "gw", agentID: "a1", role: role, boardID: role == .main ? nil : "b1", topicRoot: "rollcall/v1")
}
