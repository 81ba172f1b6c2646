/// A file as it is handed to one agent.
public struct RenderedFile: Hashable, Sendable {
    /// A plain name, see `TemplateSet.isValidFileName`: the file lies directly in the agent's folder.
    public let name: String
    public let content: String
    /// Whether the agent fills the file in itself: a copy that is already there is kept.
    public let preserve: Bool

    public init(name: String, content: String, preserve: Bool) {
        self.name = name
        self.content = content
        self.preserve = preserve
    }
}

/// What a templates digest is computed over: equal for equal files in any order, different for all others.
///
/// The form is fixed, since agents keep digests of it:
///
/// ```
/// "rollcall-templates-1" LF  count
/// count × ( length name  preserve  length content )      sorted by name bytewise
/// ```
///
/// `count` and `length` are 8 bytes, most significant first; `preserve` is one byte, 1 or 0; names and contents are
/// UTF-8. Every part has a length before it, so no two lists of files share a form.
///
/// Preserved files count like all others. The digest says what was rendered, not what lies in the agent's folder: an agent
/// that changes its own copy keeps its digest, and a changed template gives a new one, so that an agent which starts afresh,
/// or one whose files are overwritten on request, is known to lack it.
public func canonicalBytes(of files: [RenderedFile]) -> [UInt8] {
    var bytes = Array("rollcall-templates-1\n".utf8)
    append(length: files.count, to: &bytes)
    for file in files.sorted(by: { precedesBytewise($0.name, $1.name) }) {
        append(length: file.name.utf8.count, to: &bytes)
        bytes += file.name.utf8
        bytes.append(file.preserve ? 1 : 0)
        append(length: file.content.utf8.count, to: &bytes)
        bytes += file.content.utf8
    }
    return bytes
}

private func append(length: Int, to bytes: inout [UInt8]) {
    let length = UInt64(length)
    for shift in stride(from: UInt64(56), through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: length >> shift))
    }
}
