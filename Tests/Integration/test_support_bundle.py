"""`rollcall support-bundle`: what an engineer needs is in it, and nothing that is secret."""

import json
import pathlib
import shutil
import stat
import tempfile
import unittest

from rollcall_system import RollcallSystem, wait_until

VALUE = "the-value-of-a-variable"
PASSWORD = "correct horse battery"


class SupportBundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-bundle-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)

    def bundle(self, *arguments, **options):
        file = self.directory / f"{self.id()}.json"
        done = self.system.cli("support-bundle", file, *arguments, **options)
        return done, file

    def test_it_holds_what_is_needed_and_no_secret(self):
        gateway = self.system.expect("add-gateway", {"gateway": "gw"})["token"]
        agent = self.system.expect(
            "provision", {"agent": "gw/a", "role": "main", "variables": {"KEY": VALUE}, "wake": False})["token"]
        client = self.system.client("gw/a", agent)
        client.publish("rollcall/v1/agents/gw/a/heartbeat", json.dumps({"note": f"my token is {agent}"}))
        self.system.wait_for_event("service.started", service="control-api")
        wait_until(lambda: self.system.expect("get", {"agent": "gw/a"})["record"]["note"], 10, "its note")
        # A log that somebody was careless with.
        log = self.directory / "log"
        log.write_text(f"first\nauthorization {gateway}\nbroker mqtt://op%3Aadmin:{PASSWORD.replace(' ', '%20')}@h:1 gone\n"
                       f"{{\"line\": \"\\n{agent}\"}}\nlast\n")
        done, file = self.bundle("gw/a", "--attach", log, "--data", self.system.data, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        text = file.read_text()
        secrets = [path.read_text().strip() for path in (self.system.data / "secrets").iterdir()]
        secrets += [token.rpartition(".")[2] for token in (gateway, agent)]
        secrets += [VALUE, PASSWORD, "battery", self.system.env["ROLLCALL_PASSWORD"], self.system.env["ROLLCALL_HTTP_TOKEN"]]
        self.assertGreater(len(secrets), 10)
        for secret in secrets:
            self.assertNotIn(secret, text)
        bundle = json.loads(text)
        self.assertEqual(
            {service["service"] for service in bundle["services"]},
            {"status-store", "reconciler", "provisioner", "heartbeat-ingest", "control-api"})
        self.assertEqual(bundle["summary"]["total"], 1)
        self.assertEqual([g["gateway"] for g in bundle["gateways"]["gateways"]], ["gw"])
        self.assertIn("findings", bundle["doctor"])
        self.assertIn("mosquitto", bundle["broker_counters"]["version"])
        described = bundle["agents"][0]
        self.assertEqual(described["get"]["record"]["agent"], "gw/a")
        self.assertEqual(list(described["get"]["record"]["variables"]), ["KEY"])
        self.assertIn("my token is", described["get"]["record"]["note"])
        self.assertTrue(described["history"]["events"])
        self.assertIn("templates_digest", described["get"]["record"])
        files = {pathlib.Path(file["name"]).name: file["text"] for file in bundle["files"]}
        self.assertIn("plugin_opt_topic_root", files["mosquitto.conf"])
        self.assertTrue(files["log"].startswith("first\n") and files["log"].endswith("last\n"), files["log"])
        self.assertIn("gone", files["log"])

    def test_what_is_there_stays(self):
        done, file = self.bundle()
        before = file.read_text()
        done, _ = self.bundle()
        self.assertEqual((done.returncode, file.read_text()), (1, before))
        self.assertIn("it is there already", done.stderr)

    def test_an_agent_that_is_not_there_is_said_to_be_so(self):
        done, file = self.bundle("gw/nobody", check=False)
        self.assertIn("unknown-agent", json.loads(file.read_text())["agents"][0]["get"])
        self.assertEqual(self.bundle("nonsense")[0].returncode, 2)

    def test_without_a_broker_it_says_why(self):
        done, file = self.bundle("--broker", f"mqtt://op%3Aadmin:wrong-{PASSWORD.replace(' ', '')}@127.0.0.1:{self.system.port}")
        self.assertEqual(done.returncode, 69)
        self.assertEqual(json.loads(file.read_text())["doctor"]["findings"][0]["id"], "broker.refused")
        self.assertNotIn("battery", file.read_text())


if __name__ == "__main__":
    unittest.main()
