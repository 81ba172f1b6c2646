"""Kills and stops the processes of a running system at random moments."""

import os
import random
import signal
import threading
import time

# A service that was killed is back after the supervisor's longest pause and its start.
RESTART_LIMIT = 30


class Faults:
    """`run` does at least so many kills and about so many stops, spread over `seconds`."""

    def __init__(self, system, services, kills, seconds, stops, seed, note):
        self.kills = {service: 0 for service in services}
        self.stops = {service: 0 for service in services}
        self.not_restarted = []
        # (start, end) of each time without a working broker.
        self.broker_faults = []
        self._system = system
        self._services = services
        self._wanted = kills
        self._seconds = seconds
        self._random = random.Random(seed)
        self._wanted_stops = stops
        self._note = note
        self._threads = []

    def run(self):
        begun = time.monotonic()
        plan = ["kill"] * self._wanted + ["stop"] * self._wanted_stops
        self._random.shuffle(plan)
        while plan:
            # The rest of the faults in the rest of the time.
            mean = max(0.05, (begun + self._seconds - time.monotonic()) / len(plan))
            time.sleep(min(self._random.expovariate(1 / mean), 3 * mean))
            fault = plan.pop()
            victims = self._random.sample(
                self._services, 2 if self._random.random() < 0.15 and len(self._services) > 1 else 1)
            for victim in victims:
                if fault == "stop":
                    self._start(self._stop, victim)
                elif not self._kill(victim) and victim == victims[-1]:
                    plan.append(fault)
        for thread in self._threads:
            thread.join()

    def _start(self, action, service):
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=action, args=(service,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _kill(self, service):
        child = self._system.running(service)
        if child is None:
            return False
        self._note({"fault": "kill", "service": service, "pid": child, "at": time.time()})
        begun = time.time()
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills[service] += 1
        self._start(lambda name: self._await_restart(name, child, begun), service)
        return True

    def _await_restart(self, service, killed, begun):
        end = time.monotonic() + RESTART_LIMIT
        while self._system.running(service) in (None, killed):
            if time.monotonic() > end:
                self.not_restarted.append(service)
                return
            time.sleep(0.02)
        if service == "broker":
            self.broker_faults.append((begun - 0.1, time.time() + 3))

    def _stop(self, service):
        child = self._system.running(service)
        if child is None:
            return
        length = self._random.choice([0.3, 0.8, 1.2, 2, 4, 7]) * self._random.uniform(0.7, 1.3)
        self._note({"fault": "stop", "service": service, "pid": child, "seconds": length, "at": time.time()})
        begun = time.time()
        try:
            os.kill(child, signal.SIGSTOP)
            self.stops[service] += 1
            time.sleep(length)
            os.kill(child, signal.SIGCONT)
        except ProcessLookupError:
            return
        finally:
            if service == "broker":
                self.broker_faults.append((begun - 0.1, time.time() + 3))
        self._note({"fault": "continue", "service": service, "pid": child, "at": time.time()})
