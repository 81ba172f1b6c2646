internal import API
internal import Bus
internal import Glibc
internal import Model
internal import RollcallSupervisor
internal import ServiceHost

/// A private system for a benchmark, with its operator.
final class BenchSystem {
    let loop = EventLoop()
    let supervisor: Supervisor
    let topics = Topics()

    init(_ configuration: SupervisorConfiguration) {
        let log = Log(service: "bench", instance: "1", format: .text, level: .error)
        supervisor = Supervisor(configuration, loop: loop, log: log)
    }

    /// Returns once every service is ready.
    func start() throws(ServiceFailure) {
        var failure: String?
        supervisor.failed = { failure = $0 }
        try supervisor.start()
        guard loop.run(until: { self.supervisor.isReady || failure != nil }, for: .seconds(60)), failure == nil else {
            throw ServiceFailure("the system did not start: \(failure ?? "no answer in 60 s")")
        }
    }

    func stop() {
        supervisor.stop()
        _ = loop.run(until: { self.supervisor.hasStopped }, for: .seconds(15))
    }

    func wait(milliseconds: Int64) {
        _ = loop.run(until: { false }, for: TimeSpan(milliseconds: milliseconds))
    }

    /// The answer to a command that must succeed.
    func ask(_ verb: Verb, _ members: [String: JSONValue]) throws(ServiceFailure) -> JSONValue {
        var result: Result<JSONValue, OperatorLink.Failure>?
        supervisor.operatorLink?.request(verb, members) { result = $0 }
        _ = loop.run(until: { result != nil }, for: .seconds(30))
        switch result {
        case .success(let value): return value
        case .failure(let error): throw ServiceFailure("\(verb.rawValue): \(error)")
        case nil: throw ServiceFailure("\(verb.rawValue): no answer")
        }
    }

    /// The answer to a command that may take long: it is asked again under its key as long as there is none.
    @discardableResult
    func insist(
        _ verb: Verb, _ members: [String: JSONValue], for limit: TimeSpan
    ) throws(ServiceFailure) -> JSONValue {
        let key = "bench-\(Clock.now().nanoseconds)"
        let end = Clock.now() + limit
        while Clock.now() < end {
            var result: Result<JSONValue, OperatorLink.Failure>?
            supervisor.operatorLink?.request(verb, members, key: key, within: .seconds(20)) { result = $0 }
            _ = loop.run(until: { result != nil }, for: .seconds(25))
            switch result {
            case .success(let value): return value
            case .failure(let error) where !error.isTransient: throw ServiceFailure("\(verb.rawValue): \(error)")
            case .failure, nil: wait(milliseconds: 50)
            }
        }
        throw ServiceFailure("\(verb.rawValue): no answer in \(limit.seconds) s")
    }

    /// Makes a gateway; its token.
    func addGateway(_ gateway: String, policy: JSONValue) throws(ServiceFailure) -> String {
        let answer = try ask(.addGateway, ["gateway": .string(gateway), "policy": policy])
        guard let token = answer["token"]?.string else { throw ServiceFailure("gateway \(gateway) has no token") }
        return token
    }

    /// Makes agents without waking them, with so many commands under way; how many a second were answered.
    @discardableResult
    func provision(_ agents: [AgentAddress], inFlight: Int) throws(ServiceFailure) -> Double {
        var (next, open) = (0, 0)
        var refused: String?
        func fill() {
            while open < inFlight, next < agents.count, refused == nil {
                next += 1
                open += 1
                ask(agents[next - 1])
            }
        }
        func ask(_ agent: AgentAddress) {
            let members: [String: JSONValue] = [
                "agent": .string(agent.description), "role": .string("main"), "wake": .bool(false),
            ]
            supervisor.operatorLink?.request(.provision, members, within: .seconds(20)) { [loop] result in
                switch result {
                case .success: open -= 1
                // A busy machine: done twice it is the same agent.
                case .failure(let error) where error.isTransient:
                    loop.after(TimeSpan(milliseconds: 100)) { ask(agent) }
                    return
                case .failure(let error):
                    open -= 1
                    refused = error.description
                }
                fill()
            }
        }
        let start = Clock.now()
        fill()
        let limit = TimeSpan.seconds(Int64(60 + agents.count / 100))
        guard loop.run(until: { (next == agents.count && open == 0) || refused != nil }, for: limit), refused == nil
        else {
            throw ServiceFailure("agents could not be provisioned: \(refused ?? "no answers")")
        }
        return Double(agents.count) / max(0.001, Double(Clock.now().nanoseconds - start.nanoseconds) / 1e9)
    }

    /// Where a gateway connects, with its token.
    func address(of gateway: String, token: String) -> BrokerAddress {
        var address = supervisor.address(of: Supervisor.operatorName)
        address.username = gateway
        address.password = token
        return address
    }

    /// Processor seconds of every process of the system.
    func cpu() -> [String: Double] {
        Dictionary(uniqueKeysWithValues: supervisor.processIDs.map { ($0.key, ProcessTime.seconds(of: $0.value)) })
    }

    /// The most memory that every process has had, in MiB.
    func peakMemory() -> [String: Int] {
        Dictionary(uniqueKeysWithValues: supervisor.processIDs.map { ($0.key, ProcessMemory.peak(of: $0.value)) })
    }
}

/// Processor time of another process, from proc(5).
enum ProcessTime {
    static func seconds(of process: Int32) -> Double {
        guard let file = fopen("/proc/\(process)/stat", "re") else { return 0 }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 1_024)
        guard fgets(&buffer, Int32(buffer.count), file) != nil else { return 0 }
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // The name, field 2, may hold spaces: fields are counted behind its closing parenthesis.
        guard let end = text.lastIndex(of: ")") else { return 0 }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}

/// Memory of another process, from proc(5).
enum ProcessMemory {
    /// The most resident memory so far, in MiB; 0 when the process is gone.
    static func peak(of process: Int32) -> Int {
        guard let file = fopen("/proc/\(process)/status", "re") else { return 0 }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 1_024)
        while fgets(&buffer, Int32(buffer.count), file) != nil {
            let line = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard line.hasPrefix("VmHWM:") else { continue }
            let kilobytes = line.split(separator: " ").dropFirst().compactMap { Int($0) }.first
            return (kilobytes ?? 0) / 1_024
        }
        return 0
    }
}
