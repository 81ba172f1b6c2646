public import API
public import Model
internal import Streams
internal import Wire

/// The front of the commands, the publisher of wakes, and who hands out files and credentials: all that a provisioner
/// decides, its streams, subscriptions and its end included.
///
/// A pure value: inputs and the time go in, actions come out. Its hosts are `Provisioner` and the simulator. Three handlers
/// decide about requests; it keeps no state beyond what is under way.
public struct ProvisionerCore: Sendable {
    /// Frames without an acknowledgement above which new commands are refused.
    public static let unacknowledgedMax = 10_000
    /// Requests and reports under way to one partition.
    public static let windowMax = 256
    /// How long a stop waits for answers before it tells the others `unavailable`.
    public static let drainLimit = TimeSpan.seconds(3)

    private let topics: Topics
    private let instance: String
    private let unacknowledgedMax: Int
    private var senders: StreamSenders<PartitionMessage>
    private var commands: CommandHandler
    private var wakes: WakeHandler
    private var files: FilesHandler
    private var notices = TemplatesHandler()
    private var partitionCount: Int?
    /// The streams to the partitions, by number.
    private var streams: [String] = []
    private var isConnected = false
    /// Wakes that the broker has not acknowledged in this session.
    private var tickets: [Int: WakeHandler.Key] = [:]
    private var answers = AnswersUnderWay()
    private var tally = ProvisionerTally()
    private var overdrafts = Overdrafts()
    private var now = Instant(nanoseconds: 0)
    private var drain: Drain?

    /// How far a clean stop has come.
    private struct Drain {
        let since: Instant
        /// What the broker had for us before has been read, up to a canary, or is lost.
        var isRead: Bool
        /// It took too long: whoever waits was told. A clean stop still takes that everything is read and handed over.
        var isGivenUp = false
        var isOver = false
    }

    /// - Parameters:
    ///   - incarnation: names this incarnation.
    ///   - windowMax: frames under way to one partition.
    ///   - unacknowledgedMax: frames without an acknowledgement above which new commands are refused.
    ///   - sha256: the digest of a message in hexadecimal.
    public init(
        topics: Topics, instance: String, incarnation: String, files: AgentFiles,
        windowMax: Int = ProvisionerCore.windowMax, unacknowledgedMax: Int = ProvisionerCore.unacknowledgedMax,
        sha256: @escaping @Sendable ([UInt8]) -> String
    ) {
        self.topics = topics
        self.instance = instance
        self.unacknowledgedMax = unacknowledgedMax
        senders = StreamSenders(
            service: .provisioner, instance: instance, incarnation: incarnation, windowMax: windowMax)
        commands = CommandHandler(instance: instance, topics: topics, files: files, sha256: sha256)
        wakes = WakeHandler(topics: topics, files: files)
        self.files = FilesHandler(files: files, topics: topics)
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: ProvisionerInput, now: Instant, wallTime: Timestamp, into actions: inout [ProvisionerAction]
    ) {
        self.now = now
        switch input {
        case .connected: connected(now, &actions)
        case .disconnected: disconnected(now, wallTime, &actions)
        case .acknowledgementReceived(let acknowledgement): _ = senders.receive(acknowledgement, now: now)
        case .presenceReceived(let presence): heard(presence, now, &actions)
        case .answerReceived(let message): answered(message, now, &actions)
        case .orderReceived(let message):
            tally.orders += 1
            wake(.orderReceived(message), now, wallTime, &actions)
        case .requestReceived(let request): requested(request, now, &actions)
        case .wakeHandedOver(let key, let ticket):
            // Not connected: the order will be issued again.
            if let ticket { tickets[ticket] = key } else { wakes.forget(key) }
        case .answerHandedOver(let reply, let ticket):
            answers.handedOver(asker(reply.address), bytes: reply.payload.count, ticket: ticket)
        case .acknowledged(let ticket, let reason):
            answers.acknowledged(ticket)
            guard let key = tickets.removeValue(forKey: ticket) else { break }
            wake(.acknowledged(key, reason: reason), now, wallTime, &actions)
        case .answerRefused(let reply, let reason): refused(reply, reason, &actions)
        case .templatesRead(let templates):
            wakes.files.replace(by: templates)
            files.files.replace(by: templates)
            command(.templatesRead(templates), now, &actions)
        case .templatesUnreadable(let reason): command(.templatesUnreadable(reason), now, &actions)
        case .canaryReceived: drain?.isRead = true
        case .ticked:
            senders.tick(now: now)
            command(.timePassed, now, &actions)
            file(.timePassed, now, &actions)
            askForNoticed(now, &actions)
        case .turnEnded: goOnDraining(now, &actions)
        case .stopRequested: beginDraining(now, &actions)
        }
        let frames = senders.takeFrames()
        if isConnected { for frame in frames { actions.append(.send(frame)) } }
    }

