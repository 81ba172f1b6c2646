/// Renders an agent's files, strictly: what a template asks for is there, or nothing is rendered.
public struct TemplateRenderer: Sendable {
    private let templates: TemplateSet

    public init(_ templates: TemplateSet) {
        self.templates = templates
    }

    /// The files of an agent, sorted by name bytewise.
    ///
    /// `variables` are the agent's own, name → value; a value is inserted as it is. The same templates, subject and
    /// variables always give the same files. Throws the first fault in the order of files and lines; the work is bounded
    /// by `TemplateLimits` whatever the variables hold.
    public func render(
        for subject: TemplateSubject, variables: [String: String]
    ) throws(TemplateError) -> [RenderedFile] {
        try TemplateVariables.check(variables)
        var files: [RenderedFile] = []
        var bytes = 0
        for template in templates.templates(of: subject.role) {
            let content = try render(template.text, for: subject, variables: variables)
            bytes += content.utf8.count
            guard bytes <= TemplateLimits.allFilesBytesMax else {
                throw TemplateError(.allFilesTooLarge, file: template.text.file)
            }
            files.append(RenderedFile(name: template.name, content: content, preserve: template.text.preserve))
        }
        return files
    }

    private func render(
        _ template: TemplateText, for subject: TemplateSubject, variables: [String: String]
    ) throws(TemplateError) -> String {
        var content = ""
        for segment in template.segments {
            switch segment {
            case .text(let text):
                content += text
            case .variable(let name, let line):
                guard let value = subject.value(ofBuiltIn: name) ?? variables[name] else {
                    throw TemplateError(.unknownVariable, file: template.file, line: line, variable: name)
                }
                content += value
            }
            guard content.utf8.count <= TemplateLimits.fileBytesMax else {
                throw TemplateError(.fileTooLarge, file: template.file)
            }
        }
        return content
    }
}
