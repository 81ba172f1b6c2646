"""Several instances of each service: who owns what, who takes over, and that nobody is wronged meanwhile.

`ROLLCALL_LONG=1` runs the long forms: stops of 60 s instead of 14 s, and an ingest that crashes for three minutes.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import unittest

from rollcall_system import BUILD, RollcallSystem, seconds_of, wait_until

TOPIC_ROOT = "rollcall/v1"
IS_LONG = os.environ.get("ROLLCALL_LONG") == "1"
PARTITIONS = 16


class Watcher:
    """What operators are shown: presences as they change, and events."""

    def __init__(self, system):
        self.system = system
        self.client = system.operator()
        self.presences = {}
        self.events = []
        self.lock = threading.Lock()
        self.topics = (f"{TOPIC_ROOT}/services/+/+", f"{TOPIC_ROOT}/agents/+/+/lifecycle/+")
        self.client.paho.on_message = self._take
        # One that a busy machine disconnects is told again what is retained.
        self.client.paho.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in self.topics])
        self.client.subscribe(*self.topics)

    def _take(self, client, userdata, message):
        now = time.monotonic()
        with self.lock:
            levels = message.topic.split("/")[2:]
            if levels[0] == "services":
                if message.payload:
                    self.presences[f"{levels[1]}/{levels[2]}"] = (now, json.loads(message.payload))
            elif levels[3] == "lifecycle":
                properties = dict(message.properties.UserProperty)
                self.events.append((now, properties["id"], levels[4], json.loads(message.payload)))

    def owners(self):
        """The owner of each partition, as the live reconcilers say: `{partition: (instance, epoch)}`."""
        with self.lock:
            found = {}
            for name, (_, presence) in self.presences.items():
                if name.startswith("reconciler/") and presence["state"] == "running":
                    for partition, epoch in (presence.get("partitions") or {}).items():
                        if partition not in found or found[partition][1] < epoch:
                            found[partition] = (presence["instance"], epoch)
            return found

    def claims(self):
        """Which partitions each reconciler says it owns, by instance; in order."""
        with self.lock:
            return {presence["instance"]: sorted(presence.get("partitions") or {}, key=int)
                    for name, (_, presence) in self.presences.items() if name.startswith("reconciler/")}

    def presence(self, name):
        with self.lock:
            return self.presences.get(name, (0, {}))[1]

    def wait_all_owned(self, among=None, seconds=30):
        """Returns once every partition has an owner of `among`; when that was."""
        def all_owned():
            owners = self.owners()
            return len(owners) == PARTITIONS and (among is None or all(o in among for o, _ in owners.values()))

        wait_until(all_owned, seconds, "an owner of every partition")
        return time.monotonic()

    def named(self, name):
        with self.lock:
            return [event for event in self.events if event[2] == name]

    def check(self, case):
        """No revision twice, none out of order; one event for each id."""
        with self.lock:
            events = list(self.events)
        seen = {}
        for _, identity, name, payload in events:
            record = payload["record"]
            if record is None or name == "heartbeat_rejected":
                continue
            body = json.dumps(payload, sort_keys=True)
            case.assertEqual(seen.setdefault(identity, body), body, f"{identity} says two things")
        newest = {}
        for _, identity, name, payload in events:
            record = payload["record"]
            if record is None or name == "heartbeat_rejected":
                continue
            before = newest.get(record["agent"], 0)
            case.assertLessEqual(record["revision"], before + 1, f"{identity} follows revision {before}")
            newest[record["agent"]] = max(before, record["revision"])


class Fleet:
    """Gateways whose agents answer every wake at once and beat; some of them say nothing."""

    def __init__(self, system, gateways, agents, silent=0, beat=0.5):
        self.system = system
        self.beat = beat
        self.clients = {}
        self.names = {}
        self.silent = set()
        self.is_over = threading.Event()
        for number in range(gateways):
            gateway = f"g{number}"
            token = system.expect("add-gateway", {"gateway": gateway})["token"]
            client = system.client(gateway, token)
            client.paho.on_message = self._wake
            client.subscribe(f"{TOPIC_ROOT}/agents/{gateway}/+/wake")
            self.clients[gateway] = client
            self.names[gateway] = [f"a{index}" for index in range(agents)]
            if silent:
                self.silent |= {f"{gateway}/a{index}" for index in range(silent)}
        for gateway, names in self.names.items():
            for name in names:
                system.expect("provision", {"agent": f"{gateway}/{name}", "role": "worker", "board": "b"})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def well(self):
        return [f"{gw}/{name}" for gw, names in self.names.items() for name in names
                if f"{gw}/{name}" not in self.silent]

    def _wake(self, client, userdata, message):
        wake = json.loads(message.payload)
        if wake["agent"] not in self.silent:
            client.publish(
                f"{TOPIC_ROOT}/agents/{wake['agent']}/heartbeat", json.dumps({"generation": wake["generation"]}), 1)

    def _run(self):
        """Each agent beats with a message of its own, so that the load is shared among the ingests."""
        while not self.is_over.wait(self.beat):
            for gateway, names in self.names.items():
                for name in names:
                    if f"{gateway}/{name}" not in self.silent:
                        self.clients[gateway].paho.publish(f"{TOPIC_ROOT}/agents/{gateway}/{name}/heartbeat", b"", 1)

    def wait_online(self, seconds=20):
        wait_until(
            lambda: self.system.expect("summary")["by_status"]["online"] >= len(self.well), seconds, "all online")

    def stop(self):
        self.is_over.set()
        self.thread.join()


def quick(*arguments):
    return RollcallSystem(
        "--checkin-deadline", "2s", "--max-wake-attempts", "2", "--heartbeat-interval", "1s", "--offline-after", "5s",
        *arguments)


def report(name, value):
    print(f"{name}: {value}", flush=True)


class Instances(unittest.TestCase):
    """One system for all cases, in the order of their names: four reconcilers, three ingests, two provisioners."""

    @classmethod
    def setUpClass(cls):
        cls.system = quick("--reconcilers", "4", "--ingests", "3", "--provisioners", "2")
        cls.addClassCleanup(cls.system.close)
        cls.system.start()
        cls.watcher = Watcher(cls.system)
        cls.watcher.wait_all_owned()
        cls.fleet = Fleet(cls.system, gateways=8, agents=6)
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.wait_online()

    def tearDown(self):
        # Nobody was wronged, whatever was done.
        self.assertEqual([event[1] for event in self.watcher.named("offline")], [])
        self.watcher.check(self)

    def spells(self):
        """How often each reconciler was blind."""
        return [self.watcher.presence(f"reconciler/{number}").get("blind_spells", 0) for number in range(1, 5)]

    def wait_sighted(self, seconds=30, after=None):
        """Every reconciler judges, and has been blind since `after`."""
        def sighted():
            if after and not all(now > before for now, before in zip(self.spells(), after)):
                return False
            found = [self.watcher.presence(f"reconciler/{number}") for number in range(1, 5)]
            return all(p.get("state") == "running" and "blind" not in p for p in found)

        wait_until(sighted, seconds, "sight")

    def kill(self, child, signal_number=signal.SIGKILL):
        pid = self.system.child(child)
        os.kill(pid, signal_number)
        return pid

    def test_1_partitions_are_shared(self):
        shares = {}
        for owner, _ in self.watcher.owners().values():
            shares[owner] = shares.get(owner, 0) + 1
        self.assertEqual(set(shares), {"1", "2", "3", "4"})

    def test_2_heartbeats_are_shared(self):
        client = self.system.client("svc:bench/1", self.system.secret("svc:bench/1"))
        counts = {}

        def take(_, __, message):
            body = json.loads(message.payload)
            if body["service"] == "heartbeat-ingest":
                counts.setdefault(body["instance"], []).append((time.monotonic(), body["heartbeats"]))

        client.paho.on_message = take
        client.subscribe(f"{TOPIC_ROOT}/internal/counters/#")
        # The counters come once a second: a second more or less of them is no larger share.
        wait_until(
            lambda: len(counts) == 3 and all(values[-1][0] - values[0][0] > 4 for values in list(counts.values())), 30,
            "counters of every ingest")
        received = {
            instance: round((values[-1][1] - values[0][1]) / (values[-1][0] - values[0][0]), 1)
            for instance, values in counts.items()}
        report("heartbeats a second by ingest", received)
        self.assertEqual(set(received), {"1", "2", "3"})
        self.assertGreater(min(received.values()), 10)
        self.assertLess(max(received.values()) - min(received.values()), 0.5 * max(received.values()))

    def test_3_a_clean_stop_hands_over(self):
        self.wait_sighted()
        owners = self.watcher.owners()
        leaving = {partition for partition, (owner, _) in owners.items() if owner == "2"}
        began = time.monotonic()
        self.kill("reconciler/2", signal.SIGTERM)

        def others_own():
            now = self.watcher.owners()
            return all(p in now and now[p][1] > owners[p][1] for p in leaving) and len(now) == PARTITIONS

        wait_until(others_own, 10, "new owners")
        took = time.monotonic() - began
        report("SIGTERM of a reconciler to the last new owner, s", round(took, 3))
        # Aimed at is a second; who did not hand over would be waited for until its presence expires, for 10 s.
        self.assertLess(took, 5)
        # Started again by its supervisor it takes back its own share and no other.
        wait_until(lambda: {p for p, (o, _) in self.watcher.owners().items() if o == "2"} == leaving, 20, "its share")
        moved = {p for p, (o, _) in self.watcher.owners().items() if o != owners[p][0]}
        self.assertEqual(moved, set())

    def test_4_a_killed_reconciler_comes_back_under_its_name(self):
        self.wait_sighted()
        owners = self.watcher.owners()
        mine = {partition for partition, (owner, _) in owners.items() if owner == "1"}
        began = time.monotonic()
        self.kill("reconciler")

        def owns_again():
            now = self.watcher.owners()
            return all(p in now and now[p][1] > owners[p][1] for p in mine)

        wait_until(owns_again, 12, "new epochs")
        owned = time.monotonic() - began
        wait_until(lambda: {p for p, (o, _) in self.watcher.owners().items() if o == "1"} == mine, 20, "its share")
        report("kill -9 of a reconciler that restarts at once, to all owned, to its own share again, s",
               (round(owned, 3), round(time.monotonic() - began, 3)))

    def test_5_two_of_three_ingests_are_killed(self):
        self.wait_sighted()
        before = self.spells()
        began = time.monotonic()
        for number in ("", "/2"):
            self.kill(f"heartbeat-ingest{number}")
        self.wait_sighted(after=before)
        report("kill -9 of two of three ingests, to sight, s", round(time.monotonic() - began, 3))
        time.sleep(3)

    def test_6_what_was_stopped_does_no_harm_when_it_goes_on(self):
        length = 60 if IS_LONG else 14
        stopped = [self.kill(child, signal.SIGSTOP) for child in ("reconciler/3", "heartbeat-ingest/3", "provisioner/2")]
        try:
            time.sleep(length)
            self.watcher.wait_all_owned(among={"1", "2", "4"})
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        self.watcher.wait_all_owned()
        wait_until(lambda: "3" in {o for o, _ in self.watcher.owners().values()}, 20, "its share again")
        self.wait_sighted()
        self.system.insist("wake", {"agent": "g0/a0"})
        self.fleet.wait_online()


class KilledForGood(unittest.TestCase):
    """Of two reconcilers one is gone: the other takes its partitions once its presence has expired."""

    def test_the_other_takes_over(self):
        with quick("--reconcilers", "2") as system:
            watcher = Watcher(system)
            watcher.wait_all_owned()
            fleet = Fleet(system, gateways=4, agents=2)
            try:
                fleet.wait_online()
                pid = system.child("reconciler/2")
                began = time.monotonic()
                # Silent and not ended: nobody is told of its death. Its supervisor is, when it is killed.
                os.kill(pid, signal.SIGSTOP)
                watcher.wait_all_owned(among={"1"}, seconds=30)
                took = time.monotonic() - began
                report("a reconciler falls silent, to the last new owner, s", round(took, 3))
                self.assertLess(took, 16)
                os.kill(pid, signal.SIGKILL)
                watcher.wait_all_owned()
                time.sleep(2)
                self.assertEqual([event[1] for event in watcher.named("offline")], [])
                watcher.check(self)
            finally:
                fleet.stop()


class UnheardOwner(unittest.TestCase):
    """A store that begins anew gives away what somebody owns whom it does not hear: that one is told, idle or not."""

    def test_nobody_keeps_what_another_has_got(self):
        with quick("--reconcilers", "2") as system:
            watcher = Watcher(system)
            watcher.wait_all_owned()
            shares = watcher.claims()
            first, second = system.child("reconciler"), system.child("reconciler/2")
            os.kill(second, signal.SIGSTOP)
            watcher.wait_all_owned(among={"1"}, seconds=30)
            os.kill(first, signal.SIGSTOP)
            os.kill(system.child("status-store"), signal.SIGKILL)
            os.kill(second, signal.SIGKILL)
            watcher.wait_all_owned(among={"2"}, seconds=40)
            self.assertEqual(len(watcher.claims()["1"]), PARTITIONS)
            os.kill(first, signal.SIGCONT)
            wait_until(lambda: watcher.claims() == shares, 20, f"{shares}, each its own share")


class StopInAStorm(unittest.TestCase):
    """Who stops hands its work over and does not finish it first."""

    AGENTS = 2000

    def test_the_next_owner_goes_on(self):
        # No deadline ends meanwhile: a busy machine would repeat wakes before all had their first.
        with RollcallSystem(
                "--reconcilers", "2", "--wake-rate", "100000/s", "--checkin-deadline", "5m", "--offline-after", "10m") as system:
            watcher = Watcher(system)
            watcher.wait_all_owned()
            system.expect("add-gateway", {"gateway": "g0"})
            members = {"role": "worker", "board": "b", "wake": False}
            agents = [f"g0/a{number}" for number in range(self.AGENTS)]
            system.each(agents, lambda operator, agent: operator.insist("provision", {"agent": agent, **members}))
            # Every agent has a cycle that waits for its first wake: they all come to their turn at once.
            system.expect("pause", {"gateway": "g0"})
            system.each(agents, lambda operator, agent: operator.insist("wake", {"agent": agent}))
            owners = watcher.owners()
            # Not answered before all are resumed.
            system.operator().publish(f"{TOPIC_ROOT}/commands/resume", json.dumps({"gateway": "g0"}), 1)
            wait_until(lambda: watcher.named("woken"), 20, "the first wake")
            self.assert_handed_over(system, watcher, owners)

    def assert_handed_over(self, system, watcher, owners):
        owner = self.owner_of_g0(system)
        child = "reconciler" if owner == "1" else f"reconciler/{owner}"
        leaving = {partition for partition, (instance, _) in owners.items() if instance == owner}
        began = time.monotonic()
        os.kill(system.child(child), signal.SIGTERM)

        def others_own():
            now = watcher.owners()
            return all(p in now and now[p][1] > owners[p][1] for p in leaving)

        stopped = system.wait_for_event("service.stopped", instance=owner)
        stopping = system.wait_for_event("service.stopping", instance=owner)
        took = seconds_of(stopped["time"]) - seconds_of(stopping["time"])
        wait_until(others_own, 20, "new owners")
        report(f"SIGTERM of a reconciler with {self.AGENTS} wakes to order: its end, the last new owner, s",
               (round(took, 3), round(time.monotonic() - began, 3)))
        self.assertTrue(stopped["handed_over"])
        self.assertLess(took, 3)
        # As the records say it: a watcher that a busy machine disconnects does not see every event.
        wait_until(lambda: self.woken(system) == self.AGENTS, 180, "a wake for each agent")

    @staticmethod
    def woken(system):
        """How many agents of g0 wait for the check-in that answers their wake."""
        count, after = 0, None
        while True:
            page = system.expect("list", {"gateway": "g0", "limit": 1000, **({"after": after} if after else {})})
            count += sum(record["checkin_deadline_at"] is not None for record in page["records"])
            after = page["next"]
            if after is None:
                return count

    def owner_of_g0(self, system):
        """Who owns the partition of g0: its last event says whose decision it was."""
        return system.expect("history", {"agent": "g0/a0", "limit": 1})["events"][0]["source"].rpartition("/")[2]


class OneNameTwice(unittest.TestCase):
    """Two processes under one name take the connection from each other: it is said which name, and nobody is judged."""

    def test_it_is_named(self):
        with quick() as system:
            Watcher(system).wait_all_owned()
            secret = system.data / "secrets" / "svc-reconciler-1"
            twin = subprocess.Popen(
                [str(BUILD / "rollcall-reconciler"), "--broker",
                 f"mqtt://svc%3Areconciler%2F1@127.0.0.1:{system.port}"],
                env={**system.environment, "ROLLCALL_PASSWORD_FILE": str(secret)}, stdout=subprocess.DEVNULL)
            try:
                failure = system.wait_for_event("service.failed", 20, service="reconciler")
                # It is started again, and is the newer one then.
                self.assertEqual(twin.wait(20), 2)
            finally:
                twin.kill()
                twin.wait()
            self.assertIn("another process has connected as svc:reconciler/1", failure["error"])
            self.assertEqual(system.events("up.child_exited", child="reconciler")[0]["status"], 2)
            # Nothing is lost, and nobody takes the name back.
            system.insist("summary")
            time.sleep(3)
            self.assertEqual(len(system.events("service.failed")), 1)
            self.assertEqual(len(system.events("up.child_exited", child="reconciler")), 1)


class Flapping(unittest.TestCase):
    """An ingest that is killed again and again keeps nobody from being found."""

    def flap(self, ingests, every, seconds, deadline):
        system = RollcallSystem(
            "--ingests", str(ingests), "--checkin-deadline", deadline,
            "--heartbeat-interval", "1s", "--offline-after", "60s")
        with system:
            watcher = Watcher(system)
            fleet = Fleet(system, gateways=2, agents=3, silent=1)
            is_over = threading.Event()

            def kill():
                # Each life lasts so long: its pauses before a start become longer.
                name = "heartbeat-ingest" if ingests == 1 else "heartbeat-ingest/2"
                while not is_over.is_set():
                    pid = system.child(name)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    while system.child(name) == pid and not is_over.wait(0.02):
                        pass
                    is_over.wait(every)

            killer = threading.Thread(target=kill, daemon=True)
            began = time.monotonic()
            killer.start()
            try:
                found = wait_until(
                    lambda: {e[3]["record"]["agent"] for e in watcher.named("offline")} >= fleet.silent and
                    time.monotonic() - began, seconds, "the silent ones offline")
            finally:
                is_over.set()
                killer.join()
                fleet.stop()
            report(f"silent agents found with {ingests} ingest(s), one killed every {every} s, deadline {deadline}, s",
                   round(found, 1))
            self.assertEqual({e[3]["record"]["agent"] for e in watcher.named("offline")}, fleet.silent)
            watcher.check(self)
            deferred = system.events("lifecycle.reconcile.deferred", reason="own_outage")
            self.assertTrue(deferred)
            self.assertEqual({f"{event['delay_seconds']:g}s" for event in deferred}, {deadline})

            def shown():
                services = system.json("status")["services"]
                return next(service for service in services if service["service"] == "reconciler")

            # Presence is refreshed every 2 s.
            wait_until(lambda: shown()["deferred_deadlines"] >= 1, 10, "deadlines put off in status")
            self.assertGreater(shown()["blind_spells"], 1)
            self.assertIn(" times, ", system.cli("status", check=True).stdout)
            return system

    def test_of_two_one_is_killed_every_second(self):
        # Each end repeats the wakes: without the wait no deadline of 3 s would ever come.
        system = self.flap(ingests=2, every=1, seconds=40, deadline="3s")
        self.assertTrue(system.events("heartbeat.subscription_delayed", instance="2"))

    def test_the_only_one_is_killed_every_two_seconds(self):
        # Nothing is judged unless sight lasts for a deadline: it does not wait, since then nobody would see.
        system = self.flap(ingests=1, every=2, seconds=60, deadline="1s")
        self.assertFalse(system.events("heartbeat.subscription_delayed"))

    @unittest.skipUnless(IS_LONG, "takes minutes")
    def test_of_two_one_is_killed_every_five_seconds_with_the_policy_of_the_product(self):
        self.flap(ingests=2, every=5, seconds=180, deadline="30s")

    @unittest.skipUnless(IS_LONG, "takes a minute")
    def test_the_only_one_is_killed_every_five_seconds(self):
        self.flap(ingests=1, every=5, seconds=180, deadline="3s")


if __name__ == "__main__":
    unittest.main()
