"""An MQTT 5 client for tests: keeps what it receives, makes requests."""

import json
import socket
import threading
import time
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

TOPIC_ROOT = "rollcall/v1"


def without_delay(client, userdata, connected):
    """Sends each packet at once: else a PUBACK holds back the next PUBLISH for 40 ms (RFC 896)."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Client:
    """An MQTT 5 client of one identity: keeps what it receives, makes requests."""

    def __init__(self, port, username, password, client_id="", will=None):
        self.username = username
        self.messages = []
        self.reason = None
        self._port = port
        self._arrived = threading.Condition()
        self._answers = {}
        self._granted = {}
        self._has_replies = False
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self.paho.username_pw_set(username, password)
        if will:
            self.paho.will_set(will["topic"], will["payload"], will.get("qos", 1), will.get("retain", False))
        self.paho.on_socket_open = without_delay
        self.paho.on_connect = self._on_connect
        self.paho.on_message = self._on_message
        self.paho.on_subscribe = self._on_subscribe

    def connect(self, seconds=10):
        """Connects; raises `PermissionError` when the broker refuses."""
        self.reason = None
        # A tester that its machine keeps from sending is not gone.
        self.paho.connect("127.0.0.1", self._port, keepalive=60)
        self.paho.loop_start()
        with self._arrived:
            self._arrived.wait_for(lambda: self.reason is not None, seconds)
        if self.reason is None:
            raise AssertionError("the broker did not answer CONNECT")
        if self.reason.is_failure:
            self.paho.loop_stop()
            raise PermissionError(f"{self.username}: {self.reason}")
        return self

    def subscribe(self, *topics, qos=1, seconds=10):
        """Subscribes and waits for the answer; the reason codes."""
        _, mid = self.paho.subscribe([(topic, SubscribeOptions(qos=qos)) for topic in topics])
        with self._arrived:
            assert self._arrived.wait_for(lambda: mid in self._granted, seconds), "no SUBACK"
            return self._granted[mid]

    def publish(self, topic, payload=b"", qos=1, retain=False, properties=None, seconds=10):
        """Publishes a text, bytes or a value as JSON, and waits for its acknowledgement; the packet's info."""
        if not isinstance(payload, (bytes, str)):
            payload = json.dumps(payload)
        info = self.paho.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(seconds)
        return info

    def request(self, verb, members=None, idempotency_key=None, seconds=10):
        """Sends a command; `(status, answer)`: 200 or the problem's status, and the JSON document."""
        if not self._has_replies:
            self.subscribe(f"{TOPIC_ROOT}/replies/{self.username}/#")
            self._has_replies = True
        correlation = uuid.uuid4().bytes
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"{TOPIC_ROOT}/replies/{self.username}/test"
        properties.CorrelationData = correlation
        properties.ContentType = "application/json"
        if idempotency_key:
            properties.UserProperty = ("idempotency-key", idempotency_key)
        self.publish(f"{TOPIC_ROOT}/commands/{verb}", members or {}, properties=properties)
        with self._arrived:
            if not self._arrived.wait_for(lambda: correlation in self._answers, seconds):
                raise AssertionError(f"no answer to {verb} {members} within {seconds} s")
            message = self._answers.pop(correlation)
        answer = json.loads(message.payload)
        is_problem = getattr(message.properties, "ContentType", "") == "application/problem+json"
        return (answer["status"] if is_problem else 200), answer

    def expect(self, verb, members=None, **options):
        """The answer to a command that must succeed: as `insist` asks, unless the test has a key or a limit of its own."""
        if not options:
            return self.insist(verb, members)
        status, answer = self.request(verb, members, **options)
        assert status == 200, f"{verb} {members}: {answer}"
        return answer

    def insist(self, verb, members=None, seconds=60):
        """The answer to a command that must succeed, however busy the machine is: as operators are told to, it is asked again
        under its key while it is `unavailable`, or unanswered, as when who read it stalled."""
        key, end = uuid.uuid4().hex, time.monotonic() + seconds
        while True:
            try:
                status, answer = self.request(verb, members, idempotency_key=key, seconds=10)
            except AssertionError as unanswered:
                status, answer = 503, unanswered
            if status == 200:
                return answer
            assert status == 503 and time.monotonic() < end, f"{verb} {members}: {answer}"

    def wait_message(self, condition=lambda message: True, seconds=10, what="a message"):
        """The first received message for which `condition` holds; it is taken out."""
        def take():
            for index, message in enumerate(self.messages):
                if condition(message):
                    return self.messages.pop(index)
            return None

        end = time.monotonic() + seconds
        with self._arrived:
            while True:
                message = take()
                if message is not None:
                    return message
                rest = end - time.monotonic()
                if rest <= 0:
                    raise AssertionError(f"{what} did not arrive within {seconds} s; got {[m.topic for m in self.messages]}")
                self._arrived.wait(rest)

    def close(self):
        """Says DISCONNECT and ends."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self):
        """Ends without DISCONNECT, as a crash would: the Last Will is published."""
        self.paho.loop_stop()
        self.paho.socket().close()

    def _on_connect(self, client, userdata, flags, reason, properties):
        with self._arrived:
            self.reason = reason
            self._arrived.notify_all()

    def _on_message(self, client, userdata, message):
        correlation = getattr(message.properties, "CorrelationData", None)
        with self._arrived:
            if correlation is not None and "/replies/" in message.topic:
                self._answers[correlation] = message
            else:
                self.messages.append(message)
            self._arrived.notify_all()

    def _on_subscribe(self, client, userdata, mid, reasons, properties):
        with self._arrived:
            self._granted[mid] = [reason.value for reason in reasons]
            self._arrived.notify_all()
