"""A way to the broker is interrupted and heals: what was under way is forgotten or has its true age.

The cases run in a process with a network of its own (`stage.isolation`), in which this file starts itself.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

import stage

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOPIC_ROOT = "rollcall/v1"


def load_tests(loader, tests, pattern):
    return loader.loadTestsFromTestCase(Inside if stage.INSIDE in os.environ else Interruptions)


class Interruptions(unittest.TestCase):
    def test_nothing_old_arrives_as_new(self):
        command = stage.isolation()
        if command is None:
            self.skipTest("no network of its own: unshare(1) is refused (it needs root or user namespaces)")
        # Whatever becomes of it, all that it has started ends with it.
        done = subprocess.run(
            [*command, "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, __file__, "-v"],
            env={**os.environ, stage.INSIDE: "1"}, capture_output=True, text=True, timeout=300)
        print(done.stdout + done.stderr, flush=True)
        self.assertEqual(done.returncode, 0)


class Inside(unittest.TestCase):
    """One system for all cases."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-interruptions-")
        cls.addClassCleanup(temporary.cleanup)
        build = os.environ.get("ROLLCALL_BUILD") or REPOSITORY / ".build" / "debug"
        cls.stage = stage.Stage(pathlib.Path(temporary.name) / "stage", build, is_isolated=True, has_clocks=False)
        cls.addClassCleanup(cls.stage.close)
        # rollcall_system reads it when it is imported.
        os.environ["ROLLCALL_BUILD"] = str(cls.stage.programs)
        from rollcall_system import RollcallSystem, wait_until

        cls.wait_until = staticmethod(wait_until)
        cls.system = RollcallSystem(
            "--checkin-deadline", "2s", "--max-wake-attempts", "2", "--provisioners", "2",
            "--templates", REPOSITORY / "infra" / "templates", data=cls.stage.data, mqtt_port=cls.stage.port,
            environment={"PATH": f"{cls.stage.programs}:{os.environ['PATH']}"})
        cls.addClassCleanup(cls.system.close)
        cls.system.start()

    def ask_both(self, verb, members):
        """Sends a command several times under one key, so that each provisioner gets it; the thread that waits for the first
        answer, and where it notes when that came."""
        key, answered = uuid.uuid4().hex, []

        def ask(client):
            try:
                status, answer = client.request(verb, members, idempotency_key=key, seconds=25)
            except AssertionError:
                return  # by whom it went nothing came through
            if status == 200:
                answered.append((time.monotonic(), answer))

        for client in self.operators:
            threading.Thread(target=ask, args=(client,), daemon=True).start()
        return answered

    def test_no_wake_follows_the_answer_to_pause(self):
        """A provisioner's packets are lost; its wakes are under way when their gateway is paused."""
        gateway = self.system.client("g", self.system.expect("add-gateway", {"gateway": "g"})["token"])
        wakes = []
        gateway.paho.on_message = lambda client, data, message: wakes.append(
            (time.monotonic(), json.loads(message.payload)["agent"]))
        gateway.subscribe(f"{TOPIC_ROOT}/agents/g/+/wake")
        self.operators = [self.system.operator() for _ in range(4)]
        agents = [f"g/a{number}" for number in range(8)]
        for agent in agents:
            self.system.expect("provision", {"agent": agent, "role": "worker", "board": "b", "wake": False})
        address, _ = self.stage.address("provisioner")
        reconnected = len(self.system.events("service.reconnected", service="provisioner", instance="1"))
        self.stage.drop(address, ["to_broker"])
        try:
            for agent in agents:
                self.ask_both("wake", {"agent": agent})
            self.wait_until(lambda: wakes, 5, "a wake by the other provisioner")
            time.sleep(0.3)
            paused = self.ask_both("pause", {"gateway": "g"})
            self.wait_until(lambda: paused, 25, "an answer to pause")
        finally:
            self.stage.pass_again(address, ["to_broker"])
        at, answer = paused[0]
        self.assertEqual(answer, {"paused": 8})
        if len({agent for when, agent in wakes if when < at}) == 8:
            self.skipTest("the other provisioner has had every order before the answer: none was under way")

        def late():
            return sorted(agent for when, agent in wakes if when > at)

        # The kernel repeats what was not acknowledged after 12.8 s at the latest.
        end = time.monotonic() + 8
        while time.monotonic() < end and not late() and reconnected == len(
                self.system.events("service.reconnected", service="provisioner", instance="1")):
            time.sleep(0.1)
        time.sleep(1)
        self.assertEqual(late(), [], "wakes after the answer to pause")

    def test_what_was_received_before_the_wake_is_no_checkin(self):
        """An ingest's packets are lost; a heartbeat that it received before a cycle reaches the owner in the cycle."""
        gateway = self.system.client("h", self.system.expect("add-gateway", {"gateway": "h"})["token"])
        self.system.expect("provision", {"agent": "h/silent", "role": "worker", "board": "b", "wake": False})
        events = []
        watcher = self.system.operator()
        watcher.paho.on_message = lambda client, data, message: events.append(message.topic.rsplit("/", 1)[1])
        watcher.subscribe(f"{TOPIC_ROOT}/agents/h/silent/lifecycle/+")
        address, _ = self.stage.address("ingest")
        self.stage.drop(address, ["to_broker"])
        try:
            gateway.publish(f"{TOPIC_ROOT}/agents/h/silent/heartbeat", b"")
            time.sleep(1)
            self.system.expect("wake", {"agent": "h/silent"})
            time.sleep(3)
        finally:
            self.stage.pass_again(address, ["to_broker"])
        self.wait_until(lambda: "offline" in events or "online" in events, 20, "a verdict")
        self.assertNotIn("online", events)
        # It was not lost either.
        self.assertIsNotNone(self.system.expect("get", {"agent": "h/silent"})["record"]["last_seen_at"])


if __name__ == "__main__":
    unittest.main()
