public import Model

/// Renders the files of any agent of one system and knows their digest.
public struct AgentFiles: Sendable {
    private var renderer: TemplateRenderer
    private let topicRoot: String
    private let digest: @Sendable ([RenderedFile]) -> String

    /// - Parameter digest: of rendered files, as records and wakes carry it.
    public init(_ templates: TemplateSet, topicRoot: String, digest: @escaping @Sendable ([RenderedFile]) -> String) {
        renderer = TemplateRenderer(templates)
        self.topicRoot = topicRoot
        self.digest = digest
    }

    /// Takes templates that were read anew.
    mutating func replace(by templates: TemplateSet) {
        renderer = TemplateRenderer(templates)
    }

    /// The files of `agent` as it would be with this role, board and these variables, and their digest.
    public func render(
        _ agent: AgentAddress, role: Role, board: String?, variables: [String: String]
    ) throws(TemplateError) -> (files: [RenderedFile], digest: String) {
        let subject = TemplateSubject(
            gatewayID: agent.gateway, agentID: agent.agent, role: role, boardID: board, topicRoot: topicRoot)
        let files = try renderer.render(for: subject, variables: variables)
        return (files, digest(files))
    }
}
