import API
import Testing

/// JSON that others wrote is read strictly.
@Suite struct JSONReaderTests {
    /// A decoder's time grows with the square of the depth: 505 arrays took two seconds.
    @Test func whatIsTooDeepIsNotDecoded() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        _ = try JSON.decode(JSONValue.self, from: nested(Limits.decodedDepthMax))
        let error = #expect(throws: DecodingError.self) {
            _ = try JSON.decode(JSONValue.self, from: nested(Limits.decodedDepthMax + 1))
        }
        #expect(error.map { JSON.describe($0).detail } == "lies deeper than 64 objects and arrays")
        #expect(throws: DecodingError.self) { _ = try JSON.decode(JSONValue.self, from: nested(30_000)) }
        // In a string they are text.
        let text = #""\""# + String(repeating: "[", count: 100) + "\""
        #expect(try JSON.decode(JSONValue.self, from: Array(text.utf8)).string?.count == 101)
        // What comes from outside has its own, lower bound.
        let command = Array("{\"agent\":".utf8) + nested(505) + Array("}".utf8)
        let problem = #expect(throws: Problem.self) { _ = try Command.parse(.wake, command) }
        #expect(problem?.type == .invalidRequest)
        #expect(problem?.detail.contains("lies deeper than 32 objects and arrays") == true)
    }

    private static func read(_ text: String) throws(JSONFault) -> JSONValue { try JSON.read(Array(text.utf8)) }

    private static func fault(_ bytes: [UInt8]) -> JSONFault? {
        do throws(JSONFault) {
            _ = try JSON.read(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [
        ("null", JSONValue.null), (" true ", .bool(true)), ("\r\n\tfalse\n", .bool(false)), ("0", .integer(0)),
        ("-0", .integer(0)), ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("3.0", .integer(3)), ("1e3", .integer(1_000)),
        ("1.5E-1", .number(0.15)), ("1e999", .number(.greatestFiniteMagnitude)), (#""""#, .string("")),
        (#""a\u00e9\n\"\/\\\ud83d\ude00""#, .string("aé\n\"/\\😀")), ("\"ä\u{7f}\"", .string("ä\u{7f}")),
        ("[]", .array([])), ("[1,[2]]", .array([.integer(1), .array([.integer(2)])])), ("{}", .object([:])),
        (#"{"a":{"b":1},"c":[{}]}"#, .object(["a": .object(["b": .integer(1)]), "c": .array([.object([:])])])),
    ])
    func whatIsJSONIsRead(text: String, value: JSONValue) throws {
        #expect(try JSONReaderTests.read(text) == value)
    }

    @Test(arguments: [
        "", " ", "tru", "nul", "truex", "NaN", "Infinity", "-", "01", "+1", ".5", "1.", "1e", "1e+", "0x1", "'a'",
        "\"a",
        "\"\\", #""\x""#, #""\u12g4""#, #""\ud83d""#, #""\ud83d\n""#, #""\ude00""#, #""\ud83d\u0041""#,
        #""\ud83d\u0000""#, #""\ud83d\ud83d""#, "\"\n\"",
        "[1,]", "[,1]",
        "[1 2]", "[", "[1", "{", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, "{a:1}", "{'a':1}", #"{"a":1 "b":2}"#, "{}{}",
        "{} x",
        "/* */ {}", "{\"a\":1}\u{0}", "\u{feff}{}",
    ])
    func whatIsNotIsRefused(text: String) {
        #expect(JSONReaderTests.fault(Array(text.utf8))?.detail.hasPrefix("not JSON (RFC 8259): ") == true)
    }

    @Test func otherEncodingsAreNamed() {
        let utf16: [UInt8] = [0x7b, 0, 0x7d, 0]
        for bytes in [utf16, [0xff, 0xfe] + utf16, [0xfe, 0xff, 0, 0x7b, 0, 0x7d]] {
            #expect(JSONReaderTests.fault(bytes)?.detail.hasSuffix("it is UTF-16 or UTF-32, not UTF-8") == true)
        }
        #expect(JSONReaderTests.fault([0xef, 0xbb, 0xbf, 0x7b, 0x7d])?.detail.hasSuffix("byte order mark") == true)
        let latin1: [UInt8] = [0x22, 0xfc, 0x22]
        #expect(JSONReaderTests.fault(latin1)?.detail.hasSuffix("the string at byte 1 is not UTF-8") == true)
    }

    @Test(arguments: [
        (#"{"a":1,"a":1}"#, "a"), (#"{"a":1,"b":2,"\u0061":3}"#, "a"), (#"[{"x":{"b":null,"b":null}}]"#, "b"),
    ])
    func aMemberComesOnce(text: String, member: String) {
        #expect(JSONReaderTests.fault(Array(text.utf8)) == JSONFault(member: member, "comes twice"))
    }

    /// Names are bytes, though Swift's texts are equal when they look the same.
    @Test func namesThatLookTheSameAreTwo() {
        let composed = "{\"\u{e9}\":1,\"e\u{301}\":2,\"status\":\"ok\"}"
        #expect(JSONReaderTests.fault(Array(composed.utf8)) == nil)
        #expect((try? JSON.read(Array(composed.utf8)))?["status"] == .string("ok"))
        let twice = "{\"e\u{301}\":1,\"e\u{301}\":2}"
        #expect(JSONReaderTests.fault(Array(twice.utf8))?.detail == "comes twice")
    }

    @Test func depthIsBounded() {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        #expect(JSONReaderTests.fault(nested(Limits.jsonDepthMax)) == nil)
        #expect(JSONReaderTests.fault(nested(Limits.jsonDepthMax + 1))?.detail.hasPrefix("lies deeper") == true)
        #expect(JSONReaderTests.fault(Array(repeating: UInt8(ascii: "["), count: 250_000)) != nil)
    }
}
