import API
import Bus
import Model
import ServiceHost
import Testing

@testable import RollcallOperator

/// How a subcommand ends when it is refused, and what it waits for.
struct FailureTests {
    @Test(
        arguments: [
            (Problem.Kind.invalidRequest, 2), (.tooLarge, 2), (.unknownAgent, 1), (.unknownGateway, 1), (.conflict, 1),
            (.notAuthorized, 1), (.unavailable, 1),
        ] as [(Problem.Kind, Int32)])
    func theStatusTellsWhoseFaultItIs(_ kind: Problem.Kind, _ status: Int32) {
        #expect(CommandFailure.refused(Refusal(Problem(kind, "so"))).status == status)
    }

    @Test func everyWrongMemberIsNamed() {
        let problem = Problem(
            .invalidRequest, "2 members are wrong",
            errors: [.init(member: "role", detail: "'boss' is not one"), .init(member: "", detail: "has no sense")])
        #expect(
            Refusal(problem).text
                == "invalid-request: 2 members are wrong\n  role: 'boss' is not one\n  request: has no sense")
        #expect(Refusal(.unknownAgent("gw/a")).text == "unknown-agent: there is no agent gw/a")
    }

    @Test func aProblemOfAnUnknownTypeIsShown() {
        let refusal = Refusal(payload: Array(#"{"type":"teapot","detail":"short and stout"}"#.utf8))
        #expect(refusal.text == "teapot: short and stout")
        #expect(refusal.status == ExitStatus.failed)
        #expect(Refusal(payload: Array("oops".utf8)).text == "refused: oops")
    }

    @Test func otherFailuresHaveTheirStatus() {
        #expect(CommandFailure.usage("").status == 2)
        #expect(CommandFailure.unreachable("").status == 69)
        #expect(CommandFailure.failed("").status == 1)
    }

    @Test func onlyTheNewGenerationEndsTheWait() {
        var wait = OnlineWait()
        wait.received(status(.online, generation: 2))
        #expect(wait.end == nil, "the answer has not come")
        wait.expected = 3
        #expect(wait.end == nil, "that was the cycle before")
        #expect(wait.payload == nil)
        wait.received(status(.provisioning, generation: 3))
        #expect(wait.end == nil)
        wait.received(status(.online, generation: 3))
        #expect(wait.end == .online)
        #expect(wait.payload == status(.online, generation: 3))
    }

    @Test(arguments: [
        (AgentStatus.offline, OnlineWait.End.offline), (.deleting, .removed), (.online, .online),
    ])
    func theWaitEndsWithTheCycle(_ standing: AgentStatus, _ end: OnlineWait.End) {
        var wait = OnlineWait()
        wait.received(status(standing, generation: 3))
        wait.expected = 3
        #expect(wait.end == end)
    }

    @Test func aLaterCycleEndsTheWaitToo() {
        var wait = OnlineWait()
        wait.expected = 3
        wait.received(status(.online, generation: 4))
        #expect(wait.end == .online)
    }

    @Test func anEmptiedStatusEndsTheWaitOnceItHasBegun() {
        var wait = OnlineWait()
        wait.received([])
        wait.expected = 1
        #expect(wait.end == nil, "it was of the agent before")
        wait.received([])
        #expect(wait.end == .removed)
    }

    @Test func watchSubscribesToWhatIsAskedFor() throws {
        let topics = Topics()
        #expect(
            try WatchFilters.filters(address: nil, gateway: nil, topics)
                == ["rollcall/v1/agents/+/+/lifecycle/+", "rollcall/v1/gateways/+/lifecycle/+"])
        #expect(
            try WatchFilters.filters(address: nil, gateway: "gw", topics)
                == ["rollcall/v1/agents/gw/+/lifecycle/+", "rollcall/v1/gateways/gw/lifecycle/+"])
        #expect(
            try WatchFilters.filters(address: "gw/a", gateway: nil, topics) == ["rollcall/v1/agents/gw/a/lifecycle/+"])
        #expect(throws: CommandFailure.self) { try WatchFilters.filters(address: "gw/+", gateway: nil, topics) }
        #expect(throws: CommandFailure.self) { try WatchFilters.filters(address: "gw/a", gateway: "hw", topics) }
        #expect(throws: CommandFailure.self) { try WatchFilters.filters(address: nil, gateway: "#", topics) }
    }

    @Test func theOperatorIsInTheURLOrBesideIt() throws {
        let options = OperatorSettings.connectionOptions + OperatorSettings.requestOptions
        func settings(_ arguments: [String], _ environment: [String: String] = [:]) throws -> OperatorSettings {
            try OperatorSettings(ParsedArguments(arguments, options: options, environment: environment))
        }
        let named = try settings(["--broker", "mqtt://op%3Aann:x@h", "--timeout", "2s"])
        #expect(named.username == "op:ann")
        #expect(named.timeout == .seconds(2))
        #expect(named.connectTimeout == .seconds(5))
        let beside = try settings(
            [], ["ROLLCALL_BROKER": "mqtt://h", "ROLLCALL_USERNAME": "op:bob", "ROLLCALL_PASSWORD": "y"])
        #expect(beside.username == "op:bob")
        #expect(beside.broker.password == "y")
        for bad in [[], ["--broker", "mqtt://h"], ["--broker", "mqtt://gw:x@h"], ["--broker", "mqtt://op%3A:x@h"]] {
            #expect(throws: UsageError.self) { try settings(bad) }
        }
        #expect(throws: UsageError.self) { try settings(["--broker", "mqtt://op%3Aann:x@h", "--idempotency-key", ""]) }
    }

    private func status(_ status: AgentStatus, generation: Int) -> [UInt8] {
        var record = Samples.online
        record.status = status
        record.generation = generation
        return JSON.bytes(record)
    }
}
