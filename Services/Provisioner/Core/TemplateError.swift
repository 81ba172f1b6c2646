/// Why templates could not be read as a set or rendered for an agent.
///
/// It names the place (`file`, `line`) where a template is at fault, and the `variable` where one is; `description`
/// says all of it in one line, such as `infra/templates/main/HEARTBEAT.md:12: unknown variable 'owner'`.
public struct TemplateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Reason: Hashable, Sendable {
        /// A placeholder names neither a built-in variable of this agent nor one of its own.
        case unknownVariable
        /// `{{` without `}}` on the same line.
        case unclosedPlaceholder
        /// `{{}}`.
        case emptyName
        /// A variable name outside the rule of `TemplateVariables`.
        case invalidName
        /// `{{!…}}` that is not `{{!preserve}}`.
        case unknownDirective
        /// A directive anywhere but alone on a template's first line.
        case misplacedDirective
        /// One of the agent's own variables bears the name of a built-in one.
        case shadowsBuiltIn
        /// A file outside `common/`, `main/`, `lead/` and `worker/`, or deeper than that.
        case unknownFolder
        /// A file name that is not a plain name; see `TemplateSet`.
        case invalidFileName
        /// A role without any file; `file` names its folder.
        case noFiles
        /// More files of one role than `TemplateLimits.filesMax`; `file` names its folder.
        case tooManyFiles
        /// A template or a rendered file larger than `TemplateLimits.fileBytesMax`.
        case fileTooLarge
        /// Rendered files larger together than `TemplateLimits.allFilesBytesMax`; `file` is the one that went beyond.
        case allFilesTooLarge
    }

    public let reason: Reason
    /// The template at fault as its set names it, root included; `nil` where an agent's variable is at fault.
    public let file: String?
    /// Where in the file, counted from 1; `nil` where the whole file is at fault.
    public let line: Int?
    /// The variable at fault as it is written.
    public let variable: String?

    public init(_ reason: Reason, file: String? = nil, line: Int? = nil, variable: String? = nil) {
        self.reason = reason
        self.file = file
        self.line = line
        self.variable = variable
    }

    public var description: String {
        var place = ""
        if let file {
            place = file
            if let line { place += ":\(line)" }
            place += ": "
        }
        return place + complaint
    }

    private var complaint: String {
        let name = variable ?? ""
        return switch reason {
        case .unknownVariable: "unknown variable '\(name)'"
        case .unclosedPlaceholder: "'{{' without '}}' on the same line (write '{{{{' for a literal '{{')"
        case .emptyName: "placeholder without a variable name"
        case .invalidName:
            "invalid variable name '\(name)': 1 to \(TemplateLimits.variableNameBytesMax) of A-Z a-z 0-9 . _ -, "
                + "first one a letter or digit"
        case .unknownDirective: "unknown directive '\(name)': only '!preserve' is known"
        case .misplacedDirective: "directive '\(name)' must stand alone on the first line"
        case .shadowsBuiltIn: "variable '\(name)' is built in: an agent's own cannot have that name"
        case .unknownFolder: "not a file in common/, main/, lead/ or worker/"
        case .invalidFileName:
            "invalid file name: 1 to \(TemplateLimits.fileNameBytesMax) of A-Z a-z 0-9 . _ -, first one not a dot"
        case .noFiles: "no templates for this role"
        case .tooManyFiles: "more than \(TemplateLimits.filesMax) templates for this role, common/ included"
        case .fileTooLarge: "larger than \(TemplateLimits.fileBytesMax) bytes"
        case .allFilesTooLarge:
            "with this file all of the agent's files are larger than \(TemplateLimits.allFilesBytesMax) bytes"
        }
    }
}
