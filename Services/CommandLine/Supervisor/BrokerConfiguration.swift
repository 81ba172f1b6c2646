internal import ServiceHost

/// What the private broker is told: the text of its mosquitto.conf(5).
struct BrokerConfiguration: Hashable, Sendable {
    /// The longest path of a Unix socket that is used: below the kernel's 107, with room for what a broker appends.
    static let socketPathLengthMax = 100

    var port: Int
    /// A second listener for the services on this host, 1.2 to 1.7 times as fast as TCP; `nil`: TCP for all.
    var socketPath: String?
    /// Started as root, mosquitto would become the user `mosquitto`, who reads neither the identities nor the plugin.
    var isRoot: Bool
    var plugin: String
    var topicRoot: String
    var identities: String
    var state: String
    var rateFactor: Int?

    var text: String {
        var lines = [
            "# Written by `rollcall up` at each start.",
            "per_listener_settings false",
            "allow_anonymous false",
            // The default, which 2.0.11 forgets with SIGHUP: whoever leaves the id to the broker would be refused from then on.
            "auto_id_prefix auto-",
            // Whatever matters is kept by its sender until it is committed: a broker forgets without harm.
            "persistence false",
            // Debian's build drops what is over the limit, and disconnects on a denied publish when it is 0.
            // Two services apart are 100,000 check-ins; who does not read for ten seconds is cut off by the plugin.
            "max_queued_messages 250000",
            "max_queued_bytes 268435456",
            "max_inflight_messages 200",
            // Packets under way to one client, each a copy; a client may ask for more messages than 200.
            "max_inflight_bytes 16777216",
            // An identity has no session that outlives its connection by more.
            "persistent_client_expiration 1h",
            // The last resort, which refuses whoever asks next: all the other limits are to keep it from being reached.
            "memory_limit 4294967296",
            "queue_qos0_messages false",
            // Above the 1 MB that services publish at most, so that a command of that size still gets its refusal.
            "max_packet_size 2097152",
            "set_tcp_nodelay true",
            "sys_interval 10",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_timestamp false",
        ]
        if isRoot { lines.append("user root") }
        lines += [
            "plugin \(plugin)",
            "plugin_opt_topic_root \(topicRoot)",
            "plugin_opt_identities \(identities)",
            "plugin_opt_state \(state)",
            "listener \(port) 127.0.0.1",
        ]
        if let rateFactor { lines.insert("plugin_opt_rate_factor \(rateFactor)", at: lines.count - 1) }
        if let socketPath { lines.append("listener 0 \(BrokerConfiguration.named(socketPath))") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A listener's path ends at its first blank: such a one is named from its directory, where the broker runs.
    private static func named(_ socketPath: String) -> String {
        guard socketPath.contains(where: \.isWhitespace) else { return socketPath }
        return String(socketPath[socketPath.index(after: socketPath.lastIndex(of: "/") ?? socketPath.startIndex)...])
    }

    /// How serious a line of the broker's log is. Two warnings come by design: it may run as root here, and a Unix
    /// socket has no TCP_NODELAY.
    static func level(of line: String) -> LogLevel {
        if line.hasPrefix("Error") { return .error }
        return line.contains("should not be run as root") || line.contains("Unable to set TCP_NODELAY")
            ? .debug : .warning
    }

    /// A line of the access plugin (`rollcall access.refused username=… reason=…`) as the log event it is; `nil` for the
    /// broker's own lines.
    static func accessEvent(
        of line: String
    ) -> (name: String, level: LogLevel, members: [(key: String, value: LogValue)])? {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count > 1, words[0] == "rollcall", words[1].hasPrefix("access.") else { return nil }
        var members: [(key: String, text: String)] = []
        for word in words.dropFirst(2) {
            // Only the last member, `problem`, has spaces in it.
            if members.last?.key != "problem", let equals = word.firstIndex(of: "=") {
                members.append((String(word[..<equals]), String(word[word.index(after: equals)...])))
            } else if !members.isEmpty {
                members[members.count - 1].text += " " + word
            }
        }
        let name = String(words[1])
        let isRoutine = ["access.refused", "access.rate_limited", "access.no_identities_file"].contains(name)
        return (name, isRoutine ? .warning : .error, members.map { ($0.key, LogValue($0.text)) })
    }
}
