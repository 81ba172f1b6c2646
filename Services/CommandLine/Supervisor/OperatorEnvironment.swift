internal import Bus

/// The file that a shell sources to become the operator of a system: `DIR/operator.env`.
///
/// It stays when the system stops: secrets and, with a fixed port, everything in it are the same at the next start.
struct OperatorEnvironment: Hashable, Sendable {
    var host: String
    var mqttPort: Int
    var httpPort: Int
    var username: String
    var password: String
    var httpToken: String

    var text: String {
        let broker = BrokerAddress(
            endpoint: .tcp(host: host, port: mqttPort, isEncrypted: false), username: username, password: password)
        let variables = [
            ("ROLLCALL_BROKER", broker.withCredentials), ("ROLLCALL_HOST", host),
            ("ROLLCALL_MQTT_PORT", String(mqttPort)),
            ("ROLLCALL_USERNAME", username), ("ROLLCALL_PASSWORD", password),
            ("ROLLCALL_HTTP", "http://\(host):\(httpPort)"), ("ROLLCALL_HTTP_TOKEN", httpToken),
        ]
        return variables.map { "export \($0)=\(OperatorEnvironment.quoted($1))\n" }.joined()
    }

    /// One word of a POSIX shell (Shell Command Language §2.2.2): nothing in it is expanded.
    static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
