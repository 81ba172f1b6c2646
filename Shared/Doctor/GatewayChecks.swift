internal import API
internal import Lifecycle
internal import Model

// The gateways.
extension DoctorCheck {
    static let ofGateways: [DoctorCheck] = [
        DoctorCheck("gateway.lost") { gateways($0, .lost, "its connection ended without a goodbye (Last Will)") },
        DoctorCheck("gateway.stopped") { gateways($0, .stopped, "it was stopped on purpose") },
        DoctorCheck("gateway.never") { gateways($0, .never, "it was added and has never connected") },
    ]

    private static func gateways(
        _ snapshot: Snapshot, _ state: GatewayState.Connection, _ cause: String
    ) -> [Finding] {
        snapshot.gateways.filter {
            $0.state == state && $0.agents > 0 && (snapshot.subject.map(\.gateway) ?? $0.name) == $0.name
                && (state == .lost || snapshot.needsGateway($0.name))
        }.map { gateway in
            let down = snapshot.dependents(of: gateway.name).count
            let effect =
                if down == 0 {
                    "nobody is down yet"
                } else if let subject = snapshot.subject {
                    "\(subject) with it"
                } else {
                    gateway.agents == 1 ? "its agent with it" : "\(down) of its \(gateway.agents) agents with it"
                }
            return Finding(
                "gateway.\(state.rawValue)", down == 0 ? .warning : .error, subject: gateway.name,
                "gateway \(gateway.name) is \(state == .never ? "not there" : state.rawValue), and \(effect)",
                cause: cause, evidence: [.init("state \(state.rawValue)", "gateways/\(gateway.name)/status")],
                actions: [
                    .init(
                        "start it; its agents are then woken by themselves",
                        "rollcall gateway \(gateway.name) --on-wake CMD")
                ])
        }
    }
}

extension Snapshot {
    func running(_ service: ServiceName) -> [Presence] {
        services.filter { $0.service == service.rawValue && $0.state == .running }
    }

    var owned: [(partition: Int, owner: String)] {
        running(.reconciler).flatMap { presence in
            (presence.partitions ?? [:]).compactMap { number, epoch in
                Int(number).map { ($0, "reconciler/\(presence.instance) under \(epoch)") }
            }
        }
    }

    func state(of gateway: String) -> GatewayState.Connection? { gateways.first { $0.name == gateway }?.state }

    /// Whether some of its agents are not well for want of it.
    func needsGateway(_ name: String) -> Bool { !dependents(of: name).isEmpty }

    /// Its agents that are not there and wanted; of a gateway that never was there those that it alone could have started:
    /// agents that connect by themselves need none.
    func dependents(of name: String) -> [AgentRecord] {
        let state = state(of: name)
        return records.filter { record in
            guard record.address.gateway == name, record.status != .online, !record.isPaused, record.isWanted else {
                return false
            }
            return state != .never || Cause(of: record)?.isOfHost(record, state) ?? false
        }
    }

    /// Why the newest wake of the agent that is asked about could not be sent.
    var failure: String? { events.lazy.compactMap(\.error).first }
}
