"""What comes back: agents of an older generation, hosts, crash loops, and what leaves a trace."""

import json
import os
import signal
import socket
import time
import unittest

from support import TOPIC_ROOT, ExactTest, stamp, wait_until


class ReturnCase(ExactTest):
    """Agents with a second to check in; each case has a gateway of its own."""

    arguments = (
        "--checkin-deadline", "1s", "--heartbeat-interval", "1s", "--lost-grace", "1s", "--recover-backoff", "1s",
        "--offline-after", "1h")
    gateways = ()

    def gateway(self, name, **members):
        return self.expect("add-gateway", {"gateway": name, **members})["token"]

    def host(self, gateway, token, boot=None, retained=None):
        """A gateway's connection; it says `connected` unless told otherwise."""
        life = {} if boot is None else {"boot_id": boot}
        will = {
            "topic": f"{TOPIC_ROOT}/gateways/{gateway}/status", "payload": json.dumps({"state": "lost", **life}),
            "retain": True, "qos": 1,
        }
        client = self.system.client(gateway, token, will=will)
        self.addCleanup(client.close)
        self.say(client, gateway, "connected", **life)
        return client

    def say(self, client, gateway, state, **members):
        client.publish(f"{TOPIC_ROOT}/gateways/{gateway}/status", {"state": state, **members}, retain=True)

    def gateway_events(self, gateway, event):
        return self.watcher.on(f"gateways/{gateway}/lifecycle/{event}")

    def wait_gateway(self, gateway, event, count=1, seconds=10):
        return self.watcher.wait(
            lambda _: self.gateway_events(gateway, event)[count - 1:], seconds, f"{event} number {count} of {gateway}")


class OlderGenerations(ReturnCase):
    arguments = ReturnCase.arguments[:-1] + ("3s", "--max-wake-attempts", "1")
    gateways = ("gw",)

    def test_an_echo_of_an_older_generation_brings_an_offline_agent_back(self):
        player = self.online_agent()
        self.watcher.wait_event(player.address, "offline", lifecycle_generation=2)
        record = player.check_in(generation=1)
        self.assertEqual((record["status"], record["lifecycle_generation"]), ("online", 2))
        self.assertEqual(record["generation_reported"], 1)
        self.assertIsNone(record["offline_reason"])

    def test_it_answers_a_recovery(self):
        player = self.online_agent()
        self.watcher.wait_wake(player.address, generation=2, reason="recover")
        player.check_in(generation=1)
        self.assertNotIn("offline", self.watcher.event_names(player.address))

    def test_it_is_no_check_in_of_another_cycle_and_leaves_a_trace(self):
        player = self.online_agent()
        self.expect("wake", {"agent": player.address})
        self.watcher.wait_wake(player.address, generation=2)
        player.heartbeat({"generation": 1})
        record = self.watcher.wait_event(player.address, "offline", lifecycle_generation=2).json["record"]
        self.assertTrue(record["last_provision_error"].endswith(": it still runs generation 1"), record)
        self.assertEqual(record["offline_reason"], "checkin_missed")


