"""What one client may use of the broker: connections, subscriptions, messages and bytes a second."""

import pathlib
import socket
import time
import unittest

from broker import NOT_AUTHORIZED, ROOT, secret_of
from case import AccessCase

CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x82


def varint(number):
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


class Raw:
    """A connection that writes packets as fast as the broker takes them."""

    def __init__(self, broker, username, client_id="", clean=True, expiry=0):
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
        properties = b"\x11" + expiry.to_bytes(4, "big")
        body = text("MQTT") + bytes([5, 0xC2 if clean else 0xC0]) + b"\0\x3c" + bytes([len(properties)]) + properties
        body += text(client_id) + text(username) + text(secret_of(username))
        self.socket.sendall(bytes([CONNECT]) + varint(len(body)) + body)
        self.acknowledgement = self.socket.recv(4096)

    @property
    def is_welcome(self):
        return len(self.acknowledgement) > 3 and self.acknowledgement[3] == 0

    def flood(self, topic, payload, seconds=10):
        """Publishes until the connection is closed; how long that took, `None` if it was not."""
        body = text(topic) + b"\0" + payload
        packets = (bytes([PUBLISH]) + varint(len(body)) + body) * 50
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            try:
                self.socket.sendall(packets)
            except OSError:
                return time.monotonic() - start
        return None


class BudgetCase(AccessCase):
    def raw(self, *arguments, **keywords):
        raw = Raw(self.broker, *arguments, **keywords)
        self.exits.callback(raw.socket.close)
        return raw


class WhatOneClientMayUse(BudgetCase):
    def test_connections_of_one_identity_are_few(self):
        held = [self.connected("gw1/a1", client_id=f"gw1/a1~{number}") for number in range(8)]
        self.assertFalse(self.admits("gw1/a1", client_id="gw1/a1~8"))
        self.assertTrue(self.admits("gw1/a2"))
        held[0].close()
        self.assert_admits_soon("gw1/a1", client_id="gw1/a1~8")

    def test_subscriptions_of_one_identity_are_few_also_over_sessions(self):
        agent = self.connected("gw1/a1", client_id="gw1/a1", expiry=60)
        reasons = [agent.subscribe(f"{ROOT}/replies/gw1/a1/{number}") for number in range(65)]
        self.assertEqual(reasons[:64], [1] * 64)
        self.assert_refused(reasons[64])
        for start in (100, 200):
            agent.close()
            agent = self.connected("gw1/a1", client_id="gw1/a1", expiry=60, clean_start=False)
            last = [agent.subscribe(f"{ROOT}/replies/gw1/a1/{start + number}") for number in range(65)][-1]
            self.assert_refused(last)
        self.assert_refused(agent.subscribe(f"{ROOT}/replies/gw1/a1/999"))

    def test_a_flood_is_refused_told_of_and_cut_off_while_others_are_served(self):
        self.assertEqual(self.store.subscribe(f"{ROOT}/internal/refusals"), 1)
        flood = self.raw("gw1/a1")
        lasted = flood.flood(f"{ROOT}/agents/gw1/a1/heartbeat", b"{}")
        self.assertIsNotNone(lasted, "its connection was closed")
        self.assertLess(lasted, 5)
        self.assertFalse(self.admits("gw1/a1"), "kept out for a while")
        other = self.connected("gw1/a2")
        self.assert_published(other.publish(f"{ROOT}/agents/gw1/a2/heartbeat"))
        # Told each second what it was since then.
        refused = 0
        while refused < 1_000:
            message = self.store.receive()
            self.assertIsNotNone(message, f"{refused} refusals told of")
            words = message.payload.decode().split()
            self.assertEqual(words[:2], ["gw1/a1", "rate_limited"])
            refused += int(words[2])
        lines = [line for line in self.broker.log.read_text().splitlines() if "access.rate_limited" in line]
        self.assertTrue(1 <= len(lines) <= 6 and "username=gw1/a1 count=" in lines[0], lines)
        time.sleep(5.1)
        self.assertTrue(self.admits("gw1/a1"))

    def test_a_message_beyond_the_budget_is_refused_to_its_sender(self):
        gateway = self.connected("gw1")
        self.assert_published(gateway.publish(f"{ROOT}/gateways/gw1/status", "x" * 10, retain=True))
        self.assertTrue(any(
            gateway.publish(f"{ROOT}/gateways/gw1/status", "x" * 10, retain=True) == NOT_AUTHORIZED for _ in range(300)))

    def test_invented_names_leave_nothing_and_are_soon_refused(self):
        gateway = self.connected("gw1")
        self.assert_published(gateway.publish(f"{ROOT}/agents/gw1/x/heartbeat", retain=True))
        self.assertTrue(any(
            gateway.publish(f"{ROOT}/agents/gw1/x{number}/heartbeat", retain=True) == NOT_AUTHORIZED
            for number in range(300)))
        operator = self.connected("op:alice")
        self.assertEqual(operator.subscribe(f"{ROOT}/agents/#"), 1)
        self.assertIsNone(operator.receive(0.5))

    def test_the_session_of_an_assigned_id_is_its_owners(self):
        """Made with a clean start and an expiry, which no plugin is shown."""
        id = "auto-0A1B2C3D-0123-4567-89AB-0123456789AB"
        raw = self.raw("gw1/a1", client_id=id, expiry=600)
        self.assertTrue(raw.is_welcome)
        raw.socket.close()
        time.sleep(0.3)
        self.assertFalse(self.raw("gw1/a2", client_id=id, clean=False, expiry=600).is_welcome)
        again = self.raw("gw1/a1", client_id=id, clean=False, expiry=600)
        self.assertTrue(again.is_welcome and again.acknowledgement[2] == 1, "its session was there")


