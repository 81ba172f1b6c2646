"""What the tests of the public contract share: a system of their own, a watcher of its topics, agents to play."""

import collections
import datetime
import json
import pathlib
import subprocess
import sys
import threading
import time
import unittest

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_client import TOPIC_ROOT, without_delay
from rollcall_system import RollcallSystem, wait_until

__all__ = [
    "TOPIC_ROOT", "ExactTest", "Player", "Seen", "SystemTest", "Watcher", "percentiles", "properties", "stamp", "wait_until",
]


def stamp(text):
    """Seconds since 1970 of a time in a record."""
    return datetime.datetime.fromisoformat(text).timestamp()


def percentiles(values):
    """Some percentiles of a list of seconds, as text."""
    ordered = sorted(values)
    at = {p: ordered[min(len(ordered) - 1, int(p / 100 * len(ordered)))] for p in (50, 95, 99)}
    parts = [f"p{p} {value * 1000:.0f} ms" for p, value in at.items()]
    return f"{', '.join(parts)}, max {ordered[-1] * 1000:.0f} ms of {len(ordered)}"


def properties(*, response_topic=None, correlation=None, content_type=None, user=()):
    """The MQTT 5 properties of a PUBLISH."""
    result = Properties(PacketTypes.PUBLISH)
    if response_topic is not None:
        result.ResponseTopic = response_topic
    if correlation is not None:
        result.CorrelationData = correlation
    if content_type is not None:
        result.ContentType = content_type
    if user:
        result.UserProperty = list(user)
    return result


class Seen:
    """One message as it arrived."""

    def __init__(self, message):
        self.at = time.time()
        self.topic = message.topic
        self.payload = message.payload
        self.qos = message.qos
        self.retain = message.retain
        found = message.properties
        self.user = dict(getattr(found, "UserProperty", []) or [])
        self.user_count = len(getattr(found, "UserProperty", []) or [])
        self.content_type = getattr(found, "ContentType", None)
        self.response_topic = getattr(found, "ResponseTopic", None)
        self.correlation = getattr(found, "CorrelationData", None)
        self.expiry = getattr(found, "MessageExpiryInterval", None)

    @property
    def json(self):
        """The payload's value; `None` of no bytes."""
        return json.loads(self.payload) if self.payload else None

    def __repr__(self):
        return f"<{self.topic} {self.payload[:200]!r}>"


