public import API
public import Model
public import Wire

/// The front of the commands: judges each request's form, forwards it to whoever owns its effect, and answers.
///
/// A pure value: events in, directives out. It keeps what waits for an answer and nothing else; when it is lost, the
/// requests it forwarded take effect all the same, and who asked with an idempotency key can ask again.
public struct CommandHandler: Sendable {
    /// How long the owner and the store have for an answer; beyond it the client is told `unavailable`.
    public static let answerLimit = TimeSpan.seconds(15)
    /// Requests that may wait for an answer; beyond it new ones are answered `unavailable`.
    public static let pendingMax = 10_000
    /// How long requests wait for the number of partitions after a start.
    public static let queueLimit = TimeSpan.seconds(5)
    public static let queuedMax = 1_000
    /// An answer may be lost on its way: whoever asks again after so long has the request forwarded again, and its owner,
    /// which knows what it has executed, answers again.
    public static let forwardAgainAfter = TimeSpan.seconds(1)
    /// The same of what is asked for a sync, which nobody outside asks again.
    static let syncAsksAgainAfter = TimeSpan.seconds(3)
    /// Requests of one asker that are forwarded at a time; the others wait behind them.
    public static let forwardedMax = 32
    /// How often one request may be rendered again because its agent changed meanwhile. Of the requests for one agent each round
    /// ends one, so this is how many at once get through.
    public static let renderRoundsMax = 64

    public enum Event: Sendable {
        /// The store said how many partitions there are.
        case partitionsAnnounced(Int)
        case commandReceived(CommandArrival)
        /// A gateway asks for an agent's credentials.
        case credentialsRequested(AgentAddress, ReplyAddress, FreshSecrets)
        /// The store keeps this key for the request with this digest.
        case claimed(requestID: String, digest: String)
        /// `digest`: of the request that is answered, when the store says so.
        /// `mintedToken`: the id of the token that is in force by it.
        case answered(requestID: String, digest: String? = nil, outcome: CommandOutcome, mintedToken: String?)
        /// The templates were read anew, as was asked.
        case templatesRead(TemplateSet)
        /// They could not be; the text names the place.
        case templatesUnreadable(String)
        case timePassed
        /// The service stops: nothing waits any longer.
        case stopped
    }

    public enum Directive: Hashable, Sendable {
        /// Ask the store to keep the key for this request.
        case claim(KeyClaim)
        case forward(PartitionRequest, partition: Int)
        case answer(Reply)
        /// Tell who runs the agent that it is to run other templates.
        case tellTemplates(TemplatesMessage)
        /// Read the templates anew, and say what came of it.
        case readTemplates
    }

    /// Who waits for an answer, and for how long. `reply` is `nil` for who does not care.
    struct Waiter: Sendable {
        let reply: ReplyAddress?
        /// Whose budget it is of.
        let asker: String
        var deadline: Instant
    }

    /// One use of a request id. Which of two was the first, the store knows.
    struct Use: Hashable, Sendable {
        let id: String
        let digest: String
    }

    /// A request under way.
    struct Pending: Sendable {
        let command: Command
        let isCredentialsRequest: Bool
        let digest: String
        let isKeyed: Bool
        /// The key is this request's; until then it is not forwarded.
        var isClaimed = false
        let token: CandidateToken?
        let traceparent: String?
        var waiters: [Waiter]
        /// Who asked first, and whether that one's turn has come: only then anything is done.
        let asker: String
        var isStarted = false
        /// The partitions that have not answered.
        var awaited: Set<Int>
        /// Agents paused or resumed so far; `nil` while no partition accepted.
        var paused: Int?
        var refusal: Problem?
        var renderRounds = 0
        var rendered: RenderedTemplates?
        var forwardedAt = Instant(nanoseconds: 0)
        /// Of a `sync-templates`.
        var sync: TemplatesProgress?
        /// Of one of its agents: the whole of it.
        var whole: Use?
        /// The record must have one of these.
        var revisions: [Int]?
    }