    /// What its presence says besides.
    public func describe(_ presence: inout Presence, now: Instant) {
        presence.warn(senders.warning(now: now))
        presence.warn(overdrafts.warning("more requests at once than are taken came from", now: now))
    }

    /// What it counted since its start.
    public var counters: ProvisionerTally {
        var counters = tally
        counters.pending = Int64(commands.pendingCount)
        counters.unacknowledged = Int64(senders.unacknowledgedCount)
        return counters
    }

    // MARK: The connection

    private mutating func connected(_ now: Instant, _ actions: inout [ProvisionerAction]) {
        isConnected = true
        tickets = [:]
        answers = AnswersUnderWay()
        // Orders are taken only once their reports can be addressed.
        let shared: [ProvisionerSubscription] = partitionCount == nil ? [.requests] : [.requests, .orders]
        actions.append(.subscribe([.own] + (drain == nil ? shared : [])))
        senders.reconnected(now: now)
    }

    private mutating func disconnected(_ now: Instant, _ wallTime: Timestamp, _ actions: inout [ProvisionerAction]) {
        isConnected = false
        tickets = [:]
        drain?.isRead = true
        wake(.disconnected, now, wallTime, &actions)
    }

    /// The store's presence tells how many partitions there are.
    private mutating func heard(_ presence: Presence, _ now: Instant, _ actions: inout [ProvisionerAction]) {
        guard presence.service == ServiceName.statusStore.rawValue, let count = presence.partitionCount,
            (1...Partition.countMax).contains(count), count != partitionCount
        else { return }
        if let partitionCount {
            return actions.append(.fail("the store has \(count) partitions, it had \(partitionCount)"))
        }
        partitionCount = count
        streams = (0..<count).map { "requests/\($0)" }
        if drain == nil { actions.append(.subscribe([.orders])) }
        command(.partitionsAnnounced(count), now, &actions)
    }

    // MARK: Requests

    private mutating func requested(
        _ request: ProvisionerRequest, _ now: Instant, _ actions: inout [ProvisionerAction]
    ) {
        // A retained request was answered when it was published; the broker hands it to every new subscriber.
        guard !request.isRetained, let levels = topics.levels(of: request.topic), let first = levels.first else {
            return
        }
        switch first {
        case "commands" where levels.count == 2: commanded(request, verb: String(levels[1]), now, &actions)
        case "agents" where levels.count == 4: agentAsks(request, String(levels[3]), now, &actions)
        default: break
        }
    }

