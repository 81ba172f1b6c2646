public import Model
public import Storage
public import Wire

extension SQLiteStatusDatabase {
    public func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String] {
        let until = now + RememberedRequest.lifetime(isKeyed: true)
        return try database.transaction { () throws(StorageError) in
            var holders: [String] = []
            holders.reserveCapacity(claims.count)
            for claim in claims {
                let holder = try database.first(
                    "SELECT digest FROM keys WHERE id = ? AND until >= ?", .text(claim.requestID),
                    .integer(now.millisecondsSince1970)
                ) { $0.text(0) }
                holders.append(holder ?? claim.digest)
                guard holder == nil else { continue }
                try database.run(
                    "INSERT OR REPLACE INTO keys VALUES(?, ?, ?)", .text(claim.requestID), .text(claim.digest),
                    .integer(until.millisecondsSince1970))
            }
            return holders
        }
    }
}
