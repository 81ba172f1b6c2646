internal import Model
import ServiceHost
import StatusStoreCore

/// What the store is told beside what every service is told.
struct StatusStoreOptions: Sendable {
    let databasePath: String
    /// How many partitions a new database gets, and an existing one must have; `nil` takes what is there.
    let partitions: Int?
    /// How long history is kept, and how much of it.
    let historyDays: Int
    let historyMebibytes: Int
    /// Who keeps strangers out of the broker.
    let access: AccessMode

    static let specifications = [
        OptionSpecification(
            "database", value: "URL", environment: "ROLLCALL_DATABASE",
            help: "where all state is kept: sqlite:PATH"),
        OptionSpecification(
            "partitions", value: "N", environment: "ROLLCALL_PARTITIONS",
            help: "partitions of a new database, fixed for good (default 16)"),
        OptionSpecification(
            "history-days", value: "N", environment: "ROLLCALL_HISTORY_DAYS",
            help: "how long events are kept, while the store runs (default 30)"),
        OptionSpecification(
            "history-mib", value: "N", environment: "ROLLCALL_HISTORY_MIB",
            help: "how much of them, beyond which the oldest go (default 2048)"),
        OptionSpecification(
            "access", value: "MODE", environment: "ROLLCALL_ACCESS",
            help: "plugin: nothing is served until the broker's access plugin answers (default); none: there is none"),
    ]

    init(_ arguments: ParsedArguments) throws(UsageError) {
        guard let database = arguments.value("database") else {
            throw UsageError("no database: give --database or ROLLCALL_DATABASE, as sqlite:PATH")
        }
        if database.hasPrefix("postgres://") || database.hasPrefix("postgresql://") {
            throw UsageError("--database: PostgreSQL is not built yet, use sqlite:PATH")
        }
        guard database.hasPrefix("sqlite:"), database.utf8.count > "sqlite:".utf8.count else {
            throw UsageError("--database: '\(database.prefix(80))' is not sqlite:PATH")
        }
        databasePath = String(database.dropFirst("sqlite:".count))
        partitions = try arguments.integer("partitions", in: 1...Partition.countMax)
        let mode = arguments.value("access") ?? AccessMode.plugin.rawValue
        guard let access = AccessMode(rawValue: mode) else {
            throw UsageError("--access: '\(mode.prefix(80))' is not plugin or none")
        }
        self.access = access
        historyDays = try arguments.integer("history-days", in: 1...36_500) ?? 30
        historyMebibytes = try arguments.integer("history-mib", in: 1...1_048_576) ?? 2_048
    }
}
