/// Whether two digests of secrets are equal, in a time that does not depend on where they differ: whoever tries tokens learns
/// nothing from how long an answer takes.
package func isSameDigest(_ one: String, _ other: String) -> Bool {
    let (one, other) = (Array(one.utf8), Array(other.utf8))
    guard one.count == other.count else { return false }
    return zip(one, other).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
}
