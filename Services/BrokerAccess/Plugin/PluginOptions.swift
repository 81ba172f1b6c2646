internal import BrokerAccessCore
internal import CMosquittoBroker

/// The `plugin_opt_…` lines of the broker's configuration.
///
/// An unknown or bad option refuses the start: a typing error must not leave a broker with fewer rules than meant.
struct PluginOptions {
    struct Failure: Error {
        let option: String
        let problem: String
    }

    var root = TopicRoot.standard
    var identitiesPath: String?
    var statePath: String?
    /// Multiplies what each client may publish in a second; 0 is no limit.
    var rateFactor = 1

    init(_ options: UnsafeMutablePointer<mosquitto_opt>?, count: Int) throws(Failure) {
        for option in UnsafeBufferPointer(start: options, count: count) {
            guard let key = option.key, let text = option.value else { continue }
            let value = String(cString: text)
            switch String(cString: key) {
            case "topic_root":
                guard let root = TopicRoot(value) else {
                    throw Failure(option: "topic_root", problem: "not a topic of one or more levels: \(value)")
                }
                self.root = root
            case "identities": identitiesPath = value
            case "state": statePath = value
            case "rate_factor":
                guard let factor = Int(value), (0...1_000).contains(factor) else {
                    throw Failure(option: "rate_factor", problem: "not a number from 0 to 1000: \(value)")
                }
                rateFactor = factor
            case let unknown: throw Failure(option: unknown, problem: "unknown option")
            }
        }
    }
}
