internal import Bus
internal import ServiceHost

/// `rollcall completions SHELL`: prints what a shell needs to complete subcommands and their options.
extension Subcommand {
    static let completions = Subcommand(
        name: "completions", placeholder: "bash|zsh|fish", summary: "print completions for a shell",
        details: """
            bash: rollcall completions bash > ~/.local/share/bash-completion/completions/rollcall
            zsh:  rollcall completions zsh > DIR/_rollcall, DIR being one of $fpath
            fish: rollcall completions fish > ~/.config/fish/completions/rollcall.fish
            """,
        options: [CommonOptions.help], hiddenOptions: [CommonOptions.version]
    ) { invocation throws(CommandFailure) in
        guard let shell = invocation.arguments.positional.first else { throw .usage("bash, zsh or fish?") }
        try invocation.refuseArguments(after: 1)
        guard let text = Completions.text(for: shell, CommandList.all) else {
            throw .usage("'\(shell)' is not bash, zsh or fish")
        }
        invocation.console.write(text)
        return ExitStatus.done
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

    private static func bash(_ entries: [CommandList.Entry]) -> String {
        let names = entries.map(\.name).joined(separator: " ")
        let cases = entries.map { entry in
            "        \(entry.name)) words=\"\(entry.options.map { "--\($0.name)" }.joined(separator: " "))\" ;;\n"
        }.joined()
        return """
            # bash completion of rollcall
            _rollcall() {
                local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=""
                case $previous in
                    --token-file|--ca-file|--cert-file|--key-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
                    --data|--dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
                    completions) COMPREPLY=($(compgen -W "bash zsh fish" -- "$current")); return ;;
                esac
                if [ "$COMP_CWORD" -eq 1 ]; then
                    COMPREPLY=($(compgen -W "\(names) --help --version" -- "$current"))
                    return
                fi
                case ${COMP_WORDS[1]} in
            \(cases)    esac
                COMPREPLY=($(compgen -W "$words" -- "$current"))
            }
            complete -F _rollcall rollcall

            """
    }

    private static func zsh(_ entries: [CommandList.Entry]) -> String {
        let described = entries.map { "        \(quoted("\($0.name):\($0.summary)"))\n" }.joined()
        let cases = entries.map { entry in
            let rest = entry.name == "completions" ? "'1:shell:(bash zsh fish)'" : "'*: :'"
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
        let value = option.value.map { ":\($0.map { $0 == ":" ? "-" : String($0) }.joined()):_files" } ?? ""
        return quoted("--\(option.name)[\(help)]\(value)")
    }

    private static func fish(_ entries: [CommandList.Entry]) -> String {
        var text = "# fish completion of rollcall\ncomplete -c rollcall -f\n"
        for entry in entries {
            text += "complete -c rollcall -n __fish_use_subcommand -a \(entry.name) -d \(quoted(entry.summary))\n"
            for option in entry.options {
                let value = option.value == nil ? "" : " -r"
                text += "complete -c rollcall -n '__fish_seen_subcommand_from \(entry.name)' -l \(option.name)\(value)"
                text += " -d \(quoted(option.help))\n"
            }
        }
        return text + "complete -c rollcall -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'\n"
    }
}
