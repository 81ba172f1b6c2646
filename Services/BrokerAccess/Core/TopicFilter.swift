/// Relations between MQTT topics and filters (MQTT 5 §4.7), level by level and without an allocation.
///
/// One deliberate difference: `a/#` does not reach its parent `a` here. Answers of a gateway and of its agents share
/// a prefix, and a right that ends in `#` must not begin one level too high.
public enum TopicFilter {
    /// Whether everything that `narrow` can match is matched by `wide`. A topic is a filter without wildcards.
    public static func covers(_ wide: borrowing Span<UInt8>, _ narrow: borrowing Span<UInt8>) -> Bool {
        var wideStart = 0
        var narrowStart = 0
        while true {
            let wideEnd = wide.position(of: .slash, from: wideStart)
            let narrowEnd = narrow.position(of: .slash, from: narrowStart)
            if isLevel(wide, wideStart, wideEnd, .hash) { return true }
            if isLevel(narrow, narrowStart, narrowEnd, .hash) { return false }
            let isAnyLevel = isLevel(wide, wideStart, wideEnd, .plus)
            if !isAnyLevel, !levelsAreSame(wide, wideStart, wideEnd, narrow, narrowStart, narrowEnd) { return false }
            if wideEnd == wide.count || narrowEnd == narrow.count {
                return wideEnd == wide.count && narrowEnd == narrow.count
            }
            wideStart = wideEnd + 1
            narrowStart = narrowEnd + 1
        }
    }

    /// Whether some topic is matched by both filters.
    public static func overlap(_ left: borrowing Span<UInt8>, _ right: borrowing Span<UInt8>) -> Bool {
        var leftStart = 0
        var rightStart = 0
        while true {
            let leftEnd = left.position(of: .slash, from: leftStart)
            let rightEnd = right.position(of: .slash, from: rightStart)
            if isLevel(left, leftStart, leftEnd, .hash) || isLevel(right, rightStart, rightEnd, .hash) { return true }
            let isAnyLevel = isLevel(left, leftStart, leftEnd, .plus) || isLevel(right, rightStart, rightEnd, .plus)
            if !isAnyLevel, !levelsAreSame(left, leftStart, leftEnd, right, rightStart, rightEnd) { return false }
            if leftEnd == left.count || rightEnd == right.count {
                return leftEnd == left.count && rightEnd == right.count
            }
            leftStart = leftEnd + 1
            rightStart = rightEnd + 1
        }
    }

    private static func isLevel(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ byte: UInt8) -> Bool {
        end - start == 1 && text[start] == byte
    }

    private static func levelsAreSame(
        _ left: borrowing Span<UInt8>, _ leftStart: Int, _ leftEnd: Int,
        _ right: borrowing Span<UInt8>, _ rightStart: Int, _ rightEnd: Int
    ) -> Bool {
        guard leftEnd - leftStart == rightEnd - rightStart else { return false }
        for offset in 0..<(leftEnd - leftStart) where left[leftStart + offset] != right[rightStart + offset] {
            return false
        }
        return true
    }
}
