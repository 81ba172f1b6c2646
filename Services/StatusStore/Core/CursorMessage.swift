/// The store's retained note of what it has published: another store, or a broker that forgot, shows by it.
public struct CursorMessage: Codable, Hashable, Sendable {
    public let published: Int64
    /// Which database it is about.
    public let database: String

    public init(published: Int64, database: String) {
        self.published = published
        self.database = database
    }

    /// Whether more was published of this database than it has ever held: it is an older copy, or its end was lost.
    public func isAhead(of last: Int64, database: String) -> Bool {
        self.database == database && published > last
    }

    /// From which sequence on statuses are to be published again; `nil` for none.
    ///
    /// - Parameters:
    ///   - found: what the broker has kept.
    ///   - published: what was published before this connection.
    ///   - last: the highest sequence there is. A note beyond it tells of another past of this database. One between
    ///     the two is usual after a crash: the end of the outbox goes out again anyway.
    public static func republishing(
        found: CursorMessage?, published: Int64, last: Int64, database: String
    ) -> Int64? {
        guard published > 0 else { return nil }
        guard let found, found.database == database, found.published <= last else { return 0 }
        return found.published < published ? found.published : nil
    }
}
