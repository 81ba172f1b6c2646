import API
import Model
import Testing

@testable import Alerts

struct FormTests {
    /// What is posted when two agents go offline, one of them with its gateway.
    private func request(_ form: String, _ members: String = #""group_wait": "0s""#) throws -> AlertRequest {
        var subject = AlertSubject(form, members)
        _ = subject.tick()
        subject.commit("offline", "g/a", error: "Agent did not check in: <it> & more")
        subject.commit("offline", "g/b", error: "Agent did not check in: gateway g is lost")
        _ = subject.settle()
        return try #require(subject.request)
    }

    @Test func webhook() throws {
        let request = try request("webhook")
        #expect(request.secrets.map(\.count) == [24])
        #expect(request.headers.map(\.value) == ["application/cloudevents+json"])
        #expect(
            String(decoding: request.body, as: UTF8.self) == """
                {"data":{"causes":{"checkin_missed":2},"events":[{"agent":"g/a","board":"b","cause":"checkin_missed",\
                "change":"offline","error":"Agent did not check in: <it> & more","id":"g/a#1","role":"worker","sequence":1,\
                "time":"1970-01-01T00:00:01.200Z"}],"explained":1,"gateway":"g","gateway_lost":true,"offline":2,\
                "state":"firing","summary":"gateway g is lost; g: 1 agent offline; 1 agent of g offline with it"},\
                "datacontenttype":"application/json","id":"g/a#1 g/a#1 1","source":"rollcall/alerts/ops","specversion":"1.0",\
                "subject":"g","time":"1970-01-01T00:00:01.400Z","type":"dev.rollcall.alert.v1"}
                """)
    }

    @Test func slack() throws {
        let body = try JSON.read(try request("slack").body)
        #expect(body["text"]?.string?.contains("&lt;it&gt; &amp; more") == true)
    }

    @Test func ntfy() throws {
        let request = try request("ntfy", #""group_wait": "0s", "token": "tk_1""#)
        #expect(
            request.headers.map { "\($0.name): \($0.value)" } == [
                "Title: gateway g is lost; g: 1 agent offline; 1 agent of g offline with it", "Priority: urgent",
                "Tags: rotating_light", "Authorization: Bearer tk_1",
            ])
        #expect(
            String(decoding: request.body, as: UTF8.self).hasSuffix(
                "\ng/a: Agent did not check in: <it> & more\noffline now: checkin_missed 2"))
    }

    @Test func alertmanager() throws {
        let request = try request("alertmanager", "")
        #expect(request.url == "http://x/hook/api/v2/alerts")
        let alerts = try JSON.read(request.body).array ?? []
        #expect(
            alerts.map { $0["labels"]?["alertname"]?.string } == ["RollcallAgentOffline", "RollcallGatewayLost"])
        #expect(alerts[0]["labels"]?["agent"]?.string == "g/a")
        #expect(alerts[0]["startsAt"]?.string == "1970-01-01T00:00:01.200Z")
    }

    /// A lost gateway's agents that go offline after it are counted in a message that names nobody.
    @Test func alertmanagerIsSentNoTestByALoss() throws {
        var subject = AlertSubject("alertmanager", "")
        _ = subject.tick()
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayLost, gateway: "g", agents: 1)))
        _ = subject.settle()
        _ = subject.answer(200)
        subject.commit("offline", "g/a", error: "Agent did not check in: gateway g is lost")
        _ = subject.settle()
        let alerts = try JSON.read(try #require(subject.request).body).array ?? []
        #expect(alerts.map { $0["labels"]?["alertname"]?.string } == ["RollcallGatewayLost"])
    }

    /// What one message would not hold is told in several, none of which is lost.
    @Test func manyAgents() throws {
        var subject = AlertSubject("webhook")
        _ = subject.tick()
        for number in 0..<100 { subject.commit("offline", "g/a\(number)", error: String(repeating: "x", count: 400)) }
        _ = subject.settle()
        var told: [String] = []
        while let request = subject.request {
            #expect(request.body.count < 20_000)
            told += try JSON.read(request.body)["data"]?["events"]?.array?.compactMap { $0["agent"]?.string } ?? []
            #expect(subject.position() < 100)
            _ = subject.answer(200)
        }
        #expect(told == (0..<100).map { "g/a\($0)" })
        #expect(subject.position() == 100)
    }

    @Test(arguments: [
        ("http://h", "http://h"), ("HTTPS://h:8443/hook", "https://h:8443"), ("http://u:p@h/x", "http://h"),
        ("http://u:p@w@h:1", "http://h:1"), ("http://h?token=x", "http://h"), ("http://h#x", "http://h"),
        ("http://h/a@b", "http://h"), ("http://[::1]:9093/", "http://[::1]:9093"), ("http://h//secret", "http://h"),
    ])
    func shownOfAnAddress(_ url: String, _ server: String) throws {
        let text = #"{"sinks": [{"name": "a", "form": "slack", "url": "\#(url)"}]}"#
        #expect(try AlertSettings(Array(text.utf8)).sinks.map(\.server) == [server])
    }

    @Test(arguments: [
        "http://", "http:///x", "http://:80/x", "http://u@/x", "http://?x", "http://u:pa/ss@h", "http://h:/x",
    ])
    func addressesWithoutAHost(_ url: String) {
        let text = #"{"sinks": [{"name": "a", "form": "slack", "url": "\#(url)"}]}"#
        #expect(throws: JSONFault(member: "sinks[0].url", "names no host, or one with a port that is no number")) {
            try AlertSettings(Array(text.utf8))
        }
    }

    @Test(
        arguments: [
            ("", []), ("QQ", [65]), ("QQ==", [65]), ("QUI", [65, 66]), ("QUI=", [65, 66]), ("QUJD", [65, 66, 67]),
            ("QR", nil), ("QUJ", nil), ("Q", nil), ("QUJDR", nil), ("QUJDA", nil), ("QQ===", nil), ("QU-D", nil),
        ] as [(Substring, [UInt8]?)])
    func base64(_ text: Substring, _ bytes: [UInt8]?) {
        #expect(Base64.decode(text) == bytes)
    }

    @Test(arguments: [
        ("[]", "the file: is an array, not an object"), ("{", "it ends too early"),
        (#"{"sinks": []}"#, "sinks: has to name 1 to 100 sinks"),
        (#"{"sinks": [1]}"#, "sinks[0]: is an integer, not an object"),
        (#"{"sinks": [], "sink": 1}"#, "sink: is not a member that is known"),
        (#"{"sinks": [{"form": "slack", "url": "http://x"}]}"#, "sinks[0].name: is missing"),
        (
            #"{"sinks": [{"name": "a", "form": "mail", "url": "http://x"}]}"#,
            "sinks[0].form: 'mail' is none of webhook, slack, ntfy, alertmanager"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "slack", "url": "file:///etc/passwd"}]}"#,
            "sinks[0].url: is not an http:// or https:// address"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "webhook", "url": "http://x"}]}"#,
            "sinks[0].secrets: is missing: a list of whsec_… and the base64 of 24 to 64 random bytes"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "webhook", "url": "http://x", "secrets": ["whsec_short"]}]}"#,
            "sinks[0].secrets[0]: is not whsec_ and the base64 of 24 to 64 bytes"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "slack", "url": "http://x", "group_wait": "soon"}]}"#,
            "sinks[0].group_wait: 'soon' is not a duration: an integer and a unit, as 500ms, 30s, 10m, 2h, 30d"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "slack", "url": "http://x", "causes": ["lost"]}]}"#,
            "sinks[0].causes: 'lost' is none of checkin_missed, lapsed, goodbye, never_woken"
        ),
        (
            #"{"sinks": [{"name": "a", "form": "slack", "url": "http://x"}, {"name": "a", "form": "slack", "url": "http://x"}]}"#,
            "sinks[1].name: 'a' is the name of another sink, too"
        ),
    ])
    func badSettings(_ text: String, _ fault: String) {
        #expect {
            try AlertSettings(Array(text.utf8))
        } throws: { error in
            (error as? JSONFault)?.description == fault || text == "{"
        }
    }
}
