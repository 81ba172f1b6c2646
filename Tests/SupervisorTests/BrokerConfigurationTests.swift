import ServiceHost
import Testing

@testable import RollcallSupervisor

struct BrokerConfigurationTests {
    private let configuration = BrokerConfiguration(
        port: 18_830, socketPath: "/srv/roll call/broker.sock", isRoot: true, plugin: "/opt/libRollcallBrokerAccess.so",
        topicRoot: "rollcall/v1", identities: "/srv/roll call/identities", state: "/srv/roll call/broker-identities")

    @Test func whatTheBrokerIsTold() {
        #expect(
            configuration.text == """
                # Written by `rollcall up` at each start.
                per_listener_settings false
                allow_anonymous false
                auto_id_prefix auto-
                persistence false
                max_queued_messages 250000
                max_queued_bytes 268435456
                max_inflight_messages 200
                max_inflight_bytes 16777216
                persistent_client_expiration 1h
                memory_limit 4294967296
                queue_qos0_messages false
                max_packet_size 2097152
                set_tcp_nodelay true
                sys_interval 10
                log_dest stderr
                log_type error
                log_type warning
                log_timestamp false
                user root
                plugin /opt/libRollcallBrokerAccess.so
                plugin_opt_topic_root rollcall/v1
                plugin_opt_identities /srv/roll call/identities
                plugin_opt_state /srv/roll call/broker-identities
                listener 18830 127.0.0.1
                listener 0 broker.sock

                """)
    }

    @Test func aFactorOfRatesIsPassedOn() {
        var configuration = configuration
        configuration.rateFactor = 3
        #expect(configuration.text.contains("\nplugin_opt_rate_factor 3\nlistener 18830"))
    }

    @Test func aSocketIsNamedWholeWhereThatWorks() {
        var configuration = configuration
        configuration.socketPath = "/srv/rollcall/broker.sock"
        #expect(configuration.text.hasSuffix("listener 0 /srv/rollcall/broker.sock\n"))
    }

    @Test func anOrdinaryUserStaysWhoItIs() {
        var configuration = configuration
        configuration.isRoot = false
        #expect(!configuration.text.contains("user "))
    }

    @Test func withoutASocketThereIsTCPAlone() {
        var configuration = configuration
        configuration.socketPath = nil
        #expect(configuration.text.hasSuffix("listener 18830 127.0.0.1\n"))
    }

    @Test func itsErrorsAreErrorsAndWhatComesByDesignIsQuiet() {
        #expect(BrokerConfiguration.level(of: "Error: Address already in use") == .error)
        #expect(BrokerConfiguration.level(of: "Warning: Unable to set TCP_NODELAY.") == .debug)
        #expect(BrokerConfiguration.level(of: "Outgoing messages are being dropped for client op:admin.") == .warning)
    }

    @Test func linesOfTheAccessPluginAreEvents() throws {
        let refused = try #require(
            BrokerConfiguration.accessEvent(
                of: "rollcall access.refused username=gw/a client_id= reason=wrong_secret"))
        #expect(refused.name == "access.refused")
        #expect(refused.level == .warning)
        #expect(refused.members.map(\.key) == ["username", "client_id", "reason"])
        #expect(refused.members.map(\.value) == ["gw/a", "", "wrong_secret"])
        let failed = try #require(
            BrokerConfiguration.accessEvent(of: "rollcall access.reload_failed problem=line 3: a=b is no digest"))
        #expect(failed.level == .error)
        #expect(failed.members.map(\.value) == ["line 3: a=b is no digest"])
        #expect(BrokerConfiguration.accessEvent(of: "Error: rollcall access.refused") == nil)
    }
}
