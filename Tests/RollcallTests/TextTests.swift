import API
import Bus
import Model
import Testing

@testable import RollcallOperator

/// What people read, at a fixed time.
struct TextTests {
    @Test func agentsLineUp() {
        let text = RecordText.table([Samples.waiting, Samples.online, Samples.offline], now: Samples.now, .plain)
        #expect(
            text == """
                ADDRESS     ROLE    BOARD  STATUS                           OFFLINE SINCE  ATTEMPTS  SEEN     DEADLINE  ERROR
                gw/builder  worker  web    updating                         -              2/5       3h ago   in 10s
                gw/main     main    -      online                           -              0/3       12s ago  -
                gw/x        lead    web    offline (checkin_missed) paused  30s ago        3/3       -        -         Agent did not check in after wake; max wake attempts reached: gateway gw is lost

                """)
    }

    @Test func onlyTheColumnsThatFitAreShown() {
        func table(_ columns: Int) -> String {
            RecordText.table([Samples.online, Samples.offline], now: Samples.now, .plain, columns: columns)
        }
        #expect(
            table(100) == """
                ADDRESS  STATUS                           OFFLINE SINCE  SEEN     DEADLINE  ERROR
                gw/main  online                           -              12s ago  -
                gw/x     offline (checkin_missed) paused  30s ago        -        -         Agent did not check in …

                """)
        #expect(
            table(70) == """
                ADDRESS  STATUS                           OFFLINE SINCE
                gw/main  online                           -
                gw/x     offline (checkin_missed) paused  30s ago

                """)
        #expect(table(20).split(separator: "\n").allSatisfy { $0.count <= 20 })
        #expect(table(1_000) == RecordText.table([Samples.online, Samples.offline], now: Samples.now, .plain))
    }

    @Test func anAgentIsOfflineSinceItsEndAndNotSinceItsLastChange() {
        var record = Samples.offline
        record.updatedAt = Samples.now
        #expect(RecordText.offlineSince(record) == Samples.wallTime("2026-01-31T08:59:30Z"))
        record.lastSeenAt = Samples.wallTime("2026-01-31T07:00:00Z")
        record.offlineReason = .lapsed
        #expect(RecordText.offlineSince(record) == Samples.wallTime("2026-01-31T07:10:00Z"))
        record.offlineReason = .goodbye
        #expect(RecordText.offlineSince(record) == record.lastSeenAt)
        record.updatedAt = Samples.wallTime("2026-01-31T06:00:00Z")
        #expect(RecordText.offlineSince(record) == record.updatedAt, "it is no later than the newest change")
        #expect(RecordText.offlineSince(Samples.online) == nil)
    }

    @Test(arguments: [
        (AgentOrder.address, ["builder", "main", "x"]), (.status, ["x", "builder", "main"]),
        (.offline, ["x", "builder", "main"]), (.seen, ["x", "builder", "main"]), (.attempts, ["x", "builder", "main"]),
    ])
    func agentsComeInTheOrderThatIsAskedFor(_ order: AgentOrder, _ names: [String]) {
        let sorted = order.sorted([Samples.waiting, Samples.online, Samples.offline])
        #expect(sorted.map(\.address.agent) == names)
    }

    @Test func aSyncIsSummedUp() throws {
        let answer = try JSON.decode(
            JSONValue.self,
            from: Array(
                #"{"gateway":"g","agents_updated":998,"agents_skipped":2,"main_updated":true,"errors":[{"agent":"g/a","message":"no colour"}]}"#
                    .utf8))
        #expect(
            SyncText.table(answer, .plain) == """
                GATEWAY  UPDATED  SKIPPED  MAIN     FAILED
                g        998      2        updated  1

                AGENT  ERROR
                g/a    no colour

                """)
    }

    @Test func aWaitSaysWhatItWaitsFor() {
        var wait = OnlineWait()
        wait.received(JSON.bytes(Samples.waiting))
        #expect(wait.progress(now: Samples.now) == nil, "it is not known what is waited for")
        wait.expected = 3
        #expect(
            wait.progress(now: Samples.now) == "waiting for gw/builder: updating, wake 2/5, deadline in 10s")
        #expect(wait.progress(now: Samples.now) == nil, "said once")
    }

    @Test func theSheetSaysAllOfARecord() {
        #expect(
            RecordText.sheet(Samples.waiting, now: Samples.now, .plain) == """
                gw/builder  updating
                  role        worker, board web
                  generation  3, update requested 60s ago
                  attempts    2 of 5, last wake 20s ago, somebody was subscribed
                  deadline    in 10s (2026-01-31T09:00:10.000Z)
                  last seen   3h ago
                  reports     degraded
                  boot id     b1
                  rejected    bad_token ×4, last 2s ago
                  templates   d2; stale: the agent runs d1
                  policy      checkin_deadline=30s max_wake_attempts=5 heartbeat_interval=60s
                              offline_after=10m on_lapse=wake lost_grace=10s startup_extension_max=5m
                              recover_backoff=10s recover_backoff_max=5m wake_rate=50/s
                              heartbeat_rate=10/s
                  own policy  max_wake_attempts=5
                  variables   COLOUR=red LANG=de
                  token id    t1
                  created     2026-01-30T08:00:00.000Z, updated 2026-01-31T08:59:40.000Z, revision 12

                """)
        let paused = RecordText.sheet(Samples.offline, now: Samples.now, .plain)
        #expect(paused.contains("\nAgent did not check in after wake; max wake attempts reached: gateway gw is lost\n"))
        #expect(paused.contains("\n  paused      by agent, board, until 2026-01-31T10:00:00.000Z\n"))
    }

    @Test func servicesAndCountsAreShown() throws {
        let presence = try JSON.decode(
            JSONValue.self,
            from: Array(
                #"{"service":"reconciler","instance":"1","state":"running","started_at":"2026-01-31T08:00:00Z","version":"0.1.0","partitions":{"0":1,"1":4,"3":2,"10":1}}"#
                    .utf8))
        #expect(
            StatusText.services([presence], now: Samples.now, .plain) == """
                SERVICE     INSTANCE  STATE    SINCE    VERSION  PARTITIONS
                reconciler  1         running  60m ago  0.1.0    0-1, 3, 10 (4)

                """)
        let summary = try JSON.decode(
            JSONValue.self, from: Array(#"{"total":3,"by_status":{"online":2,"offline":1},"by_gateway":{}}"#.utf8))
        #expect(
            StatusText.summary(summary, .plain)
                == "3 agents: 0 provisioning, 0 updating, 2 online, 1 offline, 0 deleting\n")
    }

    @Test func aServiceWhoseClockIsAheadDidNotStartInTheFuture() throws {
        let presence = try JSON.decode(
            JSONValue.self,
            from: Array(
                #"{"service":"reconciler","instance":"1","state":"running","started_at":"2026-01-31T10:00:00Z","version":"0.1.0","blind":"x","blind_since":"2026-01-31T10:00:00Z","blind_spells":1}"#
                    .utf8))
        let text = StatusText.services([presence], now: Samples.now, .plain)
        #expect(text.contains("reconciler  1         running  now    0.1.0"))
        #expect(text.contains("judges nothing, since now;"))
    }

    @Test func blindTimeIsShown() throws {
        func presence(_ more: String) throws -> JSONValue {
            try JSON.decode(
                JSONValue.self,
                from: Array(
                    #"{"service":"reconciler","instance":"1","state":"running","version":"0.1.0",\#(more)}"#.utf8))
        }
        let suspended = try presence(
            #"""#.isEmpty
                ? ""
                : #""blind":"no light","blind_since":"2026-01-31T08:00:00Z","blind_spells":3,"blind_milliseconds":14250,"deferred_deadlines":1"#
        )
        #expect(
            StatusText.services([suspended], now: Samples.now, .plain).hasSuffix(
                "reconciler/1 judges nothing, since 60m ago; was suspended 3 times, 14.3 s in all; 1 deadline put off\n"
            ))
        let seeing = try presence(#""blind_spells":1,"blind_milliseconds":240,"deferred_deadlines":0"#)
        #expect(
            StatusText.services([seeing], now: Samples.now, .plain).hasSuffix(
                "\nreconciler/1 judges; was suspended once, 0.2 s in all; 0 deadlines put off\n"))
    }

    @Test func whatTheStoreCannotCommitIsShown() throws {
        let presence = try JSON.decode(
            JSONValue.self,
            from: Array(
                #"""
                {"service":"status-store","instance":"1","state":"running","started_at":"2026-01-31T08:00:00Z",
                "version":"0.1.0","trouble":"database or disk is full","dead_letters":{"total":7,"kept":1,"newest":[
                {"number":7,"at":"2026-01-31T08:00:00Z","stream":"1/i/events/3/4","seq":9,"error":"no entries"}]}}
                """#.utf8))
        #expect(
            StatusText.warnings([presence], .plain) == """

                the status store can commit nothing: database or disk is full
                dead letters: 1, see 'rollcall status --dead-letters'

                """)
        #expect(
            StatusText.deadLetters([presence], now: Samples.now, .plain) == """
                NUMBER  SINCE    SENDER          SEQ  ERROR
                7       60m ago  1/i/events/3/4  9    no entries

                7 so far, 1 kept whole in the table dead_letters of the database

                """)
        #expect(StatusText.warnings([], .plain).isEmpty)
        #expect(StatusText.deadLetters([], now: Samples.now, .plain) == "No dead letters.\n")
    }

    @Test func onlyWhatDiffersOfAGatewaysPolicyIsShown() throws {
        let gateways = try JSON.decode(
            JSONValue.self,
            from: Array(
                #"[{"gateway":"gw","state":"never","agents":0,"policy":{"on_lapse":"wake","max_wake_attempts":1}}]"#
                    .utf8))
        #expect(
            StatusText.gateways(gateways.array ?? [], .plain) == """
                GATEWAY  STATE  AGENTS  POLICY
                gw       never  0       max_wake_attempts=1

                """)
    }

    @Test func historyIsATable() {
        let event = HistoryEvent(
            id: "e", event: .offline, time: Samples.now, source: "s", subject: Samples.address("gw/x"),
            reason: "checkin_missed", record: Samples.offline)
        #expect(
            EventText.table([event], .plain, isOfOne: true) == """
                TIME                      EVENT    REASON          STATUS   GENERATION  ATTEMPTS  ERROR
                2026-01-31T09:00:00.000Z  offline  checkin_missed  offline  1           3/3       Agent did not check in after wake; max wake attempts reached: gateway gw is lost

                """)
    }

    @Test func theHistoryOfSeveralNamesThem() {
        let event = HistoryEvent(
            id: "e", event: .deleted, time: Samples.now, source: "s", subject: Samples.address("gw/x"), reason: "r",
            record: nil)
        let lost = HistoryEvent(
            id: "g", time: Samples.now, source: "s",
            GatewayLifecycleMessage(event: .gatewayLost, gateway: "gw", agents: 2))
        let lines = EventText.table([event, lost], .plain, isOfOne: false).split(separator: "\n")
        #expect(
            lines.map { $0.split(separator: " ").joined(separator: " ") } == [
                "TIME AGENT EVENT REASON STATUS GENERATION ATTEMPTS ERROR",
                "2026-01-31T09:00:00.000Z gw/x deleted r - - -",
                "2026-01-31T09:00:00.000Z gw gateway_lost - - - - 2 agents",
            ])
    }

    @Test func aLiveEventIsOneLine() throws {
        let event = try #require(
            LiveEvent(delivery(.init(event: .offline, reason: "checkin_missed", record: Samples.offline))))
        #expect(
            event.text(.plain)
                == "2026-01-31T09:00:00.000Z  gw/x                      offline             checkin_missed  "
                + "offline  generation 1, wake 3/3  Agent did not check in after wake; max wake attempts reached: gateway gw is lost\n"
        )
        let history = HistoryEvent(
            id: "e1", event: .offline, time: Samples.now, source: "rollcall/reconciler/1",
            subject: Samples.address("gw/x"), reason: "checkin_missed", record: Samples.offline)
        #expect(event.json == JSON.bytes(history))
    }

    @Test func aGatewaysEventHasItsMembers() throws {
        var gateway = Delivery(
            topic: "t", payload: JSON.bytes(GatewayLifecycleMessage(event: .gatewayLost, gateway: "gw", agents: 2)),
            isRetained: false)
        gateway.userProperties = [("id", "g1"), ("source", "s"), ("subject", "gw"), ("time", Samples.now.description)]
        let event = try #require(LiveEvent(gateway))
        #expect(
            String(decoding: event.json, as: UTF8.self)
                == #"{"agents":2,"event":"gateway_lost","gateway":"gw","id":"g1","reason":null,"record":null,"source":"s","subject":"gw","time":"2026-01-31T09:00:00.000Z"}"#
        )
        #expect(event.text(.plain).hasSuffix("gateway_lost        -               2 agents\n"))
    }

    @Test func whatIsNoEventIsNotShown() {
        #expect(LiveEvent(Delivery(topic: "t", payload: Array("{}".utf8), isRetained: false)) == nil)
    }

    @Test func redeliveredEventsAreShownOnce() {
        var seen = SeenEvents()
        let isNew = { (id: String) in seen.insert(id) }
        #expect(isNew("a"))
        #expect(!isNew("a"))
        for number in 0..<SeenEvents.countMax { #expect(isNew("\(number)")) }
        #expect(isNew("a"), "it is older than what is remembered")
    }

    @Test func textOfOthersCannotDriveTheTerminal() {
        #expect(Printable.text("a\u{1b}[31mb\u{202e}c\n") == "a\\u{1b}[31mb\\u{202e}c\\u{a}")
        #expect(Printable.text("Grüße ×3") == "Grüße ×3")
    }

    @Test func coloursDoNotMoveColumns() {
        var table = Table(["A", "B"])
        table.rows = [[.init("x", .green), "y"]]
        #expect(
            table.text(Style(isColoured: true)) == "\u{1b}[1mA\u{1b}[0m  \u{1b}[1mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m  y\n"
        )
    }

    @Test(arguments: [
        (0, "now"), (999, "now"), (1_000, "1s ago"), (119_000, "119s ago"), (120_000, "2m ago"), (7_200_000, "2h ago"),
        (172_800_000, "2d ago"), (-5_000, "now"), (-3_540_000, "now"),
    ])
    func timesAreRelative(_ distance: Int64, _ text: String) {
        #expect(RelativeTime.text(Samples.now - TimeSpan(milliseconds: distance), now: Samples.now) == text)
    }

    @Test func aMissedDeadlineIsLate() {
        #expect(RelativeTime.deadline(Samples.now - .seconds(4), now: Samples.now) == "4s late")
        #expect(RelativeTime.deadline(nil, now: Samples.now) == "-")
    }

    private func delivery(_ message: LifecycleMessage) -> Delivery {
        var delivery = Delivery(topic: "t", payload: JSON.bytes(message), isRetained: false)
        let attributes = CloudEventAttributes(
            id: "e1", source: "rollcall/reconciler/1", type: CloudEventAttributes.type(of: message.event),
            subject: "gw/x",
            time: Samples.now, revision: 1, traceparent: nil)
        delivery.userProperties = attributes.userProperties.map { (name: $0.0, value: $0.1) }
        return delivery
    }
}
