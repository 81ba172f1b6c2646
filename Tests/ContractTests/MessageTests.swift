import API
import Lifecycle
import Model
import Testing
import Wire

/// What operators, gateways and agents read.
@Suite struct MessageTests {
    static let wallTime = Timestamp("2026-01-31T09:05:07.042Z")!
    static let agent = AgentAddress("gw-1/agent-1")!

    static var fullRecord: AgentRecord {
        var record = AgentRecord(
            address: agent, board: "b1", role: .worker, status: .updating, policy: Policy(), createdAt: wallTime)
        record.generation = 7
        record.wakeAttempts = 2
        record.lastWakeSentAt = wallTime
        record.wakeDelivery = .noSubscriber
        record.checkinDeadlineAt = wallTime + .seconds(30)
        record.lastSeenAt = wallTime - .seconds(90)
        record.lastProvisionError = AgentMachine.attemptsReachedError + ": heartbeats rejected: bad_token ×2"
        record.lastRejection = Rejection(reason: .badToken, detail: "x-agent-token: is wrong", at: wallTime, count: 2)
        record.reportedStatus = .degraded
        record.bootID = "boot-1"
        record.templatesDigest = "sha256:a"
        record.templatesDigestReported = "sha256:b"
        record.policyOverrides.checkinDeadline = DurationText(30, .seconds)
        record.policyOverrides.maxWakeAttempts = 3
        record.variables = ["NAME": "value"]
        record.pausedBy = [.gateway, .board]
        record.pausedUntil = wallTime + .seconds(3_600)
        record.provisionRequestedAt = wallTime
        record.provisionAction = .recover
        record.tokenID = "token-1"
        record.revision = 42
        return record
    }

    @Test func aFullRecord() throws {
        try expectGolden(try pretty(MessageTests.fullRecord), "record-full.json")
    }

    @Test func aRecordOfWhichLittleIsKnownSaysNull() throws {
        let record = AgentRecord(
            address: MessageTests.agent, board: nil, role: .main, status: .offline, policy: Policy(),
            createdAt: MessageTests.wallTime)
        try expectGolden(try pretty(record), "record-new.json")
    }