class Watcher:
    """Keeps every message of some topics, in the order of arrival, with the QoS and the retain flag they were sent with."""

    def __init__(self, port, username, password, *filters):
        self.seen = []
        self.granted = None
        self._changed = threading.Condition()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(username, password)
        self._client.on_socket_open = without_delay
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_connect = self._on_connect
        self._client.max_inflight_messages_set(1000)
        self._filters = filters
        self._client.connect("127.0.0.1", port, keepalive=30)
        self._client.loop_start()
        with self._changed:
            if not self._changed.wait_for(lambda: self.granted is not None, 10):
                raise AssertionError(f"{username} could not subscribe to {filters}")

    def _on_connect(self, client, userdata, flags, reason, found):
        options = SubscribeOptions(qos=2, retainAsPublished=True)
        client.subscribe([(topic_filter, options) for topic_filter in self._filters])

    def _on_subscribe(self, client, userdata, mid, reasons, found):
        with self._changed:
            self.granted = [reason.value for reason in reasons]
            self._changed.notify_all()

    def _on_message(self, client, userdata, message):
        with self._changed:
            self.seen.append(Seen(message))
            self._changed.notify_all()

    def wait(self, condition, seconds=10, what="a message"):
        """Waits until `condition` of the messages so far gives something true, and returns that."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                value = condition(self.seen)
                if value:
                    return value
                rest = end - time.monotonic()
                if rest <= 0:
                    last = "\n".join(map(repr, self.seen[-15:]))
                    raise AssertionError(f"{what} did not come within {seconds} s; the last messages:\n{last}")
                self._changed.wait(rest)

    def on(self, topic):
        """The messages of one topic, below the root."""
        wanted = f"{TOPIC_ROOT}/{topic}"
        with self._changed:
            return [seen for seen in self.seen if seen.topic == wanted]

    # Agents

    def events(self, agent):
        """The lifecycle messages of an agent."""
        prefix = f"{TOPIC_ROOT}/agents/{agent}/lifecycle/"
        with self._changed:
            return [seen for seen in self.seen if seen.topic.startswith(prefix)]

    def event_names(self, agent):
        """What happened to an agent, by name."""
        return [seen.json["event"] for seen in self.events(agent)]

    def wait_event(self, agent, event, seconds=10, count=1, **record):
        """The `count`th lifecycle message of that event whose record has these members."""
        topic = f"{TOPIC_ROOT}/agents/{agent}/lifecycle/{event}"

        def found(messages):
            hits = [
                seen for seen in messages
                if seen.topic == topic and all((seen.json["record"] or {}).get(key) == value for key, value in record.items())
            ]
            return hits[count - 1] if len(hits) >= count else None

        return self.wait(found, seconds, f"{event} number {count} {record or ''} of {agent}")

    def wakes(self, agent):
        """The wakes of an agent."""
        return self.on(f"agents/{agent}/wake")

    def wait_wake(self, agent, seconds=10, count=1, **members):
        """The `count`th wake with these members."""
        topic = f"{TOPIC_ROOT}/agents/{agent}/wake"

        def found(messages):
            hits = [
                seen for seen in messages
                if seen.topic == topic and all(seen.json[key] == value for key, value in members.items())
            ]
            return hits[count - 1] if len(hits) >= count else None

        return self.wait(found, seconds, f"wake number {count} {members or ''} of {agent}")

    def wait_statuses(self, agent, revision, seconds=10):
        """The retained records of an agent as they were published, once there is one of that revision."""
        topic = f"{TOPIC_ROOT}/agents/{agent}/status"

        def found(messages):
            hits = [seen for seen in messages if seen.topic == topic]
            return hits if hits and hits[-1].payload and hits[-1].json["revision"] >= revision else None

        return self.wait(found, seconds, f"the status of {agent} at revision {revision}")

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class Player:
    """An agent, played by the test."""

    def __init__(self, test, address, token, record):
        self.test = test
        self.address = address
        self.token = token
        self.record = record
        self.client = None

    @property
    def topic(self):
        return f"{TOPIC_ROOT}/agents/{self.address}/heartbeat"

    def connect(self, will=None):
        """Its own connection, with `will` as the payload of its Last Will."""
        last = None if will is None else {"topic": self.topic, "payload": json.dumps(will)}
        self.client = self.test.system.client(self.address, self.token, will=last)
        return self.client

    def heartbeat(self, members=None, token=None, qos=1):
        """Publishes a heartbeat: nothing, members, or raw bytes."""
        if self.client is None:
            self.connect()
        user = [("x-agent-token", token)] if token is not None else []
        payload = b"" if members is None else members
        return self.client.publish(self.topic, payload, qos=qos, properties=properties(user=user))

    def check_in(self, **members):
        """A heartbeat that brings it online; its record then."""
        count = self.test.watcher.event_names(self.address).count("online") + 1

        def once():
            self.heartbeat(members or None)
            return self.test.watcher.wait_event(self.address, "online", count=count).json["record"]

        return self.test.unless_suspended(once)

    def get(self):
        """Its record now."""
        return self.test.operator.expect("get", {"agent": self.address})["record"]


class SystemTest(unittest.TestCase):
    """A class with a system of its own: `arguments` of `rollcall up`, `filters` of what the watcher sees."""

    arguments = ()
    filters = ("#",)
    gateways = ("gw",)

    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem(*cls.arguments)
        cls.addClassCleanup(cls.system.close)
        cls.system.start()
        cls.gateway_tokens = {}
        cls.names = collections.Counter()
        # All watchers: there is a new one after a restart.
        cls.watchers = []
        cls.connect()
        for gateway in cls.gateways:
            cls.gateway_tokens[gateway] = cls.operator.expect("add-gateway", {"gateway": gateway})["token"]

    @classmethod
    def connect(cls):
        """The operator's connection and the watcher's, also anew after a restart."""
        cls.operator = cls.system.operator()
        cls.watcher = Watcher(
            cls.system.port, cls.system.env["ROLLCALL_USERNAME"], cls.system.env["ROLLCALL_PASSWORD"],
            *(f"{TOPIC_ROOT}/{topic_filter}" for topic_filter in cls.filters))
        cls.watchers.append(cls.watcher)
        cls.addClassCleanup(cls.watcher.close)

    def unless_suspended(self, body, times=3):
        """What `body()` returns; it is done again when it fails and the system says that it was suspended meanwhile."""
        for rest in reversed(range(times)):
            before = self.system.suspensions()
            try:
                return body()
            except AssertionError as failure:
                if rest == 0 or self.system.suspensions() == before:
                    raise
                print(f"{self.id()} is done again after a suspension: {failure}", flush=True)

    def expect(self, verb, members=None, **options):
        return self.operator.expect(verb, members, **options)

    def refuse(self, verb, members=None, status=None, kind=None, **options):
        """The problem of a command that must be refused."""
        got, problem = self.operator.request(verb, members, **options)
        self.assertNotEqual(got, 200, problem)
        if status is not None:
            self.assertEqual(got, status, problem)
        if kind is not None:
            self.assertEqual(problem["type"], kind, problem)
        return problem

    def agent(self, stem="agent", gateway="gw", role="worker", board="board", **members):
        """A newly provisioned agent with a name of its own."""
        type(self).names[stem] += 1
        address = f"{gateway}/{stem}-{type(self).names[stem]}"
        request = {"agent": address, "role": role, **members}
        if board is not None and role != "main":
            request["board"] = board
        answer = self.expect("provision", request)
        self.assertIsNotNone(answer["token"])
        return Player(self, address, answer["token"], answer["record"])

    def online_agent(self, stem="agent", **members):
        """A new agent that has checked in."""
        player = self.agent(stem, **members)
        self.watcher.wait_event(player.address, "woken")
        player.check_in()
        return player

    def mosquitto_pub(self, username, password, topic, *arguments, check=True):
        """Publishes with mosquitto_pub, a client nobody here wrote."""
        completed = subprocess.run(
            ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.system.port), "-u", username, "-P", password, "-t", topic,
             *arguments],
            capture_output=True, text=True, timeout=20, check=False)
        if check and completed.returncode != 0:
            raise AssertionError(f"mosquitto_pub ended with {completed.returncode}: {completed.stderr}")
        return completed


class ExactTest(SystemTest):
    """Of what happens, each in its order and no more: what a suspension spoils is done again.

    unittest names no place for that; `_callTestMethod` is where it runs a test without its `setUp` and `tearDown`.
    """

    def _callTestMethod(self, method):
        return self.unless_suspended(lambda: super(ExactTest, self)._callTestMethod(method))