class Ends(ReturnCase):
    gateways = ("gw",)

    def test_an_exit_status_is_a_lapse_and_zero_is_a_goodbye(self):
        player = self.online_agent()
        player.heartbeat({"status": "stopping", "exit_status": 3, "note": "boom"})
        lapsed = self.watcher.wait_event(player.address, "lapsed").json
        self.assertEqual(lapsed["reason"], "crashed")
        self.assertEqual((lapsed["record"]["last_exit_status"], lapsed["record"]["note"]), (3, "boom"))
        self.watcher.wait_wake(player.address, reason="recover")
        self.assertIsNone(player.check_in()["note"])
        player.heartbeat({"status": "stopping", "exit_status": 0})
        record = self.watcher.wait_event(player.address, "offline").json["record"]
        self.assertEqual((record["offline_reason"], record["wanted"], record["last_exit_status"]), ("goodbye", False, 0))

    def test_a_start_that_fails_is_kept_and_the_deadline_runs(self):
        player = self.agent(policy={"max_wake_attempts": 1})
        wake = self.watcher.wait_wake(player.address).json
        player.heartbeat(
            {"status": "stopping", "exit_status": 127, "generation": 1, "attempt": 1, "note": "no such command"})
        offline = self.watcher.wait_event(player.address, "offline")
        self.assertGreaterEqual(offline.at, stamp(wake["deadline_at"]))
        record = offline.json["record"]
        self.assertTrue(record["last_provision_error"].endswith(": it exited with status 127"), record)
        self.assertEqual((record["last_exit_status"], record["note"]), (127, "no such command"))

    def test_crash_loops_are_damped(self):
        player = self.online_agent()
        neighbour = self.online_agent()
        gaps = []
        for number in range(1, 5):
            player.heartbeat({"status": "stopping", "exit_status": 1})
            crashed = self.watcher.wait_event(player.address, "lapsed", count=number)
            self.watcher.wait_wake(player.address, 20, reason="recover", count=number)
            record = player.check_in()
            # By the stamps of both, not by when they arrived here.
            gaps.append(stamp(record["last_wake_sent_at"]) - stamp(crashed.json["record"]["updated_at"]))
            self.assertEqual(record["recoveries"], number)
        for gap, least in zip(gaps, (0, 1, 2, 4)):
            self.assertGreaterEqual(gap, least - 0.05, gaps)
            self.assertLess(gap, least + 5, gaps)
        self.assertEqual(neighbour.get()["status"], "online")
        self.assertEqual(self.expect("wake", {"agent": player.address})["record"]["recoveries"], 0)

    def test_a_flood_swallows_no_end(self):
        player = self.online_agent()
        for _ in range(60):
            player.heartbeat(qos=0)
        player.heartbeat({"status": "stopping"})
        self.watcher.wait_event(player.address, "offline")

    def test_a_rejection_says_what_is_wrong(self):
        player = self.online_agent()
        player.heartbeat({"seq": "one"})
        rejection = self.watcher.wait_event(player.address, "heartbeat_rejected").json["record"]["last_rejection"]
        self.assertEqual((rejection["reason"], rejection["count"]), ("malformed", 1))
        self.assertTrue(rejection["detail"].startswith("seq: "), rejection)
        self.system.wait_for_event("heartbeat.rejected", 5, agent=player.address)
        (line,) = self.system.events("heartbeat.rejected", agent=player.address)
        self.assertEqual(line["detail"], rejection["detail"])

    def test_no_time_is_a_reason_to_reject(self):
        player = self.agent()
        self.watcher.wait_event(player.address, "woken")
        for sent_at in ("2026-01-31T09:05:07+0000", 1769850307123, "now", ""):
            player.heartbeat({"sent_at": sent_at})
        self.watcher.wait_event(player.address, "online")
        self.assertIsNone(player.get()["last_rejection"])


