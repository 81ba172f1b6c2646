"""One trial, in the place that trial.py has made for it: `inside.py DIRECTORY [isolated]`."""

import concurrent.futures
import dataclasses
import faulthandler
import json
import os
import pathlib
import random
import re
import resource
import signal
import sys
import threading
import time
from collections import Counter

from checker import check, figures
from evidence import Command, Evidence, Violation
from faults import Faults
from fleet import Fleet, Gateway
from lanes import ChurnLane, GroupLane, Lane
from link import Loop
from operators import Observer, Operator
from stage import SERVICES, Stage
from trial import REPOSITORY, Options

# Silent agents have to be offline so long after the faults have ended, and so long after the last command.
SETTLE_SECONDS, SETTLE_AFTER_COMMANDS = 60, 20
# The end is read so often at most, until nothing changed meanwhile.
COLLECTIONS_MAX = 6
# Commands without an answer are asked for so much longer.
ANSWER_SECONDS = 40
BOARDS = [f"board{number}" for number in range(5)]
CHURNING_GATEWAYS = 2
EVENT = re.compile(r'"event":"([^"]*)"')
LEVEL = re.compile(r'"level":"(warning|error)"')


def make_system(stage, directory, instances):
    """A private system whose log goes to the evidence; only what the trial looks at stays in memory."""
    # rollcall_system reads it when it is imported.
    os.environ["ROLLCALL_BUILD"] = str(stage.programs)
    from rollcall_system import RollcallSystem

    class System(RollcallSystem):
        pids = {}
        # Warnings and errors by name.
        complaints = Counter()
        lost_connections = []

        def _take(self, text):
            log.write(text + "\n")
            name = EVENT.search(text)
            name = name and name[1]
            if name and LEVEL.search(text):
                self.complaints[name] += 1
            if name in ("service.stalled", "service.disconnected") and '"service":"heartbeat-ingest"' in text:
                # Whatever the reason: what the broker had for it is lost.
                self.lost_connections.append((time.time() - 5, time.time() + 3))
            if name in ("up.child_started", "up.child_exited", "rollcall.up"):
                event = json.loads(text)
                if name == "up.child_started":
                    self.pids[event["child"]] = int(event["pid"])
                elif name == "up.child_exited":
                    self.pids.pop(event["child"], None)
                self.log_events.append(event)

        def running(self, service):
            """The process of a service, `ingest` or `ingest/2`, that runs now; None while it is dead."""
            name, _, instance = service.partition("/")
            return self.pids.get(SERVICES[name] + (f"/{instance}" if instance else ""))

    log = open(directory / "log.jsonl", "w", buffering=1 << 16)
    return System(
        "--checkin-deadline", "1s", "--heartbeat-interval", "1s", "--offline-after", "4s", "--lost-grace", "1s",
        "--reconcilers", instances, "--ingests", instances, "--provisioners", instances,
        "--templates", REPOSITORY / "infra" / "templates",
        data=stage.data, mqtt_port=stage.port,
        environment={"PATH": f"{stage.programs}:{os.environ['PATH']}"})


