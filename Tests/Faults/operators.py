"""The operator's side: commands with idempotency keys, repeated until answered, and all that operators are shown."""

import json
import random
import threading
import time
import uuid

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from checker import Command, Event
from fleet import ROOT
from link import Link


class Observer:
    """Takes every lifecycle event and every status."""

    def __init__(self, port, username, password, note):
        self.events = []
        self.statuses = []
        self._note = note
        self.link = Link(
            port, username, password, [f"{ROOT}/agents/+/+/lifecycle/+", f"{ROOT}/agents/+/+/status"], self._took)

    def _took(self, message):
        levels = message.topic.split("/")
        agent = "/".join(levels[3:5])
        payload = json.loads(message.payload) if message.payload else None
        if levels[5] == "status":
            self.statuses.append((agent, payload))
            return self._note({"agent": agent, "status": payload and payload["revision"]})
        attributes = dict(message.properties.UserProperty)
        self._note({"agent": agent, "attributes": attributes, "payload": payload, "received": time.time()})
        # A rejection of somebody unknown belongs to no record.
        if payload["record"] is not None:
            self.events.append(
                Event(attributes["id"], agent, int(attributes["sequence"]), payload, attributes))


class Operator:
    """Sends commands on one connection; any number of threads may ask at once."""

    def __init__(self, port, username, password, note):
        self.username = username
        self._note = note
        self._arrived = threading.Condition()
        self._waiting = {}
        self.link = Link(port, username, password, [f"{ROOT}/replies/{username}/#"], self._took)

    def ask(self, verb, members, seconds=10):
        """The answer to a reading command: (status, document), or None when there was none in time."""
        command = Command(verb, "", "", members)
        correlation = self._send(command, verb, key=None)
        with self._arrived:
            self._arrived.wait_for(lambda: command.answers, seconds)
            self._waiting.pop(correlation, None)
        return command.answers[0][1:] if command.answers else None

    def insist(self, verb, members, seconds=20):
        """The document that answers a reading command, which is asked again until it does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.ask(verb, members, 2)
            if answer and answer[0] in (200, 404):
                return answer
            time.sleep(0.1)
        raise AssertionError(f"{verb} {members} was not answered within {seconds} s: {answer}")

    def carry_out(self, command, verb, end, pause=2.0):
        """Sends a command with its key again and again until it is answered or `end` (monotonic) is reached."""
        while time.monotonic() < end:
            if self._send(command, verb, command.key):
                with self._arrived:
                    if self._arrived.wait_for(lambda: command.answers, pause):
                        break
            else:
                time.sleep(0.1)
        return command.is_done

    def repeat(self, command, verb):
        """Sends it once more after its answer, and waits a while for the same one."""
        count = len(command.answers)
        if self._send(command, verb, command.key):
            with self._arrived:
                self._arrived.wait_for(lambda: len(command.answers) > count, 2)

    def _send(self, command, verb, key):
        correlation = uuid.uuid4().bytes
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"{ROOT}/replies/{self.username}/faults"
        properties.CorrelationData = correlation
        if key:
            properties.UserProperty = ("idempotency-key", key)
        self._waiting[correlation] = command
        command.sent.append(time.time())
        if self.link.is_up.is_set() and self.link.publish(
                f"{ROOT}/commands/{verb}", json.dumps(command.request), properties=properties):
            return correlation
        del self._waiting[correlation]
        command.sent.pop()
        return None

    def _took(self, message):
        command = self._waiting.get(getattr(message.properties, "CorrelationData", None))
        if command is None:
            return
        document = json.loads(message.payload)
        is_problem = getattr(message.properties, "ContentType", "") == "application/problem+json"
        status = document["status"] if is_problem else 200
        if status == 503 and command.key:
            return  # safe to try again with the same key, which is what happens
        if command.key:
            self._note({"key": command.key, "kind": command.kind, "status": status, "document": document,
                        "received": time.time()})
        with self._arrived:
            command.answers.append((time.time(), status, document))
            self._arrived.notify_all()


class Lane(threading.Thread):
    """Asks for changes of its own agents, one after the other, each until it is answered."""

    def __init__(self, operator, agents, seed, pause, number):
        super().__init__(daemon=True)
        self.commands = []
        self._operator = operator
        # By agent: (role members, whether it may be deleted).
        self._agents = agents
        self._random = random.Random(seed)
        self._pause = pause
        self._number = number
        self._count = 0
        self._counter = {}
        self._paused = set()
        self._deleted = set()
        self._end = threading.Event()
        self._give_up_at = float("inf")

    def prepare(self, absent):
        """These agents do not exist yet: their first command provisions them."""
        self._deleted |= absent

    def finish(self, give_up_at):
        """No new commands; what is under way is given up at that time (monotonic)."""
        self._give_up_at = give_up_at
        self._end.set()

    def run(self):
        while not self._end.wait(self._random.expovariate(1 / self._pause)):
            self._change(self._random.choice(sorted(self._agents)))
        # Nobody stays paused: a silent agent is to end offline.
        for agent in sorted(self._paused):
            self._do("resume", agent, {"agent": agent})

    def _change(self, agent):
        if agent in self._deleted:
            self._deleted.discard(agent)
            return self._do("provision", agent, {"agent": agent, **self._agents[agent]})
        if agent in self._paused and self._random.random() < 0.5:
            self._paused.discard(agent)
            return self._do("resume", agent, {"agent": agent})
        kind = self._random.choices(
            ["wake", "update --no-wake", "update", "provision", "pause", "delete"], [5, 6, 2, 1, 2, 1])[0]
        if kind == "delete" and "n" not in agent.split("/")[1] or kind == "pause" and agent in self._paused:
            kind = "wake"
        request = {"agent": agent}
        if kind.startswith("update"):
            self._counter[agent] = self._counter.get(agent, 0) + 1
            request["variables"] = {"n": str(self._counter[agent])}
            if kind == "update --no-wake":
                request["wake"] = False
        if kind == "pause":
            self._paused.add(agent)
        if kind == "delete":
            self._paused.discard(agent)
            self._deleted.add(agent)
        self._do(kind, agent, request)

    def _do(self, kind, agent, request):
        self._count += 1
        command = Command(kind, agent, f"lane{self._number}-{self._count}", request)
        self.commands.append(command)
        verb = kind.split()[0]
        self._operator.carry_out(command, verb, self._give_up_at if self._end.is_set() else _Later(self))
        if command.is_answered and self._random.random() < 0.15:
            self._operator.repeat(command, verb)

    @property
    def give_up_at(self):
        return self._give_up_at


class _Later:
    """The end of a lane that may be set while it waits: compares as the lane's end does at that time."""

    def __init__(self, lane):
        self._lane = lane

    def __gt__(self, other):
        return self._lane.give_up_at > other
