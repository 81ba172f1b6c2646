"""Every message that a living system shows is as infra/asyncapi.yaml describes it, and none is on a topic it does not know."""

import collections
import json
import os
import signal
import time

from contract_document import Document
from support import TOPIC_ROOT, Seen, SystemTest, properties, wait_until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class LiveMessagesTest(SystemTest):
    """A small fleet goes through everything that can happen to it; the watcher reads all an operator may read."""

    arguments = (
        "--checkin-deadline", "500ms", "--max-wake-attempts", "2", "--lost-grace", "300ms", "--heartbeat-interval", "1s")
    gateways = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = Document()
        # What the test publishes wrongly on purpose: (topic, payload).
        cls.wrong = set()
        # What agents and gateways are answered: nobody else can read it.
        cls.private = []

    def test_every_message_is_as_described(self):
        self.play_gateways()
        self.play_agents()
        self.play_commands()
        self.play_refusals()
        self.play_runtime()
        self.play_end()
        self.check()

    # The fleet

    def command_wrongly(self, verb, payload):
        """A refusal of a request that no schema allows."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.wrong.add((f"{TOPIC_ROOT}/commands/{verb}", data))
        status, problem = self.operator.request(verb, data)
        self.assertNotEqual(status, 200, (verb, problem))
        return problem

    def heartbeat_wrongly(self, player, payload):
        self.wrong.add((player.topic, payload))
        player.heartbeat(payload)

    def gateway_client(self, gateway):
        topic = f"{TOPIC_ROOT}/gateways/{gateway}/status"
        will = {"topic": topic, "payload": '{"state": "lost"}', "retain": True}
        client = self.system.client(gateway, self.gateway_tokens[gateway], will=will)
        client.publish(topic, {"state": "connected", "version": "1.2"}, retain=True)
        return client

    def play_gateways(self):
        policy = {"wake_rate": "20/s", "max_wake_attempts": 1, "checkin_deadline": "2s"}
        for gateway, policy in (("gw", None), ("lost", policy)):
            members = {"gateway": gateway}
            if policy:
                members["policy"] = policy
            self.gateway_tokens[gateway] = self.expect("add-gateway", members)["token"]
        self.expect("add-gateway", {"gateway": "lost"})
        client = self.gateway_client("lost")
        self.wait_topic("gateways/lost/lifecycle/gateway_connected")
        self.agent("behind", gateway="lost")
        client.cut()
        self.wait_topic("gateways/lost/lifecycle/gateway_lost")
        self.watcher.wait_event("lost/behind-1", "offline")
        client = self.gateway_client("lost")
        self.watcher.wait_event("lost/behind-1", "updating")
        client.publish(f"{TOPIC_ROOT}/gateways/lost/heartbeats", {
            "agents": [{"agent": "behind-1", "status": "ok", "boot_id": "b", "seq": 1, "sent_at": "2026-01-01T00:00:00Z"}]},
            qos=0)
        self.watcher.wait_event("lost/behind-1", "online")
        client.publish(f"{TOPIC_ROOT}/gateways/lost/status", {"state": "stopped"}, retain=True)
        client.close()

    def wait_topic(self, topic):
        return self.watcher.wait(lambda seen: [s for s in seen if s.topic == f"{TOPIC_ROOT}/{topic}"], what=topic)

    def play_agents(self):
        silent = self.agent("silent")
        self.watcher.wait_event(silent.address, "offline")

        steady = self.agent("steady", role="main", variables={"goal": "all"}, policy={"checkin_deadline": "3s"})
        self.watcher.wait_event(steady.address, "woken")
        steady.heartbeat({"status": "starting", "extend": "1s", "generation": 1, "attempt": 1})
        steady.check_in(generation=1, attempt=1, boot_id="b1", seq=1)
        steady.heartbeat(None, qos=0)
        steady.heartbeat({"status": "degraded", "note": "a little"}, token=steady.token)
        # Three rejections, a second apart so that each has its event.
        self.heartbeat_wrongly(steady, b"{")
        self.watcher.wait_event(steady.address, "heartbeat_rejected")
        time.sleep(1.1)
        self.heartbeat_wrongly(steady, b"{" + b" " * 5000 + b"}")
        self.watcher.wait_event(steady.address, "heartbeat_rejected", count=2)
        time.sleep(1.1)
        steady.heartbeat(None, token="A" * 43)
        self.watcher.wait_event(steady.address, "heartbeat_rejected", count=3)
        steady.heartbeat({"status": "stopping", "boot_id": "b1"})
        self.watcher.wait_event(steady.address, "offline")
        client = self.system.client("gw", self.gateway_tokens["gw"])
        client.publish(f"{TOPIC_ROOT}/agents/gw/nobody/heartbeat")
        self.watcher.wait_event("gw/nobody", "heartbeat_rejected")

        lost = self.agent("lost", policy={"offline_after": "1h", "heartbeat_interval": "1s"})
        self.watcher.wait_event(lost.address, "woken")
        client = lost.connect(will={"status": "lost", "boot_id": "b1"})
        lost.check_in(boot_id="b1")
        client.cut()
        self.watcher.wait_event(lost.address, "lapsed")
        self.watcher.wait_event(lost.address, "updating")

        fallen = self.agent("fallen", policy={"offline_after": "600ms", "heartbeat_interval": "1s", "on_lapse": "offline"})
        self.watcher.wait_event(fallen.address, "woken")
        fallen.check_in()
        self.watcher.wait_event(fallen.address, "offline")
        type(self).steady = steady

    def play_commands(self):
        player = self.agent("commanded", role="lead")
        self.watcher.wait_event(player.address, "woken")
        agent = {"agent": player.address}
        self.expect("pause", agent)
        self.expect("resume", agent)
        self.expect("pause", {"gateway": "gw", "until": "2099-01-01T00:00:00+02:00"})
        self.expect("resume", {"gateway": "gw"})
        self.expect("pause", {"board": "board"})
        self.expect("resume", {"board": "board"})
        self.expect("provision", agent)
        self.expect("update", {**agent, "policy": {"checkin_deadline": "2s", "on_lapse": None}, "variables": {"a": None}})
        self.expect("update", {**agent, "board": "other", "wake": False})
        self.expect("wake", agent, idempotency_key="one")
        self.expect("wake", agent, idempotency_key="one")
        self.operator.publish(
            f"{TOPIC_ROOT}/commands/wake", agent,
            properties=properties(user=[("traceparent", TRACE)], content_type="application/json"))
        self.watcher.wait(
            lambda seen: [s for s in seen if "/wake" in s.topic and s.user.get("traceparent") == TRACE], what="a traced wake")
        self.expect("rotate-token", agent)
        self.expect("rotate-token", {"gateway": "lost", "now": True})
        self.expect("sync-templates", {"gateway": "gw", "overwrite": True})
        self.watcher.wait_event(player.address, "templates_synced")
        # Told at the next tick, unless another change comes first.
        self.wait_topic(f"agents/{player.address}/templates")
        self.expect("get", agent)
        self.expect("list", {})
        self.expect("list", {"gateway": "gw", "role": "worker", "limit": 1})
        self.expect("history", {**agent, "limit": 2})
        self.expect("history", {"agent": "gw/silent-1"})
        self.expect("history", {"gateway": "gw", "since": "2026-01-31T09:00:00Z", "limit": 2})
        self.expect("list", {"status": ["updating", "offline"], "limit": 1})
        self.expect("summary", {})
        self.expect("summary", {"gateway": "gw"})
        self.expect("list-gateways", {})

    def play_refusals(self):
        self.refuse("get", {"agent": "gw/nobody-else"}, 404, "unknown-agent")
        self.refuse("provision", {"agent": "nowhere/a", "role": "main"}, 404, "unknown-gateway")
        self.refuse("provision", {"agent": "gw/boardless", "role": "worker"}, 422, "invalid-request")
        self.refuse("remove-gateway", {"gateway": "gw"}, 409, "conflict")
        self.refuse("update", {"agent": "gw/silent-1"}, 409, "conflict", idempotency_key="one")
        self.assertEqual(self.command_wrongly("provision", {"agent": 7})["type"], "invalid-request")
        self.assertEqual(self.command_wrongly("list", {"limit": 5000})["type"], "invalid-request")
        self.assertEqual(self.command_wrongly("wake", b"not JSON")["type"], "invalid-request")
        self.assertEqual(self.command_wrongly("update", {"agent": "gw/a", "x": "y" * 70_000})["type"], "too-large")
        # What does not exist.
        self.assertEqual(self.command_wrongly("dance", {})["type"], "invalid-request")

    def play_runtime(self):
        """Files and credentials: their answers are private, so the askers keep them."""
        player = self.agent("runtime", variables={"goal": "read"}, wake=False)
        for client, username, channels in (
            (player.connect(), player.address, ("files",)),
            (self.system.client("gw", self.gateway_tokens["gw"]), "gw", ("files", "credentials")),
        ):
            topic = f"{TOPIC_ROOT}/replies/{username}/asked"
            client.subscribe(topic)
            for channel in channels:
                for agent, known in ((player.address, True), ("gw/nobody", False)):
                    if client is player.client and not known:
                        continue
                    client.publish(f"{TOPIC_ROOT}/agents/{agent}/{channel}", {}, properties=properties(
                        response_topic=topic, content_type="application/json"))
                    answer = Seen(client.wait_message(
                        lambda message: message.topic == topic, what=f"{channel} of {agent}"))
                    self.private.append((channel, known, answer))

    def play_end(self):
        self.expect("delete", {"agent": "gw/silent-1"})
        self.expect("remove-gateway", {"gateway": "lost", "force": True})
        self.wait_topic("agents/lost/behind-1/lifecycle/deleted")
        # Its Last Will speaks for a service that dies.
        os.kill(self.system.child("provisioner"), signal.SIGKILL)
        self.watcher.wait(
            lambda seen: [
                s for s in seen
                if s.topic == f"{TOPIC_ROOT}/services/provisioner/1" and s.payload and s.json["state"] == "lost"],
            what="the presence of a dead service")
        self.system.restart()
        self.connect()
        self.expect("summary")
        wait_until(lambda: len(self.watcher.on("services/status-store/1")) >= 1, what="presence of the new store")
        time.sleep(0.5)

    # The check

    def check(self):
        seen, uncovered = self.check_public()
        seen.update(self.check_private())
        count = sum(seen.values())
        print(f"\n{count} messages checked: " + ", ".join(f"{key} {value}" for key, value in sorted(seen.items())))
        self.assertEqual(uncovered, [])

        every = {(name, message) for name, channel in self.document.channels.items() for message in channel.messages}
        self.assertEqual({f"{name}/{message}" for name, message in every} - set(seen), set(), "never seen")
        events = set(self.document.value["components"]["parameters"]["agentEvent"]["enum"])
        shown = {name.split(":")[1] for name in self.shown}
        # A provision that fails needs a broken installation.
        self.assertEqual(events - shown, {"provision_failed"})

    def check_public(self):
        """`(how often each message was seen, what was on a topic that is not described)`."""
        seen_messages = collections.Counter()
        uncovered = []
        self.shown = set()
        asked = {}
        allowed_elsewhere = {topic for topic, _ in self.wrong}
        for watcher in self.watchers:
            for seen in watcher.seen:
                channel, parameters = self.document.channel_of(seen.topic)
                if channel is None:
                    asked[seen.correlation] = None
                    if seen.topic not in allowed_elsewhere:
                        uncovered.append(seen)
                    continue
                if channel.address.startswith(f"{TOPIC_ROOT}/commands/"):
                    asked[seen.correlation] = channel.name
                if (seen.topic, seen.payload) in self.wrong:
                    continue
                with self.subTest(seen=seen):
                    name = self.check_message(channel, parameters, seen, asked)
                    seen_messages[f"{channel.name}/{name}"] += 1
        return seen_messages, uncovered

    def check_private(self):
        seen_messages = collections.Counter()
        for name, known, answer in self.private:
            channel, _ = self.document.channel_of(answer.topic)
            self.assertEqual(channel.name, "replies")
            asked = "agentFiles" if name == "files" else "agentCredentials"
            with self.subTest(answer=answer):
                message = self.match(channel, answer, self.document.replies_to(asked))
                self.assertEqual(message == "problem", not known)
                seen_messages[f"replies/{message}"] += 1
        return seen_messages

    def check_message(self, channel, parameters, seen, asked):
        names = set(channel.messages)
        if channel.name == "replies":
            self.assertIn(seen.correlation, asked, "an answer that nobody asked for")
            command = asked[seen.correlation]
            # A verb that the document does not know is refused.
            names = self.document.replies_to(command) if command else {"problem"}
            self.assertIsNotNone(seen.content_type)
        name = self.match(channel, seen, names)
        self.check_bindings(channel, name, seen)
        getattr(self, f"check_{name}", lambda *_: None)(parameters, seen)
        return name

    def match(self, channel, seen, names):
        """The message of the channel that it is."""
        try:
            payload = seen.json
        except ValueError:
            self.fail(f"no JSON: {seen}")
        # User properties of one name twice would be hidden by a dictionary.
        self.assertEqual(seen.user_count, len(seen.user), seen)
        errors = {}
        for name in sorted(names):
            errors[name] = self.document.message_errors(channel.messages[name], payload, seen.user, seen.content_type)
            if not errors[name]:
                return name
        best = min(errors, key=lambda name: len("".join(errors[name])))
        self.fail(f"{seen.topic} is none of {sorted(names)}; {best}:\n" + "\n".join(errors[best]))

    def check_bindings(self, channel, name, seen):
        for operation in self.document.operations_of(channel.name).values():
            if not any(reference["$ref"].endswith(f"/{name}") for reference in operation["messages"]):
                continue
            bindings = self.document.bindings_of(operation)
            self.assertIn(seen.qos, operation.get("x-qos-allowed", [bindings["qos"]]), seen)
            self.assertEqual(seen.retain, bindings["retain"], seen)
            self.assertEqual(seen.expiry is not None, "messageExpiryInterval" in bindings, (seen, seen.expiry))
            if isinstance(bindings.get("messageExpiryInterval"), int):
                self.assertLessEqual(seen.expiry, bindings["messageExpiryInterval"])
        if channel.name == "replies":
            self.assertEqual((seen.qos, seen.retain), (1, False), seen)

    # What a schema cannot say

    def check_agentEvent(self, parameters, seen):
        body = seen.json
        address = f"{parameters['gateway']}/{parameters['agent']}"
        self.assertEqual(body["event"], parameters["event"])
        self.assertEqual(seen.user["subject"], address)
        self.assertEqual(seen.user["type"], f"dev.rollcall.agent.{body['event']}.v1")
        self.shown.add(f"agent:{body['event']}")
        if body["record"] is None:
            self.assertEqual(seen.user["sequence"], "0" * 20)
        else:
            self.assertEqual(body["record"]["agent"], address)
            self.assertEqual(seen.user["sequence"], f"{body['record']['revision']:020}")
            self.check_addresses(body["record"])

    def check_agentStatus(self, parameters, seen):
        self.assertEqual(seen.json["agent"], f"{parameters['gateway']}/{parameters['agent']}")
        self.check_addresses(seen.json)

    def check_addresses(self, record):
        self.assertEqual(record["agent"], f"{record['gateway_id']}/{record['agent_id']}")

    def check_gatewayEvent(self, parameters, seen):
        body = seen.json
        self.assertEqual((body["event"], body["gateway"]), (parameters["event"], parameters["gateway"]))
        self.assertEqual(seen.user["subject"], body["gateway"])
        self.assertEqual(seen.user["type"], f"dev.rollcall.gateway.{body['event']}.v1")

    def check_wake(self, parameters, seen):
        body = seen.json
        self.assertEqual(body["agent"], f"{parameters['gateway']}/{parameters['agent']}")
        self.assertEqual(body["heartbeat_topic"], f"{TOPIC_ROOT}/agents/{body['agent']}/heartbeat")
        self.assertLessEqual(body["attempt"], body["max_attempts"])

    def check_serviceRunning(self, parameters, seen):
        body = seen.json
        self.assertEqual((body["service"], body["instance"]), (parameters["service"], parameters["instance"]))

    def check_serviceEnded(self, parameters, seen):
        self.check_serviceRunning(parameters, seen)

    def check_problem(self, parameters, seen):
        self.assertEqual(seen.content_type, "application/problem+json")


if __name__ == "__main__":
    import unittest

    unittest.main()
