"""A log that nobody reads: whatever is not taken is dropped and counted, and nothing waits for its reader."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from mqtt_client import Client
from rollcall_system import ROLLCALL, RollcallSystem, clean_environment, read_operator_environment, wait_until

SMALLEST_PIPE = 4_096


class NobodyReads(unittest.TestCase):
    """`rollcall up` whose standard output is a pipe that is read only when the test says so."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="rollcall-")
        self.addCleanup(directory.cleanup)
        self.data = pathlib.Path(directory.name) / "data"
        self.process = subprocess.Popen(
            [str(ROLLCALL), "up", "--data", str(self.data), "--mqtt-port", "0", "--http-port", "0", "--log-format",
             "json", "--log-level", "debug"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=clean_environment(), start_new_session=True)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)

    def operator(self):
        def connected():
            try:
                env = read_operator_environment(self.data / "operator.env")
                client = Client(int(env["ROLLCALL_MQTT_PORT"]), env["ROLLCALL_USERNAME"], env["ROLLCALL_PASSWORD"])
                client.connect()
                return client
            except (OSError, subprocess.CalledProcessError, KeyError):
                return None

        client = wait_until(connected, 60, "a broker")
        self.addCleanup(client.close)
        return client

    def test_nothing_waits_for_a_reader(self):
        operator = self.operator()
        operator.insist("add-gateway", {"gateway": "gw"})
        for number in range(150):
            operator.expect("provision", {"agent": f"gw/a{number}", "role": "main"})
        self.assertEqual(operator.expect("summary")["total"], 150)
        operator.close()
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(15), 0)
        took = time.monotonic() - start
        print(f"\nended {took:.1f} s after SIGTERM, with a log that nobody reads")
        self.assertLess(took, 12)

    def test_a_reader_that_comes_back_gets_whole_lines(self):
        operator = self.operator()
        operator.insist("add-gateway", {"gateway": "gw"})
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(self.process.stdout), daemon=True)
        reader.start()
        for number in range(20):
            operator.expect("provision", {"agent": f"gw/a{number}", "role": "main"})
        operator.close()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(15), 0)
        reader.join(5)
        events = [json.loads(line) for line in lines]
        self.assertEqual(events[0]["event"], "up.child_started", "what waited was kept")
        self.assertEqual(events[-1]["event"], "up.stopped")


class UpStandsStill(unittest.TestCase):
    def test_its_children_go_on(self):
        with RollcallSystem() as system:
            operator = system.operator()
            operator.expect("add-gateway", {"gateway": "gw"})
            pipe = os.open(f"/proc/{system.child('broker')}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
            os.close(pipe)
            os.kill(system.pid, signal.SIGSTOP)
            try:
                for number in range(200):
                    with self.assertRaises(PermissionError):
                        system.client(f"stranger-{number}/who-does-not-exist", "secret")
                operator.expect("provision", {"agent": "gw/a", "role": "main"})
            finally:
                os.kill(system.pid, signal.SIGCONT)
            system.wait_for_event("log.dropped", of="broker")
            self.assertEqual(system.stop(), 0)


if __name__ == "__main__":
    unittest.main()
