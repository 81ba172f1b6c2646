"""What operators and agents rely on, from outside: wakes, deadlines, verdicts, records, answers, logs."""

import json
import subprocess
import time
import unittest

import paho.mqtt.client as mqtt
from support import TOPIC_ROOT, ExactTest, percentiles, properties, stamp, wait_until

MISSED = "Agent did not check in after wake; max wake attempts reached"
# How late something may come on a busy machine, which is printed: a wake is to come within 300 ms of the deadline before it.
LATE = 5.0
SILENT_AGENTS = 20
LIFECYCLE_FILTERS = (
    "agents/+/+/lifecycle/+", "agents/+/+/status", "agents/gw/+/wake", "agents/lost/+/wake", "gateways/+/status",
    "gateways/+/lifecycle/+", "services/#",
)


class LifecycleCase(ExactTest):
    """Agents with a second to check in. Nobody subscribes to the wakes of gateway `void`."""

    arguments = ("--checkin-deadline", "1s")
    gateways = ("gw", "void")
    filters = LIFECYCLE_FILTERS

    def closing(self, client):
        """A list that gets the time at which the broker closes the client's connection."""
        times = []
        client.paho.on_disconnect = lambda *_: times.append(time.time())
        return times

    def history(self, agent, **members):
        return self.expect("history", {"agent": agent, **members})["events"]

    def wait_offline(self, agent, seconds=15, **record):
        return self.watcher.wait_event(agent, "offline", seconds, **record)

    def assert_quiet(self, agent, seconds, *, wakes, attempts=None):
        """For some seconds no wake follows the ones there were."""
        time.sleep(seconds)
        self.assertEqual(len(self.watcher.wakes(agent)), wakes, self.watcher.wakes(agent))

    def log(self, name, agent, count=1, seconds=5, **members):
        """The log events of an agent, once there are so many; each has what every one has."""
        self.system.wait_for_event(name, seconds, count, agent=agent, **members)
        events = self.system.events(name, agent=agent, **members)
        for event in events:
            self.assertEqual(event["service"], "reconciler", event)
            for member in ("time", "level", "instance", "generation"):
                self.assertIn(member, event)
            self.assertGreater(stamp(event["time"]), 0)
        return events


class SilentAgentTest(LifecycleCase):
    def test_silent_agents_get_three_wakes_and_are_offline(self):
        agents = [self.agent("silent") for _ in range(SILENT_AGENTS)]
        late_sent, late_arrived, verdicts = [], [], []
        for player in agents:
            offline = self.wait_offline(player.address, 20)
            wakes = [seen.json for seen in self.watcher.wakes(player.address)]
            self.assertEqual([wake["attempt"] for wake in wakes], [1, 2, 3])
            self.assertEqual({wake["generation"] for wake in wakes}, {1})
            self.assertEqual([wake["reason"] for wake in wakes], ["provision", "retrigger", "retrigger"])
            self.assertEqual({wake["max_attempts"] for wake in wakes}, {3})
            self.assertEqual({wake["templates_digest"] for wake in wakes}, {player.record["templates_digest"]})
            for wake in wakes:
                self.assertEqual(wake["heartbeat_topic"], player.topic)
                self.assertEqual(wake["heartbeat_interval"], "60s")
                self.assertIs(wake["reset_session"], False)

            events = self.watcher.events(player.address)
            self.assertEqual(
                [seen.json["event"] for seen in events],
                ["provisioning", "woken", "retriggered", "woken", "retriggered", "woken", "offline"])
            for seen in events:
                self.assertNotEqual(seen.json["record"]["status"], "online")
            statuses = self.watcher.wait_statuses(player.address, offline.json["record"]["revision"])
            self.assertEqual([seen.json for seen in statuses], [seen.json["record"] for seen in events])

            woken = [seen.json["record"] for seen in events if seen.json["event"] == "woken"]
            for before, after in zip(woken, woken[1:]):
                late = stamp(after["last_wake_sent_at"]) - stamp(before["checkin_deadline_at"])
                self.assertGreaterEqual(late, 0, "the next wake came before the deadline")
                late_sent.append(late)
            for record, wake in zip(woken, wakes):
                self.assertEqual(record["checkin_deadline_at"], wake["deadline_at"])
                self.assertAlmostEqual(
                    stamp(record["checkin_deadline_at"]) - stamp(record["last_wake_sent_at"]), 1, delta=0.002)
                self.assertEqual(record["wake_attempts"], wake["attempt"])
                self.assertEqual(record["wake_delivery"], "accepted")
            arrivals = [seen.at for seen in self.watcher.wakes(player.address)]
            late_arrived += [
                arrival - stamp(record["checkin_deadline_at"]) for record, arrival in zip(woken, arrivals[1:])]
            verdicts.append(offline.at - stamp(woken[-1]["checkin_deadline_at"]))

            record = offline.json["record"]
            self.assertEqual(offline.json["reason"], "checkin_missed")
            self.assert_offline_record(player, record)
            self.assertEqual(player.get(), record)
        print(f"\nnext wake sent after a missed deadline: {percentiles(late_sent)}")
        print(f"next wake received after a missed deadline: {percentiles(late_arrived)}")
        print(f"offline received after the last deadline: {percentiles(verdicts)}")
        self.assertLessEqual(max(late_sent), LATE)
        self.assertLessEqual(max(late_arrived), LATE)
        self.assertLessEqual(max(verdicts), LATE)

        # Nothing follows, and the log tells it under the names that operators know.
        player = agents[0]
        self.assertEqual(len(self.watcher.wakes(player.address)), 3)
        enqueued = self.log("lifecycle.queue.enqueued", player.address, 3)
        self.assertEqual([event["attempt"] for event in enqueued], [1, 2, 3])
        for event in enqueued:
            self.assertEqual(event["generation"], 1)
            self.assertGreater(event["delay_seconds"], 0)
            self.assertLessEqual(event["delay_seconds"], 1)
        handled = self.log("queue.worker.success", player.address, 3)
        self.assertEqual([event["attempt"] for event in handled], [1, 2, 3])
        self.assertEqual({event["task_type"] for event in handled}, {"agent_lifecycle_reconcile"})
        retriggered = self.log("lifecycle.reconcile.retriggered", player.address, 2)
        self.assertEqual([event["attempt"] for event in retriggered], [2, 3])
        (reached,) = self.log("lifecycle.reconcile.max_attempts_reached", player.address)
        self.assertEqual((reached["wake_attempts"], reached["max_attempts"]), (3, 3))
        self.assertEqual(reached["level"], "warning")
        self.assertEqual(reached["attempt"], 3)

        # A wake by hand: three fresh attempts in a new generation.
        record = self.expect("wake", {"agent": player.address})["record"]
        self.assertEqual(
            (record["status"], record["lifecycle_generation"], record["wake_attempts"], record["last_provision_error"],
             record["provision_action"]),
            ("updating", 2, 0, None, "update"))
        self.wait_offline(player.address, lifecycle_generation=2)
        wakes = [seen.json for seen in self.watcher.wakes(player.address)][3:]
        self.assertEqual([(wake["generation"], wake["attempt"]) for wake in wakes], [(2, 1), (2, 2), (2, 3)])
        self.assertEqual([wake["reason"] for wake in wakes], ["manual", "retrigger", "retrigger"])

    def assert_offline_record(self, player, record):
        first = player.record
        gateway, name = player.address.split("/")
        expected = {
            "agent": player.address, "gateway_id": gateway, "agent_id": name, "board_id": "board", "role": "worker",
            "status": "offline", "lifecycle_generation": 1, "wake_attempts": 3, "wake_delivery": "accepted",
            "checkin_deadline_at": None, "last_seen_at": None, "last_provision_error": MISSED, "last_rejection": None,
            "reported_status": None, "boot_id": None, "templates_digest": first["templates_digest"],
            "offline_reason": "checkin_missed", "last_exit_status": None, "wanted": True, "recoveries": 0,
            "generation_reported": None, "note": None,
            "templates_digest_reported": None, "policy": {
                "checkin_deadline": "1s", "max_wake_attempts": 3, "heartbeat_interval": "60s", "offline_after": "10m",
                "on_lapse": "wake", "lost_grace": "10s", "startup_extension_max": "5m", "recover_backoff": "10s",
                "recover_backoff_max": "5m", "wake_rate": "50/s", "heartbeat_rate": "10/s"},
            "policy_overrides": {}, "variables": {}, "paused": False, "paused_by": [], "paused_until": None,
            "provision_requested_at": first["provision_requested_at"], "provision_action": "provision",
            "token_id": first["token_id"], "created_at": first["created_at"], "revision": 7,
        }
        self.assertEqual({key: value for key, value in record.items() if key in expected}, expected)
        self.assertEqual(set(record) - set(expected), {"last_wake_sent_at", "updated_at"})


