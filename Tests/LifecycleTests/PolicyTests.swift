import FoundationEssentials
import Model
import Testing

@Suite struct PolicyTests {
    /// The defaults are the product's promise.
    @Test func theDefaults() throws {
        let expected = """
            {"checkin_deadline":"30s","heartbeat_interval":"60s","heartbeat_rate":"10/s","lost_grace":"10s",\
            "max_wake_attempts":3,"offline_after":"10m","on_lapse":"wake","recover_backoff":"10s","recover_backoff_max":"5m",\
            "startup_extension_max":"5m","wake_rate":"50/s"}
            """
        #expect(try text(Policy()) == expected)
        #expect(try decode(Policy.self, expected) == Policy())
        #expect(try decode(Policy.self, "{}") == Policy())
    }

    @Test func overridesHaveOnlyWhatIsSet() throws {
        let json = """
            {"checkin_deadline":"1s","heartbeat_rate":"0","max_wake_attempts":1,"on_lapse":"offline"}
            """
        let overrides = try decode(PolicyOverrides.self, json)
        #expect(overrides.checkinDeadline == DurationText(1, .seconds))
        #expect(overrides.heartbeatRate?.isUnlimited == true)
        #expect(overrides.maxWakeAttempts == 1)
        #expect(overrides.onLapse == .offline)
        #expect(overrides.offlineAfter == nil)
        #expect(try text(overrides) == json)
        #expect(try text(PolicyOverrides()) == "{}")
        #expect(PolicyOverrides().isEmpty)
        #expect(!overrides.isEmpty)
    }

    @Test func agentOverGatewayOverSystem() throws {
        let gateway = try decode(PolicyOverrides.self, #"{"checkin_deadline": "5s", "offline_after": "1h"}"#)
        let agent = try decode(PolicyOverrides.self, #"{"checkin_deadline": "7s"}"#)
        let policy = Policy().overridden(by: gateway).overridden(by: agent)
        #expect(policy.checkinDeadline.description == "7s")
        #expect(policy.offlineAfter.description == "1h")
        #expect(policy.maxWakeAttempts == 3)
    }

    @Test func everySettingCanBeSetReadAndRemoved() throws {
        let texts: [PolicySetting: String] = [
            .checkinDeadline: "1s", .maxWakeAttempts: "7", .heartbeatInterval: "2s", .offlineAfter: "3m",
            .onLapse: "offline", .lostGrace: "4s", .startupExtensionMax: "5h", .recoverBackoff: "0s",
            .recoverBackoffMax: "9m", .wakeRate: "6/s", .heartbeatRate: "8/s",
        ]
        #expect(Set(texts.keys) == Set(PolicySetting.allCases))
        var overrides = PolicyOverrides()
        for (setting, text) in texts {
            try overrides.set(setting, to: text)
            #expect(overrides.text(of: setting) == text)
            let policy = Policy().overridden(by: overrides)
            #expect(PolicyOverrides(all: policy).text(of: setting) == text)
        }
        for setting in PolicySetting.allCases { try overrides.set(setting, to: nil) }
        #expect(overrides.isEmpty)
    }

    @Test(arguments: [
        (PolicySetting.maxWakeAttempts, "0"), (.maxWakeAttempts, "101"), (.maxWakeAttempts, "x"),
        (.maxWakeAttempts, ""),
        (.checkinDeadline, "99ms"), (.heartbeatInterval, "31d"), (.offlineAfter, "10"), (.lostGrace, ""),
        (.startupExtensionMax, "0s"), (.recoverBackoffMax, "0s"), (.recoverBackoff, "99ms"), (.onLapse, "wait"),
        (.wakeRate, "50"), (.heartbeatRate, "-1/s"),
    ])
    func aBadValueIsRefused(setting: PolicySetting, text: String) {
        var overrides = PolicyOverrides()
        #expect(throws: InvalidValue.self) { try overrides.set(setting, to: text) }
        #expect(overrides.isEmpty)
    }

    @Test(arguments: ["1", "100"])
    func theBoundsOfAttemptsAreAllowed(text: String) throws {
        var overrides = PolicyOverrides()
        try overrides.set(.maxWakeAttempts, to: text)
        #expect(overrides.maxWakeAttempts == Int(text))
    }

    @Test func aPatchMergesByMemberAndNullRemoves() throws {
        let overrides = try decode(PolicyOverrides.self, #"{"checkin_deadline": "5s", "lost_grace": "1s"}"#)
        let patch = try decode(PolicyPatch.self, #"{"checkin_deadline": null, "max_wake_attempts": 5}"#)
        let merged = try patch.applied(to: overrides)
        #expect(merged.checkinDeadline == nil)
        #expect(merged.lostGrace == DurationText(1, .seconds))
        #expect(merged.maxWakeAttempts == 5)
        #expect(try decode(PolicyPatch.self, try text(patch)) == patch)
    }

    private func text(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    private func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }
}