    private mutating func commanded(
        _ request: ProvisionerRequest, verb: String, _ now: Instant, _ actions: inout [ProvisionerAction]
    ) {
        tally.commands += 1
        let reply = replyAddress(of: request, below: topics.repliesPrefix, &actions)
        // Its effect could not be told to who waits for it, a new token perhaps: it is not done.
        guard reply != nil || request.responseTopic == nil else { return }
        // Lookups are the store's.
        if Verb(rawValue: verb)?.isLookup != true, hasTooManyAnswers(reply, &actions) { return }
        let arrival = CommandArrival(
            verb: verb, payload: request.payload, reply: reply,
            // A key belongs to its operator, who is known by the response topic alone.
            idempotencyKey: reply == nil ? nil : request.idempotencyKey,
            traceparent: TraceParent.valid(request.traceparent),
            fresh: request.fresh,
            // What is no revision is none that a record has.
            revisions: request.ifMatch.map { $0.split(separator: ",").compactMap { Int($0) } })
        commands.hasRoom = senders.unacknowledgedCount < unacknowledgedMax
        command(.commandReceived(arrival), now, &actions)
    }

    /// A request on an agent's `files` or `credentials` topic, made by the agent or its gateway: both have replies below
    /// the gateway's name. An answer is all that these requests are for.
    private mutating func agentAsks(
        _ request: ProvisionerRequest, _ what: String, _ now: Instant, _ actions: inout [ProvisionerAction]
    ) {
        guard let agent = topics.agent(of: request.topic),
            let reply = replyAddress(of: request, below: topics.replies(to: agent.gateway) + "/", &actions),
            !hasTooManyAnswers(reply, &actions)
        else { return }
        switch what {
        case "files": file(.filesRequested(agent, reply, questionID: request.fresh.requestID), now, &actions)
        case "credentials":
            commands.hasRoom = senders.unacknowledgedCount < unacknowledgedMax
            command(.credentialsRequested(agent, reply, request.fresh), now, &actions)
        default: break
        }
    }

    /// Whether so much of what was answered to who asks is still under way that this is all that is answered.
    private mutating func hasTooManyAnswers(_ reply: ReplyAddress?, _ actions: inout [ProvisionerAction]) -> Bool {
        guard let reply, answers.isFull(asker(reply)) else { return false }
        answer(Reply(reply, CommandHandler.tooMany), &actions)
        return true
    }

    private func asker(_ reply: ReplyAddress) -> String { reply.asker(below: topics.repliesPrefix) }

    private func replyAddress(
        of request: ProvisionerRequest, below prefix: String, _ actions: inout [ProvisionerAction]
    ) -> ReplyAddress? {
        let reply = ReplyAddress(request.responseTopic, correlation: request.correlation, below: prefix)
        if reply == nil, let topic = request.responseTopic {
            actions.append(.log(.replyRefused(responseTopic: topic)))
        }
        return reply
    }

    private mutating func answered(
        _ message: ProvisionerMessage, _ now: Instant, _ actions: inout [ProvisionerAction]
    ) {
        switch message {
        case .answer(let requestID, let digest, let outcome, let mintedToken):
            command(
                .answered(requestID: requestID, digest: digest, outcome: outcome, mintedToken: mintedToken), now,
                &actions)
        case .claimed(let requestID, let digest):
            command(.claimed(requestID: requestID, digest: digest), now, &actions)
        case .found(let questionID, let record) where questionID.hasPrefix(TemplatesHandler.questionPrefix):
            guard let agent = AgentAddress(String(questionID.dropFirst(TemplatesHandler.questionPrefix.count))),
                let message = notices.found(agent, record)
            else { return }
            actions.append(.publishTemplates(message))
        case .found(let questionID, let record):
            file(.recordFound(questionID: questionID, record), now, &actions)
        }
    }

    // MARK: The handlers

    private mutating func command(
        _ event: CommandHandler.Event, _ now: Instant, _ actions: inout [ProvisionerAction]
    ) {
        var directives: [CommandHandler.Directive] = []
        commands.handle(event, now: now, into: &directives)
        for directive in directives {
            switch directive {
            case .claim(let claim): actions.append(.claim(claim))
            case .tellTemplates(let message): notices.add(message, now)
            case .readTemplates: actions.append(.readTemplates)
            case .forward(let request, let partition): send(.request(request), to: partition, now)
            case .answer(let reply): answer(reply, &actions)
            }
        }
    }