class WhoDoesNotRead(BudgetCase):
    options = ("max_queued_bytes 268435456", "max_inflight_bytes 16777216", "persistent_client_expiration 1h")

    def memory(self):
        """MiB that the broker has resident."""
        pages = pathlib.Path(f"/proc/{self.broker.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096 // (1 << 20)

    def subscribed(self, raw, filter, qos):
        body = b"\0\1\0" + text(filter) + bytes([qos])
        raw.socket.sendall(bytes([SUBSCRIBE]) + varint(len(body)) + body)
        self.assertEqual(raw.socket.recv(4096)[-1], qos)
        return raw

    def flood(self, seconds, until):
        """Records of 10 kB on as many topics, unretained; whether `until` came to hold."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            for number in range(50):
                self.store.mqtt.publish(f"{ROOT}/agents/gw1/a1/lifecycle/x", b"x" * 10_000, qos=1)
            self.store.acknowledged.get(timeout=10)
            for _ in range(49):
                self.store.acknowledged.get(timeout=10)
            time.sleep(0.02)
        return until()

    def test_is_cut_off_and_what_waited_is_gone(self):
        before = self.memory()
        readers = [self.subscribed(self.raw("op:alice"), "#", qos) for qos in (0, 1)]
        for reader in readers:
            reader.socket.setblocking(False)

        def is_closed(reader):
            # It says that it is there, and reads nothing; only what is sent to a closed connection comes back.
            try:
                reader.socket.send(b"\xc0\0")
            except OSError:
                return True
            return False

        def are_closed():
            return all([is_closed(reader) for reader in readers])

        self.assertTrue(self.flood(25, are_closed), "both are closed")
        self.assertLess(self.memory() - before, 400)
        self.assertTrue(self.admits("op:alice"))

    def test_an_absent_session_is_kept_so_much_and_no_more(self):
        reader = self.subscribed(self.raw("op:alice", client_id="op:alice~x", clean=False, expiry=3600), "#", 1)
        reader.socket.close()
        before = self.memory()
        start = time.monotonic()
        self.flood(6, lambda: time.monotonic() > start + 5)
        self.assertLess(self.memory() - before, 60)
        again = self.raw("op:alice", client_id="op:alice~x", clean=False, expiry=3600)
        self.assertTrue(again.is_welcome)
        waiting = b""
        again.socket.settimeout(5)
        try:
            while piece := again.socket.recv(1 << 20):
                waiting += piece
        except TimeoutError:
            pass
        self.assertGreater(len(waiting), 100_000, "what was kept comes")


class WithoutRates(BudgetCase):
    options = ("plugin_opt_rate_factor 0",)

    def test_a_factor_of_0_meters_no_messages(self):
        raw = self.raw("gw1/a1")
        self.assertIsNone(raw.flood(f"{ROOT}/agents/gw1/a1/heartbeat", b"{}", seconds=2))
        self.assertTrue(self.admits("gw1/a1"))


if __name__ == "__main__":
    unittest.main()
