/// What each rule says, and what goes wrong without it: `infra/docs/rules.md` is this table, and a test holds the two equal.
extension Rule {
    public struct Part: Sendable {
        let title: String
        let rows: [Row]
    }

    public struct Row: Sendable {
        public let rule: Rule
        public let says: String
        public let without: String

        fileprivate init(_ rule: Rule, _ says: String, without: String) {
            self.rule = rule
            self.says = says
            self.without = without
        }
    }

    public static var rows: [Row] { parts.flatMap(\.rows) }

    static let parts = [store, streams, ownership, suspension, wakes, ingest, provisioner, agents, services]

    private static let store = Part(
        title: "The status store",
        rows: [
            Row(
                .publishAfterCommit, "What follows from a frame is published once it is committed",
                without: "an event is shown that a crash takes back"),
            Row(
                .storeAcknowledgesAfterCommit, "A frame is acknowledged once it is committed",
                without: "a crash loses what its sender has forgotten"),
            Row(
                .epochIsChecked, "A frame under another epoch is refused",
                without: "two owners write: commands take effect twice"),
            Row(
                .outboxRepeats, "What the broker has not acknowledged is published again",
                without: "events and answers are never seen"),
            Row(
                .ordersRepeat, "An order is published again until it is settled",
                without: "an agent stays in `updating`"),
            Row(
                .statusesAreRepublished, "A broker that forgot is told the statuses again",
                without: "retained statuses are missing"),
            Row(
                .oldNotesCount, "A retained note older than what was published is where to begin again",
                without: "a broker that starts from an old snapshot keeps old statuses"),
            Row(
                .tombstonesAreKept, "A deleted agent's numbers are kept",
                without: "its revisions and generations begin again"),
            Row(
                .requestsAreRemembered, "Executed requests come with the snapshot",
                without: "a repeated command is executed twice"),
            Row(
                .intentRecordsSurvive, "What was begun and not answered comes with the snapshot",
                without: "its effect stays half done, or its repeat is answered otherwise"),
            Row(
                .framesApplyOnce, "A frame is applied once",
                without: "revisions repeat"),
            Row(
                .credentialsComeFirst, "What is behind a credential waits until the broker has it",
                without: "an answered token does not work yet"),
            Row(
                .grantsFollowPresence, "A partition is granted again when its owner's presence differs from the table",
                without: "a reconciler that restarts under its name owns nothing"),
            Row(
                .refusedOwnersReload, "Whoever owns no more is told, by what it sends or claims, and asks anew",
                without: "a fenced owner waits for its commits for ever"),
            Row(
                .staleClaimsEnd, "It is told by what its presence claims, even when it sends nothing",
                without: "an old owner of what is idle shows as its owner for ever"),
            Row(
                .epochsAreNew, "Each grant has an epoch of its own",
                without: "frames from before a grant count after it"),
            Row(
                .tombstonesAreRepublished, "It is told of those that are gone, too",
                without: "deleted agents keep a retained status"),
            Row(
                .storesDrain, "A store that stops has published what is committed before it says so",
                without: "what happened is told when it starts again"),
        ])

    private static let streams = Part(
        title: "Streams",
        rows: [
            Row(
                .incarnationsDiffer, "A new incarnation numbers its frames in streams of its own",
                without: "its frames are taken for repeats of an earlier incarnation's"),
            Row(
                .framesRepeat, "What has no acknowledgement is sent again",
                without: "commands are never answered"),
            Row(
                .gapsWait, "A frame behind a gap waits",
                without: "what was lost is acknowledged"),
            Row(
                .startsAtLowWaterMark, "A receiver without state starts at the lowest frame that is kept",
                without: "a new owner waits for what is gone"),
            Row(
                .acknowledgementsNameTheirIncarnation,
                "An acknowledgement counts for the launch of the sender that it names",
                without: "an acknowledgement of an earlier incarnation's frames makes the new one forget its own"),
        ])

    private static let ownership = Part(
        title: "The owner of a partition: what it takes and answers",
        rows: [
            Row(
                .ownerAcknowledgesAfterCommit, "An input is acknowledged once all that it caused is committed",
                without: "a fenced owner loses commands and check-ins"),
            Row(
                .repeatsAwaitTheFirst,
                "A request or report that causes nothing is acknowledged once all before it is committed",
                without: "a repeat is acknowledged, and the command it repeats is lost with its owner"),
            Row(
                .gatewayWordsWait, "What gateways say while suspended is believed once observability is back",
                without: "a gateway that is back counts as lost"),
            Row(
                .workWaitsForRoom, "What time brings waits while the store is behind",
                without: "a storm of deadlines holds up every commit"),
            Row(
                .reconcilersDrain, "A reconciler that stops has what it decided committed before it says so",
                without: "its successor decides it again"),
        ])

