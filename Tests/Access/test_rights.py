"""The access rules of the contract, from outside: a real mosquitto, the built plugin, paho-mqtt.

Run with `ROLLCALL_BUILD=.build/debug python -m unittest discover -s Tests/Access -p '*_test.py'`.
"""

import time
import unittest

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import ADMINISTRATIVE_ACTION, CONTROL, ROOT, STORE, secret_of
from case import AccessCase


class WhoMayConnect(AccessCase):
    def test_nobody_is_anonymous(self):
        self.assert_refused(self.client(None).connect())

    def test_a_username_needs_its_own_secret(self):
        self.assertTrue(self.admits("gw1/a1"))
        self.assertFalse(self.admits("gw1/a1", "wrong"))
        self.assertFalse(self.admits("gw1/a1", ""))
        self.assertFalse(self.admits("gw1/a1", secret_of("gw1/a2")))
        self.assertFalse(self.admits("op:alice", secret_of("op:bob")))

    def test_unknown_and_impossible_usernames_are_refused(self):
        for name in ["gw1/a3", "gw3", "op:carol", "svc:x/1", "gw1/+", "#", "gw1/a1/x", "+/a1", "gw1/", ""]:
            self.assertFalse(self.admits(name), name)

    def test_a_client_of_mqtt_3_1_1_is_welcome(self):
        agent = self.connected("gw1/a1", protocol=mqtt.MQTTv311)
        self.assertEqual(agent.subscribe(f"{ROOT}/agents/gw1/a1/wake"), 1)
        self.assertEqual(agent.subscribe(f"{ROOT}/agents/gw1/a2/wake"), 0x80)

    def test_agents_and_gateways_use_ids_of_their_own(self):
        for username in ["gw1/a1", "gw1"]:
            for client_id in ["", username, username + "~1"]:
                self.assertTrue(self.admits(username, client_id=client_id), client_id)
            for client_id in ["x", "gw2", "gw1/a2", username + "x", "gw2/a1~1", "op:alice", "auto-1"]:
                self.assertFalse(self.admits(username, client_id=client_id), client_id)

    def test_operators_and_services_keep_off_the_ids_of_others(self):
        for client_id in ["", "anything", "op:alice", "op:alice~2", "op:alice-watch"]:
            self.assertTrue(self.admits("op:alice", client_id=client_id), client_id)
        for client_id in ["op:bob", "op:bob~1", "gw1/a1", "gw1/a1~1", "gw1", STORE]:
            self.assertFalse(self.admits("op:alice", client_id=client_id), client_id)
        self.assertTrue(self.admits("svc:control-api/10", client_id="svc:control-api/10"))
        self.assertFalse(self.admits("svc:control-api/1", client_id="svc:control-api/10"))

    def test_an_id_in_use_cannot_be_taken_over_by_another_username(self):
        alice = self.connected("op:alice", client_id="console")
        self.assertFalse(self.admits("op:bob", client_id="console"))
        self.assertIsNone(alice.end(0.3))
        again = self.connected("op:alice", client_id="console")
        # mosquitto 2.0 would close it without a word.
        self.assertEqual(alice.end(), ADMINISTRATIVE_ACTION)
        again.close()
        self.assert_admits_soon("op:bob", client_id="console")

    def test_a_resumable_session_waits_for_its_owner(self):
        alice = self.connected("op:alice", client_id="durable", expiry=60)
        alice.close()
        time.sleep(0.2)
        self.assertFalse(self.admits("op:bob", client_id="durable"))
        self.assertTrue(self.admits("op:alice", client_id="durable"))


