"""SIGHUP ends no service, and files that have changed are read again; files with a fault change nothing."""

import os
import pathlib
import shutil
import signal
import tempfile
import unittest

from rollcall_system import REPOSITORY, RollcallSystem, wait_until

SERVICES = ("provisioner", "heartbeat-ingest", "reconciler", "status-store", "control-api")


class Reload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        cls.addClassCleanup(temporary.cleanup)
        cls.templates = pathlib.Path(temporary.name) / "templates"
        shutil.copytree(REPOSITORY / "infra" / "templates", cls.templates)
        cls.system = RollcallSystem("--templates", cls.templates).start()
        cls.addClassCleanup(cls.system.close)
        cls.system.expect("add-gateway", {"gateway": "g"})

    def digest(self, name):
        members = {"agent": f"g/{name}", "role": "main", "wake": False}
        return self.system.expect("provision", members)["record"]["templates_digest"]

    def events(self, name):
        return [event for event in self.system.log_events if event["event"] == name]

    def test_sighup_ends_nobody(self):
        before = {name: self.system.child(name) for name in SERVICES}
        for pid in before.values():
            os.kill(pid, signal.SIGHUP)
        wait_until(lambda: len(self.events("service.reloading")) >= len(SERVICES), 10, "all reload")
        self.assertEqual({name: self.system.child(name) for name in SERVICES}, before)
        self.digest("a")

    def test_changed_templates_are_read(self):
        first = self.digest("b")
        path = self.templates / "main" / "TOOLS.md"
        text = path.read_text()
        path.write_text(text + "One line more.\n")
        second = wait_until(lambda: (found := self.digest("b")) != first and found, 20, "the new template")
        path.write_text(text + "{{ no end\n")
        fault = wait_until(lambda: self.events("templates.unreadable"), 20, "a word about the fault")[-1]
        self.assertIn("main/TOOLS.md", fault["error"])
        self.assertEqual(self.digest("b"), second)
        path.write_text(text)
        os.kill(self.system.child("provisioner"), signal.SIGHUP)
        wait_until(lambda: self.digest("b") == first, 10, "the first template again")


if __name__ == "__main__":
    unittest.main()
