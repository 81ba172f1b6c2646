"""Gateways and their agents: silent ones, ones that beat once a second, and moody ones that say everything there is."""

import json
import random
import threading
import time

from evidence import Beats, Wake, Word
from link import Link

ROOT = "rollcall/v1"
# Of the agents that beat, one in so many does so alone, the others in their gateway's message.
ALONE = 5
# Chances of a moody agent at each beat, and of a gateway's mood each second.
GOODBYE, WILL, SLOW_START, GATEWAY_MOOD = 0.03, 0.03, 0.3, 0.1


class Gateway:
    """One gateway's client: records every wake, speaks for its beating agents once a second."""

    def __init__(self, loop, address, name, token, seed):
        self.name = name
        self.beating = set()
        self.moody = set()
        self.wakes = []
        # Heartbeats that say nothing but that the agent lives, many at once, and all others.
        self.beats = []
        self.words = []
        self.moods = {"lost": 0, "stopped": 0}
        # When it said that it is connected.
        self.returns = []
        self._random = random.Random(seed)
        self._boots = {}
        self._quiet_until = {}
        self._starting_until = {}
        self._stopped_until = 0
        self._lock = threading.Lock()
        self._sets = ((), ())
        self._status = f"{ROOT}/gateways/{name}/status"
        self.link = Link(
            loop, address, name, [token], [f"{ROOT}/agents/{name}/+/wake"], self._took,
            will=(self._status, b'{"state":"lost"}'), up=lambda link: self._announce("connected", link))

    def add(self, agent, is_moody=False):
        """`agent` (full address) answers wakes from now on."""
        with self._lock:
            (self.moody if is_moody else self.beating).add(agent)
            agents = sorted(self.beating)
            alone = tuple(agents[::ALONE])
            self._sets = (tuple(each for each in agents if each not in set(alone)), alone)

    def beat(self, has_moods):
        """One heartbeat of each agent that beats."""
        now = time.time()
        if self._stopped_until and now > self._stopped_until:
            self._stopped_until = 0
            self._announce("connected")
        if has_moods and self._random.random() < GATEWAY_MOOD:
            self._take_mood(now)
        if self._stopped_until or not self.link.is_up.is_set():
            return
        together, alone = self._sets
        if together:
            payload = json.dumps({"agents": [agent.split("/")[1] for agent in together]})
            self._publish(f"{ROOT}/gateways/{self.name}/heartbeats", payload, self._note_beats(together, now))
        for agent in alone:
            self._publish(f"{ROOT}/agents/{agent}/heartbeat", b"", self._note_beats((agent,), now))
        for agent in sorted(self.moody):
            self._beat_moodily(agent, now, has_moods)

    def was_reachable(self, start, end):
        return self.link.was_up(start, end)

    # Moods

    def _take_mood(self, now):
        """The gateway is gone for a while, without a word or with one."""
        if self._random.random() < 0.6:
            self.moods["lost"] += 1
            self.link.cut(away=self._random.choice([0.1, 1, 3, 8]))
        else:
            self.moods["stopped"] += 1
            self._announce("stopped")
            self._stopped_until = now + self._random.choice([1, 3, 6])

    def _beat_moodily(self, agent, now, has_moods):
        if now < self._quiet_until.get(agent, 0) and has_moods:
            return
        chance = self._random.random() if has_moods else 1
        boot = self._boots.setdefault(agent, 1)
        members = {"boot_id": f"{agent}.{boot}"}
        if chance < GOODBYE:
            self._quiet_until[agent] = now + self._random.choice([1, 4, 8])
            self._boots[agent] = boot + 1
            self._say(agent, "stopping", **members)
        elif chance < GOODBYE + WILL:
            self._quiet_until[agent] = now + self._random.choice([0, 0, 3, 7])
            if self._random.random() < 0.2:
                members["boot_id"] = f"{agent}.{boot - 1}"
            self._say(agent, "lost", **members)
        elif now < self._starting_until.get(agent, 0):
            self._say(agent, "starting", extend="2s", **members)
        elif has_moods and self._random.random() < 0.1:
            self._say(agent, "degraded", note="it is one of those days", **members)
        else:
            self._say(agent, "ok", **members)

    # Words

    def _took(self, message):
        received = time.time()
        agent = "/".join(message.topic.split("/")[3:5])
        payload = json.loads(message.payload)
        self.wakes.append(Wake(agent, received, payload))
        echo = {"generation": payload["generation"], "attempt": payload["attempt"]}
        if agent in self.beating:
            self._say(agent, "ok", **echo)
        elif agent in self.moody and received >= self._quiet_until.get(agent, 0):
            if self._random.random() < SLOW_START:
                self._starting_until[agent] = received + 1.5
                self._say(agent, "starting", extend="2s", **echo)
            else:
                self._say(agent, "ok", **echo)

    def _say(self, agent, status, **members):
        word = Word(agent, status, time.time(), generation=members.get("generation"))
        self.words.append(word)

        def acknowledged():
            word.acknowledged = time.time()
        payload = json.dumps(members if status == "ok" else {"status": status, **members})
        self._publish(f"{ROOT}/agents/{agent}/heartbeat", payload, acknowledged)

    def _note_beats(self, agents, now):
        beats = Beats(agents, now)
        self.beats.append(beats)

        def acknowledged():
            beats.acknowledged = time.time()
        return acknowledged

    def _publish(self, topic, payload, acknowledged):
        self.link.publish(topic, payload, acknowledged=acknowledged)

    def _announce(self, state, link=None):
        if state == "connected":
            self.returns.append(time.time())
        (link or self.link).publish(self._status, json.dumps({"state": state}), retain=True)


class Fleet:
    """All gateways; `start` begins to beat."""

    def __init__(self, gateways):
        self.gateways = gateways
        self.slowest_beat = 0.0
        self.has_moods = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._end.set()
        self._thread.join()
        for gateway in self.gateways:
            gateway.link.close()

    def _run(self):
        """Each gateway once a second, not all at once."""
        due = time.monotonic()
        count = len(self.gateways)
        while not self._end.is_set():
            for index, gateway in enumerate(self.gateways):
                if self._end.wait(max(0, due + index / count - time.monotonic())):
                    return
                gateway.beat(self.has_moods)
                self.slowest_beat = max(self.slowest_beat, time.monotonic() - due - index / count)
            due = max(due + 1, time.monotonic() - 1)