class Trial:
    def __init__(self, options, directory, is_isolated):
        self.options = options
        self.directory = directory
        self.random = random.Random(options.seed)
        self.stage = Stage(directory / "stage", options.build, is_isolated, has_clocks="clock" in options.kinds)
        self.evidence = Evidence(reference=time.time() + options.seconds / 2)
        self.loop = Loop()
        self.agents = {}
        self.begun = time.monotonic()
        self.phases = {}

    def run(self):
        """The evidence of a whole trial."""
        with make_system(self.stage, self.directory, self.options.instances) as system:
            self.system = system
            self.stage.port = system.port
            self.account = (system.env["ROLLCALL_USERNAME"], system.env["ROLLCALL_PASSWORD"])
            self.observer = Observer(self.loop, self.stage.address("operator", 1), *self.account)
            self.operator = Operator(self.loop, self.stage.address("operator", 2), *self.account)
            self.observer.link.is_up.wait(10)
            self.operator.link.is_up.wait(10)
            self.populate()
            self.mark("populated")
            note = open(self.directory / "faults.jsonl", "w", buffering=1)
            self.faults = Faults(
                self.stage, system, self.options.kinds, self.victims(), self.ways(), self.options.seconds,
                self.options.seed + 1, lambda document: note.write(json.dumps(document) + "\n"), self.options.longest)
            self.fleet.has_moods = True
            self.faults.run()
            self.fleet.has_moods = False
            self.mark("faults_over")
            self.faults_over = time.monotonic()
            self.finish_lanes()
            self.mark("answered")
            self.settle()
            self.mark("settled")
            self.collect()
            self.mark("collected")
            self.fleet.stop()
        self.stage.close()
        return self.evidence

    def mark(self, phase):
        self.phases[phase] = round(time.monotonic() - self.begun, 1)
        print(f"faults: seed {self.options.seed}: {phase} after {self.phases[phase]} s", file=sys.stderr, flush=True)

    def victims(self):
        """Each instance of each service that faults befall."""
        return [
            service if number == 1 else f"{service}/{number}"
            for service in self.options.services
            for number in range(1, 1 + (1 if service in ("store", "broker") else self.options.instances))
        ]

    def ways(self):
        """The addresses by which the parties reach the broker, most of them services."""
        ways = {
            victim: self.stage.address(victim.partition("/")[0], int(victim.partition("/")[2] or 1))[0]
            for victim in self.victims() if victim != "broker"
        }
        ways["operator"] = self.stage.address("operator", 2)[0]
        for number in range(1, 3):
            ways[f"gateway/{self.fleet.gateways[number - 1].name}"] = self.stage.address("gateway", number)[0]
        return ways

    # Load

    def populate(self):
        """Gateways, agents, lanes: most agents exist before the faults, the others come with the lanes."""
        options = self.options
        count = max(2, -(-options.agents // options.gateway_agents))
        gateways = []
        for number in range(1, count + 1):
            token = self.system.expect(
                "add-gateway", {"gateway": f"gw{number}", "policy": {"wake_rate": "200/s"}})["token"]
            gateways.append(Gateway(
                self.loop, self.stage.address("gateway", number), f"gw{number}", token, f"{options.seed}/gw{number}"))
        self.fleet = Fleet(gateways)
        for gateway in gateways:
            gateway.link.is_up.wait(10)
        lanes = [{} for _ in range(options.lanes)]
        for number in range(options.agents):
            gateway = gateways[number % count]
            agent, members = self.make_agent(number, number // count, gateway)
            self.agents[agent] = members
            lanes[number % len(lanes)][agent] = members
        self.fleet.start()
        late = set(self.random.sample(sorted(self.agents), len(self.agents) // 10))
        first = sorted(set(self.agents) - late)
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            self.first_commands = list(pool.map(self.provision, first))
        for agent in first:
            if "n" in agent.split("/")[1]:
                continue
            for group in (("gateway", agent.split("/")[0]), ("board", self.agents[agent]["board"])):
                self.evidence.groups.setdefault(group, set()).add(agent)
        self.lanes = [
            Lane(self.operator, agents, f"{options.seed}/{number}", options.pause, f"lane{number}")
            for number, agents in enumerate(lanes)
        ]
        for lane, agents in zip(self.lanes, lanes):
            lane.prepare(late & set(agents))
        self.lanes.append(GroupLane(self.operator, gateways, BOARDS, f"{options.seed}/groups", 5, "groups"))
        self.churn = [
            ChurnLane(self.operator, f"churn{number}", f"{options.seed}/churn{number}", 3, f"churn{number}")
            for number in range(CHURNING_GATEWAYS)
        ]
        self.lanes += self.churn
        for churn in self.churn:
            self.evidence.silent.update(churn.agents)
        for lane in self.lanes:
            lane.start()

    def make_agent(self, number, row, gateway):
        """(address, members of its provision): half are silent, a tenth moody, the others beat."""
        is_moody = row % 10 == 9
        is_beating = not is_moody and row % 2 == 1
        # Agents with an n in their name may be deleted.
        kind = "m" if is_moody else "b" if is_beating else "sn" if number % 7 == 0 else "s"
        agent = f"{gateway.name}/{kind}{number}"
        policy = {"checkin_deadline": self.random.choice(["1s", "2s"])}
        if is_beating or is_moody:
            policy["on_lapse"] = self.random.choice(["wake", "offline"])
            # One attempt alone: a single verdict too early is an agent that is offline.
            policy["max_wake_attempts"] = self.random.choice([1, 3])
            gateway.add(agent, is_moody)
            self.evidence.beating.add(agent)
        else:
            self.evidence.silent.add(agent)
        return agent, {"role": "worker", "board": BOARDS[number % len(BOARDS)], "policy": policy}

    def provision(self, agent):
        command = Command("provision", agent, f"first-{agent}", {"agent": agent, **self.agents[agent]})
        end = time.monotonic() + 60
        self.operator.carry_out(command, "provision", lambda: end)
        return command

    # The end

    def finish_lanes(self):
        end = time.monotonic() + ANSWER_SECONDS
        for lane in self.lanes:
            lane.finish(end)
        for lane in self.lanes:
            lane.join()

    def settle(self):
        """Waits until silent agents are offline and beating ones online, as long as they may take."""
        end = max(self.faults_over + SETTLE_SECONDS, time.monotonic() + SETTLE_AFTER_COMMANDS)
        while True:
            wrong = {}
            for record in self.all_records():
                wanted = "online" if record["agent"] in self.evidence.beating else "offline"
                if record["status"] != wanted:
                    wrong[record["agent"]] = record["status"]
            for gateway in self.fleet.gateways:
                if not gateway.link.is_up.is_set():
                    wrong[gateway.name] = "not connected"
            if not wrong or time.monotonic() > end:
                break
            time.sleep(1)
        self.evidence.unsettled = wrong
        self.settle_seconds = round(time.monotonic() - self.faults_over, 1)
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
        evidence = self.evidence
        evidence.commands = self.first_commands + [command for lane in self.lanes for command in lane.commands]
        for gateway in self.fleet.gateways:
            evidence.wakes += gateway.wakes
            evidence.beats += gateway.beats
            evidence.words += gateway.words
            evidence.returns[gateway.name] = gateway.returns
        evidence.spans = {
            **self.faults.spans, "ingest/": self.system.lost_connections, "checker": list(self.loop.late)}
        asked = sorted({agent for command in evidence.commands for agent in (command.agent, *command.deletes) if agent})
        self.collect_end(asked)
        _, document = self.operator.insist("list-gateways", {})
        unknown = {churn.gateway for churn in self.churn if churn.exists is None}
        evidence.gateways = (
            [gateway.name for gateway in self.fleet.gateways] + [each.gateway for each in self.churn if each.exists],
            [each["gateway"] for each in document["gateways"] if each["gateway"] not in unknown])

    def collect_end(self, asked):
        """What is stored and shown in the end, of one moment: agents may go on changing while it is read."""
        evidence = self.evidence
        for _ in range(COLLECTIONS_MAX):
            records = {record["agent"]: record for record in self.all_records()}
            changed = [
                agent for agent in asked
                if not evidence.history.get(agent) or records.get(agent) is None
                or evidence.history[agent][-1]["record"]["revision"] != records[agent]["revision"]]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                evidence.history.update(zip(changed, pool.map(self.read_history, changed)))
            evidence.records = {agent: records.get(agent) for agent in asked}
            evidence.retained = self.read_retained()
            evidence.events, evidence.statuses = list(self.observer.events), list(self.observer.statuses)
            after = {record["agent"]: record["revision"] for record in self.all_records()}
            if after == {agent: record["revision"] for agent, record in records.items()}:
                return
        raise RuntimeError(f"after {COLLECTIONS_MAX} readings agents still change")

    def read_retained(self):
        """A client that was not there before is shown what is retained."""
        fresh = Observer(self.loop, self.stage.address("operator", 3), *self.account)
        fresh.link.is_up.wait(10)
        count, end = -1, time.monotonic() + 30
        while count != len(fresh.statuses) and time.monotonic() < end:
            count = len(fresh.statuses)
            time.sleep(1)
        fresh.link.close()
        return dict(fresh.statuses)

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

    def summary(self, violations):
        evidence, faults = self.evidence, self.faults
        commands = evidence.commands
        driver, system = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        moods = Counter(word.status for word in evidence.words)
        return {
            "seed": self.options.seed, "ok": not violations, **figures(violations),
            "violations": dict(Counter(violation.kind for violation in violations)),
            "faults": dict(faults.done), "kills": faults.kills, "stops": faults.stops,
            "agents": len(self.agents), "seconds": self.options.seconds, "calm_seconds": round(faults.calm_seconds),
            "settle_seconds": self.settle_seconds, "phases": self.phases,
            "commands": len(commands), "sent": sum(len(command.sent) for command in commands),
            "unknown": sum(not command.is_answered for command in commands),
            "by_kind": dict(Counter(command.kind for command in commands)),
            "tokens_withheld": sum(getattr(lane, "tokens_withheld", 0) for lane in self.lanes),
            "wakes": len(evidence.wakes),
            "distinct_wakes": len({(w.agent, w.payload["generation"], w.payload["attempt"]) for w in evidence.wakes}),
            "heartbeats": sum(map(len, evidence.speech.values())), "words": dict(moods),
            "gateway_moods": {
                mood: sum(gateway.moods[mood] for gateway in self.fleet.gateways) for mood in ("lost", "stopped")},
            "events_seen": len(evidence.events), "events_stored": sum(len(h) for h in evidence.history.values()),
            **evidence.figures, "slowest_beat": round(self.fleet.slowest_beat, 2),
            "longest_turn": round(self.loop.longest_turn, 2),
            "late_turns": len(self.loop.late),
            "cpu_seconds": {
                "driver": round(driver.ru_utime + driver.ru_stime), "system": round(system.ru_utime + system.ru_stime)},
            "complaints": dict(self.system.complaints.most_common(12)),
        }

    def write_evidence(self):
        """What a person wants to look at when something was broken; logs and faults are there already."""
        evidence = self.evidence
        files = {
            "commands": (dataclasses.asdict(command) for command in evidence.commands),
            "beats": (dataclasses.asdict(beats) for beats in evidence.beats),
            "wakes": (dataclasses.asdict(wake) for wake in evidence.wakes),
            "words": (dataclasses.asdict(word) for word in evidence.words),
            "events": ({"id": e.id, "agent": e.agent, "attributes": e.attributes, **e.payload} for e in evidence.events),
            "history": ({"agent": agent, "history": history} for agent, history in evidence.history.items()),
        }
        for name, documents in files.items():
            with open(self.directory / f"{name}.jsonl", "w", buffering=1 << 20) as file:
                for document in documents:
                    file.write(json.dumps(document, default=str) + "\n")


def main():
    directory = pathlib.Path(sys.argv[1])
    options = Options(**json.loads((directory / "options.json").read_text()))
    trial = Trial(options, directory, is_isolated=sys.argv[2:] == ["isolated"])
    try:
        evidence = trial.run()
    except BaseException:
        trial.write_evidence()
        raise
    violations = check(evidence) + [
        Violation("not_restarted", "", service) for service in trial.faults.not_restarted]
    with open(directory / "violations.jsonl", "w") as file:
        for violation in violations:
            file.write(json.dumps(dataclasses.asdict(violation)) + "\n")
    summary = trial.summary(violations)
    if violations or options.keep:
        trial.write_evidence()
    (directory / "summary.json").write_text(json.dumps(summary))
    # Whatever thread may wait still: the trial is over.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    # kill -USR1 tells where it is.
    faulthandler.register(signal.SIGUSR1)
    threading.excepthook = lambda arguments: (sys.__excepthook__(*arguments[:3]), os._exit(3))
    main()
