/// What each rule says, and what goes wrong without it: `infra/rules.md` is this table, and a test holds the two equal.
extension Rule {
    public enum Part: String, CaseIterable, Sendable {
        case store = "The status store"
        case streams = "Streams"
        case ownership = "The owner of a partition: what it takes and answers"
        case blindness = "The owner: blindness and verdicts"
        case wakes = "The owner: check-ins, wakes and deadlines"
        case ingest = "The ingest"
        case provisioner = "The provisioner"
        case services = "Every service"
    }

    public var part: Part {
        switch self {
        case .publishAfterCommit, .storeReceiptsAfterCommit, .epochIsChecked, .outboxRepeats, .ordersRepeat,
            .statusesAreRepublished, .oldNotesCount, .tombstonesAreKept, .requestsAreRemembered, .undertakingsSurvive,
            .framesApplyOnce, .credentialsComeFirst, .grantsFollowPresence, .refusedOwnersReload:
            .store
        case .incarnationsDiffer, .framesRepeat, .gapsWait, .startsAtLowest: .streams
        case .ownerReceiptsAfterCommit, .keysAreBound, .gatewayWordsWait: .ownership
        case .blindnessStopsJudging, .blindnessRepeatsWakes, .lapsesAreExtended, .graceRunsAnew, .uncleanEndsBlind,
            .lostSubscriptionsBlind, .verdictsAwaitBarrier, .verdictsAwaitBatches, .questionsRepeat:
            .blindness
        case .heartbeatsHaveAges, .checkinsCountOnceOrdered, .olderEchoesSettleNothing, .otherBootsSayNothing,
            .failuresArm, .repeatsArm, .lateReportsArmNothing, .resumesRepeat, .cyclesKeepTheirPolicy, .wakesArePaced,
            .quietIsAwaited, .lateCommitsAreAwaited, .restoredTimesAreClamped:
            .wakes
        case .ingestsDrain, .ingestsAreKnownFirst: .ingest
        case .repeatsAreFrozen, .oldOrdersExpire, .answersNameTheirUse: .provisioner
        case .stopsAreHonest, .stalledReadNothing: .services
        }
    }

    /// What it says, and what its absence breaks.
    public var meaning: (says: String, without: String) {
        switch part {
        case .store: store
        case .streams, .ownership, .services: common
        case .blindness: blindness
        case .wakes: wakes
        case .ingest, .provisioner: edges
        }
    }

    private var store: (says: String, without: String) {
        switch self {
        case .publishAfterCommit:
            ("What follows from a frame is published once it is committed", "an event is shown that a crash takes back")
        case .storeReceiptsAfterCommit:
            ("A frame is receipted once it is committed", "a crash loses what its sender has forgotten")
        case .epochIsChecked:
            ("A frame under another epoch is refused", "two owners write: commands take effect twice")
        case .outboxRepeats:
            ("What the broker has not acknowledged is published again", "events and answers are never seen")
        case .ordersRepeat: ("An order is published again until it is settled", "an agent stays in `updating`")
        case .statusesAreRepublished: ("A broker that forgot is told the statuses again", "retained statuses are missing")
        case .oldNotesCount:
            ("A retained note older than what was published is where to begin again",
                "a broker that starts from an old snapshot keeps old statuses")
        case .tombstonesAreKept: ("A deleted agent's numbers are kept", "its revisions and generations begin again")
        case .requestsAreRemembered: ("Executed requests come with the snapshot", "a repeated command is executed twice")
        case .undertakingsSurvive:
            ("What was begun and not answered comes with the snapshot",
                "its effect stays half done, or its repeat is answered otherwise")
        case .framesApplyOnce: ("A frame is applied once", "revisions repeat")
        case .credentialsComeFirst:
            ("What is behind a credential waits until the broker has it", "an answered token does not work yet")
        case .grantsFollowPresence:
            ("A partition is granted again when its owner's presence differs from the table",
                "a reconciler that restarts under its name owns nothing")
        default:
            ("Whoever is refused is told, and asks anew", "a fenced owner waits for its commits for ever")
        }
    }

    private var common: (says: String, without: String) {
        switch self {
        case .incarnationsDiffer:
            ("A new life numbers its frames in streams of its own", "its frames are taken for repeats of the old life's")
        case .framesRepeat: ("What has no receipt is sent again", "commands are never answered")
        case .gapsWait: ("A frame behind a gap waits", "what was lost is receipted")
        case .startsAtLowest:
            ("A receiver without state starts at the lowest frame that is kept", "a new owner waits for what is gone")
        case .ownerReceiptsAfterCommit:
            ("An input is receipted once all that it caused is committed", "a fenced owner loses commands and check-ins")
        case .keysAreBound:
            ("A request id belongs to the first request that used it", "another request is answered as if it were done")
        case .gatewayWordsWait:
            ("What gateways say while blind is believed once sight is back", "a gateway that is back counts as lost")
        case .stopsAreHonest:
            ("Only who has handed everything over says `stopped`, else `lost`",
                "a barrier waits for ever for the last batch of an ingest that is gone")
        default:
            ("Who stalled for more than a second gives up its connections unread",
                "a wake is published long after its pause or deletion was answered")
        }
    }

