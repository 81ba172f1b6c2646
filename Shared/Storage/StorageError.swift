/// Why the database did not do what it was asked for.
///
/// Bound values are never part of it: the text may be logged.
public struct StorageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the caller can do about it.
    public enum Kind: String, Sendable {
        /// Somebody else holds the database for longer than is waited: wait and try again.
        case busy
        /// The disk is full or does not do what it should: keep what was to be written and try again.
        case full
        case inputOutput = "input_output"
        /// The file or its file system may not be written.
        case readOnly = "read_only"
        /// The file is damaged, or is no database: a person has to look at it.
        case corrupt
        /// The file cannot be opened or created.
        case cannotOpen = "cannot_open"
        /// The file was deleted or replaced while it was open: what is written to it is lost.
        case replaced
        /// The database is of a newer program, or of another one.
        case schema
        /// The database was made with other settings than it is opened with.
        case configuration
        /// The content breaks a rule of the schema: trying again does not help.
        case constraint
        /// What is stored or was to be stored is not what it should be: trying again does not help.
        case content
        case other

        /// Whether it lies in what was to be written: the same content fails again, other content may succeed.
        ///
        /// Everything else lies in the database or around it. No content is given up for it.
        public var isOfContent: Bool {
            switch self {
            case .constraint, .content: true
            case .busy, .full, .inputOutput, .readOnly, .corrupt, .cannotOpen, .replaced, .schema, .configuration,
                .other:
                false
            }
        }

        /// What whoever runs the store can do about it.
        public var advice: String? {
            switch self {
            case .busy: "end whoever else holds it: another status store, or a program with an open transaction"
            case .full: "free space on its file system; the store then goes on by itself"
            case .inputOutput: "look at the disk and the kernel's log"
            case .readOnly: "let the user of the status store write the file, its directory and its file system"
            case .corrupt:
                "stop the status store and put a copy in its place, or save what is left of it with sqlite3 and '.recover'"
            case .cannotOpen: "see that the path names a file in a directory that is there and may be read and written"
            case .replaced:
                "put the file back, and the store goes on by itself; or restart the status store to take what lies there now"
            case .schema: "run the program that made it, or a newer one, or name another file"
            case .configuration: "leave the option out, or name another file"
            case .constraint, .content, .other: nil
            }
        }
    }

    public let kind: Kind
    /// The extended result code of SQLite (https://www.sqlite.org/rescode.html); 0 when the error is ours.
    public let code: Int32
    public let message: String
    /// What was being done.
    public let operation: String

    public init(_ kind: Kind, code: Int32 = 0, message: String, operation: String) {
        self.kind = kind
        self.code = code
        self.message = message
        self.operation = operation
    }

    public var description: String {
        code == 0 ? "\(operation): \(message)" : "\(operation): \(message) (SQLite \(code))"
    }
}
