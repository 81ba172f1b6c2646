"""Measures what the barrier adds to a verdict; run by infra/scripts/barrier-cost."""

import argparse
import json
import os
import subprocess
import time

import rollcall_system
from rollcall_system import RollcallSystem

TOPIC_ROOT = "rollcall/v1"
PUBLISHERS = 4
# Sends its line at a steady rate in bursts of 5 ms, as many agents together would.
SENDER = """
import socket, sys, time
host, port, username, password, topic, rate, seconds = sys.argv[1:]
def text(value): value = value.encode(); return len(value).to_bytes(2, "big") + value
def packet(kind, body):
    length, size = len(body), b""
    while True:
        size += bytes([length % 128 + (128 if length > 127 else 0)]); length //= 128
        if not length: return bytes([kind]) + size + body
client = socket.create_connection((host, int(port)))
client.sendall(packet(0x10, text("MQTT") + bytes([4, 0xC2, 0, 60]) + text("") + text(username) + text(password)))
assert client.recv(4)[3] == 0
beat = packet(0x30, text(topic))
began, sent = time.monotonic(), 0
while (passed := time.monotonic() - began) < float(seconds):
    due = int(passed * float(rate))
    if due > sent: client.sendall(beat * (due - sent)); sent = due
    time.sleep(0.005)
"""


def measure(rate, seconds):
    with RollcallSystem(
            "--checkin-deadline", "1s", "--max-wake-attempts", "100", "--heartbeat-rate", "0", "--wake-rate",
            "1000/s") as system:
        tokens = {}
        for number in range(PUBLISHERS):
            system.expect("add-gateway", {"gateway": f"load{number}"})
            answer = system.expect("provision", {"agent": f"load{number}/a", "role": "main"})
            tokens[f"load{number}/a"] = answer["token"]
        system.expect("add-gateway", {"gateway": "silent"})
        senders = [
            subprocess.Popen([
                "python3", "-c", SENDER, "127.0.0.1", str(system.port), agent, token,
                f"{TOPIC_ROOT}/agents/{agent}/heartbeat", str(rate / PUBLISHERS), str(seconds + 30)])
            for agent, token in tokens.items() if rate]
        try:
            for number in range(200):
                system.expect("provision", {"agent": f"silent/a{number}", "role": "main"})
                time.sleep(0.004)
            counters = {}

            def take(_, __, message):
                body = json.loads(message.payload)
                counters[body["service"]] = body["counters"]

            client = system.client("svc:bench/1", system.secret("svc:bench/1"))
            client.paho.on_message = take
            client.subscribe(f"{TOPIC_ROOT}/internal/counters/#")
            time.sleep(2)
            first = counters["heartbeat-ingest"]["received"]
            time.sleep(seconds)
            received = (counters["heartbeat-ingest"]["received"] - first) / seconds
            found = counters["reconciler"]
            return {
                "heartbeats_per_second": round(received), "barriers": found["barriers"],
                "p50_ms": found["barrier_wait_us_p50"] / 1000, "p99_ms": found["barrier_wait_us_p99"] / 1000,
                "longest_ms": found["barrier_wait_us_max"] / 1000, "blind_spells": found["blind_spells"]}
        finally:
            for sender in senders:
                sender.kill()
                sender.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rates", default="0 10000")
    parser.add_argument("--build", default=str(rollcall_system.REPOSITORY / ".build" / "release"))
    options = parser.parse_args()
    rollcall_system.ROLLCALL = os.path.join(os.path.abspath(options.build), "rollcall")
    for rate in options.rates.split():
        print(json.dumps(measure(int(rate), options.seconds)), flush=True)


if __name__ == "__main__":
    main()