class Hosts(ReturnCase):
    gateways = ()

    def test_a_host_that_stopped_and_starts_again_wakes_its_agents(self):
        token = self.gateway("stopped")
        host = self.host("stopped", token, "b1")
        player = self.online_agent(gateway="stopped")
        player.heartbeat({"status": "stopping", "reason": "host_stopping"})
        record = self.watcher.wait_event(player.address, "offline").json["record"]
        self.assertEqual((record["offline_reason"], record["wanted"]), ("goodbye", True))
        self.say(host, "stopped", "stopped", boot_id="b1")
        self.wait_gateway("stopped", "gateway_stopped")
        time.sleep(1)
        self.say(host, "stopped", "connected", boot_id="b2")
        self.watcher.wait_wake(player.address, generation=2, reason="recover")
        player.check_in(generation=2)

    def test_agents_whose_wakes_were_used_up_before_it_first_came(self):
        token = self.gateway("late")
        players = [self.agent(gateway="late", policy={"max_wake_attempts": 1}) for _ in range(5)]
        for player in players:
            self.watcher.wait_event(player.address, "offline")
        self.host("late", token, "b1")
        for player in players:
            self.watcher.wait_wake(player.address, generation=2, reason="recover")
            player.check_in(generation=2)
        self.assertEqual([seen.json["agents"] for seen in self.gateway_events("late", "gateway_connected")], [5])

    def test_another_incarnation_is_a_return_without_a_word_of_the_end_before(self):
        token = self.gateway("reborn")
        host = self.host("reborn", token, "b1")
        online = self.online_agent(gateway="reborn")
        heard = self.online_agent(gateway="reborn")
        waiting = self.agent(gateway="reborn", policy={"checkin_deadline": "20s"})
        first = self.watcher.wait_wake(waiting.address)
        self.watcher.wait_event(waiting.address, "woken")
        self.wait_gateway("reborn", "gateway_connected")
        time.sleep(1)
        self.say(host, "reborn", "connected", boot_id="b2")
        again = self.watcher.wait_wake(waiting.address, count=2).json
        self.assertEqual((again["generation"], again["attempt"]), (1, 1))
        self.assertGreater(stamp(again["deadline_at"]), stamp(first.json["deadline_at"]))
        time.sleep(0.3)
        heard.heartbeat()
        lapsed = self.watcher.wait_event(online.address, "lapsed").json
        self.assertEqual(lapsed["reason"], "host_restarted")
        self.watcher.wait_wake(online.address, generation=2, reason="recover")
        self.assertNotIn("lapsed", self.watcher.event_names(heard.address))
        self.assertEqual(len(self.gateway_events("reborn", "gateway_connected")), 2)
        self.say(host, "reborn", "lost", boot_id="b1")
        time.sleep(1)
        self.assertEqual(self.gateway_events("reborn", "gateway_lost"), [], "of an earlier incarnation")

    def test_waiting_says_that_an_agents_own_host_is_there(self):
        token = self.gateway("own")
        del token
        player = self.agent(gateway="own", policy={"max_wake_attempts": 1})
        offline = self.watcher.wait_event(player.address, "offline").json["record"]
        player.heartbeat({"status": "waiting", "boot_id": "b1"})
        self.watcher.wait_wake(player.address, generation=2, reason="recover")
        record = player.check_in(generation=2, boot_id="b1")
        self.assertIsNone(offline["last_seen_at"])
        player.heartbeat({"status": "waiting", "boot_id": "b2"})
        lapsed = self.watcher.wait_event(player.address, "lapsed").json
        self.assertEqual(lapsed["reason"], "host_restarted")
        self.assertEqual(lapsed["record"]["boot_id"], record["boot_id"])

    def test_events_of_one_gateway_come_once_a_second(self):
        token = self.gateway("flapping")
        host = self.host("flapping", token)
        self.wait_gateway("flapping", "gateway_connected")
        time.sleep(1.1)
        began = time.monotonic()
        for _ in range(5):
            self.say(host, "flapping", "lost")
            self.say(host, "flapping", "connected")
        lasted = time.monotonic() - began

        def told():
            return self.gateway_events("flapping", "gateway_lost") + self.gateway_events("flapping", "gateway_connected")

        wait_until(lambda: sum(1 + seen.json.get("left_out", 0) for seen in told()) == 11, 10, "all to be accounted for")
        time.sleep(1.1)
        self.assertLessEqual(len(told()), 4 + lasted)
        self.assertEqual(sum(1 + seen.json.get("left_out", 0) for seen in told()), 11)
        self.assertEqual(max(told(), key=lambda seen: seen.at).json["event"], "gateway_connected")


class Together(ReturnCase):
    def state(self, gateway):
        try:
            listed = self.expect("list-gateways", seconds=2)["gateways"]
        except AssertionError:
            return None  # asked while the services were not connected yet
        return next(one["state"] for one in listed if one["gateway"] == gateway)

    def is_listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.system.port)) == 0

    def test_broker_and_gateway_die_together(self):
        token = self.gateway("doomed")
        host = self.host("doomed", token, "b1")
        self.wait_gateway("doomed", "gateway_connected")
        player = self.online_agent(gateway="doomed")
        os.kill(self.system.child("broker"), signal.SIGKILL)
        # Its library connects again, and it says nothing: of a gateway that died too nobody would hear either.
        self.system.wait_for_event("up.child_started", 15, 2, child="broker")
        wait_until(self.is_listening, 15, "the new broker")
        self.connect()
        wait_until(lambda: self.state("doomed") == "lost", 20, "a gateway that nobody calls connected")
        host.close()
        self.host("doomed", token, "b2")
        self.watcher.wait_wake(player.address, 10, generation=2, reason="recover")


if __name__ == "__main__":
    unittest.main()
