"""Nobody is anonymous, and everybody reaches only what is their own: enforced by the broker."""

import json
import time
import unittest
import uuid

import paho.mqtt.client as mqtt
from support import TOPIC_ROOT, SystemTest, properties, wait_until

NOT_AUTHORIZED = 0x87


class AccessTest(SystemTest):
    """Agents `gw/a` and `gw/b`, and `other/c` behind another gateway."""

    arguments = ("--checkin-deadline", "10m")
    gateways = ("gw", "other")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tokens = dict(cls.gateway_tokens)
        for address in ("gw/a", "gw/b", "other/c"):
            answer = cls.operator.expect("provision", {"agent": address, "role": "worker", "board": "board"})
            cls.tokens[address] = answer["token"]
            cls.watcher.wait_event(address, "woken")

    def login(self, username, client_id="", will=None):
        client = self.system.client(username, self.tokens[username], client_id, will)
        self.addCleanup(client.close)
        return client

    def records(self):
        """All records, without what plain heartbeats, and refusals that are told of, of other tests change a moment later."""
        return [
            {**record, "last_seen_at": None} for record in self.expect("list")["records"]
            if record["agent"] != "gw/forgetful"]

    def publish_reason(self, client, topic, payload=b"{}"):
        """The reason code of the PUBACK."""
        reasons = []
        arrived = client.paho.on_publish
        client.paho.on_publish = lambda _client, _data, mid, reason, _properties: reasons.append((mid, reason.value))
        info = client.publish(topic, payload)
        wait_until(lambda: any(mid == info.mid for mid, _ in reasons), 5, "a PUBACK")
        client.paho.on_publish = arrived
        return next(reason for mid, reason in reasons if mid == info.mid)

    def assert_publishing_is_denied(self, client, topics):
        before = self.records()
        for topic in topics:
            with self.subTest(publish=topic, username=client.username):
                marker = json.dumps({"note": uuid.uuid4().hex})
                self.assertEqual(self.publish_reason(client, f"{TOPIC_ROOT}/{topic}", marker), NOT_AUTHORIZED)
                self.assertFalse(any(marker.encode() == seen.payload for seen in self.watcher.seen))
        self.assertTrue(client.paho.is_connected())
        self.assertEqual(self.records(), before)

    def assert_reading_is_denied(self, client, topics):
        for topic in topics:
            with self.subTest(subscribe=topic, username=client.username):
                (reason,) = client.subscribe(f"{TOPIC_ROOT}/{topic}" if not topic.startswith("$") else topic)
                self.assertEqual(reason, NOT_AUTHORIZED)

    # Nobody

    def refused(self, username, password, client_id="", protocol=mqtt.MQTTv5):
        """The reason why a connection is refused; `None` when it is not."""
        reasons = []
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False)
        if username is not None:
            client.username_pw_set(username, password)
        client.on_connect = lambda _client, _data, _flags, reason, _properties: reasons.append(reason)
        client.connect("127.0.0.1", self.system.port)
        client.loop_start()
        try:
            wait_until(lambda: reasons, 5, "CONNACK")
            return reasons[0] if reasons[0].is_failure else None
        finally:
            client.disconnect()
            client.loop_stop()

    def test_nobody_gets_in(self):
        env = self.system.env
        for username, password in [
            (None, None), ("", ""), ("gw/a", None), ("gw/a", ""), ("gw/a", "wrong"), ("gw/a", self.tokens["gw/b"]),
            ("gw/a", self.tokens["gw"]), ("gw/a", self.tokens["gw/a"] + "x"), ("gw", self.tokens["gw/a"]),
            ("gw/nobody", "x"), ("op:nobody", env["ROLLCALL_PASSWORD"]), ("svc:provisioner/1", env["ROLLCALL_PASSWORD"]),
            (env["ROLLCALL_USERNAME"], "wrong"), ("admin", "admin"),
        ]:
            with self.subTest(username=username):
                self.assertIsNotNone(self.refused(username, password))
        self.assertIsNotNone(self.refused(None, None, "anybody", mqtt.MQTTv311))
        completed = self.mosquitto_pub("", "", f"{TOPIC_ROOT}/agents/gw/a/heartbeat", "-n", check=False)
        self.assertNotEqual(completed.returncode, 0)

    def test_a_wrong_token_is_on_the_record_of_the_agent_that_it_names(self):
        answer = self.expect("provision", {"agent": "gw/forgetful", "role": "worker", "board": "board"})
        for password in ("wrong", answer["token"] + "x", self.tokens["gw/a"]):
            self.assertIsNotNone(self.refused("gw/forgetful", password))
        rejected = self.watcher.wait_event("gw/forgetful", "heartbeat_rejected").json
        self.assertEqual(rejected["reason"], "bad_token")
        record = self.expect("get", {"agent": "gw/forgetful"})["record"]
        self.assertEqual(record["last_rejection"]["reason"], "bad_token")
        self.assertIn("password: is not this agent's token", record["last_rejection"]["detail"])
        self.assertLessEqual(record["last_rejection"]["count"], 3)
        self.assertEqual(record["status"], "provisioning")

    # Agents

    def test_an_agent_publishes_nothing_of_another(self):
        self.assert_publishing_is_denied(self.login("gw/a"), [
            "agents/gw/b/heartbeat", "agents/other/c/heartbeat", "agents/gw/b/files", "agents/gw/b/wake", "agents/gw/a/wake",
            "agents/gw/a/status", "agents/gw/b/status", "agents/gw/a/lifecycle/online", "agents/gw/a/credentials",
            "agents/gw/b/credentials", "gateways/gw/heartbeats", "gateways/gw/status", "commands/delete", "commands/get",
            "replies/gw/b/x", "replies/gw/a/x", "services/provisioner/1", "internal/orders", "internal/cursor",
            "agents/gw/a/heartbeat/more",
        ])

    def test_an_agent_reads_nothing_of_another(self):
        client = self.login("gw/a")
        self.assert_reading_is_denied(client, [
            "agents/gw/b/wake", "agents/gw/b/status", "agents/gw/b/heartbeat", "agents/gw/+/wake", "agents/+/+/wake",
            "agents/gw/a/#", "agents/#", "#", "replies/gw/b/#", "replies/#", "replies/+/+/#", "commands/+",
            "services/#", "gateways/gw/status", "internal/#", "agents/gw/a/lifecycle/+", "$SYS/#", "$CONTROL/#",
            f"$share/x/{TOPIC_ROOT}/agents/gw/a/wake",
        ])
        self.assertEqual(client.subscribe(
            f"{TOPIC_ROOT}/agents/gw/a/wake", f"{TOPIC_ROOT}/agents/gw/a/status", f"{TOPIC_ROOT}/replies/gw/a/#"), [1, 1, 1])
        (reason,) = client.subscribe("#")
        self.assertEqual(reason, NOT_AUTHORIZED)
        status = client.wait_message(lambda message: message.topic.endswith("/status"))
        self.assertEqual(json.loads(status.payload)["agent"], "gw/a")
        for agent in ("gw/b", "gw/a"):
            self.expect("wake", {"agent": agent})
            self.watcher.wait_event(agent, "woken", lifecycle_generation=2)
        wake = client.wait_message(lambda message: message.topic.endswith("/wake"))
        self.assertEqual(json.loads(wake.payload)["agent"], "gw/a")
        self.assertFalse([message for message in client.messages if "gw/b" in message.topic])

    def test_an_agent_is_not_taken_over(self):
        victim = self.login("gw/b", client_id="gw/b")
        for client_id in ("gw/b", "gw/b~2", "gw", "gw~1", "other/c", "op:admin", "svc:provisioner/1", "free-choice",
                          "auto-", "gw/a2"):
            with self.subTest(client_id=client_id):
                self.assertIsNotNone(self.refused("gw/a", self.tokens["gw/a"], client_id))
        for client_id in ("", "gw/a", "gw/a~laptop"):
            with self.subTest(client_id=client_id):
                self.assertIsNone(self.refused("gw/a", self.tokens["gw/a"], client_id))
        self.assertIsNotNone(self.refused("gw/a", self.tokens["gw/a"], "gw/b", mqtt.MQTTv311))
        self.assertTrue(victim.paho.is_connected())
        self.assertEqual(self.publish_reason(victim, f"{TOPIC_ROOT}/agents/gw/b/heartbeat", b""), 0)
        self.watcher.wait_event("gw/b", "online")

    def test_an_agent_s_last_will_is_its_own(self):
        before = self.records()
        topic = f"{TOPIC_ROOT}/agents/gw/b/heartbeat"
        try:
            client = self.login("gw/a", will={"topic": topic, "payload": '{"status": "lost"}'})
        except PermissionError:
            return
        client.cut()
        time.sleep(1)
        self.assertFalse([seen for seen in self.watcher.on("agents/gw/b/heartbeat") if b"lost" in seen.payload])
        self.assertEqual(self.records(), before)

    # Gateways

    def test_a_gateway_speaks_only_for_its_own(self):
        client = self.login("gw")
        self.assert_publishing_is_denied(client, [
            "agents/other/c/heartbeat", "agents/other/c/files", "agents/other/c/credentials", "gateways/other/status",
            "gateways/other/heartbeats", "agents/gw/a/wake", "agents/gw/a/status", "agents/gw/a/lifecycle/offline",
            "gateways/gw/lifecycle/gateway_lost", "commands/delete", "replies/gw/x", "internal/orders",
        ])
        self.assert_reading_is_denied(client, [
            "agents/other/c/wake", "agents/other/+/wake", "agents/+/+/wake", "agents/#", "#", "replies/#", "replies/other/#",
            "replies/gw/a/#", "replies/+/#", "internal/#", "commands/+",
        ])
        self.assertEqual(client.subscribe(
            f"{TOPIC_ROOT}/agents/gw/+/wake", f"{TOPIC_ROOT}/agents/gw/+/status", f"{TOPIC_ROOT}/agents/gw/+/lifecycle/+"),
            [1, 1, 1])
        for client_id in ("other", "gw/a", "other~1", "op:admin"):
            with self.subTest(client_id=client_id):
                self.assertIsNotNone(self.refused("gw", self.tokens["gw"], client_id))

    # Operators

    def test_an_operator_publishes_commands_and_nothing_else(self):
        self.assert_publishing_is_denied(self.operator, [
            "agents/gw/a/heartbeat", "agents/gw/a/wake", "agents/gw/a/status", "agents/gw/a/files", "agents/gw/a/credentials",
            "agents/gw/a/lifecycle/online", "gateways/gw/heartbeats", "gateways/gw/status", "services/provisioner/1",
            f"replies/{self.operator.username}/x", "replies/gw/a/x", "internal/orders", "internal/cursor", "commands/wake/more",
            "commands",
        ])

    def test_an_operator_reads_nothing_internal_and_no_answers_to_others(self):
        client = self.system.operator()
        self.assert_reading_is_denied(client, [
            "internal/#", "internal/orders", "replies/gw/a/#", "replies/gw/#", "replies/op:other/#", "$CONTROL/#",
            f"$share/x/{TOPIC_ROOT}/agents/+/+/status",
        ])
        # Wider filters give what may be read, and no more.
        client.subscribe(f"{TOPIC_ROOT}/#", f"{TOPIC_ROOT}/+/+/#", f"{TOPIC_ROOT}/replies/#")
        agent = self.login("gw/a")
        answers = f"{TOPIC_ROOT}/replies/gw/a/files"
        agent.subscribe(answers)
        agent.publish(f"{TOPIC_ROOT}/agents/gw/a/files", {}, properties=properties(response_topic=answers))
        agent.wait_message(lambda message: message.topic == answers)
        agent.publish(f"{TOPIC_ROOT}/agents/gw/a/heartbeat", {"note": "marker"})
        client.wait_message(lambda message: message.payload == b'{"note": "marker"}')
        self.watcher.wait_event("gw/a", "online")
        for seen in [*client.messages, *self.watcher.seen]:
            self.assertFalse(seen.topic.startswith(f"{TOPIC_ROOT}/internal"), seen.topic)
            self.assertFalse(seen.topic.startswith(f"{TOPIC_ROOT}/replies/gw"), seen.topic)

    def test_nobody_has_answers_sent_to_another(self):
        agent = self.login("gw/a")
        agent.subscribe(f"{TOPIC_ROOT}/replies/gw/a/#")
        for topic in ("replies/gw/a/x", "replies/gw", "agents/gw/a/wake", "commands/delete", "internal/orders"):
            with self.subTest(response_topic=topic):
                self.operator.publish(
                    f"{TOPIC_ROOT}/commands/get", {"agent": "gw/a"},
                    properties=properties(response_topic=f"{TOPIC_ROOT}/{topic}", correlation=b"theirs"))
        gateway = self.login("gw")
        gateway.publish(f"{TOPIC_ROOT}/agents/gw/a/files", {}, properties=properties(
            response_topic=f"{TOPIC_ROOT}/replies/gw/a/x", correlation=b"theirs"))
        self.expect("summary")
        time.sleep(0.3)
        self.assertEqual([message.topic for message in agent.messages], [])
        self.assertFalse([seen for seen in self.watcher.seen if seen.correlation == b"theirs" and "/get" not in seen.topic
                          and "/files" not in seen.topic])

    def test_an_operator_is_not_taken_over_either(self):
        victim = self.system.client(client_id=f"{self.operator.username}~console")
        env = self.system.env
        self.assertIsNotNone(self.refused("gw/a", self.tokens["gw/a"], f"{self.operator.username}~console"))
        for client_id in ("gw/a", "gw~1", "svc:status-store/1"):
            with self.subTest(client_id=client_id):
                self.assertIsNotNone(self.refused(env["ROLLCALL_USERNAME"], env["ROLLCALL_PASSWORD"], client_id))
        self.assertIsNone(self.refused(env["ROLLCALL_USERNAME"], env["ROLLCALL_PASSWORD"], "any-console"))
        self.assertTrue(victim.paho.is_connected())


if __name__ == "__main__":
    unittest.main()
