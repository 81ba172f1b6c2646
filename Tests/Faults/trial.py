"""A trial: a system under load, faults, and the comparison of what was answered and shown with what is stored.

    .venv/bin/python Tests/Faults/trial.py --agents 200 --kills 50 --seconds 150

Prints one JSON document in one line; exits with 1 when a promise was broken, and then keeps the evidence.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SERVICES = {
    "reconciler": "reconciler", "store": "status-store", "ingest": "heartbeat-ingest", "provisioner": "provisioner",
    "broker": "broker",
}
# Silent agents have to be offline so long after the faults have ended.
SETTLE_SECONDS = 60
# Commands without an answer are asked for so much longer.
ANSWER_SECONDS = 40
GATEWAY_AGENTS = 200


@dataclasses.dataclass
class Options:
    agents: int = 200
    kills: int = 50
    seconds: float = 150
    seed: int = 1
    services: tuple = tuple(SERVICES)
    stops: int = 0
    # Of each service that may run more than once.
    instances: int = 1
    lanes: int = 12
    # Mean pause of a lane between two commands.
    pause: float = 0.3
    evidence: str | None = None
    keep: bool = False


def parse(arguments):
    parser = argparse.ArgumentParser(prog="infra/scripts/faults", description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=200, help="half of them silent, half beating (default 200)")
    parser.add_argument("--kills", type=int, default=50, help="kill -9 of a process (default 50)")
    parser.add_argument("--seconds", type=float, default=150, help="over which the kills are spread (default 150)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments and victims (default: random)")
    parser.add_argument("--services", default=",".join(SERVICES), help="whom faults befall (default: all)")
    parser.add_argument(
        "--stops", type=int, nargs="?", const=-1, default=0, metavar="N",
        help="SIGSTOP and SIGCONT too, for 0.2 to 9 s (without N: as many as kills)")
    parser.add_argument(
        "--instances", type=int, default=1, help="of reconciler, ingest and provisioner each (default 1)")
    parser.add_argument("--build", choices=["debug", "release"], default="debug")
    parser.add_argument("--evidence", help="directory for logs, wakes, answers (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the evidence although nothing was broken")
    values = parser.parse_args(arguments)
    services = tuple(name for name in values.services.split(",") if name)
    for name in services:
        if name not in SERVICES:
            parser.error(f"--services: '{name}' is none of {', '.join(SERVICES)}")
    os.environ.setdefault("ROLLCALL_BUILD", str(REPOSITORY / ".build" / values.build))
    seed = values.seed if values.seed is not None else random.randrange(1_000_000)
    return Options(
        values.agents, values.kills, values.seconds, seed, services,
        values.kills if values.stops < 0 else values.stops, values.instances, evidence=values.evidence,
        keep=values.keep)


class Notes:
    """Files of the evidence, one JSON document a line, written at once."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._files = {}
        self._lock = threading.Lock()

    def to(self, name):
        file = self._files.setdefault(name, open(self.directory / f"{name}.jsonl", "w", buffering=1 << 16))

        def note(document):
            with self._lock:
                file.write(json.dumps(document) + "\n")
        return note

    def close(self):
        with self._lock:
            for file in self._files.values():
                file.close()


def make_system(notes, instances):
    """A private system whose log goes to the evidence; only what the trial looks at stays in memory."""
    from rollcall_system import RollcallSystem

    class System(RollcallSystem):
        pids = {}

        def _take(self, text):
            try:
                event = json.loads(text)
            except ValueError:
                event = {"text": text}
            write_log(event)
            name = event.get("event")
            if name == "up.child_started":
                self.pids[event["child"]] = int(event["pid"])
            elif name == "up.child_exited":
                self.pids.pop(event["child"], None)
            if name in ("up.child_started", "rollcall.up"):
                self.log_events.append(event)

        def running(self, service):
            """The process of a service, `ingest` or `ingest/2`, that runs now; None while it is dead."""
            name, _, instance = service.partition("/")
            return self.pids.get(SERVICES[name] + (f"/{instance}" if instance else ""))

    write_log = notes.to("log")
    return System(
        "--checkin-deadline", "1s", "--heartbeat-interval", "1s", "--offline-after", "4s", "--lost-grace", "1s",
        "--reconcilers", instances, "--ingests", instances, "--provisioners", instances)


