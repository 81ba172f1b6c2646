import Model
import Testing

/// Durations, rates and times as people write them, and names.
@Suite struct ValueTests {
    @Test(arguments: [
        ("500ms", 500), ("100ms", 100), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("30d", 2_592_000_000),
        ("1s", 1_000), ("0030s", 30_000), ("2592000s", 2_592_000_000),
    ])
    func aDurationIsAnIntegerAndAUnit(text: String, milliseconds: Int64) throws {
        #expect(try DurationText(parsing: text).span.milliseconds == milliseconds)
    }

    @Test(arguments: ["500ms", "30s", "10m", "2h", "30d"])
    func aDurationIsReadAsItWasWritten(text: String) throws {
        #expect(try DurationText(parsing: text).description == text)
    }

    @Test(arguments: [
        "", "s", "30", "1.5s", "-1s", "+1s", " 1s", "1s ", "1 s", "1S", "1w", "1us", "٣s", "1e3s", "0x10s",
        "99999999999999999999s",
    ])
    func whatIsNoDurationIsRefused(text: String) {
        let error = #expect(throws: InvalidValue.self) { try DurationText(parsing: text) }
        #expect(error?.reason.contains("is not a duration") == true)
    }

    @Test(arguments: ["0s", "0ms", "99ms", "31d", "721h", "2592000001ms", "9223372036854775807d"])
    func aDurationBeyondTheBoundsIsRefusedWithTheBounds(text: String) {
        let error = #expect(throws: InvalidValue.self) { try DurationText(parsing: text) }
        #expect(error?.reason == "'\(text)' is out of bounds: 100ms to 30d")
    }

    @Test(arguments: [("50/s", 50), ("1/s", 1), ("0", 0), ("0/s", 0), ("1000000/s", 1_000_000)])
    func aRateIsAnIntegerASecond(text: String, perSecond: Int) throws {
        let rate = try Rate(parsing: text)
        #expect(rate.perSecond == perSecond)
        #expect(rate.isUnlimited == (perSecond == 0))
    }

    @Test(arguments: ["", "/s", "50", "50/m", "-1/s", "1.5/s", " 1/s", "1000001/s", "99999999999999999999/s"])
    func whatIsNoRateIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try Rate(parsing: text) }
    }

    @Test func aRateIsWrittenAsItIsRead() throws {
        #expect(Rate(perSecond: 0).description == "0")
        #expect(Rate(perSecond: 50).description == "50/s")
    }

    // MARK: Times

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-01-31T09:05:07.042Z", 1_769_850_307_042),
        ("2026-01-31t09:05:07.0429999z", 1_769_850_307_042), ("2026-01-31 10:05:07.042+01:00", 1_769_850_307_042),
        ("2026-01-31T08:35:07.042-00:30", 1_769_850_307_042), ("2024-02-29T12:00:00Z", 1_709_208_000_000),
        ("2000-02-29T00:00:00.5Z", 951_782_400_500), ("1969-12-31T23:59:59.999Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000), ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ])
    func aTimeIsReadAsRFC3339(text: String, milliseconds: Int64) {
        #expect(Timestamp(text)?.millisecondsSince1970 == milliseconds)
    }

    @Test(arguments: [
        "", "2026-01-31", "2026-01-31T09:05:07", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+0100", "2026-1-1T00:00:00Z", "2026-01-01T00:00:00ZZ", "20260101T000000Z",
        "2026-01-01T00:00:00 Z",
    ])
    func whatIsNoTimeIsRefused(text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test func aTimeIsWrittenInUTCWithMilliseconds() {
        #expect(Timestamp(millisecondsSince1970: 1_769_850_307_042).description == "2026-01-31T09:05:07.042Z")
        #expect(Timestamp(millisecondsSince1970: 0).description == "1970-01-01T00:00:00.000Z")
        #expect(Timestamp(millisecondsSince1970: -1).description == "1969-12-31T23:59:59.999Z")
    }

    /// A day in each of four centuries, and every hour of the days around a leap day.
    @Test func everyTimeIsReadBackAsItWasWritten() {
        for day in stride(from: Int64(-25_000), to: 120_000, by: 13) {
            let wallTime = Timestamp(millisecondsSince1970: day * 86_400_000 + abs(day * 7_919_317) % 86_400_000)
            #expect(Timestamp(wallTime.description) == wallTime)
        }
        for hour in Int64(474_760)..<474_860 {
            let wallTime = Timestamp(millisecondsSince1970: hour * 3_600_000 + 1)
            #expect(Timestamp(wallTime.description) == wallTime)
        }
    }

    // MARK: Names

    @Test(arguments: ["a", "A", "0", "gw-1", "a.b_c-d", "0-", String(repeating: "x", count: 63)])
    func theseAreIds(text: String) {
        #expect(Identifier.isValid(text))
    }

    @Test(arguments: [
        "", "-a", ".a", "_a", "a b", "a/b", "a+b", "#", "ä", "a:b", "a\0", String(repeating: "x", count: 64),
    ])
    func theseAreNot(text: String) {
        #expect(!Identifier.isValid(text))
    }

    @Test func anAddressIsTwoIds() throws {
        let address = try #require(AgentAddress("gw-1/a.1"))
        #expect(address.gateway == "gw-1")
        #expect(address.agent == "a.1")
        #expect(address.description == "gw-1/a.1")
        #expect(AgentAddress(gateway: "gw-1", agent: "a.1") == address)
    }

    @Test(arguments: ["", "gw", "gw/", "/a", "gw/a/b", "gw//a", "gw a/b", "op:x/a", "gw/a:b"])
    func whatIsNoAddressIsRefused(text: String) {
        #expect(AgentAddress(text) == nil)
    }

    @Test func addressesAreOrderedBytewise() {
        let ordered = ["a-b/z", "a.b/a", "a/a", "a0/a", "aA/a", "a_/a", "aa/a", "aa/b"]
        #expect(ordered.compactMap(AgentAddress.init).sorted().map(\.description) == ordered)
    }

    /// The offsets and test vectors of draft-eastlake-fnv, and that a partition depends on nothing but the gateway's id.
    @Test func aPartitionIsTheHashOfTheGateway() {
        #expect(Partition.fnv1a("") == 0xcbf2_9ce4_8422_2325)
        #expect(Partition.fnv1a("a") == 0xaf63_dc4c_8601_ec8c)
        #expect(Partition.fnv1a("foobar") == 0x8594_4171_f739_67e8)
        #expect(Partition.of(gateway: "foobar", count: 16) == 8)
        #expect(Partition.of(gateway: "foobar", count: 1) == 0)
    }
}
