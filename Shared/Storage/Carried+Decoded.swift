internal import API
public import Wire

extension Carried {
    /// The value. What was stored once is of our own making: a failure says that the database was changed by others.
    public func decoded() throws(StorageError) -> Value {
        do {
            return try decode()
        } catch {
            let (member, detail) = JSON.describe(error)
            throw StorageError(.content, message: "\(Value.self) \(member): \(detail)", operation: "decode")
        }
    }
}