    let instance: String
    private let repliesPrefix: String
    private(set) var files: AgentFiles
    private let sha256: @Sendable ([UInt8]) -> String
    private var partitionCount: Int?
    /// Of the event that is handled.
    private(set) var now = Instant(nanoseconds: 0)
    var pending: [Use: Pending] = [:]
    /// The digests of what is under way under each id: one, but where a key is used twice.
    var digests: [String: [String]] = [:]
    /// What the store is asked to keep a key for, in the order in which it came.
    var claiming: [Use] = []
    var queued: [(event: Event, asker: String, deadline: Instant)] = []
    var askers = Askers<Use>(inWorkMax: CommandHandler.forwardedMax)
    /// Requests for `credentials` under way.
    var credentialsUnderWay: [AgentAddress: Int] = [:]
    /// Whose turns may have come.
    var turns: Set<String> = []
    /// Whether the streams to the partitions have room; the shell says so.
    public var hasRoom = true

    /// - Parameters:
    ///   - instance: the provisioner that the answers come back to.
    ///   - sha256: the digest of a message in hexadecimal.
    public init(
        instance: String, topics: Topics, files: AgentFiles, sha256: @escaping @Sendable ([UInt8]) -> String
    ) {
        self.instance = instance
        repliesPrefix = topics.repliesPrefix
        self.files = files
        self.sha256 = sha256
    }

    /// How many requests wait for an answer.
    public var pendingCount: Int { pending.count + queued.count }

    public mutating func handle(_ event: Event, now: Instant, into directives: inout [Directive]) {
        self.now = now
        switch event {
        case .partitionsAnnounced(let count):
            partitionCount = count
            let waiting = queued
            queued = []
            for (event, asker, _) in waiting {
                askers.ended(asker)
                handle(event, now: now, into: &directives)
            }
        case .commandReceived(let arrival): receive(arrival, now, &directives)
        case .credentialsRequested(let agent, let reply, let fresh):
            receiveCredentialsRequest(event, agent, reply, fresh, now, &directives)
        case .claimed(let requestID, let digest): claimed(requestID, by: digest, now, &directives)
        case .answered(let requestID, let digest, let outcome, let mintedToken):
            settle(requestID, digest, outcome, mintedToken, &directives)
        case .templatesRead(let templates):
            files.replace(by: templates)
            templatesCame(nil, &directives)
        case .templatesUnreadable(let reason):
            templatesCame(Problem(.invalidRequest, reason), &directives)
        case .timePassed:
            expire(where: { $0 <= now }, &directives)
            claimAgain(now, &directives)
            askAgain(&directives)
        case .stopped: expire(where: { _ in true }, &directives)
        }
        takeTurns(now, &directives)
    }

    // MARK: Requests

    private mutating func receive(_ arrival: CommandArrival, _ now: Instant, _ directives: inout [Directive]) {
        if let verb = Verb(rawValue: arrival.verb), verb.isLookup { return }  // the store's
        let asker = arrival.reply?.asker(below: repliesPrefix) ?? ""
        do throws(Problem) {
            guard askers.underWay(asker) < Limits.requestsUnderWayMax else { throw CommandHandler.tooMany }
            let command = try parse(arrival)
            guard partitionCount != nil else {
                return try hold(.commandReceived(arrival), asker, now)
            }
            var digest = Array(arrival.verb.utf8)
            digest.append(0)
            digest += arrival.payload
            let request = Pending(
                command: command, isCredentialsRequest: false, digest: sha256(digest),
                isKeyed: arrival.idempotencyKey != nil, token: candidate(for: command, arrival.fresh),
                traceparent: arrival.traceparent,
                waiters: [Waiter(reply: arrival.reply, asker: asker, deadline: now + CommandHandler.answerLimit)],
                asker: asker, awaited: [], sync: TemplatesProgress(command),
                revisions: arrival.revisions)
            try begin(requestID(of: arrival), request, now, &directives)
        } catch {
            guard let reply = arrival.reply else { return }
            directives.append(.answer(Reply(reply, error)))
        }
    }

    private mutating func receiveCredentialsRequest(
        _ event: Event, _ agent: AgentAddress, _ reply: ReplyAddress, _ fresh: FreshSecrets, _ now: Instant,
        _ directives: inout [Directive]
    ) {
        let asker = reply.asker(for: agent, below: repliesPrefix)
        do throws(Problem) {
            guard mayAskForCredentials(of: agent, asker) else { throw CommandHandler.tooMany }
            guard partitionCount != nil else { return try hold(event, asker, now) }
            let command = Command.rotateAgentToken(agent, now: false)
            let request = Pending(
                command: command, isCredentialsRequest: true, digest: sha256(Array("credentials\0\(agent)".utf8)),
                isKeyed: false, token: candidate(for: command, fresh), traceparent: nil,
                waiters: [Waiter(reply: reply, asker: asker, deadline: now + CommandHandler.answerLimit)], asker: asker,
                awaited: [])
            try begin(fresh.requestID, request, now, &directives)
        } catch {
            directives.append(.answer(Reply(reply, error)))
        }
    }

