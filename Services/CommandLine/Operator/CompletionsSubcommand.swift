internal import API
internal import Bus
internal import ServiceHost

/// `rollcall completions SHELL`: prints what a shell needs to complete subcommands, their options and values.
extension Subcommand {
    static let completions = Subcommand(
        name: "completions", placeholder: "bash|zsh|fish", summary: "print completions for a shell",
        details: """
            bash: rollcall completions bash > ~/.local/share/bash-completion/completions/rollcall
            zsh:  rollcall completions zsh > DIR/_rollcall, DIR being one of $fpath
            fish: rollcall completions fish > ~/.config/fish/completions/rollcall.fish

            The scripts ask 'rollcall completions addresses [BEGIN]' and 'rollcall completions gateways' what there is.
            """,
        options: [CommonOptions.help],
        hiddenOptions: OperatorSettings.connectionOptions + OperatorSettings.requestOptions
            + OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        guard let subject = invocation.arguments.positional.first else { throw .usage("bash, zsh or fish?") }
        try invocation.refuseArguments(after: subject == "addresses" ? 2 : 1)
        switch subject {
        case "addresses": try invocation.writeAddresses()
        case "gateways":
            let answer = try invocation.ask(.listGateways, [:]).value
            invocation.write((answer["gateways"]?.array ?? []).compactMap { $0["gateway"]?.string })
        default:
            guard let text = Completions.text(for: subject, CommandList.all) else {
                throw .usage("'\(subject)' is not bash, zsh or fish")
            }
            invocation.console.write(text)
        }
        return ExitStatus.done
    }
}

extension Invocation {
    /// Addresses that begin as is said, a page of them: who has more has typed too little.
    fileprivate func writeAddresses() throws(CommandFailure) {
        let begin = arguments.positional.dropFirst().first ?? ""
        var request: [String: JSONValue] = ["limit": .integer(Int64(Limits.pageLimitMax))]
        if let slash = begin.firstIndex(of: "/") { request["gateway"] = .string(String(begin[..<slash])) }
        let records = try ask(.list, request).value["records"]?.array ?? []
        write(records.compactMap { $0["agent"]?.string }.filter { $0.hasPrefix(begin) })
    }

    fileprivate func write(_ names: [String]) {
        console.write(names.map { $0 + "\n" }.joined())
    }
}
