internal import CMosquittoBroker

/// The broker's own log: a constant event name, then `key=value`.
enum BrokerLog {
    static func error(_ event: String, _ members: KeyValuePairs<String, String> = [:]) {
        write(Int32(MOSQ_LOG_ERR), event, members)
    }

    static func warning(_ event: String, _ members: KeyValuePairs<String, String> = [:]) {
        write(Int32(MOSQ_LOG_WARNING), event, members)
    }

    static func notice(_ event: String, _ members: KeyValuePairs<String, String> = [:]) {
        write(Int32(MOSQ_LOG_NOTICE), event, members)
    }

    private static func write(_ level: Int32, _ event: String, _ members: KeyValuePairs<String, String>) {
        var line = "rollcall \(event)"
        for (key, value) in members { line += " \(key)=\(value)" }
        rollcall_broker_log(level, line)
    }

    /// What a stranger sent, made safe to log: printable ASCII without spaces, at most 64 bytes.
    static func printable(_ text: UnsafePointer<CChar>?) -> String {
        guard var pointer = text else { return "" }
        var output = ""
        while pointer.pointee != 0, output.utf8.count < 64 {
            let byte = UInt8(bitPattern: pointer.pointee)
            output.unicodeScalars.append(byte > 32 && byte < 127 ? Unicode.Scalar(byte) : "?")
            pointer += 1
        }
        return output
    }
}
