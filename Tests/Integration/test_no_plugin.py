"""A broker without the access plugin lets everybody in, and acknowledges all that it is told: nothing is minted or served on it,
unless that is wanted."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from rollcall_system import BUILD, REPOSITORY, ROLLCALL, free_port, wait_until

SERVICES = ("status-store", "reconciler", "provisioner", "heartbeat-ingest")


class OpenBrokerTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-open-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.port = free_port()
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 2097152\n")
        self.events = []
        self.run_process([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(configuration)])

    def run_process(self, command, **options):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
        reader = threading.Thread(target=self.read, args=(process.stdout,), daemon=True)
        reader.start()
        self.addCleanup(process.stdout.close)
        self.addCleanup(reader.join, 5)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.send_signal, signal.SIGKILL)

    def read(self, stream):
        for line in stream:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def environment(self, username):
        name = username.replace(":", "%3A").replace("/", "%2F")
        return {**os.environ, "ROLLCALL_BROKER": f"mqtt://{name}:any@127.0.0.1:{self.port}"}

    def start(self, *store_arguments):
        """Every service on this broker."""
        for service in SERVICES:
            arguments = {
                "status-store": ["--database", f"sqlite:{self.directory / 'db'}", *store_arguments],
                "provisioner": ["--templates", str(REPOSITORY / "infra" / "templates")]}.get(service, [])
            self.run_process(
                [str(BUILD / f"rollcall-{service}"), "--log-format", "json", "--connect-timeout", "20s", *arguments],
                env=self.environment(f"svc:{service}/1"))

    def cli(self, *arguments):
        return subprocess.run(
            [str(ROLLCALL), *arguments], capture_output=True, text=True, timeout=60, check=False,
            env=self.environment("op:admin"))

    def named(self, event):
        return [entry for entry in list(self.events) if entry["event"] == event]

    def test_nothing_is_minted_or_served(self):
        self.start()
        wait_until(lambda: self.named("store.access_missing"), 30, "store.access_missing")
        self.assertEqual(self.named("store.access_missing")[0]["level"], "error")
        self.assertEqual(self.named("partition.taken_over"), [])
        for arguments in (("add-gateway", "gw"), ("status",)):
            completed = self.cli(*arguments)
            self.assertEqual(completed.returncode, 1, completed.stdout + completed.stderr)
            self.assertNotIn("rc1:", completed.stdout)
        self.assertIn("the status store serves nobody: the broker's access plugin does not answer", completed.stdout)
        self.assertIn("--access none", completed.stderr)

    def test_unless_it_is_wanted(self):
        self.start("--access", "none")

        def minted():
            completed = self.cli("add-gateway", "gw")
            return completed.returncode == 0 and completed.stdout

        wait_until(minted, 40, "a gateway")
        completed = self.cli("provision", "gw/a", "--role", "main")
        self.assertEqual(completed.returncode, 0, completed.stderr)
        self.assertEqual(self.named("store.access_missing"), [])
        status = self.cli("status")
        self.assertEqual((status.returncode, "serves nobody" in status.stdout), (0, False), status.stderr)


if __name__ == "__main__":
    unittest.main()