    private static let suspension = Part(
        title: "The owner: suspension and verdicts",
        rows: [
            Row(
                .suspensionStopsJudging, "While suspended nothing is judged",
                without: "our own outage turns agents offline"),
            Row(
                .suspensionRepeatsWakes, "When it ends the same wake is repeated, and a full deadline runs",
                without: "answers that were lost are not asked again"),
            Row(
                .lapsesAreExtended, "When it ends online agents get an interval and a deadline more",
                without: "agents lapse by heartbeats we lost"),
            Row(
                .graceRunsAnew, "When it ends the grace after a Last Will runs anew",
                without: "an agent lapses that came back meanwhile"),
            Row(
                .uncleanEndsSuspend, "An ingest that ended uncleanly is a moment of suspension",
                without: "the heartbeats it had in hand are missed"),
            Row(
                .lostSubscriptionsSuspend, "An ingest whose subscription was lost meanwhile has missed something",
                without: "those heartbeats are held against agents"),
            Row(
                .absentIngestsSuspend, "Without an ingest that receives heartbeats nobody receives any",
                without: "what came meanwhile is held against agents"),
            Row(
                .silentIngestsSuspend, "A question without an answer for a second is suspension",
                without: "wakes that a broker held up are held against agents"),
            Row(
                .lateCommitsSuspend, "So is a frame without an acknowledgement for a second",
                without: "verdicts are given while nothing can be committed"),
            Row(
                .willsWhileSuspendedAreForgotten, "A Last Will that came while suspended says nothing afterwards",
                without: "an agent lapses by it sooner than an outage of ours lets anybody"),
            Row(
                .verdictsAwaitBarrier, "A verdict waits until all ingests have answered",
                without: "a heartbeat on its way comes after the verdict"),
            Row(
                .verdictsAwaitBatches, "And until the batches are in which they name",
                without: "a batch that was lost once comes after the verdict"),
            Row(
                .verdictsAreOfTheirQuestion, "What is judged then was due when they were asked",
                without: "a heartbeat that came after an answer comes after the verdict"),
            Row(
                .questionsRepeat, "An unanswered question is asked again",
                without: "one lost message ends all judging"),
        ])

    private static let wakes = Part(
        title: "The owner: check-ins, wakes and deadlines",
        rows: [
            Row(
                .heartbeatsHaveAges, "A heartbeat received before the cycle's first order is no check-in",
                without: "an old heartbeat settles a new cycle"),
            Row(
                .checkinsCountOnceOrdered, "A check-in counts once an attempt is ordered, before its report",
                without: "a quick answer is lost"),
            Row(
                .olderEchoesSettleNothing, "An echo of an older generation settles nothing",
                without: "an old run settles a new cycle"),
            Row(
                .otherBootsSayNothing, "A goodbye of another start of the agent changes nothing",
                without: "a late goodbye ends the next run"),
            Row(
                .failuresArm, "The report of a failure arms the deadline",
                without: "an agent stays in `updating`"),
            Row(
                .repeatsArm, "The report of a repeat arms the deadline",
                without: "an agent stays in `updating` after suspension"),
            Row(
                .unheardWakesRepeat, "A wake that reached nobody is repeated when its gateway is back",
                without: "an agent is judged by a wake that it could not get"),
            Row(
                .lateReportsArmNothing, "Only the report of the newest publication arms the deadline",
                without: "a deadline runs from another publication than its wake's"),
            Row(
                .resumesRepeat, "A resume repeats the wake",
                without: "a resumed agent stays in `updating`"),
            Row(
                .cyclesKeepTheirPolicy, "A cycle keeps the policy it began with",
                without: "a takeover changes attempts and deadlines"),
            Row(
                .wakesArePaced, "Wakes of one gateway go at its rate",
                without: "a storm is not paced"),
            Row(
                .drainIsAwaited, "`deleted` and the answer to `pause` wait for orders that were given up",
                without: "a wake follows the answer"),
            Row(
                .lateCommitsAreAwaited, "And for as long as their giving up was not committed",
                without: "the store publishes an order that was given up"),
            Row(
                .restoredTimesAreClamped, "No restored time lies ahead of now",
                without: "behind a wall clock that was ahead check-ins count for nothing"),
            Row(
                .reportsHaveAges, "A report tells how long ago its wake was published",
                without: "a deadline runs from when its report was read"),
            Row(
                .deadlinesIgnoreWallClocks, "Deadlines run on a clock that nobody sets",
                without: "a step of the wall clock ends them"),
        ])