class CheckInTest(LifecycleCase):
    def test_one_heartbeat_before_the_third_deadline_is_a_check_in(self):
        player = self.agent("late", policy={"checkin_deadline": "3s"})
        self.watcher.wait_event(player.address, "woken", 15, count=3)
        before = time.time()
        self.mosquitto_pub(player.address, player.token, player.topic, "-n", "-q", "1")
        online = self.watcher.wait_event(player.address, "online")
        after = time.time()
        record = online.json["record"]
        self.assertEqual(
            (record["status"], record["wake_attempts"], record["checkin_deadline_at"], record["last_provision_error"],
             record["lifecycle_generation"], record["reported_status"]),
            ("online", 0, None, None, 1, "ok"))
        self.assertGreaterEqual(stamp(record["last_seen_at"]), before - 0.01)
        self.assertLessEqual(stamp(record["last_seen_at"]), after + 0.01)
        self.assert_quiet(player.address, 4, wakes=3)
        self.assertEqual(player.get()["status"], "online")
        self.assertEqual(
            self.watcher.event_names(player.address),
            ["provisioning", "woken", "retriggered", "woken", "retriggered", "woken", "online"])
        (settled,) = self.log("lifecycle.reconcile.skip_not_stuck", player.address)
        self.assertEqual((settled["generation"], settled["attempt"]), (1, 3))
        self.assertLess(abs(stamp(settled["time"]) - stamp(record["last_seen_at"])), LATE)

    def test_plain_heartbeats_raise_no_revision(self):
        player = self.online_agent("plain")
        revision = player.get()["revision"]
        for _ in range(5):
            last = time.time()
            player.heartbeat()
            time.sleep(0.15)
        wait_until(
            lambda: stamp(player.get()["last_seen_at"]) > last - 0.05, 5 + LATE, "last_seen_at at most 5 s old")
        self.assertEqual(player.get()["revision"], revision)
        self.assertEqual(self.watcher.event_names(player.address)[-1], "online")

    def test_an_agent_s_clock_decides_nothing(self):
        player = self.agent("clock")
        self.watcher.wait_event(player.address, "woken")
        record = player.check_in(sent_at="2001-02-03T04:05:06Z", seq=1, boot_id="b1", note="hello", extra={"any": 1})
        self.assertLess(abs(stamp(record["last_seen_at"]) - time.time()), 5)
        self.assertEqual(record["boot_id"], "b1")

    def test_an_echo_of_an_older_generation_is_no_check_in(self):
        player = self.online_agent("older")
        self.expect("wake", {"agent": player.address})
        self.watcher.wait_event(player.address, "woken", lifecycle_generation=2)
        sent = time.time()
        player.heartbeat({"generation": 1, "attempt": 1})
        wait_until(lambda: stamp(player.get()["last_seen_at"]) > sent - 0.05, 5 + LATE, "last_seen_at set by an older echo")
        self.watcher.wait_event(player.address, "retriggered", lifecycle_generation=2)
        # Any attempt of the current one is.
        record = player.check_in(generation=2, attempt=1)
        self.assertEqual((record["status"], record["lifecycle_generation"]), ("online", 2))

    def test_an_echo_of_a_newer_generation_is_malformed(self):
        player = self.agent("newer", policy={"checkin_deadline": "10s"})
        self.watcher.wait_event(player.address, "woken")
        player.heartbeat({"generation": 2})
        rejected = self.watcher.wait_event(player.address, "heartbeat_rejected").json
        self.assertEqual(rejected["reason"], "malformed")
        self.assertEqual(rejected["record"]["status"], "provisioning")
        self.assertEqual(
            (rejected["record"]["last_rejection"]["reason"], rejected["record"]["last_rejection"]["count"]),
            ("malformed", 1))
        self.assertIsNone(rejected["record"]["last_seen_at"])
        (logged,) = self.log("heartbeat.rejected", player.address)
        self.assertEqual((logged["reason"], logged["generation"]), ("malformed", 1))

    def test_starting_extends_the_deadline_within_the_cap(self):
        player = self.agent("starting", policy={"checkin_deadline": "3s", "startup_extension_max": "2s"})
        woken = self.watcher.wait_event(player.address, "woken").json["record"]
        player.heartbeat({"status": "starting", "extend": "30s", "generation": 1})
        extended = self.watcher.wait_event(player.address, "changed").json["record"]
        self.assertEqual((extended["status"], extended["reported_status"]), ("provisioning", "starting"))
        self.assertIsNotNone(extended["last_seen_at"])
        gained = stamp(extended["checkin_deadline_at"]) - stamp(woken["checkin_deadline_at"])
        self.assertAlmostEqual(gained, 2, delta=0.01)
        # The cap is used up: no more.
        player.heartbeat({"status": "starting", "extend": "30s", "generation": 1})
        second = self.watcher.wait_wake(player.address, 20, attempt=2)
        self.assertGreaterEqual(second.at, stamp(extended["checkin_deadline_at"]))
        self.assertLessEqual(second.at, stamp(extended["checkin_deadline_at"]) + LATE)
        (deferred,) = self.log("lifecycle.reconcile.deferred", player.address)
        self.assertEqual((deferred["reason"], deferred["attempt"]), ("extended", 1))
        self.assertAlmostEqual(deferred["delay_seconds"], 2, delta=0.01)
        player.check_in()

    def test_starting_without_extend_gives_one_checkin_deadline_from_now(self):
        player = self.agent("warming", policy={"checkin_deadline": "5s"})
        woken = self.watcher.wait_event(player.address, "woken").json["record"]
        time.sleep(0.5)
        player.heartbeat({"status": "starting"})
        extended = self.watcher.wait_event(player.address, "changed").json["record"]
        self.assertGreater(stamp(extended["checkin_deadline_at"]), stamp(woken["checkin_deadline_at"]) + 0.45)
        # It counts from when the owner hears of it.
        granted = stamp(extended["checkin_deadline_at"]) - stamp(extended["last_seen_at"])
        self.assertGreaterEqual(granted, 5 - 0.05)
        self.assertLess(granted, 5 + LATE)
        player.check_in()

    def test_a_goodbye_ends_in_offline_without_escalation(self):
        player = self.agent("goodbye", policy={"offline_after": "3s"})
        self.watcher.wait_event(player.address, "woken")
        player.check_in(boot_id="b2")
        # Of another boot it says nothing.
        player.heartbeat({"status": "stopping", "boot_id": "b1"})
        player.heartbeat({"status": "stopping", "boot_id": "b2"})
        offline = self.wait_offline(player.address).json
        record = offline["record"]
        self.assertEqual(offline["reason"], "goodbye")
        self.assertEqual(
            (record["status"], record["checkin_deadline_at"], record["last_provision_error"], record["reported_status"]),
            ("offline", None, None, "stopping"))
        wakes = len(self.watcher.wakes(player.address))
        self.assert_quiet(player.address, 3.5, wakes=wakes)
        self.assertEqual(self.watcher.event_names(player.address).count("offline"), 1)
        # It is back as soon as it says so.
        self.assertEqual(player.check_in(boot_id="b3")["status"], "online")

    def test_a_goodbye_of_another_boot_changes_nothing(self):
        player = self.agent("boot")
        self.watcher.wait_event(player.address, "woken")
        before = player.check_in(boot_id="b2")
        player.heartbeat({"status": "stopping", "boot_id": "b1"})
        player.heartbeat({"status": "lost", "boot_id": "b1"})
        time.sleep(0.7)
        after = player.get()
        self.assertEqual((after["status"], after["revision"]), ("online", before["revision"]))
        self.assertEqual(after["boot_id"], "b2")

    def test_an_mqtt_3_agent_checks_in(self):
        player = self.agent("old")
        self.watcher.wait_event(player.address, "woken")
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=player.address, protocol=mqtt.MQTTv311)
        client.username_pw_set(player.address, player.token)
        client.connect("127.0.0.1", self.system.port)
        client.loop_start()
        self.addCleanup(client.loop_stop)
        self.addCleanup(client.disconnect)
        client.publish(player.topic, b"", qos=1).wait_for_publish(5)
        record = self.watcher.wait_event(player.address, "online").json["record"]
        self.assertEqual((record["status"], record["wake_attempts"]), ("online", 0))
        other = self.agent("old")
        self.watcher.wait_event(other.address, "woken")
        self.mosquitto_pub(other.address, other.token, other.topic, "-V", "mqttv311", "-m", '{"status": "degraded"}')
        record = self.watcher.wait_event(other.address, "online").json["record"]
        self.assertEqual((record["status"], record["reported_status"]), ("online", "degraded"))

    def test_mosquitto_sub_gets_wakes_and_statuses(self):
        player = self.agent("sub", wake=False, policy={"checkin_deadline": "20s"})
        agent = ["-u", player.address, "-P", player.token, "-V", "mqttv311"]
        operator = ["-u", self.system.env["ROLLCALL_USERNAME"], "-P", self.system.env["ROLLCALL_PASSWORD"], "-V", "mqttv5"]
        server = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.system.port), "-q", "1", "-C", "1", "-W", "30"]
        status = subprocess.run(
            [*server, *operator, "-t", f"{TOPIC_ROOT}/agents/{player.address}/status", "-F", "%r %p"],
            capture_output=True, text=True, timeout=20, check=True).stdout
        self.assertEqual(status[:2], "1 ")
        self.assertEqual(json.loads(status[2:]), player.record)
        waiting = subprocess.Popen(
            ["stdbuf", "-oL", *server, *agent, "-d", "-t", f"{TOPIC_ROOT}/agents/{player.address}/wake"],
            stdout=subprocess.PIPE, text=True)
        self.addCleanup(waiting.stdout.close)
        self.addCleanup(waiting.wait, 40)
        self.assertTrue(any(line.startswith("Subscribed") for line in waiting.stdout))
        self.expect("wake", {"agent": player.address})
        wake = next(json.loads(line) for line in waiting.stdout if line.startswith("{"))
        self.assertEqual((wake["agent"], wake["generation"], wake["attempt"]), (player.address, 1, 1))

    def test_heartbeats_at_qos_0_count(self):
        player = self.agent("fleeting")
        self.watcher.wait_event(player.address, "woken")
        player.heartbeat(qos=0)
        self.watcher.wait_event(player.address, "online")

    def test_tokens_in_heartbeats_are_checked(self):
        player = self.agent("token", policy={"checkin_deadline": "10s"})
        other = self.agent("token", policy={"checkin_deadline": "10s"})
        self.watcher.wait_event(player.address, "woken")
        player.heartbeat({"note": "wrong"}, token=other.token)
        rejected = self.watcher.wait_event(player.address, "heartbeat_rejected").json
        self.assertEqual(rejected["reason"], "bad_token")
        self.assertEqual(rejected["record"]["status"], "provisioning")
        player.heartbeat(None, token=player.token)
        self.watcher.wait_event(player.address, "online")

    def test_rejections_are_named_and_kept(self):
        player = self.agent("rejected", policy={"checkin_deadline": "20s"})
        self.watcher.wait_event(player.address, "woken")
        cases = [
            (b"{", "malformed"), (b"[]", "malformed"), ({"status": "fine"}, "malformed"), ({"seq": "one"}, "malformed"),
            ({"extend": "soon"}, "malformed"), ({"note": "n" * 257}, "malformed"), ({"boot_id": "b" * 65}, "malformed"),
            ({"state": "offline"}, "malformed"), (b"{" + b" " * 4096 + b"}", "too_large"),
        ]
        for index, (payload, reason) in enumerate(cases):
            with self.subTest(payload=str(payload)[:40]):
                player.heartbeat(payload)
                self.system.wait_for_event(
                    "heartbeat.rejected", 5, sum(1 for case in cases[:index + 1] if case[1] == reason),
                    agent=player.address, reason=reason)
        def newest():
            return player.get()["last_rejection"] or {}

        wait_until(lambda: newest().get("reason") == "too_large", 7, "the newest rejection")
        record = player.get()
        # Of the newest, with its own count.
        self.assertEqual(record["last_rejection"]["count"], 1)
        self.assertIn("4098 bytes", record["last_rejection"]["detail"])
        self.assertEqual(record["status"], "provisioning")
        # At most one event a second, though.
        self.assertLess(self.watcher.event_names(player.address).count("heartbeat_rejected"), len(cases))
        player.check_in()

    def test_a_rejected_agent_is_told_so_when_it_is_offline(self):
        player = self.agent("reason", policy={"max_wake_attempts": 1, "checkin_deadline": "3s"})
        self.watcher.wait_event(player.address, "woken")
        for _ in range(2):
            player.heartbeat(None, token="wrong")
        record = self.wait_offline(player.address).json["record"]
        self.assertEqual(
            record["last_provision_error"],
            MISSED + ": heartbeats rejected: bad_token ×2: x-agent-token: is not this agent's token")
        self.assertEqual(record["wake_attempts"], 1)

    def test_an_unknown_agent_is_rejected_by_name(self):
        gateway = self.system.client("gw", self.gateway_tokens["gw"])
        gateway.publish(f"{TOPIC_ROOT}/agents/gw/nobody/heartbeat", b"")
        rejected = self.watcher.wait_event("gw/nobody", "heartbeat_rejected")
        self.assertEqual(rejected.json, {"event": "heartbeat_rejected", "reason": "unknown_agent", "record": None})
        self.system.wait_for_event("heartbeat.rejected", agent="gw/nobody", reason="unknown_agent")

    def test_a_flood_is_limited(self):
        player = self.agent("flood", policy={"heartbeat_rate": "1/s", "checkin_deadline": "10s"})
        self.watcher.wait_event(player.address, "woken")
        player.check_in()
        for _ in range(40):
            player.heartbeat(qos=0)
        rejected = self.watcher.wait_event(player.address, "heartbeat_rejected").json
        self.assertEqual(rejected["reason"], "rate_limited")
        self.assertEqual(rejected["record"]["status"], "online")

    def test_a_gateway_speaks_for_many_and_a_bad_entry_is_rejected_alone(self):
        names = [self.agent("many").address for _ in range(3)]
        bad = self.agent("many", policy={"checkin_deadline": "10s"}).address
        for address in [*names, bad]:
            self.watcher.wait_event(address, "woken")
        gateway = self.system.client("gw", self.gateway_tokens["gw"])
        short = [address.split("/")[1] for address in names]
        gateway.publish(f"{TOPIC_ROOT}/gateways/gw/heartbeats", {"agents": [
            short[0], {"agent": bad.split("/")[1], "status": 5}, {"agent": short[1], "status": "degraded", "seq": 7}, 17,
            "unheard-of", short[2]]})
        for address, status in zip(names, ("ok", "degraded", "ok")):
            record = self.watcher.wait_event(address, "online").json["record"]
            self.assertEqual(record["reported_status"], status)
        rejected = self.watcher.wait_event(bad, "heartbeat_rejected").json
        self.assertEqual((rejected["reason"], rejected["record"]["status"]), ("malformed", "provisioning"))
        self.assertEqual(self.watcher.wait_event("gw/unheard-of", "heartbeat_rejected").json["reason"], "unknown_agent")

    def test_wakes_that_nobody_gets(self):
        player = self.agent("void", gateway="void", policy={"max_wake_attempts": 1})
        record = self.wait_offline(player.address).json["record"]
        self.assertEqual(record["wake_delivery"], "no_subscriber")
        self.assertEqual(record["last_provision_error"], MISSED + ": no gateway received the wake")

    def test_stale_templates(self):
        player = self.agent("stale", policy={
            "max_wake_attempts": 1, "checkin_deadline": "3s", "startup_extension_max": "100ms"})
        self.watcher.wait_event(player.address, "woken")
        player.heartbeat({"status": "starting", "templates_digest": "sha256:" + "0" * 64})
        record = self.wait_offline(player.address).json["record"]
        self.assertEqual(record["last_provision_error"], MISSED + ": templates are stale")
        listed = self.expect("list", {"stale_templates": True})["records"]
        self.assertEqual([one["agent"] for one in listed], [player.address])

    def test_a_heartbeat_before_any_wake_is_no_check_in(self):
        player = self.agent("quiet", wake=False)
        record = player.record
        self.assertEqual(
            (record["status"], record["lifecycle_generation"], record["wake_attempts"], record["checkin_deadline_at"]),
            ("offline", 0, 0, None))
        self.assertEqual(self.watcher.wait_event(player.address, "changed").json["record"], record)
        time.sleep(0.5)
        self.assertEqual(self.watcher.wakes(player.address), [])
        # But an offline agent that is heard of is online.
        self.assertEqual(player.check_in()["status"], "online")

    def test_provision_without_a_wake_on_the_command_line(self):
        answer = self.system.json(
            "provision", "gw/quiet-cli", "--role", "lead", "--board", "b1", "--no-wake", "--checkin-deadline", "5s")
        record = answer["record"]
        self.assertEqual((record["status"], record["lifecycle_generation"], record["role"]), ("offline", 0, "lead"))
        self.assertEqual(record["policy_overrides"], {"checkin_deadline": "5s"})
        self.assertEqual(self.watcher.wakes("gw/quiet-cli"), [])


