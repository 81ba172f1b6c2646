"""Our own outage turns nobody offline: 1,000 agents wait for their deadline, and a part of the system is away meanwhile."""

import collections
import json
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time
import unittest

from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_client import Client
from rollcall_system import BUILD, REPOSITORY, TOPIC_ROOT, RollcallSystem, seconds_of, wait_until

GATEWAYS, AGENTS = 5, 200
# The deadline is doubled as long as 1,000 wakes take longer here.
DEADLINE, DEADLINE_MAX, INTERVAL = 3, 24, 1
# So long after the part is back everybody is online.
BACK_ONLINE = 5 + INTERVAL
PROGRAMS = {
    "broker": "mosquitto", "heartbeat-ingest": "rollcall-heartbeat-ingest", "reconciler": "rollcall-reconciler",
    "status-store": "rollcall-status-store",
}
# `rollcall up` starts again what was killed: here the new process waits as long as a file is there.
SCRIPT = """#!/bin/sh
while [ -e {away} ]; do sleep 0.05; done
exec {program} "$@"
"""


class Gateway:
    """Speaks for its agents once in every interval, if it may and is connected."""

    def __init__(self, system, name, token):
        self.name = name
        # The newest cycle of each agent, and who was woken in a newer one than `expect_wakes` knew.
        self.generations = {}
        self.known = {}
        self.woken = set()
        self.client = Client(system.port, name, token)
        self.client.paho.on_connect = self._connected
        self.client.paho.on_message = self._woken
        self.client.paho.reconnect_delay_set(0.1, 0.5)
        self.client.paho.connect("127.0.0.1", system.port, keepalive=10)
        self.client.paho.loop_start()

    def beat(self):
        if self.client.paho.is_connected():
            agents = [f"a{number}" for number in range(AGENTS)]
            self.client.paho.publish(
                f"{TOPIC_ROOT}/gateways/{self.name}/heartbeats", json.dumps({"agents": agents}), qos=1)

    def expect_wakes(self):
        self.known = dict(self.generations)
        self.woken.clear()

    def _connected(self, client, userdata, flags, reason, properties):
        client.subscribe([(f"{TOPIC_ROOT}/agents/{self.name}/+/wake", SubscribeOptions(qos=1))])

    def _woken(self, client, userdata, message):
        wake = json.loads(message.payload)
        self.generations[wake["agent"]] = wake["generation"]
        if wake["generation"] > self.known.get(wake["agent"], 0):
            self.woken.add(wake["agent"])


