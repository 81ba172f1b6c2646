import ProvisionerCore
import Testing

@Suite struct ReplyAddressTests {
    @Test(arguments: ["op:eve/x", "op:eve/a/b/c", "gw/a1/ü", "x"])
    func repliesLieBelowThePrefix(topic: String) {
        #expect(address(topic)?.topic == "rollcall/v1/replies/" + topic)
    }

    @Test(arguments: [
        nil, "", "rollcall/v1/replies/", "rollcall/v1/replies", "rollcall/v1/repliesx/y",
        "rollcall/v1/agents/gw/a/wake",
        "rollcall/v1/replies/+", "rollcall/v1/replies/x/#", "rollcall/v1/replies/x\u{0}", "$SYS/x",
        "rollcall/v1/replies/" + String(repeating: "x", count: 1_024),
    ])
    func nothingIsAnsweredElsewhere(topic: String?) {
        #expect(ReplyAddress(topic, correlation: nil, below: "rollcall/v1/replies/") == nil)
    }

    @Test(arguments: [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false), ("", false),
        (String(repeating: "-", count: 55), false),
    ])
    func onlyATraceparentIsPassedOn(text: String, isValid: Bool) {
        #expect(TraceParent.valid(text) == (isValid ? text : nil))
        #expect(TraceParent.valid(nil) == nil)
    }
}