class LapseTest(LifecycleCase):
    gateways = ("gw", "late", "lost")

    def test_a_last_will_lapses_after_its_grace_and_recovers(self):
        player = self.agent("will", policy={"lost_grace": "500ms", "heartbeat_interval": "1s"})
        self.watcher.wait_event(player.address, "woken")
        client = player.connect(will={"status": "lost", "boot_id": "b1"})
        player.check_in(boot_id="b1")
        cut = time.time()
        client.cut()
        lapsed = self.watcher.wait_event(player.address, "lapsed")
        self.assertEqual(lapsed.json["record"]["status"], "online")
        self.assertGreaterEqual(lapsed.at - cut, 0.45)
        updating = self.watcher.wait_event(player.address, "updating").json["record"]
        self.assertEqual((updating["lifecycle_generation"], updating["provision_action"]), (2, "recover"))
        self.assertEqual(self.watcher.wait_wake(player.address, generation=2).json["reason"], "recover")
        player.client = None
        self.assertEqual(player.check_in(generation=2)["status"], "online")

    def test_who_comes_back_within_the_grace_has_not_lapsed(self):
        player = self.agent("brief", policy={"lost_grace": "4s"})
        self.watcher.wait_event(player.address, "woken")
        client = player.connect(will={"status": "lost", "boot_id": "b1"})
        player.check_in(boot_id="b1")
        client.cut()
        time.sleep(0.3)
        player.connect()
        player.heartbeat({"boot_id": "b1"})
        time.sleep(5)
        self.assertNotIn("lapsed", self.watcher.event_names(player.address))
        self.assertEqual(player.get()["status"], "online")

    def test_silence_lapses_and_wakes(self):
        player = self.agent("silent", policy={
            "checkin_deadline": "3s", "offline_after": "1s", "heartbeat_interval": "1s", "on_lapse": "wake"})
        self.watcher.wait_event(player.address, "woken")
        seen = stamp(player.check_in()["last_seen_at"])
        lapsed = self.watcher.wait_event(player.address, "lapsed")
        self.assertGreaterEqual(lapsed.at - seen, 1)
        self.assertLessEqual(lapsed.at - seen, 1 + LATE)
        self.assertEqual(self.watcher.wait_wake(player.address, generation=2).json["reason"], "recover")
        self.wait_offline(player.address, 20, lifecycle_generation=2)
        self.assertEqual(
            self.watcher.event_names(player.address)[2:6], ["online", "lapsed", "updating", "woken"])

    def test_silence_lapses_and_is_offline(self):
        player = self.agent("silent", policy={
            "checkin_deadline": "3s", "offline_after": "1s", "heartbeat_interval": "1s", "on_lapse": "offline"})
        self.watcher.wait_event(player.address, "woken")
        player.check_in()
        offline = self.wait_offline(player.address).json
        self.assertEqual(offline["reason"], "lapsed")
        self.assertEqual(
            (offline["record"]["lifecycle_generation"], offline["record"]["last_provision_error"]), (1, None))
        self.assert_quiet(player.address, 3, wakes=1)
        self.assertEqual(
            self.watcher.event_names(player.address), ["provisioning", "woken", "online", "lapsed", "offline"])
        self.assertEqual(player.check_in()["status"], "online")

    def test_heartbeats_keep_it_online(self):
        player = self.agent("steady", policy={
            "checkin_deadline": "10s", "offline_after": "4s", "on_lapse": "offline"})
        self.watcher.wait_event(player.address, "woken")
        player.check_in()
        for _ in range(16):
            time.sleep(0.3)
            player.heartbeat()
        self.assertEqual(
            self.watcher.event_names(player.address), ["provisioning", "woken", "online"])

    def test_a_lost_gateway_takes_its_agents_along_and_brings_them_back(self):
        status = f"{TOPIC_ROOT}/gateways/lost/status"
        will = {"topic": status, "payload": '{"state": "lost"}', "retain": True}
        gateway = self.system.client("lost", self.gateway_tokens["lost"], will=will)
        gateway.publish(status, {"state": "connected"}, retain=True)
        events = f"{TOPIC_ROOT}/gateways/lost/lifecycle/"
        self.watcher.wait(lambda seen: [s for s in seen if s.topic == events + "gateway_connected"], what="gateway_connected")
        players = [
            self.agent("member", gateway="lost", policy={"max_wake_attempts": 1, "checkin_deadline": "6s"}) for _ in range(3)]
        for player in players:
            self.watcher.wait_event(player.address, "woken")
        gateway.cut()
        (lost,) = self.watcher.wait(
            lambda seen: [s for s in seen if s.topic == events + "gateway_lost"], what="gateway_lost")
        self.assertEqual(lost.json, {"event": "gateway_lost", "gateway": "lost", "agents": 3})
        for player in players:
            record = self.wait_offline(player.address, 20).json["record"]
            self.assertEqual(record["last_provision_error"], MISSED + ": gateway lost is lost")
        (listed,) = [one for one in self.expect("list-gateways")["gateways"] if one["gateway"] == "lost"]
        self.assertEqual((listed["state"], listed["agents"]), ("lost", 3))

        gateway = self.system.client("lost", self.gateway_tokens["lost"], will=will)
        gateway.publish(status, {"state": "connected"}, retain=True)
        for player in players:
            record = self.watcher.wait_event(player.address, "updating").json["record"]
            self.assertEqual((record["lifecycle_generation"], record["provision_action"]), (2, "recover"))
            self.watcher.wait_wake(player.address, generation=2, reason="recover")
        gateway.publish(
            f"{TOPIC_ROOT}/gateways/lost/heartbeats", {"agents": [player.address.split("/")[1] for player in players]})
        for player in players:
            self.watcher.wait_event(player.address, "online")

    def test_a_wake_that_reached_nobody_is_repeated_when_its_gateway_comes(self):
        player = self.agent("early", gateway="late", policy={"max_wake_attempts": 1, "checkin_deadline": "6s"})
        record = self.watcher.wait_event(player.address, "woken").json["record"]
        self.assertEqual(record["wake_delivery"], "no_subscriber")
        time.sleep(4)
        gateway = self.system.client("late", self.gateway_tokens["late"])
        gateway.subscribe(f"{TOPIC_ROOT}/agents/late/+/wake")
        gateway.publish(f"{TOPIC_ROOT}/gateways/late/status", {"state": "connected"}, retain=True)
        wake = json.loads(gateway.wait_message(what="the same wake").payload)
        self.assertEqual((wake["agent"], wake["generation"], wake["attempt"]), (player.address, 1, 1))
        self.assertGreater(stamp(wake["deadline_at"]), stamp(record["checkin_deadline_at"]) + 3.5)
        # Behind the first deadline, before the second.
        time.sleep(4)
        gateway.publish(f"{TOPIC_ROOT}/gateways/late/heartbeats", {"agents": [player.address.split("/")[1]]})
        self.watcher.wait_event(player.address, "online")
        self.assertEqual(
            self.watcher.event_names(player.address), ["provisioning", "woken", "changed", "woken", "online"])


