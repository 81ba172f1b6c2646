"""What a service tells systemd (sd_notify(3)): that it serves, how it is, that it lives, that it stops."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from rollcall_system import BUILD, RollcallSystem, wait_until

WATCHDOG_SECONDS = 0.4
# A name of this host: of this process alone.
ABSTRACT = f"rollcall-test-{os.getpid()}"


class Notifications(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        cls.system.cli("identity", "add", "svc:heartbeat-ingest/2", "--data", cls.system.data, check=True)
        cls.system.reload_identities("svc:heartbeat-ingest/2")

    @contextlib.contextmanager
    def service(self, name, address, **environment):
        """A service as systemd starts it: the process, and a function that gives what it has said since the last time."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(address)
        listener.setblocking(False)

        def said():
            words = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    words += listener.recv(4096).decode().split("\n")
            return words

        process = subprocess.Popen(
            [str(BUILD / "rollcall-heartbeat-ingest"), "--instance", "2", "--broker", f"mqtt://127.0.0.1:{self.system.port}"],
            stdout=subprocess.DEVNULL, env={
                **self.system.environment, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
                "ROLLCALL_PASSWORD_FILE": str(self.system.data / "secrets/svc-heartbeat-ingest-2"), **environment})
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()
            listener.close()

    def until(self, said, word, seconds=20):
        """Everything that was said until `word`, with it."""
        heard = []
        wait_until(lambda: heard.extend(said()) or word in heard, seconds, f"{word} in {heard}")
        return heard

    def test_the_whole_life(self):
        path = pathlib.Path(tempfile.mkdtemp()) / "notify"
        for name, address in ((str(path), str(path)), ("@" + ABSTRACT, "\0" + ABSTRACT)):
            with self.service(name, address) as (process, said):
                self.until(said, "READY=1")
                self.until(said, "STATUS=serving")
                began, count = time.monotonic(), 0
                while time.monotonic() < began + 3:
                    count += said().count("WATCHDOG=1")
                    time.sleep(0.1)
                self.assertGreaterEqual(count, 5)
                self.assertLessEqual(count, 3 / WATCHDOG_SECONDS * 2 + 2)
                process.terminate()
                self.assertEqual(process.wait(10), 0)
                heard = said()
                self.assertIn("STOPPING=1", heard)
                self.assertNotIn("READY=1", heard)

    def test_it_is_not_well_while_the_broker_acknowledges_nothing(self):
        """As when the process has lost its way: a broker that stands still looks the same until its connection ends."""
        with self.service("@" + ABSTRACT, "\0" + ABSTRACT) as (_, said):
            self.until(said, "STATUS=serving")
            os.kill(self.system.child("broker"), signal.SIGSTOP)
            try:
                time.sleep(11)
                said()
                time.sleep(2)
                self.assertNotIn("WATCHDOG=1", said())
            finally:
                os.kill(self.system.child("broker"), signal.SIGCONT)
            self.until(said, "WATCHDOG=1")

    def test_a_broker_that_is_away_is_waited_for(self):
        with RollcallSystem() as system:
            self.system, before = system, self.system
            self.addCleanup(setattr, self, "system", before)
            system.cli("identity", "add", "svc:heartbeat-ingest/2", "--data", system.data, check=True)
            system.reload_identities("svc:heartbeat-ingest/2")
            with self.service("@" + ABSTRACT, "\0" + ABSTRACT) as (_, said):
                self.until(said, "STATUS=serving")
                system.stop()
                heard = []
                wait_until(
                    lambda: heard.extend(said()) or any(word.startswith("STATUS=not connected") for word in heard), 20, "a word")
                self.until(said, "WATCHDOG=1")

    def test_the_watchdog_of_another_process_is_none_of_ours(self):
        with self.service("@" + ABSTRACT, "\0" + ABSTRACT, WATCHDOG_PID="1") as (_, said):
            self.assertNotIn("WATCHDOG=1", self.until(said, "STATUS=serving"))
            time.sleep(1)
            self.assertNotIn("WATCHDOG=1", said())


if __name__ == "__main__":
    unittest.main()
