"""Gateways and their agents: silent ones, and ones that answer each wake and repeat their heartbeats."""

import collections
import json
import threading
import time

from checker import Wake
from link import Link

ROOT = "rollcall/v1"


class Gateway:
    """One gateway's client: records every wake, speaks for its beating agents once a second."""

    def __init__(self, name, port, token, note):
        self.name = name
        self.beating = set()
        self.wakes = []
        self.heartbeats = collections.defaultdict(list)
        self._note = note
        self._lock = threading.Lock()
        status = f"{ROOT}/gateways/{name}/status"
        self.link = Link(
            port, name, token, [f"{ROOT}/agents/{name}/+/wake"], self._took,
            will=(status, b'{"state":"lost"}', 1, True),
            up=lambda link: link.publish(status, b'{"state":"connected"}', retain=True))

    def add_beating(self, agent):
        """`agent` (full address) answers wakes from now on."""
        with self._lock:
            self.beating.add(agent)

    def beat(self):
        """One heartbeat of each beating agent: half of them alone, half in one message of the gateway."""
        with self._lock:
            agents = sorted(self.beating)
        now = time.time()
        together, alone = agents[::2], agents[1::2]
        if together:
            payload = json.dumps({"agents": [agent.split("/")[1] for agent in together]})
            self.link.publish(
                f"{ROOT}/gateways/{self.name}/heartbeats", payload, acknowledged=lambda: self._count(together, now))
        for agent in alone:
            self._speak(agent, b"")

    def _took(self, message):
        received = time.time()
        agent = "/".join(message.topic.split("/")[3:5])
        payload = json.loads(message.payload)
        self.wakes.append(Wake(agent, received, payload))
        self._note({"agent": agent, "received": received, "payload": payload})
        if agent in self.beating:
            answer = {"generation": payload["generation"], "attempt": payload["attempt"]}
            self._speak(agent, json.dumps(answer))

    def _speak(self, agent, payload):
        now = time.time()
        self.link.publish(
            f"{ROOT}/agents/{agent}/heartbeat", payload, acknowledged=lambda: self._count([agent], now))

    def _count(self, agents, sent):
        for agent in agents:
            self.heartbeats[agent].append(sent)


class Fleet:
    """All gateways; `start` begins to beat."""

    def __init__(self, gateways):
        self.gateways = gateways
        self.slowest_beat = 0.0
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
        due = time.monotonic()
        while not self._end.wait(max(0, due - time.monotonic())):
            begun = time.monotonic()
            for gateway in self.gateways:
                gateway.beat()
            self.slowest_beat = max(self.slowest_beat, time.monotonic() - begun, begun - due)
            due = max(due + 1, time.monotonic() - 1)
