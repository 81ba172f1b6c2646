"""Our own outage turns nobody offline: 1,000 agents wait for their deadline, and a part of the system is away meanwhile.

The fleet tries to check in before the first deadline, and every second from then on. A verdict is ours when its agent has tried
between its last wake and its deadline, whether the broker took it or not, and false besides when the broker took it in time.
Who had not tried by then (this process stood still) was silent: that is told and counts for nothing.
"""

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

from evidence import Beats, Evidence, span
from link import Link, Loop
from rollcall_system import BUILD, REPOSITORY, TOPIC_ROOT, RollcallSystem, evidence, seconds_of, wait_until
from verdicts import check_verdicts

GATEWAYS, AGENTS = 5, 200
# The deadline is doubled as long as 1,000 wakes, and what befalls the system then, take longer here.
DEADLINE, DEADLINE_MAX, INTERVAL = 3, 48, 1
# A part is away until the last deadline is over by so much, and for so long at least: what is retained of it has expired.
AWAY_BEHIND_DEADLINES, AWAY_MIN = 1, 11
VERDICTS = ("offline", "lapsed")
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
    """Speaks for its agents at each `beat`, if it is connected; keeps what it tried, what the broker took, and each wake."""

    def __init__(self, loop, port, name, token):
        self.name = name
        # When it was to speak, connected or not, and what it said.
        self.attempts = []
        self.beats = []
        # (received, payload) of every wake, and the newest of each agent.
        self.wakes = []
        self.newest = {}
        self._agents = tuple(f"{name}/a{number}" for number in range(AGENTS))
        self._message = json.dumps({"agents": [f"a{number}" for number in range(AGENTS)]})
        self.link = Link(
            loop, ("127.0.0.1", port), name, [token], [f"{TOPIC_ROOT}/agents/{name}/+/wake"], self._woken)

    def beat(self):
        beats = Beats(self._agents, time.time())
        self.attempts.append(beats.sent)

        def acknowledged():
            beats.acknowledged = time.time()

        if self.link.publish(f"{TOPIC_ROOT}/gateways/{self.name}/heartbeats", self._message, acknowledged=acknowledged):
            self.beats.append(beats)

    def document(self):
        return {
            "attempts": self.attempts, "connected": self.link.spans, "wakes": self.wakes,
            "beats": [(beats.sent, beats.acknowledged) for beats in self.beats],
        }

    def _woken(self, message):
        payload = json.loads(message.payload)
        self.wakes.append((time.time(), payload))
        self.newest[payload["agent"]] = payload