    private var blindness: (says: String, without: String) {
        switch self {
        case .blindnessStopsJudging: ("While blind nothing is judged", "our own outage turns agents offline")
        case .blindnessRepeatsWakes:
            ("When it ends the same wake is repeated, and a full deadline runs", "answers that were lost are not asked again")
        case .lapsesAreExtended:
            ("When it ends online agents get an interval and a deadline more", "agents lapse by heartbeats we lost")
        case .graceRunsAnew:
            ("When it ends the grace after a Last Will runs anew", "an agent lapses that came back meanwhile")
        case .uncleanEndsBlind:
            ("An ingest that ended uncleanly is a moment of blindness", "the heartbeats it had in hand are missed")
        case .lostSubscriptionsBlind:
            ("An ingest whose subscription was lost meanwhile has missed something", "those heartbeats are held against agents")
        case .verdictsAwaitBarrier:
            ("A verdict waits until all ingests have answered", "a heartbeat on its way comes after the verdict")
        case .verdictsAwaitBatches:
            ("And until the batches are in which they name", "a batch that was lost once comes after the verdict")
        default: ("An unanswered question is asked again", "one lost message ends all judging")
        }
    }

    private var wakes: (says: String, without: String) {
        switch self {
        case .heartbeatsHaveAges:
            ("A heartbeat received before the cycle's first order is no check-in", "an old heartbeat settles a new cycle")
        case .checkinsCountOnceOrdered:
            ("A check-in counts once an attempt is ordered, before its report", "a quick answer is lost")
        case .olderEchoesSettleNothing:
            ("An echo of an older generation settles nothing", "an old run settles a new cycle")
        case .otherBootsSayNothing:
            ("A goodbye of another start of the agent changes nothing", "a late goodbye ends the next run")
        case .failuresArm: ("The report of a failure arms the deadline", "an agent stays in `updating`")
        case .repeatsArm: ("The report of a repeat arms the deadline", "an agent stays in `updating` after blindness")
        case .lateReportsArmNothing:
            ("Only the report of the newest issue arms the deadline", "a deadline runs from another publication than its wake's")
        case .resumesRepeat: ("A resume repeats the wake", "a resumed agent stays in `updating`")
        case .cyclesKeepTheirPolicy: ("A cycle keeps the policy it began with", "a takeover changes attempts and deadlines")
        case .wakesArePaced: ("Wakes of one gateway go at its rate", "a storm is not paced")
        case .quietIsAwaited:
            ("`deleted` and the answer to `pause` wait for orders that were given up", "a wake follows the answer")
        case .lateCommitsAreAwaited:
            ("And for as long as their giving up was not committed", "the store publishes an order that was given up")
        default:
            ("No restored time lies ahead of now", "behind a wall clock that was ahead check-ins count for nothing")
        }
    }

    private var edges: (says: String, without: String) {
        switch self {
        case .ingestsDrain:
            ("An ingest that stops hands over what it has received before it says so", "heartbeats in its hands are lost")
        case .ingestsAreKnownFirst:
            ("It subscribes once every owner knows it", "what it received is asked for by no barrier")
        case .repeatsAreFrozen:
            ("A repeat of a wake says what the first one said", "two wakes under one number")
        case .oldOrdersExpire:
            ("An order that is too old is not published", "a wake follows the answer to a pause or a deletion")
        default:
            ("An answer names the request, not its key alone", "who used a key twice gets the other use's answer")
        }
    }

    /// The table as text.
    public static var markdown: String {
        var text = """
            # The rules of the protocol

            Made from `Tests/Simulation/RuleTable.swift`. Each rule can be switched off alone, and the simulator finds it missing:
            `swift run -c release rollcall-simulate --broken each` (at most 1,000 seeds each, part of `infra/test simulation`). To
            write this file anew after a change of the table: `ROLLCALL_UPDATE_GOLDEN=1 swift test --filter RuleTableTests`.

            """
        for part in Part.allCases {
            text += "\n## \(part.rawValue)\n\n| rule | what it says | without it |\n|---|---|---|\n"
            for rule in allCases where rule.part == part {
                let (says, without) = rule.meaning
                text += "| `\(rule.rawValue)` | \(says) | \(without) |\n"
            }
        }
        return text
    }
}
