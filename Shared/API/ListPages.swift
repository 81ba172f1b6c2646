/// All that a `list` finds, asked for page by page: what is to be asked next.
public struct ListPages: Sendable {
    /// Records asked for at once where all are wanted.
    private static let pageSize: Int64 = 500

    public private(set) var request: [String: JSONValue]

    /// - Parameter filter: members of `list`; its `limit` is the size of a page.
    public init(_ filter: [String: JSONValue]) {
        request = filter
        if filter["limit"] == nil { request["limit"] = .integer(ListPages.pageSize) }
    }

    /// Goes on behind the page that answered `request`.
    ///
    /// - Parameter next: as that page says it.
    /// - Returns: whether there is another one.
    public mutating func advance(to next: String?) -> Bool {
        guard let next else { return false }
        request["after"] = .string(next)
        return true
    }
}
