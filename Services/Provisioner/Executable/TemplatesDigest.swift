import ProvisionerCore
internal import Secrets

/// The digest of an agent's rendered files as wakes, records and heartbeats carry it: `sha256:` and 64 hexadecimal digits.
///
/// `canonicalBytes(of:)` says what it covers.
func templatesDigest(of files: [RenderedFile]) -> String {
    "sha256:\(Digest(of: canonicalBytes(of: files)))"
}