    private mutating func file(_ event: FilesHandler.Event, _ now: Instant, _ actions: inout [ProvisionerAction]) {
        var directives: [FilesHandler.Directive] = []
        files.handle(event, now: now, into: &directives)
        for directive in directives {
            switch directive {
            case .ask(let questionID, let agent):
                actions.append(
                    .ask(RecordQuestion(questionID: questionID, agent: agent, provisioner: instance)))
            case .answer(let reply): answer(reply, &actions)
            }
        }
    }

    private mutating func askForNoticed(_ now: Instant, _ actions: inout [ProvisionerAction]) {
        guard isConnected else { return }
        for agent in notices.take(now) {
            let question = TemplatesHandler.questionPrefix + agent.description
            actions.append(.ask(RecordQuestion(questionID: question, agent: agent, provisioner: instance)))
        }
    }

    private mutating func wake(
        _ event: WakeHandler.Event, _ now: Instant, _ wallTime: Timestamp, _ actions: inout [ProvisionerAction]
    ) {
        var directives: [WakeHandler.Directive] = []
        wakes.handle(event, now: now, wallTime: wallTime, into: &directives)
        for directive in directives {
            switch directive {
            case .publish(let key, let message, let expirySeconds, let traceparent):
                tally.wakes[message.reason, default: 0] += 1
                actions.append(
                    .publishWake(key, message, expirySeconds: expirySeconds, traceparent: traceparent))
            case .report(let report):
                tally.note(report.outcome)
                guard let partitionCount else { continue }
                send(.report(report), to: Partition.of(gateway: report.agent.gateway, count: partitionCount), now)
            case .warnStaleTemplates(let agent, let ordered, let rendered):
                actions.append(.log(.staleTemplates(agent, ordered: ordered, rendered: rendered)))
            }
        }
    }

    private mutating func send(_ message: PartitionMessage, to partition: Int, _ now: Instant) {
        senders.send(message, to: .partition(partition), stream: streams[partition], now: now)
    }

    private mutating func answer(_ reply: Reply, _ actions: inout [ProvisionerAction]) {
        tally.answers += 1
        if reply.isTooMany { overdrafts.note(asker(reply.address), now: now) }
        actions.append(.answer(reply))
    }

    /// What is too large to be published is answered by saying so; else the connection is lost.
    private mutating func refused(_ reply: Reply, _ reason: String, _ actions: inout [ProvisionerAction]) {
        actions.append(.log(.unanswered(reason: reason)))
        guard reply.payload.count > FilesHandler.answerBytesMax else { return }
        answer(Reply(reply.address, Problem(.tooLarge, "the answer has \(reply.payload.count) bytes")), &actions)
    }

    // MARK: The end

    private mutating func beginDraining(_ now: Instant, _ actions: inout [ProvisionerAction]) {
        guard drain == nil else { return }
        // Without a connection the broker has nothing for us.
        drain = Drain(since: now, isRead: !isConnected)
        guard isConnected else { return }
        // The canary comes back behind all that the broker has for us.
        actions += [.unsubscribe([.requests, .orders]), .sendCanary]
    }

    private mutating func goOnDraining(_ now: Instant, _ actions: inout [ProvisionerAction]) {
        guard var drain, !drain.isOver else { return }
        if !drain.isGivenUp, now.milliseconds(since: drain.since) >= ProvisionerCore.drainLimit.milliseconds {
            drain.isGivenUp = true
            command(.stopped, now, &actions)
            file(.stopped, now, &actions)
        }
        let isAnswered = commands.pendingCount == 0 && files.pendingCount == 0 && wakes.count == 0
        drain.isOver = drain.isRead && isAnswered && senders.unacknowledgedCount == 0
        self.drain = drain
        if drain.isOver { actions.append(.drained) }
    }
}