class Fleet:
    """All gateways: between `speak` and `fall_silent` each beats once in every interval, at once for the first time."""

    def __init__(self, gateways):
        self.gateways = gateways
        self._speaks = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def speak(self):
        self._beat()
        self._speaks.set()

    def fall_silent(self):
        self._speaks.clear()

    def close(self):
        self._ends.set()
        self._thread.join()
        for gateway in self.gateways:
            gateway.link.close()

    def _run(self):
        while not self._ends.wait(INTERVAL):
            if self._speaks.is_set():
                self._beat()

    def _beat(self):
        for gateway in self.gateways:
            gateway.beat()


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
        loop = Loop()
        cls.addClassCleanup(loop.stop)
        gateways = []
        for number in range(GATEWAYS):
            token = cls.system.expect("add-gateway", {"gateway": f"gw{number}"})["token"]
            gateways.append(Gateway(loop, cls.system.port, f"gw{number}", token))
        cls.fleet = Fleet(gateways)
        cls.addClassCleanup(cls.fleet.close)
        cls.agents = [f"{gateway.name}/a{number}" for gateway in gateways for number in range(AGENTS)]
        cls.ask_all(
            "provision", {"role": "worker", "board": "b", "wake": False},
            lambda: cls.system.insist("summary")["total"])
        # What it was, when it began, when the part was back, when all were online: by the wall clock.
        cls.outages = []

    @classmethod
    def make_programs(cls):
        """Copies of `rollcall` and the plugin, and scripts in the place of all that it starts."""
        shutil.copy(BUILD / "rollcall", cls.directory / "rollcall")
        os.symlink(BUILD / "libRollcallBrokerAccess.so", cls.directory / "libRollcallBrokerAccess.so")
        for program in ("rollcall-provisioner", "rollcall-control-api"):
            os.symlink(BUILD / program, cls.directory / program)
        for name, program in PROGRAMS.items():
            path = BUILD / program
            if name == "broker":
                path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
            script = cls.directory / program
            script.write_text(SCRIPT.format(away=cls.directory / f"{name}.away", program=path))
            script.chmod(0o755)
        return cls.directory / "rollcall"

    @classmethod
    def ask_all(cls, verb, members, count):
        """Sends a command about each agent, a hundred at a time, until all have their effect, as `count()` tells: one answer
        after the other would take a busy machine a minute. What it does not get done in time is asked for again."""
        operator = cls.system.operator()
        for start in range(0, len(cls.agents), 100):
            hundred = cls.agents[start:start + 100]
            for repeats_left in (2, 1, 0):
                for agent in hundred:
                    operator.paho.publish(f"{TOPIC_ROOT}/commands/{verb}", json.dumps({"agent": agent, **members}), 1)
                try:
                    wait_until(lambda: count() >= start + len(hundred), 20, what=f"{verb} of {start + len(hundred)} agents")
                    break
                except AssertionError:
                    if not repeats_left:
                        raise

    @staticmethod
    def start_from(system, program):
        import rollcall_system

        own, rollcall_system.ROLLCALL = rollcall_system.ROLLCALL, program
        try:
            system.start()
        finally:
            rollcall_system.ROLLCALL = own

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
        """Wakes everybody at once, so that 1,000 agents wait for their deadline; the first and the last deadline.

        They are asked for while their gateways are paused, since no lapse comes at a moment that can be foretold: each blind
        time, which a busy machine may cause, puts the lapses off by one interval and one deadline.
        """
        self.fleet.speak()
        wait_until(self.all_online, 60, what="everybody online")
        known = {agent: wake["generation"] for agent, wake in self.newest_wakes().items()}
        operator = self.system.operator()
        for gateway in self.fleet.gateways:
            operator.insist("pause", {"gateway": gateway.name})
        self.ask_all("wake", {}, lambda: self.system.insist("summary")["by_status"]["updating"])
        self.fleet.fall_silent()
        # A heartbeat that is still on its way would answer the wake.
        time.sleep(1)
        # Answered once all of a gateway are resumed, which nobody waits for here.
        for gateway in self.fleet.gateways:
            operator.publish(f"{TOPIC_ROOT}/commands/resume", {"gateway": gateway.name})
        wait_until(lambda: self.all_woken(known), 120, what="a wake of everybody")
        # What was reported of them is committed.
        time.sleep(0.3)
        deadlines = [seconds_of(wake["deadline_at"]) for wake in self.newest_wakes().values()]
        return min(deadlines), max(deadlines)

    def newest_wakes(self):
        return {agent: wake for gateway in self.fleet.gateways for agent, wake in gateway.newest.copy().items()}

    def all_woken(self, known):
        newest = self.newest_wakes()
        return all(agent in newest and newest[agent]["generation"] > known.get(agent, 0) for agent in self.agents)

    def lengthen_deadline(self):
        """Gives the next cycles twice the time."""
        self.assertLess(self.deadline, DEADLINE_MAX, f"1,000 wakes take longer than {self.deadline} s here")
        type(self).deadline = 2 * self.deadline
        for gateway in self.fleet.gateways:
            self.system.insist(
                "add-gateway", {"gateway": gateway.name, "policy": {"checkin_deadline": f"{self.deadline}s"}})

    def let_befall(self, name, befall):
        """Takes the part away before the first deadline, and the fleet tries to check in, in vain: when it was, what brings the
        part back, and the last deadline."""
        while True:
            first, last = self.wake_all()
            begun = time.time()
            come_back = befall(name)
            self.fleet.speak()
            if time.time() < first - 0.2:
                return begun, come_back, last
            come_back()
            self.system.disconnect()
            wait_until(self.all_online, 60, what="everybody online")
            self.lengthen_deadline()

    def check(self, name, befall):
        begun, come_back, last = self.let_befall(name, befall)
        time.sleep(max(last + AWAY_BEHIND_DEADLINES, begun + AWAY_MIN) - time.time())
        back = time.time()
        come_back()
        # An operator's connection does not outlive its broker.
        self.system.disconnect()
        wait_until(self.all_online, 120, what="everybody online")
        self.outages.append((f"{name} ({befall.__name__})", begun, back, time.time()))

    def all_online(self):
        try:
            status, answer = self.system.request("summary", seconds=2)
        except (AssertionError, OSError):  # no answer, or no broker yet
            self.system.disconnect()
            return False
        return status == 200 and answer["by_status"]["online"] == len(self.agents)

    # What is found

    def histories(self):
        """By agent, oldest first."""
        def ask(operator, agent):
            return agent, operator.insist("history", {"agent": agent, "limit": 1000})["events"][::-1]

        return dict(self.system.each(self.agents, ask))

    def judge(self, histories):
        """The verdicts of our own outages that are ours, and those on who was silent: a line for each."""
        heard = Evidence(beating=set(self.agents), beats=[beats for each in self.fleet.gateways for beats in each.beats])
        attempts = {gateway.name: gateway.attempts for gateway in self.fleet.gateways}
        ours, silent = [], []
        for agent, history in histories.items():
            found = []
            check_verdicts(heard, agent, history, found)
            ours += [f"{violation.kind}: {agent}: {violation.detail}" for violation in found]
            for entry in history:
                at = seconds_of(entry["time"])
                outage = next((name for name, begun, _, end in self.outages if begun <= at <= end), None)
                if entry["event"] not in VERDICTS or outage is None:
                    continue
                since = seconds_of(entry["record"]["last_wake_sent_at"])
                until = at if entry["event"] == "lapsed" else since + span(entry["record"]["policy"]["checkin_deadline"])
                tried = [attempt for attempt in attempts[agent.partition("/")[0]] if since < attempt < until]
                line = (
                    f"{outage}: {agent} {entry['event']} at {at:.3f}, woken at {since:.3f}, its deadline at {until:.3f}, "
                    f"tried {len(tried)} times, {tried[:1]}")
                (ours if tried else silent).append(line)
        return ours, silent

    def keep(self, histories):
        """Leaves all that is known, for whoever looks for the cause."""
        path = evidence("outages.json")
        if path:
            document = {
                "outages": self.outages, "histories": histories,
                "gateways": {gateway.name: gateway.document() for gateway in self.fleet.gateways},
            }
            path.write_text(json.dumps(document))
        for event in self.system.log_events:
            if not event["event"].startswith(("lifecycle.", "queue.")):
                print(json.dumps(event), flush=True)

    def test_nobody_is_offline_by_an_outage(self):
        for name, befall in (
                ("broker", self.kill), ("broker", self.stop), ("heartbeat-ingest", self.kill),
                ("reconciler", self.kill), ("status-store", self.kill)):
            with self.subTest(name=name, how=befall.__name__):
                self.check(name, befall)
        histories = self.histories()
        ours, silent = self.judge(histories)
        found, returned = {}, {}
        for name, begun, back, end in self.outages:
            events = [
                (event["event"], seconds_of(event["time"]), agent) for agent, history in histories.items() for event in history
                if begun <= seconds_of(event["time"]) <= end]
            found[name] = collections.Counter(event for event, _, _ in events)
            # One that lapses by this process's own silence is online twice.
            returned[name] = {agent for event, _, agent in events if event == "online"}
            online = max((at for event, at, _ in events if event == "online"), default=end)
            print(f"{name}: all online {max(0, online - back):.1f} s after it is back: {dict(found[name])}", flush=True)
        if ours or silent:
            print("\n".join(ours[:50] + silent[:50]), flush=True)
            self.keep(histories)
        self.assertEqual(ours, [])
        for name, counted in found.items():
            self.assertEqual(len(returned[name]), len(self.agents), f"{name}: {counted}")


if __name__ == "__main__":
    unittest.main()