    /// What a version before stored and sent has fewer members, and one that is gone.
    @Test func aStateOfTheVersionBeforeIsRead() throws {
        var state = AgentState(record: MessageTests.fullRecord)
        state.record.status = .offline
        var value = try #require(try JSON.decode(JSONValue.self, from: JSON.bytes(state)).object)
        var record = try #require(value["record"]?.object)
        for name in ["offline_reason", "last_exit_status", "wanted", "recoveries", "generation_reported", "note"] {
            record[name] = nil
        }
        var rejection = try #require(record["last_rejection"]?.object)
        rejection["detail"] = nil
        record["last_rejection"] = .object(rejection)
        var policy = try #require(record["policy"]?.object)
        policy["recover_backoff"] = nil
        record["policy"] = .object(policy)
        value["record"] = .object(record)
        value["wentOfflineWithGateway"] = .bool(true)
        let read = try JSON.decode(AgentState.self, from: JSON.bytes(JSONValue.object(value)))
        #expect(read.record.isWanted && read.record.offlineReason == .checkinMissed && read.record.recoveries == 0)
        #expect(read.record.policy == Policy() && read.record.lastRejection?.detail == nil)
        let gateway = #"{"connection":"connected","gateway":"gw-1","isPaused":false,"policyOverrides":{}}"#
        #expect(try JSON.decode(GatewayState.self, from: Array(gateway.utf8)).returns == nil)
        let detail = try JSON.decode(HeartbeatDetail.self, from: Array(#"{"agent":"gw-1/a","status":"ok"}"#.utf8))
        #expect(detail.exitStatus == nil && detail.rejectionDetail == nil)
    }

    /// The members of the contract's section on the record, in its order.
    @Test func aRecordHasExactlyTheContractsMembers() throws {
        let names =
            """
            agent gateway_id agent_id board_id role status lifecycle_generation wake_attempts last_wake_sent_at wake_delivery \
            checkin_deadline_at last_seen_at last_provision_error offline_reason last_exit_status wanted recoveries \
            generation_reported note last_rejection reported_status boot_id templates_digest \
            templates_digest_reported policy policy_overrides variables paused paused_by paused_until provision_requested_at \
            provision_action token_id created_at updated_at revision
            """.split(separator: " ").map(String.init)
        #expect(AgentRecord.memberNames == names)
        let value = try JSON.decode(JSONValue.self, from: JSON.bytes(MessageTests.fullRecord))
        #expect(value.object.map { Set($0.keys) } == Set(names))
    }

    @Test func aRecordIsReadBackAsItWasWritten() throws {
        let record = MessageTests.fullRecord
        #expect(try JSON.decode(AgentRecord.self, from: JSON.bytes(record)) == record)
    }

    @Test func aStateIsReadBackAsItWasCommitted() throws {
        var machine = AgentMachine(new: MessageTests.fullRecord, tokenDigest: "digest")
        let context = AgentContext(
            now: Instant(nanoseconds: 1), wallTime: MessageTests.wallTime, isGatewayLost: false)
        var directives: [AgentDirective] = []
        machine.requestCycle(.update, reason: .manual, traceparent: "00-a-b-01", context, into: &directives)
        machine.rotateToken(digest: "other", id: "t2", keepsOld: true, context, into: &directives)
        machine.resume(.gateway, context, into: &directives)
        machine.resume(.board, context, into: &directives)
        machine.permitGranted(context, into: &directives)
        machine.pause(.agent, until: MessageTests.wallTime + .seconds(60), context, into: &directives)
        let state = machine.state
        #expect(state.cycle?.order != nil)
        #expect(!state.orphanedPublications.isEmpty)
        #expect(try JSON.decode(AgentState.self, from: JSON.bytes(state)) == state)
    }

    private func order(digest: String?) -> WakeOrder {
        WakeOrder(
            agent: MessageTests.agent, generation: 7, attempt: 2, publication: 9, maxAttempts: 3, reason: .retrigger,
            checkinDeadline: DurationText(30, .seconds), heartbeatInterval: DurationText(60, .seconds),
            resetSession: true, templatesDigest: digest, role: .worker, board: "b1", variables: ["SECRET": "hidden"],
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    }

    @Test func aWake() throws {
        let wake = WakeMessage(order(digest: "sha256:a"), deadlineAt: MessageTests.wallTime, topics: Topics())
        try expectGolden(try pretty(wake), "wake.json")
        #expect(try JSON.decode(WakeMessage.self, from: JSON.bytes(wake)) == wake)
    }

    @Test func aWakeWithoutTemplatesSaysNull() throws {
        let wake = WakeMessage(order(digest: nil), deadlineAt: MessageTests.wallTime, topics: Topics())
        let value = try JSON.decode(JSONValue.self, from: JSON.bytes(wake))
        #expect(value["templates_digest"] == .null)
    }

    @Test func aLifecycleEvent() throws {
        let message = LifecycleMessage(
            event: .offline, reason: OfflineReason.checkinMissed.rawValue, record: MessageTests.fullRecord)
        try expectGolden(try pretty(message), "lifecycle.json")
        let unknown = LifecycleMessage(event: .heartbeatRejected, reason: "unknown_agent", record: nil)
        #expect(JSON.text(unknown) == #"{"event":"heartbeat_rejected","reason":"unknown_agent","record":null}"#)
    }

    @Test func aGatewaysEvent() {
        let message = GatewayLifecycleMessage(event: .gatewayLost, gateway: "gw-1", agents: 12)
        #expect(JSON.text(message) == #"{"agents":12,"event":"gateway_lost","gateway":"gw-1"}"#)
    }

    @Test func itsAttributes() throws {
        let attributes = CloudEventAttributes(
            id: "gw-1/agent-1#42", source: "rollcall/reconciler/r1", type: CloudEventAttributes.type(of: .offline),
            subject: "gw-1/agent-1", time: MessageTests.wallTime, revision: 42, traceparent: "00-a-b-01")
        try expectGolden(attributes.userProperties.map { "\($0.0): \($0.1)" }.joined(separator: "\n"), "cloudevent.txt")
        #expect(CloudEventAttributes.sequence(of: 0) == "00000000000000000000")
        #expect(CloudEventAttributes.sequence(of: Int.max).utf8.count == 20)
        #expect(CloudEventAttributes.type(of: .gatewayLost) == "dev.rollcall.gateway.gateway_lost.v1")
        let bare = CloudEventAttributes(
            id: "i", source: "s", type: "t", subject: "x", time: MessageTests.wallTime, revision: nil, traceparent: nil)
        #expect(bare.userProperties.map(\.0) == ["specversion", "id", "source", "type", "subject", "time"])
    }

    @Test func aHistoryEvent() throws {
        let event = HistoryEvent(
            id: "gw-1/agent-1#42", event: .online, time: MessageTests.wallTime, source: "rollcall/reconciler/r1",
            subject: MessageTests.agent, reason: nil, record: nil)
        try expectGolden(try pretty(event), "history-event.json")
    }

    @Test func aServicesPresence() throws {
        var presence = Presence(
            service: .reconciler, instance: "r1", state: .running, startedAt: MessageTests.wallTime, configDigest: "c",
            incarnation: "i")
        presence.partitions = ["0": 3, "15": 1]
        presence.suspended = "no heartbeat-ingest is running"
        presence.suspendedSince = Timestamp(millisecondsSince1970: 1_700_000_000_000)
        presence.suspensions = 2
        presence.suspendedMilliseconds = 1_500
        presence.deferredDeadlines = 7
        try expectGolden(try pretty(presence), "presence.json")
        #expect(try JSON.decode(Presence.self, from: JSON.bytes(presence)) == presence)
    }

    @Test(arguments: ["connected", "lost", "stopped"])
    func aGatewaysStatusIgnoresOtherMembers(state: String) throws {
        let payload = Array("{\"state\": \"\(state)\", \"version\": \"1\"}".utf8)
        #expect(try GatewayStatusMessage(reading: payload).state.rawValue == state)
    }

    @Test(arguments: [
        (#"{"state":"connected",}"#, ""), (#"{"state":"connected","state":"lost"}"#, "state"),
        (#"{"state":"offline"}"#, "state"), (#"{"status":"connected"}"#, "state"), ("[]", ""), ("connected", ""),
        ("\u{feff}{}", ""), (#"{"state":"connected","boot_id":7}"#, "boot_id"),
    ])
    func aGatewaysStatusIsReadStrictly(text: String, member: String) {
        do throws(JSONFault) {
            _ = try GatewayStatusMessage(reading: Array(text.utf8))
            Issue.record("it was taken")
        } catch {
            #expect(error.member == member)
        }
    }

    // MARK: Frames

    /// A reconciler lets a stream go on without a body that another version has sent.
    @Test(arguments: [
        (#"{"batch":{"_0":"no segments"}}"#, "batch"), (#"{"news":{}}"#, "news"), ("{}", nil), ("null", nil),
    ])
    func ofAnUnreadBodyTheKindIsKnown(body: String, kind: String?) throws {
        let payload = Array(
            """
            {"id":{"service":"s","instance":"1","incarnation":"a","stream":"x"},"seq":2,"lowWaterMark":1,"age":0,"body":\(body)}
            """.utf8)
        #expect(try WireFormat.decode(StreamFrame<UnreadBody>.self, from: payload).body?.kind == kind)
    }

    // MARK: Problems

    @Test func everyKindOfRefusalHasItsStatus() {
        let statuses: [Problem.Kind: Int] = [
            .unknownAgent: 404, .unknownGateway: 404, .invalidRequest: 422, .conflict: 409, .notAuthorized: 403,
            .tooLarge: 413, .tooManyRequests: 429, .unavailable: 503,
        ]
        #expect(Set(statuses.keys) == Set(Problem.Kind.allCases))
        for (kind, status) in statuses { #expect(Problem(kind, "why").status == status) }
        #expect(
            Problem.Kind.allCases.map(\.rawValue) == [
                "unknown-agent", "unknown-gateway", "invalid-request", "conflict", "not-authorized", "too-large",
                "too-many-requests", "unavailable",
            ])
    }

    @Test func aProblem() throws {
        let problem = Problem(member: "agent", "there is no agent gw/x", kind: .unknownAgent)
        try expectGolden(try pretty(problem), "problem.json")
        #expect(try JSON.decode(Problem.self, from: JSON.bytes(problem)) == problem)
        #expect(Problem.contentType == "application/problem+json")
    }
}
