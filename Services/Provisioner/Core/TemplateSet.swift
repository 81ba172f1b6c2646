internal import Model

/// The templates of all roles, parsed.
///
/// Templates lie in one folder for each role, `main/`, `lead/` and `worker/`, and in `common/` for what all roles
/// share; a role's own file wins over the shared one of the same name. A template that begins with the line
/// `{{!preserve}}` is rendered for its agent once and then belongs to it: whoever writes the files keeps a copy that
/// is already there. A role's own file decides that for itself.
///
/// A file's name is 1 to 128 of `A-Z a-z 0-9 . _ -` and does not begin with a dot: it is written inside the agent's
/// folder, never elsewhere.
public struct TemplateSet: Hashable, Sendable {
    /// The folder of the files that all roles share.
    public static let commonFolder = "common"

    /// By role, sorted by name bytewise.
    private let templates: [Role: [Named]]

    struct Named: Hashable, Sendable {
        let name: String
        let text: TemplateText
    }

    /// Parses templates given as path below `root` (`main/HEARTBEAT.md`) → text.
    ///
    /// Errors name a file as `root` and path joined by `/`, or by its path alone when `root` is empty. Throws the first
    /// fault in bytewise order of paths, then what is wrong with a whole role.
    public init(root: String, files: [String: String]) throws(TemplateError) {
        let prefix = root.isEmpty ? "" : root + "/"
        var byFolder: [String: [String: TemplateText]] = [:]
        for path in files.keys.sorted(by: precedesBytewise) {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, TemplateSet.isFolder(parts[0]) else {
                throw TemplateError(.unknownFolder, file: prefix + path)
            }
            guard TemplateSet.isValidFileName(parts[1]) else {
                throw TemplateError(.invalidFileName, file: prefix + path)
            }
            let source = files[path, default: ""]
            guard source.utf8.count <= TemplateLimits.fileBytesMax else {
                throw TemplateError(.fileTooLarge, file: prefix + path)
            }
            byFolder[parts[0], default: [:]][parts[1]] = try TemplateText(file: prefix + path, source: source)
        }

        var templates: [Role: [Named]] = [:]
        for role in Role.allCases {
            let own = byFolder[role.rawValue, default: [:]]
            let all = byFolder[TemplateSet.commonFolder, default: [:]].merging(own) { _, own in own }
            guard !all.isEmpty else { throw TemplateError(.noFiles, file: prefix + role.rawValue) }
            guard all.count <= TemplateLimits.filesMax else {
                throw TemplateError(.tooManyFiles, file: prefix + role.rawValue)
            }
            templates[role] = all.map { Named(name: $0.key, text: $0.value) }
                .sorted { precedesBytewise($0.name, $1.name) }
        }
        self.templates = templates
    }

    /// Whether a file of this name may be written into an agent's folder.
    public static func isValidFileName(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= TemplateLimits.fileNameBytesMax else { return false }
        return first != UInt8(ascii: ".") && name.utf8.allSatisfy(TemplateVariables.isPlain)
    }

    /// Whether templates may lie in this folder.
    public static func isFolder(_ name: String) -> Bool {
        name == commonFolder || Role(rawValue: name) != nil
    }

    /// The templates of a role, sorted by name bytewise.
    func templates(of role: Role) -> [Named] {
        templates[role, default: []]
    }
}