class PauseTest(LifecycleCase):
    def test_a_paused_agent_is_left_alone_and_goes_on_when_resumed(self):
        player = self.agent("paused", policy={"checkin_deadline": "3s"})
        self.watcher.wait_event(player.address, "woken")
        self.assertEqual(self.expect("pause", {"agent": player.address}), {"paused": 1})
        record = player.get()
        self.assertEqual(
            (record["paused"], record["paused_by"], record["checkin_deadline_at"], record["status"]),
            (True, ["agent"], None, "provisioning"))
        self.assert_quiet(player.address, 4, wakes=1)
        self.assertEqual(player.get()["revision"], record["revision"])

        self.assertEqual(self.expect("resume", {"agent": player.address}), {"paused": 1})
        repeat = self.watcher.wait_wake(player.address, count=2).json
        first = self.watcher.wakes(player.address)[0].json
        self.assertEqual({**repeat, "deadline_at": None}, {**first, "deadline_at": None})
        self.assertGreater(stamp(repeat["deadline_at"]), stamp(first["deadline_at"]))
        woken = self.watcher.wait_event(player.address, "woken", count=2).json["record"]
        self.assertEqual((woken["wake_attempts"], woken["paused"]), (1, False))
        self.assertAlmostEqual(stamp(woken["checkin_deadline_at"]) - stamp(woken["last_wake_sent_at"]), 3, delta=0.002)
        second = self.watcher.wait_wake(player.address, attempt=2)
        self.assertGreaterEqual(second.at, stamp(woken["checkin_deadline_at"]))
        player.check_in()

    def test_heartbeats_of_a_paused_agent_count(self):
        player = self.agent("counted", policy={"checkin_deadline": "3s"})
        self.watcher.wait_event(player.address, "woken")
        self.expect("pause", {"agent": player.address})
        record = player.check_in()
        self.assertEqual((record["status"], record["paused"]), ("online", True))
        self.expect("resume", {"agent": player.address})
        self.assert_quiet(player.address, 4, wakes=1)
        self.assertEqual(player.get()["status"], "online")

    def test_a_paused_agent_does_not_lapse(self):
        player = self.online_agent("held", policy={
            "checkin_deadline": "3s", "offline_after": "3s", "on_lapse": "offline"})
        self.expect("pause", {"agent": player.address})
        time.sleep(4)
        self.assertEqual(player.get()["status"], "online")

    def test_a_cycle_asked_for_in_a_pause_begins_with_the_resume(self):
        player = self.online_agent("waiting", policy={"checkin_deadline": "10s"})
        self.expect("pause", {"agent": player.address})
        record = self.expect("wake", {"agent": player.address})["record"]
        self.assertEqual((record["lifecycle_generation"], record["wake_attempts"]), (2, 0))
        self.assert_quiet(player.address, 1.5, wakes=1)
        self.expect("resume", {"agent": player.address})
        wake = self.watcher.wait_wake(player.address, generation=2).json
        self.assertEqual((wake["attempt"], wake["reason"]), (1, "manual"))
        player.check_in(generation=2)

    def test_causes_are_kept_apart(self):
        player = self.online_agent("twice", board="held-board")
        other = self.online_agent("twice", board="held-board")
        self.assertEqual(self.expect("pause", {"board": "held-board"}), {"paused": 2})
        self.assertEqual(self.expect("pause", {"agent": player.address}), {"paused": 1})
        self.assertEqual(sorted(player.get()["paused_by"]), ["agent", "board"])
        self.assertEqual(self.expect("resume", {"board": "held-board"}), {"paused": 2})
        self.assertEqual((player.get()["paused"], player.get()["paused_by"]), (True, ["agent"]))
        self.assertFalse(other.get()["paused"])
        self.expect("resume", {"agent": player.address})
        self.assertFalse(player.get()["paused"])

    def test_a_pause_ends_by_itself(self):
        player = self.online_agent("until")
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
        self.expect("pause", {"agent": player.address, "until": until})
        self.assertEqual(stamp(player.get()["paused_until"]), stamp(until))
        resumed = self.watcher.wait_event(player.address, "resumed", 15)
        self.assertGreaterEqual(resumed.at, stamp(until) - 0.05)
        self.assertLessEqual(resumed.at, stamp(until) + LATE)
        self.assertIsNone(player.get()["paused_until"])

    def test_a_paused_gateway_pauses_whoever_joins(self):
        self.expect("add-gateway", {"gateway": "held"})
        first = self.agent("first", gateway="held")
        self.assertEqual(self.expect("pause", {"gateway": "held"}), {"paused": 1})
        second = self.agent("second", gateway="held")
        self.assertEqual(second.get()["paused_by"], ["gateway"])
        self.assertEqual(self.expect("resume", {"gateway": "held"}), {"paused": 2})
        for player in (first, second):
            self.assertFalse(player.get()["paused"])