    /// A command whose form is right, its variables' names included.
    private func parse(_ arrival: CommandArrival) throws(Problem) -> Command {
        guard let verb = Verb(rawValue: arrival.verb) else {
            throw Problem(member: "", "there is no command '\(arrival.verb.prefix(80))'")
        }
        if let key = arrival.idempotencyKey, !(1...Limits.idempotencyKeyLengthMax).contains(key.utf8.count) {
            throw Problem(
                member: "idempotency-key",
                "has \(key.utf8.count) bytes, 1 to \(Limits.idempotencyKeyLengthMax) are taken")
        }
        let command = try Command.parse(verb, arrival.payload)
        let names = Dictionary(command.variableNames.map { ($0, "") }) { first, _ in first }
        do {
            try TemplateVariables.check(names)
        } catch {
            throw Problem(member: "variables.\(error.variable ?? "")", error.description)
        }
        return command
    }

    private func candidate(for command: Command, _ fresh: FreshSecrets) -> CandidateToken? {
        command.mayMintFor.map { CandidateToken(for: $0, secret: fresh.secret, sha256: sha256) }
    }

    private func requestID(of arrival: CommandArrival) -> String {
        guard let key = arrival.idempotencyKey else { return arrival.fresh.requestID }
        var message = Array((arrival.reply?.asker(below: repliesPrefix) ?? "").utf8)
        message.append(0)
        message += key.utf8
        return sha256(message)
    }

    private mutating func hold(_ event: Event, _ asker: String, _ now: Instant) throws(Problem) {
        guard queued.count < CommandHandler.queuedMax else { throw CommandHandler.noStore }
        askers.began(asker)
        queued.append((event, asker, now + CommandHandler.queueLimit))
    }

    /// Forwards a request, unless the same one is under way: then who asked again waits with who asked first.
    mutating func begin(
        _ requestID: String, _ request: Pending, _ now: Instant, _ directives: inout [Directive]
    ) throws(Problem) {
        let use = Use(id: requestID, digest: request.digest)
        if var first = pending[use] {
            guard first.waiters.count < CommandHandler.pendingMax else { throw CommandHandler.tooBusy }
            first.waiters += request.waiters
            askers.began(request.asker)
            if hasRoom, first.isStarted,
                now.milliseconds(since: first.forwardedAt) >= CommandHandler.forwardAgainAfter.milliseconds
            {
                first.forwardedAt = now
                if first.isClaimed { forward(requestID, first, &directives) } else { claim(use, &directives) }
            }
            pending[use] = first
            return
        }
        guard pending.count < CommandHandler.pendingMax, hasRoom else { throw CommandHandler.tooBusy }
        var request = request
        if let gateway = request.command.gateway {
            request.awaited = [partition(of: gateway)]
        } else {
            request.awaited = Set(0..<(partitionCount ?? 0))
        }
        pending[use] = request
        digests[requestID, default: []].append(request.digest)
        noteCredentials(request, 1)
        askers.began(request.asker)
        if askers.take(use, of: request.asker) { start(use, now, &directives) }
    }

    static let tooMany = Problem(.tooManyRequests, "too many of your requests are under way")
    private static let tooBusy = Problem(.unavailable, "too many requests wait for their answers")
    static let noStore = Problem(.unavailable, "the status store was not heard of")

    private func partition(of gateway: String) -> Int {
        Partition.of(gateway: gateway, count: partitionCount ?? Partition.defaultCount)
    }

