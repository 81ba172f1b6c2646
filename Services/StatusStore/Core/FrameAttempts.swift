public import Wire

/// How often the next frame of each stream failed: one that always fails must not hold up the others for ever.
public struct FrameAttempts: Sendable {
    /// After so many attempts a frame is put aside.
    public static let max = 5

    private var failures: [StreamID: (seq: Int, count: Int)] = [:]

    public init() {}

    /// The frame failed once more. Whether it is to be put aside.
    public mutating func failed(_ stream: StreamID, seq: Int) -> Bool {
        let before = failures[stream].map { $0.seq == seq ? $0.count : 0 } ?? 0
        failures[stream] = (seq, before + 1)
        return before + 1 >= FrameAttempts.max
    }

    /// The stream has gone on.
    public mutating func forget(_ stream: StreamID) {
        failures[stream] = nil
    }
}
