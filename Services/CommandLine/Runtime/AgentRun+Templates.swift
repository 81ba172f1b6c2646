internal import API
internal import Model

// Newer templates for an agent that may run: their files are fetched and written, and nothing is restarted for them.
extension AgentRun {
    /// How long a message is taken for a repeat of the one that reset the session.
    static let resetOnceWithin = TimeSpan.seconds(60)

    /// Whether also files that the agent edits are to be written.
    var overwritesFiles: Bool { announced?.message.overwrite ?? false }

    mutating func templatesAnnounced(
        _ message: TemplatesMessage, installedDigest: String?, now: Instant, into output: inout Output
    ) {
        self.installedDigest = installedDigest
        guard message.templatesDigest != installedDigest || message.overwrite else {
            return took(message.templatesDigest, message, now: now, into: &output)
        }
        announced = (message, now + AgentRun.filesRetryInterval, now + AgentRun.filesLimit)
        output.directives.append(.requestFiles(address))
    }

    /// Asks again for a while; the message itself is repeated.
    mutating func askForAnnounced(now: Instant, into output: inout Output) {
        guard let (message, askAgainAt, giveUpAt) = announced, askAgainAt <= now else { return }
        guard now < giveUpAt else {
            announced = nil
            return
        }
        announced = (message, now + AgentRun.filesRetryInterval, giveUpAt)
        if output.isConnected { output.directives.append(.requestFiles(address)) }
    }

    /// The files with this digest are in the folder of what runs: it says so, or begins a new session with them.
    mutating func took(_ digest: String, _ message: TemplatesMessage, now: Instant, into output: inout Output) {
        switch phase {
        // Its next start takes them, and says so.
        case .idle, .fetching, .stopping: return
        case .launching(var run):
            run.templatesDigest = digest
            phase = .launching(run)
        case .proving(var run, let checkInAt):
            run.templatesDigest = digest
            phase = .proving(run, checkInAt: checkInAt)
        case .running(var run):
            let isRepeat = lastReset.map { $0.digest == digest && now < $0.at + AgentRun.resetOnceWithin } ?? false
            if message.resetSession, !isRepeat {
                lastReset = (digest, now)
                return replace(run, by: run.wake.resettingSession(templatesDigest: digest), now: now, into: &output)
            }
            run.templatesDigest = digest
            if output.isConnected { output.beats.append(run.beat(isFull: true, now: now)) }
            phase = .running(run)
        }
    }
}