class WhatAgentsMayDo(AccessCase):
    def test_an_agent_publishes_its_own_heartbeat_and_files(self):
        agent = self.connected("gw1/a1")
        self.assert_published(agent.publish(f"{ROOT}/agents/gw1/a1/heartbeat"))
        self.assert_published(agent.publish(f"{ROOT}/agents/gw1/a1/files"))
        for topic in [
            "agents/gw1/a2/heartbeat", "agents/gw2/a1/heartbeat", "agents/gw1/a1/wake", "agents/gw1/a1/status",
            "agents/gw1/a1/credentials", "gateways/gw1/heartbeats", "commands/delete", "replies/op:alice/1",
            "internal/x", "agents/gw1/a1/heartbeat/x", "replies/gw1/a1/x",
        ]:
            self.assert_refused(agent.publish(f"{ROOT}/{topic}"))
        self.assert_refused(agent.publish("rollcall/v2/agents/gw1/a1/heartbeat"))
        self.assert_refused(agent.publish("$SYS/broker/connection/x/state"))

    def test_an_agent_subscribes_to_nothing_wider_than_its_own(self):
        agent = self.connected("gw1/a1")
        for topic in ["agents/gw1/a1/wake", "agents/gw1/a1/status", "replies/gw1/a1/#", "replies/gw1/a1/x/y"]:
            self.assertEqual(agent.subscribe(f"{ROOT}/{topic}"), 1, topic)
        for topic in [
            "#", "+/#", f"{ROOT}/#", f"{ROOT}/agents/#", f"{ROOT}/agents/gw1/a1/#", f"{ROOT}/agents/gw1/+/wake",
            f"{ROOT}/agents/gw1/a2/wake", f"{ROOT}/agents/gw1/a1/+", f"{ROOT}/replies/#", f"{ROOT}/replies/gw1/#",
            f"{ROOT}/replies/gw1/a2/#", f"{ROOT}/replies/gw1/a1", f"$share/g/{ROOT}/agents/gw1/a1/wake", "$SYS/#",
            f"{ROOT}/agents/gw1/a1/heartbeat", CONTROL, "$CONTROL/#",
        ]:
            self.assert_refused(agent.subscribe(topic))

    def test_a_gateway_speaks_for_its_own_agents_only(self):
        gateway = self.connected("gw1")
        for topic in [
            "agents/gw1/a1/heartbeat", "agents/gw1/new/credentials", "gateways/gw1/heartbeats", "gateways/gw1/status",
        ]:
            self.assert_published(gateway.publish(f"{ROOT}/{topic}"))
        for topic in ["agents/gw2/a1/heartbeat", "gateways/gw2/status", "agents/gw1/a1/wake", "commands/get"]:
            self.assert_refused(gateway.publish(f"{ROOT}/{topic}"))
        for topic in [
            "agents/gw1/+/wake", "agents/gw1/a2/status", "agents/gw1/+/lifecycle/+", "replies/gw1/#", "gateways/gw1/status",
        ]:
            self.assertEqual(gateway.subscribe(f"{ROOT}/{topic}"), 1, topic)
        for topic in ["agents/+/+/wake", "agents/gw2/+/wake", "agents/gw1/#", "replies/gw1/a1/#", "replies/+/#",
                      "gateways/gw2/status"]:
            self.assert_refused(gateway.subscribe(f"{ROOT}/{topic}"))

    def test_answers_reach_only_who_asked(self):
        gateway, agent, alice = self.connected("gw1"), self.connected("gw1/a1"), self.connected("op:alice")
        for client, topic in [(gateway, "gw1/#"), (agent, "gw1/a1/#")]:
            self.assertEqual(client.subscribe(f"{ROOT}/replies/{topic}"), 1)
        self.assertEqual(alice.subscribe(f"{ROOT}/#"), 1)
        provisioner = self.connected("svc:provisioner/1")
        for topic in ["gw1/a1/for-the-agent", "gw1/a1", "gw1/x", "gw1/deep/x", "op:bob/x", "op:alice/x"]:
            self.assert_published(provisioner.publish(f"{ROOT}/replies/{topic}"))
        prefix = f"{ROOT}/replies/"
        self.assertEqual(agent.receive().topic, prefix + "gw1/a1/for-the-agent")
        self.assertIsNone(agent.receive(0.3), "a gateway's topic named like an agent is the gateway's")
        self.assertEqual([gateway.receive().topic for _ in range(3)], [prefix + t for t in ["gw1/a1", "gw1/x", "gw1/deep/x"]])
        self.assertIsNone(gateway.receive(0.3), "an agent's answers are not its gateway's")
        self.assertEqual(alice.receive().topic, prefix + "op:alice/x")
        self.assertIsNone(alice.receive(0.3))

    def test_an_answer_may_only_be_asked_for_below_ones_own_replies(self):
        agent, gateway, alice = self.connected("gw1/a1"), self.connected("gw1"), self.connected("op:alice")
        files = f"{ROOT}/agents/gw1/a1/files"
        self.assert_published(agent.publish(files, response_topic=f"{ROOT}/replies/gw1/a1/1"))
        for topic in ["replies/gw1/a2/1", "replies/gw1/a1", "replies/gw1/1", "replies/op:alice/1", "commands/delete"]:
            self.assert_refused(agent.publish(files, response_topic=f"{ROOT}/{topic}"))
        self.assert_published(gateway.publish(files, response_topic=f"{ROOT}/replies/gw1/x/1"))
        self.assert_refused(gateway.publish(files, response_topic=f"{ROOT}/replies/gw1/a1/1"))
        get = f"{ROOT}/commands/get"
        self.assert_published(alice.publish(get, response_topic=f"{ROOT}/replies/op:alice/1"))
        self.assert_refused(alice.publish(get, response_topic=f"{ROOT}/replies/op:bob/1"))
        self.assert_refused(alice.publish(get, response_topic="elsewhere"))

    def test_a_last_will_is_for_presence_only(self):
        asks = Properties(PacketTypes.WILLMESSAGE)
        asks.ResponseTopic = f"{ROOT}/replies/op:bob/1"
        watcher = self.connected("svc:control-api/1")
        self.assertEqual(watcher.subscribe(f"{ROOT}/commands/+"), 1)
        self.assertEqual(watcher.subscribe(f"{ROOT}/agents/+/+/+"), 1)
        wills = [
            ("op:alice", "commands/delete", asks), ("gw1", "agents/gw1/a1/credentials", asks),
            ("gw1/a2", "agents/gw1/a1/heartbeat", None), ("gw1/a1", "agents/gw1/a1/heartbeat", None),
        ]
        for username, topic, properties in wills:
            self.connected(username, will=(f"{ROOT}/{topic}", username, properties)).die()
        self.assertEqual(watcher.receive().payload, b"gw1/a1")
        self.assertIsNone(watcher.receive(0.3))


