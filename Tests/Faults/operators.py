"""The operator's side: commands with idempotency keys, repeated until answered, and all that operators are shown."""

import json
import threading
import time
import uuid

import packets
from evidence import Command, Event
from fleet import ROOT
from link import Link


class Observer:
    """Takes every lifecycle event and every status."""

    def __init__(self, loop, address, username, password):
        self.events = []
        self.statuses = []
        self.link = Link(
            loop, address, username, [password], [f"{ROOT}/agents/+/+/lifecycle/+", f"{ROOT}/agents/+/+/status"],
            self._took)

    def _took(self, message):
        levels = message.topic.split("/")
        agent = "/".join(levels[3:5])
        if levels[5] == "status":
            return self.statuses.append((agent, message.payload or None))
        attributes = message.attributes
        # A rejection of somebody unknown belongs to no record, and has no revision.
        if len(message.payload) > 300 or json.loads(message.payload)["record"] is not None:
            self.events.append(
                Event(attributes["id"], agent, int(attributes["sequence"]), message.payload, attributes))


class Operator:
    """Sends commands on one connection; any number of threads may ask at once."""

    def __init__(self, loop, address, username, password):
        self.username = username
        self._arrived = threading.Condition()
        self._waiting = {}
        self.link = Link(loop, address, username, [password], [f"{ROOT}/replies/{username}/#"], self._took)

    def ask(self, verb, members, seconds=10):
        """The answer to a reading command: (status, document), or None when there was none in time."""
        command = Command(verb, "", "", members)
        correlation = self._send(command, verb)
        if correlation is None:
            return None
        with self._arrived:
            self._arrived.wait_for(lambda: command.answers, seconds)
            self._waiting.pop(correlation, None)
        return command.answers[0][1:] if command.answers else None

    def insist(self, verb, members, seconds=60):
        """The answer to a reading command, which is asked again until there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.ask(verb, members, 5)
            if answer and answer[0] in (200, 404):
                return answer
            time.sleep(0.1)
        raise AssertionError(f"{verb} {members} was not answered within {seconds} s: {answer}")

    def carry_out(self, command, verb, give_up_at, pause=2.0):
        """Sends a command with its key again and again until it is answered or `give_up_at()` (monotonic) is reached."""
        correlations = []
        while time.monotonic() < give_up_at():
            correlation = self._send(command, verb)
            if correlation is None:
                time.sleep(0.1)
                continue
            correlations.append(correlation)
            with self._arrived:
                if self._arrived.wait_for(lambda: command.answers, pause):
                    break
        self._forget(correlations, 30)
        return command.is_done

    def repeat(self, command, verb):
        """Sends it once more after its answer, and waits a while for the same one."""
        count = len(command.answers)
        correlation = self._send(command, verb)
        if correlation:
            with self._arrived:
                self._arrived.wait_for(lambda: len(command.answers) > count, 2)
            self._forget([correlation], 30)

    def _forget(self, correlations, after):
        """Late answers of the same command are answers as well, for a while."""
        def forget():
            for correlation in correlations:
                self._waiting.pop(correlation, None)
        self.link.later(after, forget)

    def _send(self, command, verb):
        if not self.link.is_up.is_set():
            return None
        correlation = uuid.uuid4().bytes
        properties = {
            packets.RESPONSE_TOPIC: f"{ROOT}/replies/{self.username}/faults", packets.CORRELATION_DATA: correlation}
        if command.key:
            properties[packets.USER_PROPERTY] = [("idempotency-key", command.key)]
        self._waiting[correlation] = command
        # Before it leaves: a wake that it forbids is not to be older.
        command.sent.append(time.time())
        self.link.publish(f"{ROOT}/commands/{verb}", json.dumps(command.request), properties=properties)
        return correlation

    def _took(self, message):
        command = self._waiting.get(message.properties.get(packets.CORRELATION_DATA))
        if command is None:
            return
        document = json.loads(message.payload)
        is_problem = message.properties.get(packets.CONTENT_TYPE) == b"application/problem+json"
        status = document["status"] if is_problem else 200
        if status == 503 and command.key:
            return  # safe to try again with the same key, which is what happens
        with self._arrived:
            command.answers.append((time.time(), status, document))
            self._arrived.notify_all()
