"""`rollcall up --demo N`: the simulated fleet shows every transition, and shows it again after a restart."""

import json
import unittest

from rollcall_system import TOPIC_ROOT, RollcallSystem, wait_until

DEADLINES = [
    "--checkin-deadline", "2s", "--heartbeat-interval", "1s", "--offline-after", "5s", "--lost-grace", "500ms",
]


class Demo(unittest.TestCase):
    def test_shows_every_transition_and_again_after_a_restart(self):
        with RollcallSystem("--demo", 12, *DEADLINES) as system:
            events = self.watch(system)
            # The slowest are the agent that says goodbye (after 24 s) and the one that is cut off (after 22 s).
            self.wait_for(events, ["demo/leaver-6", "offline", "goodbye"], 45)
            self.wait_for(events, ["demo/cut-7", "lapsed"], 45)
            wait_until(lambda: self.statuses(system).get("demo/cut-7") == "online", 10, "the recovery of demo/cut-7")

            self.assertEqual(self.of(events, "demo/worker-8")[:3], ["provisioning", "woken", "online"])
            self.assertEqual(
                self.of(events, "demo/late-4")[:5], ["provisioning", "woken", "retriggered", "woken", "online"])
            self.assertEqual(
                self.of(events, "demo/silent-5"),
                ["provisioning", "woken", "retriggered", "woken", "retriggered", "woken", "offline checkin_missed"])
            self.assertEqual(self.of(events, "demo/leaver-6"), ["provisioning", "woken", "online", "offline goodbye"])
            self.assertEqual(
                self.of(events, "demo/cut-7")[:7],
                ["provisioning", "woken", "online", "lapsed", "updating", "woken", "online"])

            statuses = self.statuses(system)
            self.assertEqual(len(statuses), 12)
            offline = {agent for agent, status in statuses.items() if status == "offline"}
            self.assertEqual(offline, {"demo/silent-5", "demo/leaver-6"})
            self.assertEqual(system.events("demo.refused"), [])

            system.restart()
            wait_until(
                lambda: self.record(system, "demo/leaver-6")["lifecycle_generation"] == 2, 20, "a second cycle of demo/leaver-6")
            wait_until(lambda: self.statuses(system).get("demo/leaver-6") == "online", 20, "demo/leaver-6 to come online again")
            self.assertEqual(set(self.statuses(system)), set(statuses))
            self.assertEqual(system.events("demo.refused"), [])
            self.assertEqual(system.stop(), 0)

    def test_a_rotated_token_and_a_deleted_agent_do_not_stop_it(self):
        with RollcallSystem("--demo", 2, *DEADLINES) as system:
            wait_until(lambda: self.statuses(system).get("demo/lead-alpha") == "online", 15, "demo/lead-alpha to be online")
            system.expect("delete", {"agent": "demo/lead-alpha"})
            system.expect("rotate-token", {"gateway": "demo", "now": True})
            system.wait_for_event("demo.refused", 15, username="demo")
            system.expect("wake", {"agent": "demo/main"})
            wait_until(
                lambda: self.record(system, "demo/main")["status"] == "online"
                and self.record(system, "demo/main")["lifecycle_generation"] >= 2, 15, "demo/main to be online again")
            self.assertNotIn("demo/lead-alpha", self.statuses(system))

    @staticmethod
    def watch(system):
        """Collects every lifecycle event as [agent, event, reason]."""
        client = system.operator()
        events = []

        def take(_client, _userdata, message):
            levels = message.topic.split("/")
            body = json.loads(message.payload)
            events.append(["/".join(levels[-4:-2]), body["event"], body["reason"]])

        client.paho.message_callback_add(f"{TOPIC_ROOT}/agents/+/+/lifecycle/+", take)
        client.subscribe(f"{TOPIC_ROOT}/agents/+/+/lifecycle/+")
        return events

    @staticmethod
    def of(events, agent):
        """The agent's events, `offline` with its reason, without what a suspension repeats: `changed`, and the same wake again."""
        found = []
        for name, event, reason in list(events):
            if name == agent and event != "changed" and (event, found[-1:]) != ("woken", ["woken"]):
                found.append(f"{event} {reason}" if event == "offline" else event)
        return found

    def wait_for(self, events, start, seconds):
        wait_until(lambda: any(event[:len(start)] == start for event in list(events)), seconds, f"{start}")

    @staticmethod
    def statuses(system):
        records = system.expect("list", {"gateway": "demo"})["records"]
        return {record["agent"]: record["status"] for record in records}

    @staticmethod
    def record(system, agent):
        return system.expect("get", {"agent": agent})["record"]


if __name__ == "__main__":
    unittest.main()
