internal import Glibc

/// Standard output, or another descriptor, written without ever waiting for its reader.
///
/// What the reader does not take is kept up to `pendingBytesMax`; lines beyond that are dropped and counted. A line that the
/// reader has room for is written at once and whole: a killed process loses none of those, and two processes never mix theirs.
struct LogOutput {
    /// A reader may be so far behind before lines are dropped: some 5,000 of them.
    static let pendingBytesMax = 1_048_576
    /// A pipe takes so much whole or not at all (PIPE_BUF, pipe(7)), and has room for it when poll(2) says so.
    private static let chunkBytesMax = 4_096

    private let descriptor: Int32
    private let pendingBytesMax: Int
    private let access: Access
    /// Begins with the rest of a line when one was written in part.
    private var pending: [UInt8] = []
    private var dropped = 0

    private enum Access {
        /// A write that finds no room says so.
        case writesNow
        /// A socket has a flag for each call (send(2)).
        case sends
        /// Its description is shared with strangers, whose writes must go on waiting.
        case asksFirst
    }

    /// - Parameter shared: others may hold its open file description: a flag on that would be theirs too.
    init(_ shared: Int32, pendingBytesMax: Int = LogOutput.pendingBytesMax) {
        self.pendingBytesMax = pendingBytesMax
        var status = stat()
        guard fstat(shared, &status) == 0 else {
            (descriptor, access) = (shared, .writesNow)
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFIFO, S_IFCHR:
            // Opened anew it is the same pipe or terminal under a description of our own (open(2), proc(5)).
            let own = open("/proc/self/fd/\(shared)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
            (descriptor, access) = own >= 0 ? (own, .writesNow) : (shared, .asksFirst)
        case S_IFSOCK: (descriptor, access) = (shared, .sends)
        default: (descriptor, access) = (shared, .writesNow)
        }
    }

    /// Takes a line, its end included.
    mutating func write(_ line: [UInt8]) {
        flush()
        guard pending.count + line.count <= pendingBytesMax else {
            dropped += 1
            return
        }
        pending += line
        flush()
    }

    /// Writes what the reader has room for.
    mutating func flush() {
        var taken = 0
        while taken < pending.count {
            let count = writeNow(LogOutput.wholeLines(pending[taken...]))
            if count < 0, errno == EINTR { continue }
            if count < 0, errno != EAGAIN, errno != EWOULDBLOCK {
                // Nobody reads any more, or the disk is full: a log must not stop the service.
                dropped += pending[taken...].count { $0 == UInt8(ascii: "\n") }
                taken = pending.count
                break
            }
            guard count > 0 else { break }
            taken += count
        }
        if taken > 0 { pending.removeFirst(taken) }
    }

    /// How many lines were dropped, once the reader has taken all before them; then they count as told.
    mutating func takeDropped() -> Int {
        guard dropped > 0, pending.isEmpty else { return 0 }
        defer { dropped = 0 }
        return dropped
    }

    /// Gives the reader so long to take the rest.
    mutating func finish(milliseconds: Int32) {
        flush()
        guard !pending.isEmpty else { return }
        var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        var rest = milliseconds
        while !pending.isEmpty, rest > 0 {
            rest -= 10
            if poll(&state, 1, 10) > 0 { flush() }
        }
    }

    /// As many lines as are written in one piece; of a longer line as much as the reader has room for.
    private static func wholeLines(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let chunk = bytes.prefix(chunkBytesMax)
        guard chunk.count < bytes.count, let end = chunk.lastIndex(of: UInt8(ascii: "\n")) else { return chunk }
        return chunk[...end]
    }

    private func writeNow(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.withUnsafeBytes { bytes in
            switch access {
            case .writesNow: return Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            case .sends:
                return send(
                    descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            case .asksFirst:
                var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&state, 1, 0) > 0 else {
                    errno = EAGAIN
                    return -1
                }
                return Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
        }
    }
}
