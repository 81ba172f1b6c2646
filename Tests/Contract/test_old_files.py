"""The files that agents of another system bring along check in unchanged: only base URL and token are others."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from rollcall_system import RollcallSystem, clean_environment

FILE = pathlib.Path(__file__).parent / "old_agent" / "HEARTBEAT.md"
STEPS = re.findall(r"^```sh\n(.*?)^```", FILE.read_text(), re.MULTILINE | re.DOTALL)


class OldFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        cls.system.expect("add-gateway", {"gateway": "lab"})

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def bring(self, name, role, board=None):
        """An agent made as infra/docs/migrating.md says; the environment that its files are used with."""
        members = {"agent": f"lab/{name}", "role": role, "wake": False, **({"board": board} if board else {})}
        token = self.system.expect("provision", members)["token"]
        return {
            **clean_environment(), "BASE_URL": self.system.env["ROLLCALL_HTTP"], "AUTH_TOKEN": token,
            "BOARD_ID": board or "none", "AGENT_NAME": name, "AGENT_ROLE": role}

    def run_step(self, number, environment):
        done = subprocess.run(
            ["sh", "-euc", STEPS[number - 1]], cwd=self.directory, env=environment, capture_output=True, text=True,
            timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), STEPS[number - 1])

    def status(self, name):
        return self.system.expect("get", {"agent": f"lab/{name}"})["record"]["status"]

    def test_a_worker_runs_every_step_of_its_file(self):
        environment = self.bring("worker", "worker", "alpha")
        for number in (1, 2):
            self.run_step(number, environment)
            self.assertEqual(self.status("worker"), "offline")
        self.assertRegex(
            (self.directory / "api" / "operations.tsv").read_text(),
            r"(?m)^\w+\tPOST\t/api/v1/agent/heartbeat\t[^\t]+\t[^\t]+$")
        for number in (4, 5):
            self.run_step(number, environment)
        self.assertEqual(self.status("worker"), "online")
        self.assertEqual((self.directory / "boards.txt").read_text().split(), ["alpha"])

    def test_each_role_checks_in_with_nothing_but_its_token(self):
        for role, board in (("main", None), ("lead", "alpha"), ("worker", "alpha")):
            with self.subTest(role):
                self.run_step(3, self.bring(f"plain-{role}", role, board))
                self.assertEqual(self.status(f"plain-{role}"), "online")

    def test_each_role_finds_its_operations(self):
        for role, board in (("main", None), ("lead", "alpha"), ("worker", "alpha")):
            with self.subTest(role):
                self.run_step(2, self.bring(f"asks-{role}", role, board))
                self.assertIn("/api/v1/agent/heartbeat", (self.directory / "api" / "operations.tsv").read_text())

    def test_a_token_of_the_old_system_is_refused(self):
        environment = self.bring("late", "worker", "alpha") | {"AUTH_TOKEN": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"}
        done = subprocess.run(
            ["sh", "-euc", STEPS[3]], cwd=self.directory, env=environment, capture_output=True, text=True, timeout=60)
        self.assertIn("401", done.stderr)
        self.assertEqual(self.status("late"), "offline")


if __name__ == "__main__":
    unittest.main()