class RecordTest(LifecycleCase):
    arguments = ("--checkin-deadline", "1s", "--offline-after", "2h")
    gateways = ("gw", "zz")

    def test_a_deleted_agent_is_gone_and_its_numbers_go_on(self):
        player = self.online_agent("gone")
        closed = self.closing(player.client)
        before = player.get()
        record = self.expect("delete", {"agent": player.address})["record"]
        answered = time.time()
        self.assertEqual(record["status"], "deleting")
        wait_until(lambda: closed, 10, "the connection of a deleted agent closed")
        self.assertLess(closed[0] - answered, 1 + LATE)
        print(f"\nconnection of a deleted agent closed after its answer: {(closed[0] - answered) * 1000:.0f} ms")
        cleared = self.watcher.wait(
            lambda seen: [s for s in seen if s.topic == f"{TOPIC_ROOT}/agents/{player.address}/status" and not s.payload],
            what="the cleared status")[0]
        self.assertTrue(cleared.retain)
        self.assertEqual(self.watcher.event_names(player.address)[-2:], ["deleting", "deleted"])
        self.refuse("get", {"agent": player.address}, 404, "unknown-agent")
        self.refuse("delete", {"agent": player.address}, 404, "unknown-agent")
        with self.assertRaises(PermissionError):
            self.system.client(player.address, player.token)
        events = self.history(player.address)
        self.assertEqual([event["event"] for event in events[:2]], ["deleted", "deleting"])

        again = self.expect("provision", {"agent": player.address, "role": "worker", "board": "board"})
        self.assertIsNotNone(again["token"])
        self.assertNotEqual(again["token"], player.token)
        self.assertEqual(again["record"]["lifecycle_generation"], before["lifecycle_generation"] + 1)
        self.assertEqual(again["record"]["revision"], before["revision"] + 3)
        revisions = [event["record"]["revision"] for event in reversed(self.history(player.address))]
        self.assertEqual(revisions, list(range(1, len(revisions) + 1)))

    def test_provisioning_again_keeps_what_is_absent(self):
        player = self.agent("again", policy={"checkin_deadline": "3s"}, variables={"goal": "read", "draft": "1"})
        answer = self.expect("provision", {"agent": player.address})
        self.assertIsNone(answer["token"])
        record = answer["record"]
        self.assertEqual(
            (record["lifecycle_generation"], record["role"], record["board_id"], record["variables"],
             record["policy_overrides"], record["provision_action"], record["status"]),
            (2, "worker", "board", {"goal": "read", "draft": "1"}, {"checkin_deadline": "3s"}, "provision", "provisioning"))
        record = self.expect(
            "update",
            {"agent": player.address, "variables": {"draft": None, "new": "x"}, "board": "other",
             "policy": {"max_wake_attempts": 1}})["record"]
        self.assertEqual(
            (record["lifecycle_generation"], record["variables"], record["board_id"], record["policy_overrides"],
             record["provision_action"], record["status"]),
            (3, {"goal": "read", "new": "x"}, "other", {"checkin_deadline": "3s", "max_wake_attempts": 1}, "update",
             "updating"))
        self.assertEqual(self.watcher.wait_wake(player.address, generation=3).json["reason"], "update")
        quiet = self.expect(
            "update", {"agent": player.address, "policy": {"checkin_deadline": None}, "wake": False})["record"]
        self.assertEqual((quiet["lifecycle_generation"], quiet["policy_overrides"]), (3, {"max_wake_attempts": 1}))
        self.watcher.wait_event(player.address, "changed", revision=quiet["revision"])

    def test_policies_go_from_agent_over_gateway_over_system(self):
        self.expect("add-gateway", {"gateway": "policy", "policy": {"offline_after": "1h", "lost_grace": "3s"}})
        player = self.agent("policy", gateway="policy", policy={"lost_grace": "4s"}, wake=False)
        policy = player.record["policy"]
        self.assertEqual(
            (policy["checkin_deadline"], policy["offline_after"], policy["lost_grace"], policy["heartbeat_interval"]),
            ("1s", "1h", "4s", "60s"))
        self.expect("add-gateway", {"gateway": "policy", "policy": {"offline_after": None}})
        self.watcher.wait_event(player.address, "changed", count=2)
        self.assertEqual(player.get()["policy"]["offline_after"], "2h")

    def test_a_trace_goes_into_events_and_wakes(self):
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        address = "gw/traced"
        self.operator.publish(
            f"{TOPIC_ROOT}/commands/provision", {"agent": address, "role": "main"},
            properties=properties(user=[("traceparent", trace)], content_type="application/json"))
        offline = self.wait_offline(address)
        for seen in self.watcher.events(address):
            self.assertEqual(seen.user.get("traceparent"), trace, seen)
        for seen in self.watcher.wakes(address):
            self.assertEqual(seen.user.get("traceparent"), trace, seen)
        self.assertEqual(offline.user["sequence"], f"{offline.json['record']['revision']:020}")

    def test_history_is_newest_first_gapless_and_paged(self):
        player = self.online_agent("history")
        for index in range(12):
            self.expect("update", {"agent": player.address, "variables": {"n": str(index)}, "wake": False})
        whole = self.expect("history", {"agent": player.address})
        self.assertIsNone(whole["next"])
        events = whole["events"]
        revisions = [event["record"]["revision"] for event in events]
        self.assertEqual(revisions, list(range(player.get()["revision"], 0, -1)))
        self.assertEqual(len({event["id"] for event in events}), len(events))
        pages, before = [], None
        while True:
            page = self.expect(
                "history", {"agent": player.address, "limit": 4, **({"before": before} if before else {})})
            self.assertLessEqual(len(page["events"]), 4)
            pages += page["events"]
            before = page["next"]
            if before is None:
                break
        self.assertEqual(pages, events)
        # The history is what was published: an answer can overtake the event that it tells of, on the way here.
        self.watcher.wait_event(player.address, events[0]["event"], revision=events[0]["record"]["revision"])
        published = {seen.user["id"]: seen.json for seen in self.watcher.events(player.address)}
        for event in events:
            self.assertEqual(published[event["id"]]["record"], event["record"])
            self.assertEqual(published[event["id"]]["reason"], event["reason"])

    def test_history_of_all_and_of_a_gateway(self):
        self.expect("add-gateway", {"gateway": "hg"})
        for name in ("hg/a", "gw/h", "hg/b"):
            self.expect("provision", {"agent": name, "role": "main" if name == "hg/a" else "worker",
                                      **({} if name == "hg/a" else {"board": "x"}), "wake": False})
        second = self.expect("update", {"agent": "hg/a", "variables": {"n": "1"}, "wake": False})["record"]
        self.expect("delete", {"agent": "hg/b"})

        def pages(**members):
            found, before = [], None
            while True:
                page = self.expect("history", {**members, "limit": 2, **({"before": before} if before else {})})
                found += page["events"]
                before = page["next"]
                if before is None:
                    return found

        wait_until(lambda: self.events_of(pages(gateway="hg"), "deleted") == ["hg/b"], 10, "the end of hg/b")
        events = pages(gateway="hg")
        self.assertEqual({event["subject"] for event in events}, {"hg/a", "hg/b"})
        self.assertEqual(len({event["id"] for event in events}), len(events))
        for name in ("hg/a", "hg/b"):
            self.assertEqual([event for event in events if event["subject"] == name], self.history(name))
        self.assertEqual(
            [event for event in pages(since=second["updated_at"], gateway="hg") if event["subject"] == "hg/a"],
            self.history("hg/a")[:1])
        self.assertEqual(self.expect("history", {"gateway": "hg", "since": "2099-01-01T00:00:00Z"}),
                         {"events": [], "next": None})
        everything = self.expect("history", {"since": second["created_at"], "limit": 1000})["events"]
        self.assertEqual([event for event in everything if event["subject"].startswith("hg/")], events)
        self.assertIn("gw/h", {event["subject"] for event in everything})
        # What happened stays when the gateway goes.
        self.expect("remove-gateway", {"gateway": "hg", "force": True})
        self.assertEqual(self.expect("history", {"gateway": "hg", "limit": 1000})["events"][-len(events):], events)

    @staticmethod
    def events_of(events, name):
        return [event["subject"] for event in events if event["event"] == name]

    def test_list_filters_and_pages(self):
        made = []
        for name, gateway, board, role in [
            ("l1", "gw", "red", "lead"), ("l2", "gw", "red", "worker"), ("l3", "gw", "blue", "worker"),
            ("l4", "zz", "red", "worker"), ("l5", "zz", None, "main"), ("L6", "zz", "blue", "worker"),
        ]:
            members = {"agent": f"{gateway}/{name}", "role": role, "wake": False}
            if board:
                members["board"] = board
            made.append(self.expect("provision", members)["record"]["agent"])

        def listed(**members):
            answer = self.expect("list", members)
            return [record["agent"] for record in answer["records"] if record["agent"] in made]

        self.assertEqual(listed(), sorted(made, key=str.encode))
        self.assertEqual(listed(gateway="zz"), ["zz/L6", "zz/l4", "zz/l5"])
        self.assertEqual(listed(board="red"), ["gw/l1", "gw/l2", "zz/l4"])
        self.assertEqual(listed(board="red", role="worker"), ["gw/l2", "zz/l4"])
        self.assertEqual(listed(role="main"), ["zz/l5"])
        self.assertEqual(listed(status="online", gateway="zz"), [])
        self.assertEqual(listed(status="offline", gateway="zz"), ["zz/L6", "zz/l4", "zz/l5"])
        self.assertEqual(listed(status=["online", "offline"], gateway="zz"), ["zz/L6", "zz/l4", "zz/l5"])
        self.assertEqual(listed(status=["online", "updating"], gateway="zz"), [])
        self.assertEqual(self.expect("list", {"gateway": "gw", "board": "nowhere"}), {"records": [], "next": None})
        pages, after, rounds = [], None, 0
        while True:
            page = self.expect("list", {"gateway": "zz", "limit": 2, **({"after": after} if after else {})})
            pages += [record["agent"] for record in page["records"]]
            after = page["next"]
            rounds += 1
            if after is None:
                break
        self.assertEqual((pages, rounds), (["zz/L6", "zz/l4", "zz/l5"], 2))
        summary = self.expect("summary", {"gateway": "zz"})
        self.assertEqual(summary["total"], 3)
        self.assertEqual(
            summary["by_status"], {"provisioning": 0, "updating": 0, "online": 0, "offline": 3, "deleting": 0})
        self.assertEqual(set(summary["by_gateway"]), {"zz"})
        whole = self.expect("summary")
        self.assertEqual(whole["total"], sum(whole["by_status"].values()))
        self.assertEqual(whole["total"], sum(one["total"] for one in whole["by_gateway"].values()))
        (gateway,) = [one for one in self.expect("list-gateways")["gateways"] if one["gateway"] == "zz"]
        self.assertEqual(gateway, {"gateway": "zz", "state": "never", "agents": 3, "policy": {}})

    def test_a_gateway_with_agents_is_removed_only_by_force(self):
        token = self.expect("add-gateway", {"gateway": "brief"})["token"]
        self.assertIsNone(self.expect("add-gateway", {"gateway": "brief"})["token"])
        player = self.agent("brief", gateway="brief", wake=False)
        self.refuse("remove-gateway", {"gateway": "brief"}, 409, "conflict")
        self.assertEqual(
            self.expect("remove-gateway", {"gateway": "brief", "force": True}), {"gateway": "brief", "deleted_agents": 1})
        self.refuse("get", {"agent": player.address}, 404, "unknown-agent")
        self.assertNotIn("brief", [one["gateway"] for one in self.expect("list-gateways")["gateways"]])
        with self.assertRaises(PermissionError):
            self.system.client("brief", token)

    def test_the_files_and_the_credentials_of_an_agent(self):
        player = self.agent("files", variables={"goal": "read papers"}, wake=False)
        client = player.connect()
        answers = f"{TOPIC_ROOT}/replies/{player.address}/files"
        client.subscribe(answers)
        client.publish(
            f"{TOPIC_ROOT}/agents/{player.address}/files", {}, properties=properties(response_topic=answers))
        answer = json.loads(client.wait_message(lambda message: message.topic == answers).payload)
        self.assertEqual(answer["templates_digest"], player.record["templates_digest"])
        self.assertTrue(answer["files"])
        self.assertNotIn(player.token, json.dumps(answer))

        gateway = self.system.client("gw", self.gateway_tokens["gw"])
        answers = f"{TOPIC_ROOT}/replies/gw/1"
        gateway.subscribe(answers)
        gateway.publish(
            f"{TOPIC_ROOT}/agents/{player.address}/credentials", {}, properties=properties(response_topic=answers))
        minted = json.loads(gateway.wait_message(lambda message: message.topic == answers).payload)
        self.assertEqual(minted["username"], player.address)
        self.assertEqual(player.get()["token_id"], minted["token_id"])
        self.system.client(player.address, minted["token"])

    def test_a_token_is_rotated(self):
        player = self.agent("rotated", wake=False)
        answer = self.expect("rotate-token", {"agent": player.address})
        self.watcher.wait_event(player.address, "token_rotated")
        self.assertNotEqual(answer["token"], player.token)
        # Both work, until the new one was used.
        self.system.client(player.address, player.token).close()
        self.system.client(player.address, answer["token"]).close()
        def old_is_refused():
            try:
                self.system.client(player.address, player.token).close()
            except PermissionError:
                return True
            return False
        wait_until(old_is_refused, 15, "the old token refused")
        closed = self.closing(self.system.client(player.address, answer["token"]))
        now = self.expect("rotate-token", {"agent": player.address, "now": True})
        answered = time.time()
        wait_until(lambda: closed, 10, "the connection with the old token closed")
        self.assertLess(closed[0] - answered, 1 + LATE)
        print(f"\nconnection with a rotated token closed after the answer: {(closed[0] - answered) * 1000:.0f} ms")
        with self.assertRaises(PermissionError):
            self.system.client(player.address, answer["token"])
        self.system.client(player.address, now["token"]).close()

    def test_wakes_are_paced_at_the_gateway_s_rate(self):
        self.expect("add-gateway", {"gateway": "slow", "policy": {"wake_rate": "20/s", "max_wake_attempts": 1}})
        players = [self.agent("paced", gateway="slow") for _ in range(44)]
        woken = [self.watcher.wait_event(player.address, "woken").json["record"] for player in players]
        sent = sorted(stamp(record["last_wake_sent_at"]) for record in woken)
        # A fifth of a second's wakes may go at once; the first may have been held up on its way.
        self.assertGreaterEqual(sent[-1] - sent[0], (44 - 4 - 1) / 20 - 0.5)
        # Nor later than the rate asks for, and not before the last was asked for.
        asked = max(stamp(record["provision_requested_at"]) for record in woken)
        self.assertLessEqual(sent[-1], max(sent[0] + 44 / 20, asked) + LATE)
        for record in woken:
            self.assertAlmostEqual(
                stamp(record["checkin_deadline_at"]) - stamp(record["last_wake_sent_at"]), 1, delta=0.002)


