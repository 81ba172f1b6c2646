/// Bounds on what one agent is given; a template set or a rendering beyond them is refused with a `TemplateError`.
///
/// They keep the answer on an agent's `files` topic well below the broker's packet size and bound the work of one
/// rendering, whatever an operator puts into the templates or into an agent's variables.
public enum TemplateLimits {
    /// Files of one role, those shared by all roles included.
    public static let filesMax = 32
    /// Bytes of one template, and of one rendered file.
    public static let fileBytesMax = 65_536
    /// Bytes of all rendered files of one agent together.
    public static let allFilesBytesMax = 262_144
    /// Bytes of a file name.
    public static let fileNameBytesMax = 128
    /// Bytes of a variable name.
    public static let variableNameBytesMax = 63
}