class WhatStays(AccessCase):
    """A retain flag means something on `status` and presence alone."""

    def retained(self):
        """What a newcomer finds in the broker, below the root."""
        reader = self.connected("svc:control-api/1")
        self.assertEqual(reader.subscribe(f"{ROOT}/#"), 1)
        found = {}
        while (message := reader.receive(0.5)) is not None:
            self.assertTrue(message.retain)
            found[message.topic.removeprefix(ROOT + "/")] = message.payload
        reader.close()
        return found

    def test_what_a_live_client_retains_arrives_and_is_gone(self):
        watcher = self.connected("svc:control-api/1")
        self.assertEqual(watcher.subscribe(f"{ROOT}/#"), 1)
        for username, topics in {
            "gw1/a1": ["agents/gw1/a1/heartbeat", "agents/gw1/a1/files"],
            "gw1": ["agents/gw1/a1/heartbeat", "agents/gw1/a1/credentials", "gateways/gw1/heartbeats"],
            "op:alice": ["commands/get"],
        }.items():
            client = self.connected(username)
            for topic in topics:
                for payload in (b"{}", b""):
                    self.assert_published(client.publish(f"{ROOT}/{topic}", payload, retain=True))
                    message = watcher.receive()
                    self.assertEqual((message.topic, message.payload), (f"{ROOT}/{topic}", payload))
        self.assert_published(self.connected("gw1").publish(f"{ROOT}/gateways/gw1/status", "here", retain=True))
        self.assert_published(self.store.publish(f"{ROOT}/agents/gw1/a1/status", "record", retain=True))
        self.assert_published(self.store.publish(f"{ROOT}/agents/gw1/a1/lifecycle/online", "event", retain=True))
        self.assert_published(self.store.publish(f"{ROOT}/services/status-store/1", "presence", retain=True))
        self.assertEqual(self.retained(), {
            "gateways/gw1/status": b"here", "agents/gw1/a1/status": b"record", "services/status-store/1": b"presence"})

    def test_a_last_will_that_is_retained_arrives_once_and_is_gone(self):
        watcher = self.connected("svc:control-api/1")
        self.assertEqual(watcher.subscribe(f"{ROOT}/agents/+/+/heartbeat"), 1)
        self.connected("gw1/a1", will=(f"{ROOT}/agents/gw1/a1/heartbeat", "lost", None, True)).die()
        self.assertEqual(watcher.receive().payload, b"lost")
        # What removes it is no empty heartbeat.
        self.assertIsNone(watcher.receive(1))
        self.assertEqual(self.retained(), {})
        agent = self.connected("gw1/a1")
        self.assert_published(agent.publish(f"{ROOT}/agents/gw1/a1/heartbeat", b"", retain=True))
        self.assertEqual(watcher.receive().payload, b"")

    def test_what_was_left_before_is_removed_when_it_is_found(self):
        """A broker that keeps its messages, started before without the plugin."""
        topic = f"{ROOT}/agents/gw1/a1/heartbeat"
        self.broker.stop()
        configuration = self.broker.config.read_text().replace("persistence_location", "persistence true\npersistence_location")
        lines = [line for line in configuration.splitlines() if not line.startswith("plugin")]
        self.broker.config.write_text("\n".join(lines).replace("allow_anonymous false", "allow_anonymous true") + "\n")
        self.broker.start()
        self.assert_published(self.connected("gw1/a1").publish(topic, "old", retain=True))
        self.assertEqual(self.broker.stop(), 0)
        self.broker.config.write_text(configuration)
        self.broker.start()
        self.retained()
        wait = self.connected("svc:control-api/1")
        self.assertIsNone(wait.receive(0.5))
        self.assertEqual(self.retained(), {})


