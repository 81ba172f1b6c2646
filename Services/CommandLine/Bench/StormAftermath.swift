internal import API
internal import Bus
internal import Glibc
internal import Model
internal import RollcallSupervisor
internal import ServiceHost

/// What follows a storm: commands about all agents of its largest gateway, and an owner and a store that die with them.
final class StormAftermath {
    private let system: BenchSystem
    private let watch: StormWatch
    private let counters: StormCounters
    private let gateway: StormGateway
    /// An agent of another gateway in the same partition.
    private let neighbour: String
    /// How long one step may take.
    private let patience: TimeSpan
    private(set) var steps: [String: StormReport.Step] = [:]
    private(set) var violations: [String] = []

    init(
        _ system: BenchSystem, _ watch: StormWatch, _ counters: StormCounters, _ gateway: StormGateway,
        neighbour: String, patience: TimeSpan
    ) {
        self.system = system
        self.watch = watch
        self.counters = counters
        self.gateway = gateway
        self.neighbour = neighbour
        self.patience = patience
    }

    private var name: JSONValue { .string(gateway.name) }
    private var partition: Int { Partition.of(gateway: gateway.name, count: Partition.defaultCount) }

    func pauseAndResume() throws(ServiceFailure) {
        try command("pause", .pause, ["gateway": name], event: "paused")
        let wakes = watch.wakes
        system.wait(milliseconds: 1_000)
        if watch.wakes != wakes { violations.append("a wake followed the answer to a pause") }
        try command("resume", .resume, ["gateway": name], event: "resumed")
        let policy: JSONValue = .object(["startup_extension_max": .string("61s")])
        try command("policy", .addGateway, ["gateway": name, "policy": policy], event: "changed (policy)")
    }

    func remove() throws(ServiceFailure) {
        try command("remove", .removeGateway, ["gateway": name, "force": .bool(true)], event: "deleted")
    }

    /// Kills the owner of the partition: until a change of one agent of it is answered, and until it is judged again.
    func killOwner(as step: String) throws(ServiceFailure) {
        let owner = watch.owner(of: partition)
        let process = (owner?.instance).map { $0 == "1" ? "reconciler" : "reconciler/\($0)" } ?? "reconciler"
        try kill(process, as: step) { [watch, partition] in
            watch.owner(of: partition).map { $0.epoch > owner?.epoch ?? 0 && !$0.isSuspended } ?? false
        }
    }

    /// The same with the store.
    func killStore() throws(ServiceFailure) {
        try kill("status-store", as: "store_killed") { [watch, partition] in
            watch.owner(of: partition).map { !$0.isSuspended } ?? false
        }
    }

    // MARK: Inside

    /// A command about all agents, each of which has one event of it.
    private func command(
        _ step: String, _ verb: Verb, _ members: [String: JSONValue], event: String
    ) throws(ServiceFailure) {
        counters.beginStep()
        watch.beginPhase()
        let start = Clock.now()
        _ = try system.insist(verb, members, for: patience)
        let answered = Clock.now()
        _ = system.loop.run(
            until: { self.watch.marks[event]?.count ?? 0 >= self.gateway.agents.count }, for: .seconds(60))
        // The counters of this step come a moment later, and what would be told twice.
        system.wait(milliseconds: 500)
        let count = watch.marks[event]?.count ?? 0
        if count != gateway.agents.count { violations.append("\(step): \(count) events of \(gateway.agents.count)") }
        note(step, from: start, to: answered)
    }

    private func kill(
        _ process: String, as step: String, until isBack: () -> Bool
    ) throws(ServiceFailure) {
        guard let number = system.supervisor.processIDs[process] else {
            throw ServiceFailure("\(process) does not run")
        }
        counters.beginStep()
        let start = Clock.now()
        Glibc.kill(number, SIGKILL)
        let policy: JSONValue = .object(["startup_extension_max": .string("\(62 + steps.count)s")])
        let change: [String: JSONValue] = ["agent": .string(neighbour), "policy": policy, "wake": .bool(false)]
        _ = try system.insist(.update, change, for: patience)
        let answered = Clock.now()
        guard system.loop.run(until: isBack, for: patience) else { throw ServiceFailure("\(process) is not back") }
        let observable = Clock.now()
        system.wait(milliseconds: 2_000)
        note(step, from: start, to: answered)
        steps[step]?.observableSeconds = StormReport.seconds(from: start, to: observable)
    }

    private func note(_ step: String, from start: Instant, to end: Instant) {
        let seconds = StormReport.seconds(from: start, to: end)
        steps[step] = StormReport.Step(
            seconds: seconds, longestTurnMilliseconds: counters.stepTurns, longestWorkMilliseconds: counters.stepWork,
            stalls: counters.stepStalls)
        ServiceProgram.complain("rollcall bench: \(step) \(seconds) s, longest turns \(counters.stepTurns)")
    }
}
