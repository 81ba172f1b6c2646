"""A private mosquitto with the access plugin, and clients that nobody here wrote (paho-mqtt)."""

import hashlib
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from rollcall_system import free_port

ROOT = "rollcall/v1"
CONTROL = "$CONTROL/rollcall/v1"
NOT_AUTHORIZED = 0x87
ADMINISTRATIVE_ACTION = 0x98
STORE = "svc:status-store/1"

BUILD = pathlib.Path(os.environ.get("ROLLCALL_BUILD", ".build/debug"))


def digest(secret):
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_of(username):
    """The secret that every test gives a username unless it says otherwise."""
    return "secret of " + username


class Broker:
    """One mosquitto on a free loopback port; its files live in a directory of their own."""

    FIXED = ["op:alice", "op:bob", STORE, "svc:provisioner/1", "svc:control-api/1", "svc:control-api/10"]

    def __init__(self, options=(), fixed=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-access-"))
        self.directory.chmod(0o700)
        self.identities = self.directory / "identities"
        self.state = self.directory / "state"
        self.log = self.directory / "log"
        self.port = free_port()
        self.write_identities({name: secret_of(name) for name in (fixed or self.FIXED)})
        library = (BUILD / "libRollcallBrokerAccess.so").resolve()
        lines = [
            f"listener {self.port} 127.0.0.1", "allow_anonymous false", "auto_id_prefix auto-", f"plugin {library}",
            f"plugin_opt_identities {self.identities}", f"plugin_opt_state {self.state}", *options,
            f"persistence_location {self.directory}/",
            "max_queued_messages 1000000", "max_inflight_messages 200", "set_tcp_nodelay true",
            "log_dest stderr", "queue_qos0_messages false", "max_packet_size 2097152",
        ]
        if os.geteuid() == 0:
            lines.append("user root")
        self.config = self.directory / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None

    def write_identities(self, secrets):
        lines = ["# operators and services"] + [f"{name} {digest(secret)}" for name, secret in secrets.items()]
        self.identities.write_text("\n".join(lines) + "\n")

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([program, "-c", str(self.config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("mosquitto did not start:\n" + self.log.read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends the broker and returns its exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        return self.process.wait(timeout=10)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)


class Client:
    """An MQTT 5 client whose every answer is awaited."""

    def __init__(self, broker, username, secret=None, client_id="", will=None, protocol=mqtt.MQTTv5, expiry=None,
                 clean_start=None):
        self.broker = broker
        self.messages = queue.Queue()
        self.connected = queue.Queue()
        self.disconnected = queue.Queue()
        self.acknowledged = queue.Queue()
        self.subscribed = queue.Queue()
        self.protocol = protocol
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False)
        if username is not None:
            self.mqtt.username_pw_set(username, secret_of(username) if secret is None else secret)
        if will is not None:
            topic, payload, properties, *retain = will
            self.mqtt.will_set(topic, payload, qos=1, retain=bool(retain), properties=properties)
        self.mqtt.on_connect = lambda _c, _u, _f, reason, _p: self.connected.put(reason.value)
        self.mqtt.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason.value)
        self.mqtt.on_publish = lambda _c, _u, _m, reason, _p: self.acknowledged.put(reason.value)
        self.mqtt.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subscribed.put([r.value for r in reasons])
        self.mqtt.on_message = lambda _c, _u, message: self.messages.put(message)
        self.clean_start = expiry is None if clean_start is None else clean_start
        self.connect_properties = None
        if expiry is not None:
            self.connect_properties = Properties(PacketTypes.CONNECT)
            self.connect_properties.SessionExpiryInterval = expiry

    def connect(self):
        """Connects and returns the CONNACK's reason code, 0 for welcome."""
        keywords = {}
        if self.protocol == mqtt.MQTTv5:
            keywords = {"clean_start": self.clean_start, "properties": self.connect_properties}
        self.mqtt.connect("127.0.0.1", self.broker.port, keepalive=30, **keywords)
        self.mqtt.loop_start()
        return self.connected.get(timeout=5)

    def publish(self, topic, payload="{}", response_topic=None, retain=False):
        """Publishes at QoS 1 and returns the PUBACK's reason code (16: nobody subscribed)."""
        properties = None
        if response_topic is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = response_topic
        self.mqtt.publish(topic, payload, qos=1, retain=retain, properties=properties)
        return self.acknowledged.get(timeout=10)

    def subscribe(self, topic):
        """Subscribes at QoS 1 and returns the SUBACK's reason code."""
        if self.protocol == mqtt.MQTTv5:
            self.mqtt.subscribe(topic, options=SubscribeOptions(qos=1))
        else:
            self.mqtt.subscribe(topic, qos=1)
        return self.subscribed.get(timeout=5)[0]

    def receive(self, timeout=5):
        """The next message, `None` when none comes."""
        try:
            return self.messages.get(timeout=timeout)
        except queue.Empty:
            return None

    def end(self, timeout=5):
        """The reason code with which the broker closed the connection, `None` while it lives."""
        try:
            return self.disconnected.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def die(self):
        """Vanishes without a DISCONNECT: the broker publishes the Last Will."""
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)
        self.mqtt.loop_stop()
