"""What befalls a running system, at moments that a seed chooses."""

import collections
import contextlib
import os
import random
import signal
import threading
import time

# A service that was killed is back after the supervisor's longest pause and its start.
RESTART_LIMIT = 30
# How often each is chosen beside the others, once each has been done.
WEIGHTS = {
    "kill": 10, "stop": 8, "cut": 5, "half-open": 4, "empty": 2, "snapshot": 2, "disk-full": 2, "clock": 4,
}
KINDS = tuple(WEIGHTS)
# These need a network and mounts of their own; a clock needs libfaketime.
ISOLATED = ("cut", "half-open", "disk-full")
# Most are shorter than the timeouts of the services (1 s for a barrier, 10 s for presence, 15 s of keepalive), some longer.
STOPS = [0.3, 0.8, 1.2, 2, 4, 7, 11, 18, 25]
HALF_OPENS = [0.5, 1.5, 3, 6, 12, 20, 35]
FULL_DISKS = [1, 3, 6, 12]
# A fault of this length is long; so many of them at a time.
LONG, LONG_AT_ONCE = 10, 2
# Hours from the true time: the checker takes them off again, and idempotency keys last a day.
CLOCK_HOURS = 10
STATES_KEPT = 6
KEEP_STATE_EVERY = 7


class Faults:
    """`run` goes on for `seconds`: bouts of faults, and between them time in which nothing is wrong.

    `victims` are processes (`ingest/2`), `ways` the addresses by which parties reach the broker.
    """

    def __init__(self, stage, system, kinds, victims, ways, seconds, seed, note, longest=None):
        self.done = collections.Counter()
        self.kills = {service: 0 for service in victims}
        self.stops = {service: 0 for service in victims}
        self.not_restarted = []
        # By party (`broker`, `gateway/3`): (start, end) of each time in which what it sends or gets may be late.
        self.spans = collections.defaultdict(list)
        self.calm_seconds = 0.0
        self._stage = stage
        self._system = system
        self._kinds = kinds
        self._victims = victims
        self._ways = ways
        self._seconds = seconds
        self._random = random.Random(seed)
        self._note = note
        self._longest = longest or float("inf")
        self._lock = threading.Lock()
        self._long = threading.Semaphore(LONG_AT_ONCE)
        self._busy = set()
        self._threads = []
        self._states = []
        self._clocks = {}
        self._end = threading.Event()

    def run(self):
        end = time.monotonic() + self._seconds
        keeper = threading.Thread(target=self._keep_states, daemon=True)
        if {"snapshot", "empty"} & set(self._kinds):
            keeper.start()
        # Each kind once first.
        plan = list(self._kinds)
        self._random.shuffle(plan)
        while time.monotonic() < end:
            bout = time.monotonic() + self._random.uniform(15, 40)
            while time.monotonic() < min(bout, end) or plan and bout > end:
                time.sleep(min(self._random.expovariate(1 / 2.5), 6))
                kind = plan.pop() if plan else self._random.choices(
                    self._kinds, [WEIGHTS[kind] for kind in self._kinds])[0]
                if getattr(self, "_" + kind.replace("-", "_"))() is False:
                    plan.insert(0, kind)
            self._join()
            if time.monotonic() < end:
                calm = min(self._random.uniform(3, 12), end - time.monotonic())
                self.calm_seconds += calm
                time.sleep(calm)
        if self._clocks:
            self._step(list(self._clocks), 0)
        self._end.set()
        self._join()

    def _join(self):
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _start(self, action, *arguments):
        thread = threading.Thread(target=action, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _begin(self, kind, **members):
        with self._lock:
            self.done[kind] += 1
            self._note({"fault": kind, "at": time.time(), **members})

    def _length(self, lengths):
        length = self._random.choice([each for each in lengths if each <= self._longest])
        return length * self._random.uniform(0.7, 1.3)

    def _choose_victims(self):
        count = 2 if self._random.random() < 0.15 and len(self._victims) > 1 else 1
        return self._random.sample(self._victims, count)

    def _during(self, length, begin, finish):
        """Between the two calls `length` passes; long faults wait for one another."""
        if length >= LONG:
            self._long.acquire()
        try:
            if begin():
                time.sleep(length)
                finish()
        finally:
            if length >= LONG:
                self._long.release()

    # Processes

    def _kill(self, kind="kill", victims=None):
        """Whether any of them was there to be killed."""
        done = False
        for victim in victims or self._choose_victims():
            child = self._system.running(victim)
            if child is None:
                continue
            done = True
            self._begin(kind, service=victim, pid=child)
            begun = time.time()
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.kills[victim] = self.kills.get(victim, 0) + 1
            self._start(self._await_restart, victim, child, begun)
        return done

    def _await_restart(self, victim, killed, begun):
        end = time.monotonic() + RESTART_LIMIT
        while self._system.running(victim) in (None, killed):
            if time.monotonic() > end:
                self.not_restarted.append(victim)
                return
            time.sleep(0.05)
        self.spans[victim].append((begun - 0.1, time.time() + 3))

    def _stop(self):
        for victim in self._choose_victims():
            self._start(self._stop_one, victim, self._length(STOPS))

    def _stop_one(self, victim, length):
        child = self._system.running(victim)
        if child is None:
            return
        begun = []

        def begin():
            try:
                os.kill(child, signal.SIGSTOP)
            except ProcessLookupError:
                return False
            begun.append(time.time())
            self._begin("stop", service=victim, pid=child, seconds=round(length, 1))
            self.stops[victim] = self.stops.get(victim, 0) + 1
            return True

        def finish():
            # Another fault may have killed it, a moment ago as well.
            with contextlib.suppress(ProcessLookupError):
                if self._system.running(victim) == child:
                    os.kill(child, signal.SIGCONT)
            self.spans[victim].append((begun[0] - 0.1, time.time() + 3))
        self._during(length, begin, finish)

    # The broker's memory

    def _keep_states(self):
        number = 0
        while not self._end.wait(KEEP_STATE_EVERY):
            number += 1
            if self._stage.keep_broker_state(f"state{number}"):
                self._states = (self._states + [f"state{number}"])[-STATES_KEPT:]

    def _empty(self):
        self._stage.exchange_broker_state("nothing")
        return self._kill("empty", ["broker"])

    def _snapshot(self):
        if not self._states:
            return False  # later: the broker has saved nothing yet
        # Older ones are as likely as the newest.
        self._stage.exchange_broker_state(self._random.choice(self._states))
        return self._kill("snapshot", ["broker"])

    # Connections

    def _cut(self):
        way = self._random.choice(sorted(self._ways))
        self._begin("cut", way=way)
        begun = time.time()
        self._stage.cut(self._ways[way])
        self.spans[way].append((begun - 0.1, time.time() + 3))

    def _half_open(self):
        way = self._random.choice(sorted(self._ways))
        directions = self._random.choice([("to_broker",), ("from_broker",), ("to_broker", "from_broker")])
        if way in self._busy:
            return
        self._busy.add(way)
        self._start(self._half_open_one, way, directions, self._length(HALF_OPENS), self._random.random() < 0.5)

    def _half_open_one(self, way, directions, length, ends_with_reset):
        begun = []

        def begin():
            begun.append(time.time())
            self._begin(
                "half-open", way=way, directions=directions, seconds=round(length, 1), reset=ends_with_reset)
            self._stage.drop(self._ways[way], directions)
            return True

        def finish():
            self._stage.pass_again(self._ways[way], directions)
            if ends_with_reset:
                self._stage.cut(self._ways[way])
            # TCP sends again after a pause that has doubled as long as nothing came through.
            self.spans[way].append((begun[0] - 0.1, time.time() + length + 3))
        try:
            self._during(length, begin, finish)
        finally:
            self._busy.discard(way)

    # Disk and clocks

    def _disk_full(self):
        if "disk" in self._busy:
            return
        self._busy.add("disk")
        self._start(self._disk_full_now, self._length(FULL_DISKS))

    def _disk_full_now(self, length):
        begun = []

        def begin():
            begun.append(time.time())
            if not self._stage.fill_disk():
                return False
            self._begin("disk-full", seconds=round(length, 1))
            return True

        def finish():
            self._stage.free_disk()
            self.spans["disk"].append((begun[0] - 0.1, time.time() + 3))
        try:
            self._during(length, begin, finish)
        finally:
            self._busy.discard("disk")

    def _clock(self):
        choice = self._random.random()
        victims = list(self._victims)
        if choice < 0.6:
            victims = [self._random.choice(victims)]
        elif choice < 0.8:
            service = self._random.choice(victims).partition("/")[0]
            victims = [each for each in victims if each.partition("/")[0] == service]
        hours = self._random.choice([hours for hours in range(-CLOCK_HOURS, CLOCK_HOURS + 1)
                                     if hours != self._clocks.get(victims[0], 0)])
        self._begin("clock", services=victims, hours=hours)
        self._step(victims, hours)

    def _step(self, victims, hours):
        for victim in victims:
            self._clocks[victim] = hours
            self._stage.set_clock(victim, hours)
