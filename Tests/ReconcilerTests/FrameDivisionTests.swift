import Testing

@testable import ReconcilerCore

@Suite struct FrameDivisionTests {
    private func divide(_ sizes: [Int], _ ends: [Int]) -> [Range<Int>] {
        AcknowledgementTracker.frames(sizes, ends: ends)
    }

    @Test func whatOneInputCausedIsNeverDivided() {
        // 199 entries of one input, then three of another: the three go into the next frame together.
        #expect(divide(Array(repeating: 1, count: 202), [199, 202]) == [0..<199, 199..<202])
        #expect(divide([300_000, 300_000, 300_000], [1, 3]) == [0..<1, 1..<3])
        #expect(divide([300_000, 300_000, 100_000], [1, 3]) == [0..<3])
    }

    @Test func whatIsTooMuchForOneFrameIsDivided() {
        let frames = divide(Array(repeating: 1, count: 450), [10, 450])
        #expect(frames == [0..<10, 10..<210, 210..<410, 410..<450])
        #expect(divide([1_000_000, 1], [2]) == [0..<1, 1..<2])
    }

    @Test func everyEntryIsSentOnce() {
        for sizes in [[], [1], [1, 2, 3], Array(repeating: 3_000, count: 1_000)] {
            for step in [1, 7, 150, 1_000] {
                let ends = Array(stride(from: step, to: sizes.count, by: step)) + (sizes.isEmpty ? [] : [sizes.count])
                #expect(divide(sizes, ends).flatMap(Array.init) == Array(sizes.indices))
            }
        }
    }
}
