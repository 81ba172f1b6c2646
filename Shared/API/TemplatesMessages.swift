public import Model

// What runtimes and provisioners say to each other of an agent's files and token.

/// The files of an agent, as answered on its `files` topic.
public struct FilesAnswer: Codable, Hashable, Sendable {
    public struct File: Codable, Hashable, Sendable {
        public let name: String
        public let content: String
        /// The agent changes it: a runtime that finds one leaves it.
        public let preserve: Bool

        public init(name: String, content: String, preserve: Bool) {
            self.name = name
            self.content = content
            self.preserve = preserve
        }
    }

    public let templatesDigest: String
    public let files: [File]

    public init(templatesDigest: String, files: [File]) {
        self.templatesDigest = templatesDigest
        self.files = files
    }

    enum CodingKeys: String, CodingKey {
        case templatesDigest = "templates_digest"
        case files
    }
}

/// Tells who runs an agent that other files are wanted: they are to be fetched and written.
public struct TemplatesMessage: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let templatesDigest: String
    /// Also files that the agent edits.
    public let overwrite: Bool
    /// The command is to be started anew.
    public let resetSession: Bool
    /// A gateway is to ask for a new token for the agent, once for each value; absent: not.
    public let rotateToken: String?

    public init(
        agent: AgentAddress, templatesDigest: String, overwrite: Bool, resetSession: Bool, rotateToken: String? = nil
    ) {
        self.agent = agent
        self.templatesDigest = templatesDigest
        self.overwrite = overwrite
        self.resetSession = resetSession
        self.rotateToken = rotateToken
    }

    enum CodingKeys: String, CodingKey {
        case agent, overwrite
        case templatesDigest = "templates_digest"
        case resetSession = "reset_session"
        case rotateToken = "rotate_token"
    }
}

/// New credentials of an agent, for the gateway that asked.
public struct CredentialsAnswer: Codable, Hashable, Sendable {
    public let username: String
    public let token: String
    public let tokenID: String

    public init(username: String, token: String, tokenID: String) {
        self.username = username
        self.token = token
        self.tokenID = tokenID
    }

    enum CodingKeys: String, CodingKey {
        case username, token
        case tokenID = "token_id"
    }
}