class WhatOperatorsAndServicesMayDo(AccessCase):
    def test_an_operator_reads_everything_but_internals_and_answers_to_others(self):
        alice = self.connected("op:alice")
        for topic in ["#", f"{ROOT}/#", f"{ROOT}/agents/+/+/status", "$SYS/#", f"{ROOT}/replies/op:alice/#"]:
            self.assertIn(alice.subscribe(topic), (0, 1), topic)
        for topic in [f"{ROOT}/internal/#", f"{ROOT}/replies/op:bob/#", f"$share/g/{ROOT}/#", CONTROL, "other/#"]:
            self.assert_refused(alice.subscribe(topic))
        self.assert_published(alice.publish(f"{ROOT}/commands/get"))
        for topic in ["agents/gw1/a1/heartbeat", "agents/gw1/a1/wake", "internal/x", "replies/op:alice/x"]:
            self.assert_refused(alice.publish(f"{ROOT}/{topic}"))

    def test_internal_messages_reach_services_only(self):
        alice, service = self.connected("op:alice"), self.connected("svc:provisioner/1")
        self.assertEqual(alice.subscribe("#"), 1)
        self.assertEqual(service.subscribe(f"$share/g/{ROOT}/internal/#"), 1)
        self.assert_refused(service.subscribe("$share/g/#"))
        self.assert_published(self.store.publish(f"{ROOT}/internal/x"))
        self.assertEqual(service.receive().topic, f"{ROOT}/internal/x")
        while (message := alice.receive(0.3)) is not None:
            self.assertNotIn("/internal/", message.topic)

    def test_retained_messages_of_an_absent_service_are_delivered(self):
        service = self.connected("svc:provisioner/1")
        self.assert_published(service.publish(f"{ROOT}/services/provisioner/1", "here", retain=True))
        self.assert_refused(service.publish(f"{ROOT}/services/provisioner/2", "here", retain=True))
        service.close()
        alice = self.connected("op:alice")
        self.assertEqual(alice.subscribe(f"{ROOT}/services/#"), 1)
        self.assertEqual(alice.receive().payload, b"here")


if __name__ == "__main__":
    unittest.main()
