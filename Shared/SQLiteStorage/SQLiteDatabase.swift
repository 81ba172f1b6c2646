internal import CSQLite
internal import Storage

/// A value that a statement binds.
enum SQLiteValue {
    case null
    case integer(Int64)
    case text(String)
    case blob([UInt8])

    static func integer(_ value: Int) -> SQLiteValue { .integer(Int64(value)) }
    static func text(_ value: String?) -> SQLiteValue { value.map(SQLiteValue.text) ?? .null }
    static func integer(_ value: Int64?) -> SQLiteValue { value.map(SQLiteValue.integer) ?? .null }
    static func blob(_ value: [UInt8]?) -> SQLiteValue { value.map(SQLiteValue.blob) ?? .null }
}

/// One connection to an SQLite database, with its prepared statements; used by one thread at a time.
///
/// Statements are prepared once for each text and are lent only inside closures.
final class SQLiteDatabase {
    private let handle: OpaquePointer
    private var statements: [String: SQLiteStatement] = [:]
    /// Before each transaction and after it, since what is committed then is only as good as the file; throws to refuse.
    var check: () throws(StorageError) -> Void = { () throws(StorageError) in }

    /// Opens the database at `path` and creates it when it is not there.
    ///
    /// - Parameters:
    ///   - layer: the virtual file system below it (https://www.sqlite.org/vfs.html); `nil` for the system's.
    ///   - isMade: it must be there.
    init(path: String, layer: String? = nil, isMade: Bool = false) throws(StorageError) {
        var opened: OpaquePointer?
        let flags =
            SQLITE_OPEN_READWRITE | (isMade ? 0 : SQLITE_OPEN_CREATE) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = sqlite3_open_v2(path, &opened, flags, layer)
        guard let opened else {
            throw StorageError(.other, code: code, message: "out of memory", operation: "open")
        }
        guard code == SQLITE_OK else {
            defer { sqlite3_close_v2(opened) }
            throw SQLiteDatabase.error(code, opened, "open")
        }
        // SQLite opens a file that it may not write all the same.
        guard sqlite3_db_readonly(opened, "main") != 1 else {
            sqlite3_close_v2(opened)
            throw StorageError(.readOnly, message: "the file may not be written", operation: "open")
        }
        handle = opened
    }

    deinit {
        statements.removeAll()
        sqlite3_close_v2(handle)
    }

    /// How long a lock that somebody else holds is waited for.
    func waitForLocks(atMost milliseconds: Int32) {
        sqlite3_busy_timeout(handle, milliseconds)
    }

    /// Runs a script that binds nothing and of which no row is wanted.
    func execute(_ script: String, _ operation: String) throws(StorageError) {
        let code = sqlite3_exec(handle, script, nil, nil, nil)
        guard code == SQLITE_OK else { throw SQLiteDatabase.error(code, handle, operation) }
    }

    /// Runs a statement for its effect. Returns how many rows it changed.
    @discardableResult
    func run(_ text: String, _ values: SQLiteValue...) throws(StorageError) -> Int {
        let statement = try prepared(text)
        defer { statement.reset() }
        try bind(values, to: statement)
        try step(statement)
        return Int(sqlite3_changes64(handle))
    }

    /// Calls `body` with each row of a query.
    func query(
        _ text: String, _ values: SQLiteValue..., body: (borrowing SQLiteRow) throws(StorageError) -> Void
    ) throws(StorageError) {
        try query(text, values, body: body)
    }

    func query(
        _ text: String, _ values: [SQLiteValue], body: (borrowing SQLiteRow) throws(StorageError) -> Void
    ) throws(StorageError) {
        let statement = try prepared(text)
        defer { statement.reset() }
        try bind(values, to: statement)
        while try step(statement) {
            try body(SQLiteRow(statement: statement.handle))
        }
    }

    /// The first row of a query; `nil` when there is none.
    func first<Value>(
        _ text: String, _ values: SQLiteValue..., body: (borrowing SQLiteRow) throws(StorageError) -> Value
    ) throws(StorageError) -> Value? {
        let statement = try prepared(text)
        defer { statement.reset() }
        try bind(values, to: statement)
        guard try step(statement) else { return nil }
        return try body(SQLiteRow(statement: statement.handle))
    }

    /// The key of the row that was inserted last.
    var lastInsertedKey: Int64 { sqlite3_last_insert_rowid(handle) }

    /// Does `body` whole or not at all. A failure of the commit itself rolls back as well.
    func transaction<Value>(_ body: () throws(StorageError) -> Value) throws(StorageError) -> Value {
        // One whose rollback failed as well is ended first.
        rollBack()
        try check()
        try run("BEGIN IMMEDIATE")
        do throws(StorageError) {
            let value = try body()
            try run("COMMIT")
            try check()
            return value
        } catch {
            rollBack()
            throw error
        }
    }

    /// Does `body` inside a transaction, whole or not at all, without touching what the transaction did before.
    func savepoint(_ body: () throws(StorageError) -> Void) throws(StorageError) {
        try run("SAVEPOINT frame")
        do throws(StorageError) {
            try body()
            try run("RELEASE frame")
        } catch {
            // An error that already ended the transaction took the savepoint with it.
            if sqlite3_get_autocommit(handle) == 0 {
                try run("ROLLBACK TO frame")
                try run("RELEASE frame")
            }
            throw error
        }
    }