    private static let ingest = Part(
        title: "The ingest",
        rows: [
            Row(
                .ingestsDrain, "An ingest that stops hands over what it has received before it says so",
                without: "heartbeats in its hands are lost"),
            Row(
                .stoppingIngestsSaySo, "Meanwhile it answers barriers that it receives no more",
                without: "what comes until it has ended is held against agents"),
            Row(
                .ingestsAreKnownFirst, "It subscribes once every owner knows it",
                without: "what it received is asked for by no barrier"),
            Row(
                .canariesProveTheSubscription, "It answers a barrier once a canary has come back by its subscription",
                without: "a subscription that broke unnoticed counts as one on which nobody spoke"),
            Row(
                .answersFollowHeartbeats, "What came before a canary goes out before the answer behind it",
                without: "a heartbeat that came in time comes after the verdict"),
            Row(
                .flappingIngestsWait, "One that keeps ending uncleanly waits while another receives",
                without: "nobody ever sees for as long as a deadline lasts"),
            Row(
                .fullIngestsPause, "One whose batches nobody takes stops reading",
                without: "its memory grows for as long as an owner hangs"),
            Row(
                .longPausesEnd, "What it has not read for a second it gives up with its subscription",
                without: "old heartbeats count as new"),
            Row(
                .unheardIngestsEnd, "It receives while the broker acknowledges its presence, and no longer",
                without: "owners forget one that still receives"),
        ])

    private static let provisioner = Part(
        title: "The provisioner",
        rows: [
            Row(
                .repeatsAreFrozen, "A repeat of a wake says what the first one said",
                without: "two wakes under one number"),
            Row(
                .oldOrdersExpire, "An order that is too old is not published",
                without: "a wake follows the answer to a pause or a deletion"),
            Row(
                .answersNameTheirUse, "An answer names the request, not its key alone",
                without: "who used a key twice gets the other use's answer"),
            Row(
                .keysAreClaimed, "A request with a key is forwarded once the store keeps the key for it",
                without: "a key is used for requests in two partitions, and both are executed"),
            Row(
                .provisionersDrain,
                "A provisioner that stops answers and reports all that it was given before it says so",
                without: "commands and orders in its hands are lost"),
            Row(
                .fullProvisionersRefuse, "One that keeps too much without an acknowledgement refuses requests",
                without: "it takes what nobody will carry out for as long as an owner hangs"),
        ])

    private static let agents = Part(
        title: "Who runs agents",
        rows: [
            Row(
                .runtimesIgnoreOldWakes, "A wake lower than one that was seen is ignored",
                without: "the old wake is answered instead of the new one")
        ])

    private static let services = Part(
        title: "Every service",
        rows: [
            Row(
                .stopsAreHonest, "Only who has handed everything over says `stopped`, else `lost`",
                without: "a barrier waits for ever for the last batch of an ingest that is gone"),
            Row(
                .stopsEnd, "Who is asked to stop ends when all is handed over",
                without: "each deployment ends in kills, and suspends every owner"),
            Row(
                .stoppersTakeNothing, "Meanwhile it asks for nothing more",
                without: "what is given to it behind its last canary is lost"),
            Row(
                .stalledReadNothing, "Who stalled for more than a second gives up its connections unread",
                without: "a wake is published long after its pause or deletion was answered"),
        ])

    /// The table as text.
    public static var markdown: String {
        var text = """
            # The rules of the protocol

            Made from `Tests/Simulation/RuleTable.swift`. Each rule can be switched off alone, and the simulator finds it missing:
            `swift run -c release rollcall-simulate --broken each` (at most 1,000 seeds each, part of `infra/test simulation`). To
            write this file anew after a change of the table: `ROLLCALL_UPDATE_GOLDEN=1 swift test --filter RuleTableTests`.

            """
        for part in parts {
            text += "\n## \(part.title)\n\n| rule | what it says | without it |\n|---|---|---|\n"
            for row in part.rows { text += "| `\(row.rule.rawValue)` | \(row.says) | \(row.without) |\n" }
        }
        return text
    }
}
