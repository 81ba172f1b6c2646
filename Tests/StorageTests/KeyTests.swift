import Model
import Storage
import Testing
import Wire

/// Idempotency keys: one request has each, whoever asks, for a day.
@Suite struct KeyTests {
    private let hour: Int64 = 3_600_000

    private func claim(_ database: any StatusDatabase, _ id: String, _ digest: String, hours: Int64 = 0) throws
        -> String
    {
        try database.claim(
            [KeyClaim(requestID: id, digest: digest, provisioner: "1")],
            now: Timestamp(millisecondsSince1970: hours * hour))[0]
    }

    @Test(arguments: Implementation.allCases)
    func theFirstRequestHasTheKey(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        let claims = [("k", "a"), ("k", "b"), ("l", "b"), ("k", "a")].map {
            KeyClaim(requestID: $0.0, digest: $0.1, provisioner: "1")
        }
        #expect(try database.claim(claims, now: Timestamp(millisecondsSince1970: 0)) == ["a", "a", "b", "a"])
    }

    @Test func itSurvivesARestart() throws {
        let place = try Place()
        do {
            #expect(try claim(Implementation.sqlite.open(place), "k", "a") == "a")
        }
        #expect(try claim(Implementation.sqlite.open(place), "k", "b") == "a")
    }

    @Test(arguments: Implementation.allCases)
    func itIsKeptForADayAndPurged(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try claim(database, "k", "a") == "a")
        #expect(try claim(database, "l", "a") == "a")
        // A repeat makes it no younger.
        #expect(try claim(database, "k", "a", hours: 23) == "a")
        #expect(try claim(database, "k", "b", hours: 24) == "a")
        let late = Timestamp(millisecondsSince1970: 25 * hour)
        #expect(try database.tidy(published: 0, now: late, historyBefore: late, historyBytesMax: .max, limit: 1))
        #expect(try !database.tidy(published: 0, now: late, historyBefore: late, historyBytesMax: .max, limit: 2))
        #expect(try claim(database, "k", "b", hours: 25) == "b")
        #expect(try claim(database, "k", "a", hours: 25) == "b")
    }

    @Test(arguments: Implementation.allCases)
    func oneThatHasExpiredIsTakenBeforeItIsPurged(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try claim(database, "k", "a") == "a")
        #expect(try claim(database, "k", "b", hours: 25) == "b")
    }

    @Test func whatWasExecutedBeforeThereWereClaimsKeepsItsKey() throws {
        let place = try Place()
        let end = 24 * hour
        try place.makeDatabase(
            version: 1,
            """
            INSERT INTO requests VALUES(1, 'k', 'a', \(end), NULL, NULL, NULL);
            INSERT INTO requests VALUES(0, 'l/0', 'a', \(end), NULL, NULL, NULL);
            INSERT INTO requests VALUES(1, 'l/1', 'a', \(end), NULL, NULL, NULL);
            """)
        let database = try Implementation.sqlite.open(place)
        #expect(try claim(database, "k", "b") == "a")
        #expect(try claim(database, "l", "b") == "a")
        #expect(try claim(database, "m", "b") == "b")
    }
}
