internal import Glibc

/// The descriptors that this process may have (getrlimit(2)).
enum DescriptorLimit {
    /// For all else that it opens.
    private static let others = 128

    /// Raises the limit as far as it is needed and allowed; how many connections fit.
    static func raised(for connections: Int) -> Int {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0 else { return connections }
        let wanted = rlim_t(connections + others)
        if limit.rlim_cur < wanted {
            let before = limit.rlim_cur
            limit.rlim_cur = min(wanted, limit.rlim_max)
            if setrlimit(resource, &limit) != 0 { limit.rlim_cur = before }
        }
        return min(connections, Int(clamping: limit.rlim_cur) - others)
    }
}
