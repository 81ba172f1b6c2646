internal import BrokerAccessCore
internal import Glibc

/// The digests of agents and gateways on disk, so that a restarted broker knows them before the status store is back.
///
/// A journal of text lines, appended before a change is acknowledged and written anew (to a file beside it, then
/// renamed) at start and with each `commit`. It survives the death of the broker; it is not synchronised to the disk,
/// since the status store is the authority and sends the whole table again after a crash of the machine.
final class StateFile {
    /// The journal is written anew once this much was appended to it.
    private static let appendedBytesMax = 64 << 20

    private let path: String
    private var descriptor: Int32 = -1
    private var bytes = 0
    private var appendedBytes = 0

    init(path: String) { self.path = path }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Whether enough was appended to write the journal anew.
    var isLong: Bool { appendedBytes > StateFile.appendedBytesMax }

    /// Restores what the file holds, then writes it anew.
    ///
    /// A file with a line that makes no sense is not trusted at all: nobody is known until the status store is back.
    func load(into identities: inout Identities, at now: Moment) throws(SystemFailure) {
        var loaded = identities
        let problem = try withContents(of: path) { buffer -> BadLine? in
            do throws(BadLine) {
                try JournalEntry.forEach(in: buffer.span) { loaded.restore($0, at: now) }
                return nil
            } catch {
                return error
            }
        }
        if let problem = problem ?? nil {
            BrokerLog.error("access.state_broken", ["path": path, "problem": "\(problem)"])
        } else {
            identities = loaded
        }
        try rewrite(from: identities, at: now)
    }

    /// Adds lines to the journal; nothing is left of lines that could not be written completely.
    func append(_ lines: [UInt8]) throws(SystemFailure) {
        guard writeAll(lines, to: descriptor) else {
            let failure = SystemFailure("write", path)
            _ = ftruncate(descriptor, off_t(bytes))
            throw failure
        }
        bytes += lines.count
        appendedBytes += lines.count
    }

    /// Replaces the journal by the table as it is now.
    func rewrite(from identities: Identities, at now: Moment) throws(SystemFailure) {
        let newPath = path + ".new"
        let new = open(newPath, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard new >= 0 else { throw SystemFailure("open", newPath) }
        var size = 0
        let isWritten = identities.writeState(at: now) { piece in
            size += piece.count
            return writeAll(piece, to: new)
        }
        guard isWritten, fchmod(new, 0o600) == 0, rename(newPath, path) == 0 else {
            let failure = SystemFailure("write", newPath)
            close(new)
            unlink(newPath)
            throw failure
        }
        if descriptor >= 0 { close(descriptor) }
        descriptor = new
        bytes = size
        appendedBytes = 0
    }
}
