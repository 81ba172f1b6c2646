"""Measures what the barrier adds to a verdict; run by infra/scripts/barrier-cost."""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import time

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


def metrics(port):
    """The samples of a service by name and labels."""
    lines = [line for line in lone_services.get(port, "/metrics")[2].splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def quantile(samples, name, share):
    """In milliseconds, between the bounds of the class in which it lies, as Prometheus does."""
    rank, below, lower = share * samples[f"{name}_count"], 0, 0.0
    for sample, count in samples.items():
        if not sample.startswith(f"{name}_bucket"):
            continue
        bound = float(sample.split('"')[1])
        if count >= rank:
            return round(1000 * (lower + (min(bound, 60) - lower) * (rank - below) / max(1, count - below)), 2)
        below, lower = count, bound
    return None


def measure(rate, seconds, silent):
    class Services(lone_services.LoneServices):
        def assertTrue(self, value, what):
            assert value, what

    with contextlib.ExitStack() as stack:
        services = Services()
        services.addCleanup = stack.callback
        services.setUp()
        services.start_broker()
        ports = {service: services.start(service) for service in lone_services.SERVICES if service != "control-api"}

        def must(*arguments):
            done = services.cli(*arguments, "--timeout", "60s")
            assert done.returncode == 0, done.stderr

        agents = [f"load{number}/a" for number in range(PUBLISHERS)]
        for agent in agents:
            must("add-gateway", agent.split("/")[0])
            must("provision", agent, "--role", "main", "--heartbeat-rate", "0", "--no-wake")
        must("add-gateway", "silent", "--wake-rate", "1000/s")
        senders = [
            subprocess.Popen([
                "python3", "-c", SENDER, "127.0.0.1", str(services.broker_port), agent, "any",
                f"{TOPIC_ROOT}/agents/{agent}/heartbeat", str(rate / PUBLISHERS), str(seconds + 60)])
            for agent in agents if rate]
        try:
            for number in range(silent):
                must(
                    "provision", f"silent/a{number}", "--role", "main", "--checkin-deadline", "1s",
                    "--max-wake-attempts", "100")
            time.sleep(2)
            first = metrics(ports["heartbeat-ingest"])
            time.sleep(seconds)
            last, found = metrics(ports["heartbeat-ingest"]), metrics(ports["reconciler"])
            received = sum(last[name] - first[name] for name in last if name.startswith("rollcall_heartbeats_total"))
            wait = "rollcall_barrier_wait_seconds"
            return {
                "silent": silent, "heartbeats_per_second": round(received / seconds),
                "barriers": int(found[f"{wait}_count"]),
                "mean_ms": round(1000 * found[f"{wait}_sum"] / found[f"{wait}_count"], 2),
                "p50_ms": quantile(found, wait, 0.5), "p99_ms": quantile(found, wait, 0.99),
                "blind_spells": int(found["rollcall_blind_spells_total"])}
        finally:
            for sender in senders:
                sender.kill()
                sender.wait()


def main():
    global lone_services
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rates", default="0 10000")
    parser.add_argument("--silent", type=int, default=50)
    parser.add_argument("--build", default=str(pathlib.Path(__file__).resolve().parents[2] / ".build" / "release"))
    options = parser.parse_args()
    os.environ["ROLLCALL_BUILD"] = os.path.abspath(options.build)
    import lone_services  # it reads where the programs are

    for rate in options.rates.split():
        print(json.dumps(measure(int(rate), options.seconds, options.silent)), flush=True)


if __name__ == "__main__":
    main()
