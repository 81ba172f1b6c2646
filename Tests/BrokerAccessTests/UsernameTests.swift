import BrokerAccessCore
import Testing

@Suite("Usernames")
struct UsernameTests {
    @Test(
        "have one of four forms",
        arguments: [
            ("op:alice", Username.Kind.operator), ("svc:status-store/1", .service), ("gw1", .gateway),
            ("gw1/a1", .agent), ("auto-1", .gateway), ("0/9", .agent), ("a.b_c-D/x", .agent),
            (String(repeating: "g", count: 63) + "/" + String(repeating: "a", count: 63), .agent),
        ])
    func valid(text: String, kind: Username.Kind) {
        #expect(Username(text)?.kind == kind)
        #expect(Username(text)?.description == text)
    }

    @Test(
        "are nothing else",
        arguments: [
            "", "/", "a/", "/a", "a/b/c", "-a", "a/.b", "a b", "a+", "#", "+/a", "a/#", "$SYS", "op:", "op:a/b",
            "svc:a",
            "svc:a/", "svc:/a", "svc:a/b/c", "user:a", ":a", "op:op:a", "a:b", "ä", "a~1", "a\n", "a\0b",
            String(repeating: "g", count: 64),
        ])
    func invalid(text: String) {
        #expect(Username(text) == nil)
    }

    @Test("name the service of a service, and of nobody else")
    func service() {
        #expect(Username("svc:control-api/7")?.service == "control-api")
        #expect(Username("control-api/7")?.service == nil)
    }
}

@Suite("Topic filters")
struct TopicFilterTests {
    @Test(
        "cover what they can match",
        arguments: [
            ("a/b", "a/b"), ("a/+", "a/b"), ("a/+", "a/+"), ("a/+/c", "a/b/c"), ("#", "a"), ("#", "+/b/#"),
            ("a/#", "a/b/c"),
            ("a/#", "a/#"), ("a/#", "a/+"), ("+/+", "a/"), ("a/#", "a/"),
        ])
    func covers(wide: String, narrow: String) {
        #expect(TopicFilter.covers(wide, narrow))
    }

    @Test(
        "do not cover more than they can match",
        arguments: [
            ("a/b", "a/+"), ("a/b", "a/#"), ("a/+", "a/#"), ("a/+", "a"), ("a/+", "a/b/c"), ("a/b", "a"), ("a", "a/b"),
            ("+", "#"), ("a/b", "a/bc"), ("a/bc", "a/b"), ("a/+/c", "a/+/d"), ("a/#", "+/#"), ("a/#", "a"),
        ])
    func coversNot(wide: String, narrow: String) {
        #expect(!TopicFilter.covers(wide, narrow))
    }

    @Test(
        "overlap when a topic matches both",
        arguments: [
            ("#", "a/b", true), ("+/b", "a/+", true), ("a/+/c", "+/b/#", true), ("a/b", "a/c", false),
            ("a", "a/b", false),
            ("+/x", "a/y", false), ("a/+", "a/b/c", false),
        ])
    func overlap(left: String, right: String, expected: Bool) {
        #expect(TopicFilter.overlap(left, right) == expected)
        #expect(TopicFilter.overlap(right, left) == expected)
    }

    @Test(
        "start at a topic root without wildcards, empty levels or a dollar",
        arguments: ["", "a//b", "a/", "/a", "$a", "a+", "a/#", "a b"])
    func badRoots(text: String) {
        #expect(TopicRoot(text) == nil)
        #expect(TopicRoot("rollcall/v1") != nil)
    }
}
