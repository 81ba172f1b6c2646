internal import Bus
internal import Glibc
internal import Model

/// Keeps sockets of refused clients open and reads on, so that they get to the answer: a socket that is closed with unread
/// bytes is reset, and a reset takes the answer with it (RFC 9112 §9.6).
final class Lingering {
    /// More are closed at once.
    private static let socketsMax = 64
    private static let limit = TimeSpan.seconds(2)
    /// Of one socket; whoever sends more is reset.
    private static let bytesMax = 1_048_576

    private let loop: EventLoop
    /// With how much was read.
    private var sockets: [Int32: Int] = [:]

    init(loop: EventLoop) {
        self.loop = loop
    }

    deinit {
        for socket in sockets.keys { end(socket) }
    }

    /// Takes a descriptor of its own: the library closes its one.
    func take(_ socket: Int32) {
        guard sockets.count < Lingering.socketsMax else { return }
        let copy = fcntl(socket, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return }
        shutdown(copy, Int32(SHUT_WR))
        sockets[copy] = 0
        loop.watch(copy) { [weak self] in self?.read(copy) }
        // A descriptor's number may be another's by then; that one only ends early.
        loop.after(Lingering.limit) { [weak self] in self?.end(copy) }
    }

    private func read(_ socket: Int32) {
        var block = [UInt8](repeating: 0, count: 16_384)
        let count = recv(socket, &block, block.count, Int32(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        sockets[socket, default: 0] += max(0, count)
        guard count > 0, sockets[socket, default: 0] <= Lingering.bytesMax else { return end(socket) }
    }

    private func end(_ socket: Int32) {
        guard sockets.removeValue(forKey: socket) != nil else { return }
        loop.unwatch(socket)
        close(socket)
    }
}