    func forward(_ requestID: String, _ request: Pending, _ directives: inout [Directive]) {
        if request.sync?.isReading ?? false { return directives.append(.readTemplates) }
        let isForAll = request.command.gateway == nil
        for partition in request.awaited.sorted() {
            let message = PartitionRequest(
                id: isForAll ? "\(requestID)/\(partition)" : requestID, digest: request.digest,
                isKeyed: request.isKeyed, command: request.sync?.question ?? request.command,
                minted: request.token.map { MintedToken(digest: $0.digest, id: $0.id) }, rendered: request.rendered,
                traceparent: request.traceparent, provisioner: instance, revisions: request.revisions)
            directives.append(.forward(message, partition: partition))
        }
    }

    /// What a new agent's files would be rendered from, so that its owner need not ask. The owner decides.
    func firstGuess(_ command: Command) -> RenderedTemplates? {
        guard case .provision(let request) = command, let role = request.role else { return nil }
        let inputs = RenderInputs(
            role: role, board: request.board, variables: request.variables.compactMapValues { $0 })
        // What cannot be rendered from the request alone may be from the record: the owner will ask.
        return try? render(request.agent, inputs)
    }

    private func render(_ agent: AgentAddress, _ inputs: RenderInputs) throws(TemplateError) -> RenderedTemplates {
        let digest = try files.render(
            agent, role: inputs.role, board: inputs.board, variables: inputs.variables
        ).digest
        return RenderedTemplates(inputs: inputs, digest: digest)
    }

    // MARK: Answers

    private mutating func settle(
        _ wireID: String, _ digest: String?, _ outcome: CommandOutcome, _ mintedToken: String?,
        _ directives: inout [Directive]
    ) {
        let parts = wireID.split(separator: "/", maxSplits: 1)
        let requestID = parts.first.map(String.init) ?? ""
        // Forgotten, or another incarnation's: whoever asked was told.
        guard let digest = digest ?? digests[requestID]?.first else { return }
        let use = Use(id: requestID, digest: digest)
        guard var request = pending[use] else { return }
        if request.command.gateway == nil {
            guard parts.count == 2, let partition = Int(parts[1]), request.awaited.remove(partition) != nil else {
                return
            }
            switch outcome {
            case .paused(let count): request.paused = (request.paused ?? 0) + count
            case .refused(let problem): request.refusal = request.refusal ?? problem
            case .record, .gateway, .gatewayRemoved, .members, .templatesSynced, .render: break
            }
            pending[use] = request
            guard request.awaited.isEmpty else { return }
            if request.paused == nil, let refusal = request.refusal {
                return finish(use, .failure(refusal), minted: false, &directives)
            }
            return finish(use, .success(.paused(request.paused ?? 0)), minted: false, &directives)
        }
        switch outcome {
        case .render(let inputs): renderAgain(use, request, inputs, &directives)
        case .refused(let problem): finish(use, .failure(problem), minted: false, &directives)
        case .members(let names): syncMembers(use, names, &directives)
        case .record, .paused, .gateway, .gatewayRemoved, .templatesSynced:
            // That token went with an earlier asking, and nobody has its text any more. The answer to this one comes behind it.
            if let mintedToken, mintedToken != request.token?.id { return }
            finish(use, .success(outcome), minted: mintedToken != nil, &directives)
        }
    }

    private mutating func renderAgain(
        _ use: Use, _ request: Pending, _ inputs: RenderInputs, _ directives: inout [Directive]
    ) {
        guard let agent = request.command.renderedAgent, request.renderRounds < CommandHandler.renderRoundsMax else {
            let problem = Problem(.unavailable, "the agent changed again and again while its files were rendered")
            return finish(use, .failure(problem), minted: false, &directives)
        }
        do {
            var request = request
            request.rendered = try render(agent, inputs)
            request.renderRounds += 1
            pending[use] = request
            forward(use.id, request, &directives)
        } catch {
            let member = error.variable.map { "variables.\($0)" } ?? "variables"
            let problem = Problem(
                .invalidRequest, error.description, errors: [.init(member: member, detail: error.description)])
            finish(use, .failure(problem), minted: false, &directives)
        }
    }

    @discardableResult
    mutating func remove(_ use: Use) -> Pending? {
        digests[use.id]?.removeAll { $0 == use.digest }
        if digests[use.id]?.isEmpty ?? false { digests[use.id] = nil }
        guard let request = pending.removeValue(forKey: use) else { return nil }
        noteCredentials(request, -1)
        if request.isStarted { askers.worked(request.asker) }
        turns.insert(request.asker)
        return request
    }
}
