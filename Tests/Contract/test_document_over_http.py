"""The document of the HTTP side against its service: schemathesis asks what the document allows and what it does not."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import openapi_spec_validator

from rollcall_system import RollcallSystem

# What is answered must be documented, with this status and this form, and must never be a fault of ours.
CHECKS = ",".join((
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance"))


class DocumentOverHTTP(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        cls.system.expect("add-gateway", {"gateway": "lab"})
        members = {"agent": "lab/ada", "role": "worker", "board": "alpha", "wake": False}
        cls.agent = cls.system.expect("provision", members)["token"]
        cls.directory = tempfile.mkdtemp(prefix="rollcall-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)

    def ask_everything(self, operator, examples):
        """One run with the token of this operator; nothing in it is left to chance. A service that stalls is `unavailable`, which
        is a fault of ours all the same: so a run that says so may be repeated once."""
        run = self.run_schemathesis(operator, examples)
        if run.returncode != 0 and "503" in run.stdout:
            run = self.run_schemathesis(operator, examples)
        self.assertEqual(run.returncode, 0, run.stdout[-6000:] + run.stderr[-2000:])

    def run_schemathesis(self, operator, examples):
        return subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "schemathesis"), "run",
             f"{self.system.env['ROLLCALL_HTTP']}/openapi.json", "--generation-deterministic", "--max-examples",
             str(examples), "--phases", "coverage,fuzzing", "--checks", CHECKS, "--exclude-path", "/api/v1/events", "-H",
             f"Authorization: Bearer {operator}", "-H", f"X-Agent-Token: {self.agent}", "--no-color"],
            cwd=self.directory, capture_output=True, text=True, timeout=300)

    def test_the_document_is_one_of_openapi(self):
        with urllib.request.urlopen(self.system.env["ROLLCALL_HTTP"] + "/openapi.json") as answer:
            openapi_spec_validator.validate(json.load(answer))

    def test_a_reader(self):
        answer = self.system.cli("token", "create", "reader", "--scope", "read", "--data", str(self.system.data), check=True)
        self.ask_everything(answer.stdout.split()[-1], 3)

    def test_an_administrator(self):
        self.ask_everything(self.system.env["ROLLCALL_HTTP_TOKEN"], 10)


if __name__ == "__main__":
    unittest.main()