    /// Whether a transaction is open. Some errors end it by themselves (https://www.sqlite.org/lang_transaction.html).
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    private func rollBack() {
        guard isInTransaction else { return }
        // A rollback that fails leaves the transaction to the next one, which tries again.
        _ = sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
    }

    // MARK: Statements

    private func prepared(_ text: String) throws(StorageError) -> SQLiteStatement {
        if let statement = statements[text] { return statement }
        var prepared: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, text, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
        guard code == SQLITE_OK, let prepared else {
            throw SQLiteDatabase.error(code, handle, SQLiteDatabase.operation(text))
        }
        let statement = SQLiteStatement(handle: prepared, text: text)
        statements[text] = statement
        return statement
    }

    private func bind(_ values: [SQLiteValue], to statement: SQLiteStatement) throws(StorageError) {
        for (index, value) in values.enumerated() {
            let position = Int32(index + 1)
            let code: Int32
            switch value {
            case .null: code = sqlite3_bind_null(statement.handle, position)
            case .integer(let number): code = sqlite3_bind_int64(statement.handle, position, number)
            case .text(let text):
                code = sqlite3_bind_text(
                    statement.handle, position, text, Int32(text.utf8.count), rollcall_sqlite_transient())
            case .blob(let bytes):
                code = bytes.withUnsafeBytes {
                    // A null pointer would bind NULL in place of an empty blob.
                    $0.isEmpty
                        ? sqlite3_bind_zeroblob(statement.handle, position, 0)
                        : sqlite3_bind_blob(
                            statement.handle, position, $0.baseAddress, Int32($0.count), rollcall_sqlite_transient())
                }
            }
            guard code == SQLITE_OK else {
                throw SQLiteDatabase.error(code, handle, SQLiteDatabase.operation(statement.text))
            }
        }
    }

    /// Goes to the next row; `false` when there is none.
    @discardableResult
    private func step(_ statement: SQLiteStatement) throws(StorageError) -> Bool {
        switch sqlite3_step(statement.handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw SQLiteDatabase.error(code, handle, SQLiteDatabase.operation(statement.text))
        }
    }

    /// The beginning of a statement: it names the operation and holds no value.
    private static func operation(_ text: String) -> String {
        text.split(separator: "\n", maxSplits: 1).first.map { String($0.prefix(60)) } ?? "statement"
    }

    private static func error(_ code: Int32, _ handle: OpaquePointer, _ operation: String) -> StorageError {
        let message = sqlite3_errmsg(handle).map { String(cString: $0) } ?? "unknown error"
        return StorageError(kind(of: code), code: code, message: message, operation: operation)
    }

    /// What `PRAGMA quick_check` complained of: damage, or only that a page could not be read just now, of which it says
    /// "unable to get the page. error code=N".
    static func complaint(_ text: String) -> StorageError {
        let line = text.split(separator: "\n").last.map(String.init) ?? text
        let code = line.split(separator: "error code=").dropFirst().first.flatMap { Int32($0) }
        guard let code, kind(of: code) == .inputOutput else {
            return StorageError(.corrupt, message: "the database is damaged: \(line)", operation: "check")
        }
        return StorageError(
            .inputOutput, code: code, message: "the database cannot be read: \(line)", operation: "check")
    }

    private static func kind(of code: Int32) -> StorageError.Kind {
        switch code & 0xff {
        case SQLITE_BUSY, SQLITE_LOCKED: .busy
        case SQLITE_FULL: .full
        case SQLITE_IOERR: .inputOutput
        case SQLITE_READONLY: .readOnly
        case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt
        case SQLITE_CANTOPEN, SQLITE_PERM: .cannotOpen
        case SQLITE_CONSTRAINT: .constraint
        case SQLITE_TOOBIG, SQLITE_MISMATCH: .content
        default: .other
        }
    }
}

/// A prepared statement; freed with its last reference.
private final class SQLiteStatement {
    let handle: OpaquePointer
    let text: String

    init(handle: OpaquePointer, text: String) {
        self.handle = handle
        self.text = text
    }

    deinit {
        sqlite3_finalize(handle)
    }

    /// Ready for its next use; what was bound is let go.
    func reset() {
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }
}

/// The row that a query stands on; columns count from 0.
struct SQLiteRow: ~Copyable {
    private let statement: OpaquePointer

    fileprivate init(statement: OpaquePointer) {
        self.statement = statement
    }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }
    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
    func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }
    func bool(_ column: Int32) -> Bool { integer(column) != 0 }

    func text(_ column: Int32) -> String {
        guard let bytes = sqlite3_column_text(statement, column) else { return "" }
        let count = Int(sqlite3_column_bytes(statement, column))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }

    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }

    func blob(_ column: Int32) -> [UInt8] {
        guard let bytes = sqlite3_column_blob(statement, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column))))
    }

    func optionalBlob(_ column: Int32) -> [UInt8]? { isNull(column) ? nil : blob(column) }
}
