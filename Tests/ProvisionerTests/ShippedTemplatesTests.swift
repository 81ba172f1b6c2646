import Model
import ProvisionerCore
import Testing

@testable import rollcall_provisioner

/// What the templates in `infra/templates/` promise to every agent.
@Suite struct ShippedTemplatesTests {
    @Test func everyRoleGetsItsFiles() throws {
        #expect(
            try files(of: .main).map(\.name) == ["HEARTBEAT.md", "IDENTITY.md", "MEMORY.md", "TOOLS.md"])
        for role in [Role.lead, .worker] {
            #expect(
                try files(of: role).map(\.name)
                    == ["BOOTSTRAP.md", "HEARTBEAT.md", "IDENTITY.md", "MEMORY.md", "TOOLS.md"])
        }
    }

    @Test(arguments: Role.allCases)
    func onlyMemoryIsTheAgents(role: Role) throws {
        #expect(try files(of: role).filter(\.preserve).map(\.name) == ["MEMORY.md"])
    }

    /// Rendering with built-in variables alone leaves nothing open.
    @Test(arguments: Role.allCases)
    func everyFileRendersForItsRole(role: Role) throws {
        for file in try files(of: role) {
            #expect(file.content.hasPrefix("# "), "\(file.name)")
            #expect(file.content.hasSuffix("\n"), "\(file.name)")
            #expect(!file.content.contains("{{"), "\(file.name)")
        }
        let identity = try #require(try files(of: role).first { $0.name == "IDENTITY.md" }).content
        #expect(identity.contains("`gw/a1`"))
        #expect(identity.contains("`\(role.rawValue)`"))
        #expect(identity.contains("`b1`") == (role != .main))
    }

    @Test(arguments: Role.allCases)
    func everyFileDemandsTheCheckIn(role: Role) throws {
        for file in try files(of: role) {
            #expect(
                file.content.lowercased().contains("check in immediately after wake and bootstrap"), "\(file.name)")
        }
    }

    @Test(arguments: Role.allCases)
    func theCheckInIsExplainedOverMQTTAndWithCurl(role: Role) throws {
        for file in try files(of: role) where ["HEARTBEAT.md", "BOOTSTRAP.md"].contains(file.name) {
            let commands = shellBlocks(of: file.content)
            let publish = try #require(commands.first { $0.contains("mosquitto_pub ") })
            #expect(publish.contains("-t 'rollcall/v1/agents/gw/a1/heartbeat'"))
            #expect(publish.contains("-u 'gw/a1'"))
            let post = try #require(commands.first { $0.contains("curl ") })
            #expect(post.contains("/api/v1/agent/heartbeat"))
            #expect(post.contains("X-Agent-Token"))
            for (command, place) in [(publish, "ROLLCALL_HOST"), (post, "ROLLCALL_HTTP")] {
                for name in ["ROLLCALL_GENERATION", "ROLLCALL_ATTEMPT", "ROLLCALL_TOKEN_FILE", place] {
                    #expect(command.contains(name))
                }
            }
        }
    }

    @Test func aLeadChecksInBeforeAnyOrchestration() throws {
        let bootstrap = try #require(try files(of: .lead).first { $0.name == "BOOTSTRAP.md" }).content
        #expect(bootstrap.contains("BEFORE any orchestration"))
        let checkIn = try #require(bootstrap.firstRange(of: "## 1. Check in"))
        let lead = try #require(bootstrap.firstRange(of: "## 3. Lead"))
        #expect(checkIn.upperBound < lead.lowerBound)
    }

    /// The check-in is the same command wherever it is written: a correction of one copy corrects all.
    @Test func theCommandsAreTheSameEverywhere() throws {
        var checkIns: Set<[String]> = []
        var others: Set<[String]> = []
        for role in Role.allCases {
            for file in try files(of: role) {
                let commands = shellBlocks(of: file.content)
                if commands.isEmpty { continue }
                if file.name == "TOOLS.md" { others.insert(commands) } else { checkIns.insert(commands) }
            }
        }
        #expect(checkIns.count == 1)
        #expect(others.count == 1)
    }

    @Test(arguments: Role.allCases)
    func policiesAreNotWrittenDown(role: Role) throws {
        // They come with every wake. `60s` and `45s` are examples and marked as such.
        for file in try files(of: role) {
            for value in ["30s", "10m", "5m", "30 seconds", "10 minutes"] {
                #expect(!file.content.contains(value), "\(file.name) says \(value)")
            }
        }
    }

    private func files(of role: Role) throws -> [RenderedFile] {
        let repository = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let templates = try TemplateDirectory.load("/\(repository)/infra/templates")
        return try TemplateRenderer(templates).render(for: subject(role), variables: [:])
    }

    /// The commands between "```sh" and "```".
    private func shellBlocks(of markdown: String) -> [String] {
        markdown.split(separator: "```sh\n").dropFirst().map { block in
            String(block.prefix(upTo: block.firstRange(of: "```")?.lowerBound ?? block.endIndex))
        }
    }
}