class IdempotencyTest(LifecycleCase):
    def test_a_key_is_done_once_and_survives_restarts(self):
        request = {"agent": "gw/keyed", "role": "worker", "board": "board", "wake": False}
        first = self.expect("provision", request, idempotency_key="key-1")
        again = self.expect("provision", request, idempotency_key="key-1")
        # The first token was never used, so it is minted again: the answer is of use.
        self.assertIsNotNone(again["token"])
        self.assertNotEqual(again["token"], first["token"])
        self.system.client("gw/keyed", again["token"]).close()
        with self.assertRaises(PermissionError):
            self.system.client("gw/keyed", first["token"])
        self.assertEqual(again["record"]["lifecycle_generation"], 0)

        woken = self.expect("wake", {"agent": "gw/keyed"}, idempotency_key="key-2")
        self.assertEqual(self.expect("wake", {"agent": "gw/keyed"}, idempotency_key="key-2"), woken)
        self.refuse("update", {"agent": "gw/keyed"}, 409, "conflict", idempotency_key="key-2")
        self.refuse("wake", {"agent": "gw/other"}, 409, "conflict", idempotency_key="key-2")
        # A refusal is kept as well.
        self.refuse("wake", {"agent": "gw/nobody"}, 404, "unknown-agent", idempotency_key="key-3")
        self.refuse("wake", {"agent": "gw/keyed"}, 409, "conflict", idempotency_key="key-3")
        self.wait_offline("gw/keyed")
        record = self.expect("get", {"agent": "gw/keyed"})["record"]
        self.assertEqual(record["lifecycle_generation"], 1)
        history = self.history("gw/keyed")

        self.system.restart()
        self.connect()
        self.assertEqual(self.expect("wake", {"agent": "gw/keyed"}, idempotency_key="key-2"), woken)
        self.refuse("update", {"agent": "gw/keyed"}, 409, "conflict", idempotency_key="key-2")
        self.assertEqual(self.history("gw/keyed"), history)
        self.assertEqual(self.expect("get", {"agent": "gw/keyed"})["record"], record)
        # Used meanwhile: the token is not minted again.
        player_token = again["token"]
        client = self.system.client("gw/keyed", player_token)
        client.publish(f"{TOPIC_ROOT}/agents/gw/keyed/heartbeat")
        self.watcher.wait_event("gw/keyed", "online")
        self.assertIsNone(self.expect("provision", request, idempotency_key="key-1")["token"])

        # One service that dies does not forget either.
        self.expect("wake", {"agent": "gw/keyed"}, idempotency_key="key-4")
        for name in ("reconciler", "provisioner"):
            subprocess.run(["kill", "-9", str(self.system.child(name))], check=True)
        # While nobody takes commands a request is lost: with its key it is safe to ask again.
        answer = wait_until(lambda: self.answer_if_any("wake", {"agent": "gw/keyed"}, "key-4"), 30, "an answer")
        self.assertEqual(answer["record"]["lifecycle_generation"], 2)
        self.assertEqual(self.expect("get", {"agent": "gw/keyed"})["record"]["lifecycle_generation"], 2)

    def test_a_key_belongs_to_one_request_of_all_partitions(self):
        """Eight gateways lie in several partitions, whose owners know nothing of one another's requests."""
        self.expect("add-gateway", {"gateway": "first"}, idempotency_key="wide")
        self.assertIsNotNone(self.expect("add-gateway", {"gateway": "first"}, idempotency_key="wide"))
        others = [f"other-{number}" for number in range(8)]
        for gateway in others:
            self.refuse("add-gateway", {"gateway": gateway}, 409, "conflict", idempotency_key="wide")
        self.refuse("pause", {"board": "nobody"}, 409, "conflict", idempotency_key="wide")
        self.system.restart()
        self.connect()
        for gateway in others:
            self.refuse("add-gateway", {"gateway": gateway}, 409, "conflict", idempotency_key="wide")
        known = [item["gateway"] for item in self.expect("list-gateways", {})["gateways"]]
        self.assertEqual([gateway for gateway in known if gateway in others], [])
        # A request for all partitions has its key as well.
        self.expect("pause", {"board": "nobody"}, idempotency_key="wide-too")
        self.refuse("pause", {"gateway": "gw"}, 409, "conflict", idempotency_key="wide-too")

    def test_a_retained_command_is_done_once(self):
        address = self.expect("provision", {"agent": "gw/retained", "role": "main", "wake": False})["record"]["agent"]
        topic = f"{TOPIC_ROOT}/commands/wake"
        self.operator.publish(topic, {"agent": address}, retain=True)
        self.addCleanup(self.operator.publish, topic, b"", retain=True)
        self.wait_offline(address)
        restarted = self.system.child("provisioner")
        starts = len(self.system.events("service.started", service="provisioner"))
        subprocess.run(["kill", "-9", str(restarted)], check=True)
        self.system.wait_for_event("service.started", 20, count=starts + 1, service="provisioner")
        # Once it answers, it has had whatever the broker kept for it.
        wait_until(lambda: self.answer_if_any("pause", {"agent": address}, "retained"), 20, "an answer")
        self.assertEqual(self.expect("get", {"agent": address})["record"]["lifecycle_generation"], 1)

    def answer_if_any(self, verb, members, key):
        try:
            status, answer = self.operator.request(verb, members, idempotency_key=key, seconds=2)
        except AssertionError:
            return None
        return answer if status == 200 else None

    def test_without_a_response_topic_it_is_done_unanswered(self):
        self.operator.publish(
            f"{TOPIC_ROOT}/commands/provision", {"agent": "gw/silently", "role": "main", "wake": False})
        self.watcher.wait_event("gw/silently", "changed")


if __name__ == "__main__":
    unittest.main()
