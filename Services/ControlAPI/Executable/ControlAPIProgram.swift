import API
internal import AlertDelivery
internal import Alerts
import ServiceHost

/// The command line of `rollcall-control-api`.
enum ControlAPIProgram {
    static let name = "rollcall-control-api"
    static let description = """
        Serves agents and operators over HTTP: check-ins with curl, the commands as REST, an OpenAPI document.
        Any number of instances share the work.
        """

    static let options = [
        OptionSpecification("http-port", value: "PORT", help: "where to listen; 0: a free port (default 18080)"),
        OptionSpecification(
            "http-address", value: "ADDRESS", help: "the address to listen on (default 127.0.0.1)"),
        OptionSpecification(
            "http-host", value: "NAMES",
            help: "names of this server that requests may ask for, with commas, besides localhost"),
        OptionSpecification(
            "http-connections", value: "COUNT",
            help: "connections at a time, half of them for streams of events (default 8000)"),
        OptionSpecification("http-cert", value: "FILE", help: "a certificate in PEM: HTTPS alone is served"),
        OptionSpecification("http-key", value: "FILE", help: "its key in PEM"),
        OptionSpecification(
            "http-client-ca", value: "FILE", help: "serve only clients with a certificate from this authority"),
        OptionSpecification(
            "tokens", value: "FILE", help: "operators' tokens, NAME SCOPE SHA256 a line; read again when it changes"),
        OptionSpecification(
            "alerts", value: "FILE", help: "where agents that are offline are announced; see README, \"Alerts\""),
    ]

    /// Runs the service until it is told to stop; the exit status.
    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let instance = try CommonOptions.instanceName(arguments)
        let options = try ProgramOptions(arguments)
        var settings = ControlAPI.Settings()
        if let port = try arguments.integer("http-port", in: 0...65_535) { settings.port = port }
        if let count = try arguments.integer("http-connections", in: 16...100_000) { settings.connections = count }
        if let address = arguments.value("http-address") { settings.address = address }
        settings.hosts = (arguments.value("http-host") ?? "").split(separator: ",").map { $0.lowercased() }
        settings.tokens = arguments.value("tokens")
        settings.alerts = try arguments.value("alerts").map { path throws(UsageError) in try .read(path) }
        settings.certificate = arguments.value("http-cert")
        settings.key = arguments.value("http-key")
        settings.clientAuthority = arguments.value("http-client-ca")
        guard (settings.certificate == nil) == (settings.key == nil) else {
            throw UsageError("--http-cert and --http-key belong together")
        }
        guard settings.clientAuthority == nil || settings.certificate != nil else {
            throw UsageError("--http-client-ca needs --http-cert and --http-key")
        }
        let service = ControlAPI(settings)
        return ServiceRuntime(service, name: .controlAPI, instance: instance, options: options).run()
    }
}