class Trial:
    def __init__(self, options, notes):
        self.options = options
        self.notes = notes
        self.random = random.Random(options.seed)
        self.agents = {}
        self.silent = set()
        self.beating = set()
        self.phases = {}

    def run(self):
        """The evidence of a whole trial, and the figures of its summary."""
        from checker import Evidence
        from faults import Faults
        from operators import Observer, Operator

        self.evidence = Evidence()
        with make_system(self.notes, self.options.instances) as system:
            self.system = system
            username, password = system.env["ROLLCALL_USERNAME"], system.env["ROLLCALL_PASSWORD"]
            self.observer = Observer(system.port, username, password, self.notes.to("seen"))
            self.operator = Operator(system.port, username, password, self.notes.to("answers"))
            self.observer.link.is_up.wait(10)
            self.operator.link.is_up.wait(10)
            self.populate()
            self.mark("populated")
            self.faults = Faults(
                system, self.victims(), self.options.kills, self.options.seconds, self.options.stops,
                self.options.seed + 1, self.notes.to("faults"))
            self.faults.run()
            self.mark("faults_over")
            self.finish_lanes()
            self.mark("answered")
            self.settle()
            self.mark("settled")
            self.collect()
            self.mark("collected")
            self.fleet.stop()
        return self.evidence

    def victims(self):
        """Each instance of each service that faults befall."""
        return [
            service if number == 1 else f"{service}/{number}"
            for service in self.options.services
            for number in range(1, 1 + (1 if service in ("store", "broker") else self.options.instances))
        ]

    def mark(self, phase):
        self.phases[phase] = round(time.monotonic(), 1)
        print(f"faults: {phase}", file=sys.stderr, flush=True)

    # Load

    def populate(self):
        """Gateways, agents, lanes: half of the agents exist before the faults, the others come with the lanes."""
        from fleet import Fleet, Gateway
        from operators import Lane

        count = max(2, -(-self.options.agents // GATEWAY_AGENTS))
        gateways = []
        note = self.notes.to("wakes")
        for number in range(count):
            name = f"gw{number}"
            token = self.system.expect("add-gateway", {"gateway": name, "policy": {"wake_rate": "200/s"}})["token"]
            gateways.append(Gateway(name, self.system.port, token, note))
        self.fleet = Fleet(gateways)
        for gateway in gateways:
            gateway.link.is_up.wait(10)
        self.fleet.start()
        lanes = [{} for _ in range(self.options.lanes)]
        for number in range(self.options.agents):
            gateway = gateways[number % count]
            is_beating = number // count % 2 == 1
            # Agents with an n in their name may be deleted.
            name = f"{'b' if is_beating else 's'}{'n' if not is_beating and number % 7 == 0 else ''}{number}"
            agent = f"{gateway.name}/{name}"
            policy = {"checkin_deadline": self.random.choice(["1s", "2s"])}
            if is_beating:
                policy["on_lapse"] = self.random.choice(["wake", "offline"])
                # One attempt alone: a single verdict too early is an agent that is offline.
                policy["max_wake_attempts"] = self.random.choice([1, 3])
                gateway.add_beating(agent)
            members = {"role": "worker", "board": f"board{number % 5}", "policy": policy}
            self.agents[agent] = members
            (self.beating if is_beating else self.silent).add(agent)
            lanes[number % len(lanes)][agent] = members
        self.lanes = [
            Lane(self.operator, agents, f"{self.options.seed}/{number}", self.options.pause, number)
            for number, agents in enumerate(lanes)
        ]
        late = set(self.random.sample(sorted(self.agents), len(self.agents) // 5))
        for lane, agents in zip(self.lanes, lanes):
            lane.prepare(late & set(agents))
        first = sorted(set(self.agents) - late)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.first_commands = list(pool.map(self.provision, first))
        for lane in self.lanes:
            lane.start()

    def provision(self, agent):
        from checker import Command

        command = Command("provision", agent, f"first-{agent}", {"agent": agent, **self.agents[agent]})
        self.operator.carry_out(command, "provision", time.monotonic() + 60)
        return command

    # The end

    def finish_lanes(self):
        end = time.monotonic() + ANSWER_SECONDS
        for lane in self.lanes:
            lane.finish(end)
        for lane in self.lanes:
            lane.join()
        self.ended = time.monotonic()

    def settle(self):
        """Waits until silent agents are offline and beating ones online, at most `SETTLE_SECONDS`."""
        while True:
            wrong = {}
            for record in self.all_records():
                wanted = "online" if record["agent"] in self.beating else "offline"
                if record["status"] != wanted:
                    wrong[record["agent"]] = record["status"]
            if not wrong or time.monotonic() > self.ended + SETTLE_SECONDS:
                break
            time.sleep(0.5)
        self.evidence.unsettled = wrong
        self.settle_seconds = round(time.monotonic() - self.ended, 1)
        # Whatever was committed last is to be shown as well.
        time.sleep(2)

    def all_records(self):
        records, after = [], None
        while True:
            members = {"limit": 1000, **({"after": after} if after else {})}
            _, document = self.operator.insist("list", members)
            records += document["records"]
            after = document["next"]
            if not after:
                return records

    def collect(self):
        from operators import Observer

        evidence = self.evidence
        evidence.silent, evidence.beating = self.silent, self.beating
        evidence.commands = self.first_commands + [command for lane in self.lanes for command in lane.commands]
        evidence.wakes = [wake for gateway in self.fleet.gateways for wake in gateway.wakes]
        evidence.heartbeats = {
            agent: times for gateway in self.fleet.gateways for agent, times in gateway.heartbeats.items()}
        evidence.broker_faults = self.faults.broker_faults
        evidence.events, evidence.statuses = self.observer.events, self.observer.statuses
        asked = sorted({command.agent for command in evidence.commands})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            evidence.history = dict(zip(asked, pool.map(self.read_history, asked)))
        note = self.notes.to("history")
        for agent in asked:
            note({"agent": agent, "history": evidence.history[agent]})
        records = {record["agent"]: record for record in self.all_records()}
        evidence.records = {agent: records.get(agent) for agent in asked}
        # A client that was not there before is shown what is retained.
        fresh = Observer(
            self.system.port, self.system.env["ROLLCALL_USERNAME"], self.system.env["ROLLCALL_PASSWORD"],
            lambda document: None)
        fresh.link.is_up.wait(10)
        count = -1
        while count != len(fresh.statuses):
            count = len(fresh.statuses)
            time.sleep(1)
        fresh.link.close()
        evidence.retained = dict(fresh.statuses)

    def read_history(self, agent):
        events, before = [], None
        while True:
            members = {"agent": agent, "limit": 1000, **({"before": before} if before else {})}
            status, document = self.operator.insist("history", members)
            if status != 200:
                return events
            events += document["events"]
            before = document["next"]
            if not before:
                return [entry for entry in reversed(events) if entry["record"]]

    def figures(self):
        evidence = self.evidence
        commands = evidence.commands
        return {
            "agents": len(self.agents), "seed": self.options.seed, "seconds": self.options.seconds,
            "kills": self.faults.kills, "stops": self.faults.stops, "not_restarted": self.faults.not_restarted,
            "commands": len(commands), "sent": sum(len(command.sent) for command in commands),
            "unknown": sum(not command.is_answered for command in commands),
            "answers": sum(len(command.answers) for command in commands),
            "wakes": len(evidence.wakes),
            "distinct_wakes": len({(w.agent, w.payload["generation"], w.payload["attempt"]) for w in evidence.wakes}),
            "heartbeats": sum(len(times) for times in evidence.heartbeats.values()),
            "slowest_beat": round(self.fleet.slowest_beat, 2),
            "events_seen": len(evidence.events), "events_stored": sum(len(h) for h in evidence.history.values()),
            "offline": sum(entry["event"] == "offline" for h in evidence.history.values() for entry in h),
            "settle_seconds": self.settle_seconds,
        }


def run(options):
    """A trial and its judgement: (summary, violations)."""
    from checker import Violation, check

    directory = pathlib.Path(options.evidence or tempfile.mkdtemp(prefix="rollcall-faults-"))
    notes = Notes(directory)
    trial = Trial(options, notes)
    try:
        violations = check(trial.run())
    except BaseException:
        notes.close()
        print(f"faults: the evidence is in {directory}", file=sys.stderr)
        raise
    violations += [Violation("not_restarted", "", service) for service in trial.faults.not_restarted]
    note = notes.to("violations")
    for violation in violations:
        note(dataclasses.asdict(violation))
    notes.close()
    kinds = collections.Counter(violation.kind for violation in violations)
    summary = {**trial.figures(), "violations": dict(kinds), "ok": not violations}
    if violations or options.keep or options.evidence:
        summary["evidence"] = str(directory)
    else:
        shutil.rmtree(directory)
    return summary, violations


def main():
    options = parse(sys.argv[1:])
    sys.path.insert(0, str(REPOSITORY / "Tests" / "Integration"))
    summary, violations = run(options)
    for violation in violations[:20]:
        print(f"{violation.kind}: {violation.agent}: {violation.detail}"[:600], file=sys.stderr)
    print(json.dumps(summary))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
