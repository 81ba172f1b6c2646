"""`rollcall agent` and `rollcall gateway` as processes under test."""

import json
import os
import signal
import subprocess
import threading

from rollcall_system import ROLLCALL, wait_until


class Runtime:
    """A runtime of `system` for `identity` (`GW/AGENT` or `GW`), with its log as events."""

    def __init__(self, system, identity, token_file, command, directory, *arguments):
        self.events = []
        self.errors = ""
        kind = "agent" if "/" in identity else "gateway"
        self.process = subprocess.Popen(
            [str(ROLLCALL), kind, identity, "--token-file", str(token_file), "--on-wake", command, "--dir", str(directory),
             "--log-format", "json", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**system.environment, "ROLLCALL_BROKER": system.env["ROLLCALL_BROKER"]})
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_log, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def named(self, event):
        """The log events of that name."""
        return [entry for entry in list(self.events) if entry["event"] == event]

    def wait_for(self, event, count=1, seconds=15):
        """The newest of at least `count` log events of that name."""
        return wait_until(
            lambda: len(self.named(event)) >= count and self.named(event)[-1], seconds,
            f"{event} of {self.process.args[2]}: {self.events[-5:]} {self.errors}")

    def started(self):
        self.wait_for("runtime.started")
        return self

    def end(self, number=signal.SIGTERM, seconds=10):
        """Ends it with a signal; its exit status."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.status(seconds)

    def status(self, seconds=10):
        """Waits for its end; its exit status."""
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.status()
        self.process.stdout.close()
        self.process.stderr.close()

    def _read_log(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors += line
