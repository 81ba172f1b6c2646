"""What one client can do to others: each attacker is a process of its own that goes on until it is killed.

    python attackers.py KIND PORT USERNAME PASSWORD
"""

import itertools
import json
import pathlib
import socket
import struct
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "Harness"))
import packets  # noqa: E402

ROOT = "rollcall/v1"
# Bytes of a gateway's largest message.
LARGEST = 262_144


def connect(port, username, password, client_id="", clean=True, expiry=0):
    """A connection and whether the broker welcomed it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    properties = b"\x11" + struct.pack("!I", expiry)
    body = packets.text("MQTT") + bytes([5, 0xC2 if clean else 0xC0]) + b"\0\x3c" + bytes([len(properties)]) + properties
    body += packets.text(client_id) + packets.text(username) + packets.text(password)
    connection.sendall(packets.packet(0x10, body))
    answer = connection.recv(4096)
    return connection, len(answer) > 3 and answer[3] == 0


def qos0(topic, payload, retain=False, properties=None):
    return packets.packet(
        0x30 | retain, packets.text(topic) + packets.encode_properties(properties) + payload)


def many(entry, count=None):
    """A gateway's largest message of equal entries."""
    count = count or (LARGEST - 20) // (len(entry) + 1)
    return b'{"agents":[' + b",".join([entry] * count) + b"]}"


def asking(topic, username, payload=b"{}"):
    return qos0(topic, payload, properties={
        packets.RESPONSE_TOPIC: f"{ROOT}/replies/{username}/-/x", packets.CORRELATION_DATA: "c"})


def unknown(number):
    return json.dumps({"agents": [f"x{number}n{each}" for each in range(20_000)]}).encode()[:LARGEST]


STREAMS = {
    "agent-heartbeats": lambda user: [qos0(f"{ROOT}/agents/{user}/heartbeat", b"{}") * 50],
    "agent-malformed": lambda user: [qos0(f"{ROOT}/agents/{user}/heartbeat", b"[" * 1_000) * 20],
    "agent-files": lambda user: [asking(f"{ROOT}/agents/{user}/files", user) * 20],
    "gateway-empty": lambda user: [qos0(f"{ROOT}/gateways/{user}/heartbeats", many(b"{}"))],
    "gateway-numbers": lambda user: [qos0(f"{ROOT}/gateways/{user}/heartbeats", many(b"1"))],
    "gateway-unknown": lambda user: [qos0(f"{ROOT}/gateways/{user}/heartbeats", unknown(n)) for n in range(8)],
    "gateway-bad": lambda user: [
        qos0(f"{ROOT}/gateways/{user}/heartbeats", many(b'{"agent":"a","seq":"x"}'))],
    "gateway-credentials": lambda user: [asking(f"{ROOT}/agents/{user}/a/credentials", user) * 20],
    "gateway-retained": lambda user: [
        qos0(f"{ROOT}/agents/{user}/r{n}/heartbeat", b" " * 4_000, retain=True) for n in range(5_000)],
    "gateway-status": lambda user: [
        qos0(f"{ROOT}/gateways/{user}/status", json.dumps({"state": state, "boot_id": str(n)}).encode(), retain=True)
        for n in range(500) for state in ("connected", "lost")],
    "operator-commands": lambda user: [asking(f"{ROOT}/commands/wake", user, b'{"agent":"hostile/a"}') * 20],
}


def stream(kind, port, username, password):
    messages = STREAMS[kind](username)
    while True:
        connection, is_welcome = connect(port, username, password)
        if is_welcome:
            try:
                for message in itertools.cycle(messages):
                    connection.sendall(message)
            except OSError:
                pass
        connection.close()
        time.sleep(0.02)


def sessions(port, username, password):
    """Leaves a session behind with each connection, with as many subscriptions as it gets."""
    for number in itertools.count():
        connection, is_welcome = connect(port, username, password, f"{username}~{number}", expiry=0xFFFFFFFF)
        if is_welcome:
            filters = [f"{ROOT}/replies/{username}/{number}/{each}" for each in range(200)]
            connection.sendall(packets.subscribe(filters, 1))
        connection.close()


def unread(port, username, password):
    """Reads nothing of all that there is."""
    while True:
        connection, is_welcome = connect(port, username, password)
        try:
            if is_welcome:
                connection.sendall(packets.subscribe(["#"], 1))
            while is_welcome:
                connection.sendall(packets.PING)
                time.sleep(0.5)
        except OSError:
            pass
        connection.close()
        time.sleep(0.02)


def strangers(port, username, password):
    while True:
        connect(port, username, "wrong")[0].close()


OTHERS = {"agent-sessions": sessions, "operator-unread": unread, "agent-strangers": strangers}
KINDS = [*STREAMS, *OTHERS]


if __name__ == "__main__":
    kind, port, username, password = sys.argv[1:]
    while True:
        try:
            if kind in STREAMS:
                stream(kind, int(port), username, password)
            else:
                OTHERS[kind](int(port), username, password)
        except OSError:
            time.sleep(0.05)
