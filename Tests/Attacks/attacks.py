"""Attacks a private system with the rights of one client, and measures what the others notice.

    infra/scripts/attacks [--seconds N=10] [--kinds A,B] [--build DIR=.build/release]

For each kind, before, during and after it: p99 from a wake to `online` of another gateway's agents, p99 of another operator's
commands, resident memory of each process, log lines a second, suspensions of judging. One JSON document on standard output.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "Harness"))

from attackers import KINDS  # noqa: E402

WITNESSES = 20


class Witnesses:
    """A gateway whose agents are woken one after the other, and who answers each wake at once."""

    def __init__(self, system, root):
        self.root = root
        self.operator = system.operator()
        token = self.operator.expect("add-gateway", {"gateway": "good"})["token"]
        self.agents = [f"good/w{number}" for number in range(WITNESSES)]
        self.operator.subscribe(f"{root}/agents/good/+/lifecycle/online")
        self.gateway = system.client("good", token)
        self.gateway.paho.on_message = self._answer
        self.gateway.subscribe(f"{root}/agents/good/+/wake")
        self.gateway.publish(f"{root}/gateways/good/status", {"state": "connected", "boot_id": "1"}, retain=True)
        for agent in self.agents:
            self.operator.expect("provision", {"agent": agent, "role": "worker", "board": "b"})
            self._online(agent)

    def _answer(self, client, _userdata, message):
        wake = json.loads(message.payload)
        client.publish(
            f"{self.root}/agents/{wake['agent']}/heartbeat", json.dumps({"generation": wake["generation"]}), qos=1)

    def _online(self, agent, seconds=20):
        self.operator.wait_message(lambda message: f"/{agent}/lifecycle/" in message.topic, seconds, f"online of {agent}")

    def measure(self, seconds):
        """(seconds from a wake to `online`, seconds to the answer of a command): sorted, over a while."""
        wakes, commands = [], []
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end or not wakes:
            agent = self.agents[number % WITNESSES]
            number += 1
            start = time.monotonic()
            self.operator.expect("wake", {"agent": agent}, seconds=20)
            commands.append(time.monotonic() - start)
            self._online(agent)
            wakes.append(time.monotonic() - start)
            start = time.monotonic()
            self.operator.expect("get", {"agent": agent}, seconds=20)
            commands.append(time.monotonic() - start)
        return sorted(wakes), sorted(commands)


def p99(values):
    return round(values[min(len(values) - 1, int(len(values) * 0.99))], 4)


def memory(system):
    """MiB resident, by child."""
    found = {}
    for child, pid in system.children().items():
        try:
            pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
        except FileNotFoundError:
            continue
        found[child] = int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20
    return found


class Memory(threading.Thread):
    """The most that each process had, looked at ten times a second."""

    def __init__(self, system):
        super().__init__(daemon=True)
        self.system, self.most, self.isOver = system, {}, threading.Event()
        self.start()

    def run(self):
        while not self.isOver.wait(0.1):
            for child, size in memory(self.system).items():
                self.most[child] = max(size, self.most.get(child, 0))

    def end(self):
        self.isOver.set()
        self.join()
        return self.most


class Stage:
    """A system with witnesses, and with identities for who attacks: `op:eve`, the gateway `hostile` and its agent `a`."""

    def __init__(self, system, root):
        self.system = system
        self.witnesses = Witnesses(system, root)
        operator = self.witnesses.operator
        self.secrets = {"hostile": operator.expect("add-gateway", {"gateway": "hostile"})["token"]}
        self.secrets["hostile/a"] = operator.expect(
            "provision", {"agent": "hostile/a", "role": "worker", "board": "b"})["token"]
        self.secrets["op:eve"] = "secret of eve"
        with (system.data / "identities").open("a") as identities:
            identities.write(f"op:eve {hashlib.sha256(self.secrets['op:eve'].encode()).hexdigest()}\n")
        system.reload_identities("op:eve", self.secrets["op:eve"])

    def attack(self, kind, seconds):
        """What an attack of a kind did, as the document's entry."""
        before_wakes, before_commands = self.witnesses.measure(seconds / 2)
        idle = memory(self.system)
        lines, suspensions = len(self.system.log_events), self.suspensions()
        username = {"agent": "hostile/a", "gateway": "hostile", "operator": "op:eve"}[kind.split("-")[0]]
        watch = Memory(self.system)
        attacker = subprocess.Popen([
            sys.executable, str(pathlib.Path(__file__).with_name("attackers.py")), kind, str(self.system.port), username,
            self.secrets[username]])
        start = time.monotonic()
        try:
            time.sleep(0.5)
            wakes, commands = self.witnesses.measure(seconds)
        finally:
            attacker.kill()
            attacker.wait()
        lasted = time.monotonic() - start
        lines = len(self.system.log_events) - lines
        ended = time.monotonic()
        # Recovered with the first of five wakes in a row that are as fast as before.
        limit = max(3 * p99(before_wakes), 0.2)
        recovered, row = None, 0
        while row < 5 and time.monotonic() < ended + 20:
            row = row + 1 if self.witnesses.measure(0)[0][-1] <= limit else 0
            recovered = recovered if row > 1 else time.monotonic() - ended
        return {
            "kind": kind, "wake_to_online_p99_before": p99(before_wakes), "wake_to_online_p99_during": p99(wakes),
            "ratio": round(p99(wakes) / p99(before_wakes), 2), "commands_p99_before": p99(before_commands),
            "commands_p99_during": p99(commands), "log_lines_a_second": round(lines / lasted, 1),
            "recovery_seconds": round(recovered or 20, 2), "suspensions": self.suspensions() - suspensions,
            "memory_mib_idle": idle, "memory_mib_most": watch.end(),
        }

    def suspensions(self):
        return len(self.system.events("reconciler.blind"))


def run(kinds, seconds):
    from rollcall_system import TOPIC_ROOT, RollcallSystem
    with RollcallSystem() as system:
        stage = Stage(system, TOPIC_ROOT)
        for kind in kinds:
            yield stage.attack(kind, seconds)


def main():
    parser = argparse.ArgumentParser(
        prog="infra/scripts/attacks", description="Attacks a private system with the rights of one client, and measures "
        "what the others notice. One JSON document a line for each kind on standard output.")
    parser.add_argument("--seconds", type=float, default=10, help="each attack lasts (default 10)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {','.join(KINDS)} (default: all)")
    parser.add_argument("--build", default=".build/release", help="directory of the programs (default .build/release)")
    options = parser.parse_args()
    if unknown := set(options.kinds.split(",")) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    os.environ["ROLLCALL_BUILD"] = str(pathlib.Path(options.build).resolve())
    for result in run(options.kinds.split(","), options.seconds):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
