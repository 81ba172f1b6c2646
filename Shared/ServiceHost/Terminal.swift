internal import CLinux

/// What is written to may be a terminal.
public enum Terminal {
    /// How many characters fit into its line; `nil` when it is none, or does not say (ioctl_tty(2), `TIOCGWINSZ`).
    public static func columns(_ descriptor: Int32) -> Int? {
        let columns = Int(rollcall_terminal_columns(descriptor))
        return columns > 0 ? columns : nil
    }
}
