internal import ServiceHost

/// What may stand for a value or an argument.
enum Completion: Hashable {
    case words([String])
    case addresses
    case gateways
    case files
    case directories

    /// From what stands for it in the help; `nil`: nothing that is known.
    init?(_ placeholder: String) {
        switch placeholder {
        case "FILE": self = .files
        case "DIR": self = .directories
        case "LEVEL": self = .words(["debug", "info", "warning", "error"])
        case "STATUS[,STATUS]": self = .words(["provisioning", "updating", "online", "offline", "deleting"])
        case "GW", "GATEWAY": self = .gateways
        case _ where placeholder.contains("ADDRESS"): self = .addresses
        case _ where placeholder.contains("|"):
            let words = placeholder.split { !($0.isLowercase || $0 == "-") }.map(String.init)
            guard !words.isEmpty else { return nil }
            self = .words(words)
        default: return nil
        }
    }

    /// Words that stand there, or the commands of a shell that print them; `nil` for files.
    ///
    /// - Parameter begin: what is typed already, as the shell says it.
    func source(_ begin: String) -> (words: String?, command: String?)? {
        let limits = "--connect-timeout 1s --timeout 1s 2>/dev/null"
        return switch self {
        case .words(let words): (words.joined(separator: " "), nil)
        case .addresses: (nil, "rollcall completions addresses \(begin) \(limits)")
        case .gateways: (nil, "rollcall completions gateways \(limits)")
        case .files, .directories: nil
        }
    }
}

/// The scripts; names and options are ours, so nothing in them needs quoting but the help texts.
enum Completions {
    static func text(for shell: String, _ entries: [CommandList.Entry]) -> String? {
        switch shell {
        case "bash": bash(entries)
        case "zsh": zsh(entries)
        case "fish": fish(entries)
        default: nil
        }
    }

    private static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }

    // MARK: bash

    private static func bash(_ entries: [CommandList.Entry]) -> String {
        let names = entries.map(\.name).joined(separator: " ")
        let cases = entries.map { entry in
            let values = Completion(entry.placeholder).map { " values=\(bashValues($0))" } ?? ""
            let options = entry.options.map { "--\($0.name)" }.joined(separator: " ")
            return "        \(entry.name)) words=\"\(options)\"\(values) ;;\n"
        }.joined()
        return """
            # bash completion of rollcall
            _rollcall() {
                local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words="" values=""
                case $previous in
            \(bashOptions(entries))    esac
                if [ -n "$values" ]; then
                    COMPREPLY=($(compgen -W "$values" -- "$current"))
                    return
                fi
                if [ "$COMP_CWORD" -eq 1 ]; then
                    COMPREPLY=($(compgen -W "\(names) --help --version" -- "$current"))
                    return
                fi
                case ${COMP_WORDS[1]} in
            \(cases)    esac
                case $current in -*) values="" ;; esac
                COMPREPLY=($(compgen -W "$words $values" -- "$current"))
            }
            complete -F _rollcall rollcall

            """
    }

    /// An option is the same wherever it is taken.
    private static func bashOptions(_ entries: [CommandList.Entry]) -> String {
        var names: [Completion: Set<String>] = [:]
        for option in entries.flatMap(\.options) {
            guard let completion = option.value.flatMap({ Completion($0) }) else { continue }
            names[completion, default: []].insert("--\(option.name)")
        }
        return names.map { completion, options in
            let pattern = options.sorted().joined(separator: "|")
            switch completion {
            case .files: return "        \(pattern)) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
            case .directories: return "        \(pattern)) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n"
            case .words, .addresses, .gateways: return "        \(pattern)) values=\(bashValues(completion)) ;;\n"
            }
        }.sorted().joined()
    }

    private static func bashValues(_ completion: Completion) -> String {
        let source = completion.source("\"$current\"")
        return source?.command.map { "$(\($0))" } ?? "\"\(source?.words ?? "")\""
    }

    // MARK: zsh

    private static func zsh(_ entries: [CommandList.Entry]) -> String {
        let described = entries.map { "        \(quoted("\($0.name):\($0.summary)"))\n" }.joined()
        let cases = entries.map { entry in
            let rest = quoted("*:argument:\(zshAction(Completion(entry.placeholder)))")
            let words = entry.options.map(zshOption) + [rest]
            return "        \(entry.name)) _arguments \(words.joined(separator: " ")) ;;\n"
        }.joined()
        return """
            #compdef rollcall
            _rollcall() {
                local -a commands
                commands=(
            \(described)    )
                if (( CURRENT == 2 )); then
                    _describe -t commands subcommand commands
                    return
                fi
                local command=$words[2]
                shift words
                (( CURRENT-- ))
                case $command in
            \(cases)    esac
            }
            _rollcall "$@"

            """
    }

    private static func zshOption(_ option: OptionSpecification) -> String {
        let help = option.help.map { "[]:\\".contains($0) ? "\\\($0)" : String($0) }.joined()
        guard let value = option.value, !value.hasPrefix("[") else { return quoted("--\(option.name)[\(help)]") }
        let message = value.map { $0 == ":" ? "-" : String($0) }.joined()
        return quoted("--\(option.name)[\(help)]:\(message):\(zshAction(Completion(value)))")
    }

    private static func zshAction(_ completion: Completion?) -> String {
        guard let completion else { return " " }
        guard let source = completion.source("$PREFIX") else {
            return completion == .directories ? "_files -/" : "_files"
        }
        return source.command.map { "{compadd -- $(\($0))}" } ?? "(\(source.words ?? ""))"
    }

    // MARK: fish

    private static func fish(_ entries: [CommandList.Entry]) -> String {
        var text = "# fish completion of rollcall\ncomplete -c rollcall -f\n"
        for entry in entries {
            text += "complete -c rollcall -n __fish_use_subcommand -a \(entry.name) -d \(quoted(entry.summary))\n"
            let begin = "complete -c rollcall -n '__fish_seen_subcommand_from \(entry.name)'"
            for option in entry.options {
                let takesValue = option.value.map { !$0.hasPrefix("[") } ?? false
                let values = takesValue ? " -r" + fishValues(option.value.flatMap { Completion($0) }) : ""
                text += "\(begin) -l \(option.name)\(values) -d \(quoted(option.help))\n"
            }
            let arguments = fishValues(Completion(entry.placeholder))
            if !arguments.isEmpty { text += "\(begin)\(arguments)\n" }
        }
        return text
    }

    private static func fishValues(_ completion: Completion?) -> String {
        guard let completion else { return "" }
        guard let source = completion.source("(commandline -ct)") else { return " -F" }
        return " -a " + quoted(source.command.map { "(\($0))" } ?? source.words ?? "")
    }
}
