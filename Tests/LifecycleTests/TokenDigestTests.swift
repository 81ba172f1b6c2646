import Model
import Testing

/// Digests are compared whole, wherever they differ.
struct TokenDigestTests {
    @Test(arguments: [
        ("", "", true), ("ab", "ab", true), ("ab", "ac", false), ("ab", "bb", false), ("ab", "abc", false),
    ])
    func compares(one: String, other: String, isSame: Bool) {
        #expect(isSameDigest(one, other) == isSame)
    }
}
