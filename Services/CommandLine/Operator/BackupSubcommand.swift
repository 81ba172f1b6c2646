internal import SQLiteStorage
internal import ServiceHost
internal import Storage

/// `rollcall backup`: a copy of the status store's database, while the store is at work.
extension Subcommand {
    static let backup = Subcommand(
        name: "backup", placeholder: "FILE", summary: "write a copy of the status store's database",
        details: """
            Runs on the store's host and as its user or root, while the store is at work or not. FILE holds everything that was
            answered before; it must not be there yet. To restore, stop the store, remove DATABASE-wal and DATABASE-shm, put FILE
            in the place of DATABASE, start the store.
            """,
        options: [
            OptionSpecification(
                "database", value: "URL", environment: "ROLLCALL_DATABASE",
                help: "the database, as sqlite:PATH (default rollcall.db of the data directory)"),
            SystemLocation.option, CommonOptions.help,
        ],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        guard let file = invocation.arguments.positional.first, !file.isEmpty else { throw .usage("which FILE?") }
        try invocation.refuseArguments(after: 1)
        let path = try database(invocation.arguments)
        do throws(StorageError) {
            let bytes = try SQLiteBackup.write(path, to: file)
            invocation.console.write("\(file)  \(bytes) bytes\n")
        } catch {
            throw .failed("\(path): \(error)" + (error.kind.advice.map { "; \($0)" } ?? ""))
        }
        return ExitStatus.done
    }

    private static func database(_ arguments: ParsedArguments) throws(CommandFailure) -> String {
        guard let url = arguments.value("database") else {
            return (arguments.value("data") ?? SystemLocation.defaultDirectory) + "/" + SystemLocation.database
        }
        guard url.hasPrefix("sqlite:"), url != "sqlite:" else { throw .usage("--database: is not sqlite:PATH") }
        return String(url.dropFirst("sqlite:".count))
    }
}