class Outages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-outages-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.system = RollcallSystem(
            "--checkin-deadline", f"{DEADLINE}s", "--heartbeat-interval", f"{INTERVAL}s", "--max-wake-attempts", "1",
            "--offline-after", "3s", "--wake-rate", "100000/s", "--templates", REPOSITORY / "infra" / "templates",
            environment={"PATH": f"{cls.directory}:{os.environ['PATH']}"})
        cls.start_from(cls.system, cls.make_programs())
        cls.addClassCleanup(cls.system.close)
        cls.deadline = DEADLINE
        cls.gateways = []
        for number in range(GATEWAYS):
            token = cls.system.expect("add-gateway", {"gateway": f"gw{number}"})["token"]
            cls.gateways.append(Gateway(cls.system, f"gw{number}", token))
        cls.agents = [f"{gateway.name}/a{number}" for gateway in cls.gateways for number in range(AGENTS)]
        members = {"role": "worker", "board": "b", "wake": False}
        cls.system.each(cls.agents, lambda operator, agent: operator.expect("provision", {"agent": agent, **members}))
        # (start, end) of each outage, by the wall clock.
        cls.outages = []
        cls.beats = threading.Event()
        cls.ends = threading.Event()
        thread = threading.Thread(target=cls.beat, daemon=True)
        thread.start()
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(cls.ends.set)

    @classmethod
    def make_programs(cls):
        """Copies of `rollcall` and the plugin, and scripts in the place of all that it starts."""
        shutil.copy(BUILD / "rollcall", cls.directory / "rollcall")
        os.symlink(BUILD / "libRollcallBrokerAccess.so", cls.directory / "libRollcallBrokerAccess.so")
        os.symlink(BUILD / "rollcall-provisioner", cls.directory / "rollcall-provisioner")
        for name, program in PROGRAMS.items():
            path = BUILD / program
            if name == "broker":
                path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
            script = cls.directory / program
            script.write_text(SCRIPT.format(away=cls.directory / f"{name}.away", program=path))
            script.chmod(0o755)
        return cls.directory / "rollcall"

    @staticmethod
    def start_from(system, program):
        import rollcall_system

        own, rollcall_system.ROLLCALL = rollcall_system.ROLLCALL, program
        try:
            system.start()
        finally:
            rollcall_system.ROLLCALL = own

    @classmethod
    def beat(cls):
        while not cls.ends.wait(INTERVAL):
            if cls.beats.is_set():
                for gateway in cls.gateways:
                    gateway.beat()

    # What befalls it

    def kill(self, name):
        """Kills it and keeps it away; what is called in the end lets it come back and returns once it runs again."""
        away = self.directory / f"{name}.away"
        away.touch()
        killed = self.system.child(name)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.system.child(name) != killed, what=f"another {name}")
        return away.unlink

    def stop(self, name):
        """Stops it (SIGSTOP); what is called in the end continues it."""
        child = self.system.child(name)
        os.kill(child, signal.SIGSTOP)
        return lambda: os.kill(child, signal.SIGCONT)

    def wake_all(self):
        """Lets everybody lapse at once, so that 1,000 agents wait for their deadline; when the first of those is over."""
        self.beats.set()
        wait_until(self.all_online, 30, what="everybody online")
        self.beats.clear()
        for gateway in self.gateways:
            gateway.expect_wakes()
        wait_until(lambda: any(gateway.woken for gateway in self.gateways), what="a wake")
        over = time.monotonic() + self.deadline
        while any(len(gateway.woken) < AGENTS for gateway in self.gateways) and time.monotonic() < over:
            time.sleep(0.02)
        # What was reported of them is committed.
        time.sleep(0.3)
        return over

    def wake_all_in_time(self):
        """`wake_all`, with time left before the first deadline."""
        while True:
            for _ in range(3):
                over = self.wake_all()
                if time.monotonic() < over - 0.5:
                    return over
            self.lengthen_deadline()

    def lengthen_deadline(self):
        """Gives the next cycles twice the time."""
        self.assertLess(self.deadline, DEADLINE_MAX, f"1,000 wakes take longer than {self.deadline} s here")
        type(self).deadline = 2 * self.deadline
        for gateway in self.gateways:
            self.system.expect(
                "add-gateway", {"gateway": gateway.name, "policy": {"checkin_deadline": f"{self.deadline}s"}})

    def check(self, name, befall):
        """The seconds from its return until everybody is online."""
        over = self.wake_all_in_time()
        come_back = befall(name)
        self.assertLess(time.monotonic(), over, "some deadlines were over before the outage")
        begun = time.time()
        # They try to check in in time, in vain.
        self.beats.set()
        time.sleep(3 * self.deadline)
        come_back()
        back = time.monotonic()
        # An operator's connection does not outlive its broker.
        self.system.disconnect()
        wait_until(self.all_online, BACK_ONLINE + 30, what="everybody online")
        self.outages.append((begun, time.time()))
        return time.monotonic() - back

    def all_online(self):
        try:
            status, answer = self.system.request("summary", seconds=1)
        except AssertionError:
            return False
        return status == 200 and answer["by_status"]["online"] == len(self.agents)

    def test_nobody_is_offline_by_an_outage(self):
        for name, befall in (
                ("broker", self.kill), ("broker", self.stop), ("heartbeat-ingest", self.kill),
                ("reconciler", self.kill), ("status-store", self.kill)):
            with self.subTest(name=name, how=befall.__name__):
                seconds = self.check(name, befall)
                print(f"{name} ({befall.__name__}): all online {seconds:.1f} s after it is back", flush=True)
                self.assertLess(seconds, BACK_ONLINE)
        histories = self.system.each(
            self.agents, lambda operator, agent: operator.expect("history", {"agent": agent, "limit": 1000})["events"])
        found = collections.Counter(
            event["event"] for events in histories for event in events
            if any(begun <= seconds_of(event["time"]) <= end for begun, end in self.outages))
        self.assertEqual(found["online"], len(self.outages) * len(self.agents), found)
        self.assertEqual(found["offline"] + found["lapsed"], 0, found)


if __name__ == "__main__":
    unittest.main()
