/// Why the database did not do what it was asked for.
///
/// Bound values are never part of it: the text may be logged.
public struct StorageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the caller can do about it.
    public enum Kind: String, Sendable {
        /// Somebody else holds the database for longer than is waited: wait and try again.
        case busy
        /// The disk is full or does not write: keep what was to be written and try again.
        case full
        case inputOutput = "input_output"
        /// The file is damaged, or is no database: a person has to look at it.
        case corrupt
        /// The file cannot be opened or created.
        case cannotOpen = "cannot_open"
        /// The database is of a newer program, or of another one.
        case schema
        /// The database was made with other settings than it is opened with.
        case configuration
        /// The content breaks a rule of the schema: trying again does not help.
        case constraint
        /// What is stored or was to be stored is not what it should be: trying again does not help.
        case content
        case other

        /// Whether the same write may succeed later.
        public var isTemporary: Bool {
            switch self {
            case .busy, .full, .inputOutput: true
            case .corrupt, .cannotOpen, .schema, .configuration, .constraint, .content, .other: false
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
