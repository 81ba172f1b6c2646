"""`--metrics-port`: whether a service lives, whether it is ready and why not, and its numbers in both text formats."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rollcall_system import BUILD, REPOSITORY, ROLLCALL, wait_until

SERVICES = ("status-store", "reconciler", "provisioner", "heartbeat-ingest")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path, **headers):
    """Status, content type and text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


class Metrics(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-metrics-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.broker_port = free_port()

    def run_process(self, command, **options):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process

    def start_broker(self):
        configuration = self.directory / "broker.conf"
        configuration.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\n")
        self.run_process([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(configuration)])

    def environment(self, username):
        name = username.replace(":", "%3A").replace("/", "%2F")
        return {**os.environ, "ROLLCALL_BROKER": f"mqtt://{name}:any@127.0.0.1:{self.broker_port}"}

    def start(self, service):
        """Starts a service; the port of its metrics."""
        arguments = {
            "status-store": ["--database", f"sqlite:{self.directory / 'db'}", "--access", "none"],
            "provisioner": ["--templates", str(REPOSITORY / "infra" / "templates")]}.get(service, [])
        process = self.run_process(
            [str(BUILD / f"rollcall-{service}"), "--log-format", "json", "--connect-timeout", "60s",
             "--metrics-port", "0", *arguments], env=self.environment(f"svc:{service}/1"))
        for line in process.stdout:
            entry = json.loads(line)
            if entry["event"] == "metrics.listening":
                # Nobody reads on: a pipe holds more than this service logs here.
                return entry["port"]
        self.fail(f"{service} ended")

    def test_life_readiness_and_numbers(self):
        ports = {service: self.start(service) for service in SERVICES}
        for port in ports.values():
            self.assertEqual(get(port, "/healthz")[0], 200)
            status, kind, text = get(port, "/readyz")
            self.assertEqual((status, kind), (503, "application/problem+json"))
            self.assertIn("not connected to the broker", json.loads(text)["detail"])
        self.start_broker()
        for service, port in ports.items():
            wait_until(lambda port=port: get(port, "/readyz")[0] == 200, 60, f"{service} to be ready")

        def minted():
            return subprocess.run(
                [str(ROLLCALL), "add-gateway", "gw"], capture_output=True, timeout=60, check=False,
                env=self.environment("op:admin")).returncode == 0

        wait_until(minted, 60, "a gateway")
        samples = {service: self.samples(port) for service, port in ports.items()}
        self.assertGreaterEqual(samples["provisioner"]["rollcall_commands_total"], 1)
        self.assertGreaterEqual(samples["status-store"]["rollcall_frames_committed_total"], 1)
        self.assertEqual(samples["status-store"]["rollcall_store_trouble"], 0)
        self.assertGreater(samples["reconciler"]["rollcall_partitions_owned"], 0)
        self.assertGreaterEqual(samples["heartbeat-ingest"]["rollcall_heartbeats_total"], 0)
        self.assertEqual(
            {sample for sample in samples["provisioner"] if "wake_deliveries" in sample},
            {f"rollcall_wake_deliveries_total {result}" for result in ("woken", "expired", "failed")})

    def samples(self, port):
        """By name and label; the same in both formats, each with its help."""
        found = []
        for accept, kind, parse in (
                ("", "text/plain; version=0.0.4", parse_text),
                ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                 "application/openmetrics-text; version=1.0.0", parse_openmetrics)):
            status, content_type, text = get(port, "/metrics", Accept=accept)
            self.assertEqual((status, content_type), (200, f"{kind}; charset=utf-8"))
            families = list(parse(text))
            for family in families:
                self.assertTrue(family.documentation.endswith("."), family)
                self.assertIn(family.type, ("counter", "gauge"))
                self.assertRegex(family.name, "^(rollcall|process)_[a-z_]+$")
            found.append({
                " ".join([sample.name, *sample.labels.values()]): sample.value
                for family in families for sample in family.samples})
        self.assertEqual(set(found[0]), set(found[1]))
        self.assertGreater(found[0]["process_resident_memory_bytes"], 1_000_000)
        self.assertIn("rollcall_loop_stalls_total", found[0])
        return found[0]

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            completed = subprocess.run(
                [str(BUILD / "rollcall-heartbeat-ingest"), "--metrics-port", str(port)], capture_output=True, text=True,
                timeout=30, check=False, env=self.environment("svc:heartbeat-ingest/1"))
        self.assertEqual(completed.returncode, 2)
        self.assertIn(f"port {port} of 127.0.0.1 is taken", completed.stdout)


if __name__ == "__main__":
    unittest.main()
