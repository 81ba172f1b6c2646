internal import API
internal import Glibc
public import ServiceHost

/// Where the programs are that make up a system.
public struct InstalledPrograms: Hashable, Sendable {
    public var mosquitto: String
    /// The broker's access plugin.
    public var accessPlugin: String
    /// The directory of the services' executables.
    public var services: String
    public var templates: String

    /// Finds everything beside the running executable, mosquitto in `PATH` and `/usr/sbin`.
    ///
    /// - Parameter directory: where the services and the plugin are; default: that of `/proc/self/exe`.
    /// - Parameter templates: default: `infra/templates` or `share/rollcall/templates` of the nearest directory above the services.
    public static func locate(
        beside directory: String? = nil, templates: String? = nil,
        environment: [String: String] = ParsedArguments.processEnvironment()
    ) throws(ServiceFailure) -> InstalledPrograms {
        let directory = directory ?? executableDirectory()
        guard let mosquitto = mosquitto(path: environment["PATH"] ?? "") else {
            throw ServiceFailure("mosquitto is neither in PATH nor in /usr/sbin: apt-get install mosquitto")
        }
        let plugin = directory + "/libRollcallBrokerAccess.so"
        let programs = serviceNames.map { directory + "/rollcall-" + $0 }
        for file in [plugin] + programs where access(file, file == plugin ? R_OK : X_OK) != 0 {
            throw ServiceFailure("\(file): \(String(cString: strerror(errno))); swift build makes it")
        }
        guard let templates = templates ?? shippedTemplates(above: directory) else {
            throw ServiceFailure("no infra/templates above \(directory): name a directory with --templates")
        }
        guard access(templates, R_OK | X_OK) == 0 else {
            throw ServiceFailure("\(templates): \(String(cString: strerror(errno)))")
        }
        return InstalledPrograms(mosquitto: mosquitto, accessPlugin: plugin, services: directory, templates: templates)
    }

    /// The services that a system has.
    static let serviceNames = [ServiceName.statusStore, .reconciler, .provisioner, .heartbeatIngest, .controlAPI].map(
        \.rawValue)

    private static func mosquitto(path: String) -> String? {
        let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/local/sbin"]
        return directories.map { $0 + "/mosquitto" }.first { access($0, X_OK) == 0 }
    }

    private static func executableDirectory() -> String {
        let executable = realpath("/proc/self/exe", nil)
        defer { free(executable) }
        return executable.map { parent(of: String(cString: $0)) } ?? "."
    }

    private static func shippedTemplates(above directory: String) -> String? {
        var level = directory
        while true {
            for candidate in ["/infra/templates", "/share/rollcall/templates"].map({ level + $0 })
            where access(candidate, R_OK | X_OK) == 0 {
                return candidate
            }
            guard !level.isEmpty else { return nil }
            level = parent(of: level)
        }
    }

    private static func parent(of path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }
}
