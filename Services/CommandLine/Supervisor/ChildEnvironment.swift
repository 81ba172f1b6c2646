/// What a child sees of this process's environment.
///
/// A service is configured by its arguments alone: a variable that an operator exported for the command line
/// (`ROLLCALL_BROKER` of another system, a policy) must not change it.
enum ChildEnvironment {
    static let passed: Set<String> = ["PATH", "HOME", "TZ", "LANG", "LC_ALL", "SWIFT_BACKTRACE", "LD_LIBRARY_PATH"]

    /// - Parameter added: what this child gets beside it.
    static func variables(of own: [String: String], adding added: [String: String] = [:]) -> [String] {
        // The sanitizers take their settings from ASAN_OPTIONS, TSAN_OPTIONS and so on; coverage from LLVM_PROFILE_FILE.
        own.filter { passed.contains($0.key) || $0.key.hasSuffix("SAN_OPTIONS") || $0.key == "LLVM_PROFILE_FILE" }
            .merging(added) { _, new in new }
            .map { "\($0.key)=\($0.value)" }.sorted()
    }
}
