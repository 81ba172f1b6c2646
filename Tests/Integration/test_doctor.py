"""`rollcall doctor`: each trouble, made on purpose, is found by its cause and by nothing else."""

import json
import os
import signal
import unittest

from rollcall_system import RollcallSystem, wait_until


class Doctor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--checkin-deadline", "500ms", "--max-wake-attempts", "1").start()
        cls.addClassCleanup(cls.system.close)
        for gateway in ("g", "empty"):
            cls.system.expect("add-gateway", {"gateway": gateway})

    def doctor(self, *arguments):
        """What is found, by id and subject, and the exit status."""
        done = self.system.cli("doctor", *arguments, "--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["healthy"], not report["findings"])
        return [(finding["id"], finding["subject"]) for finding in report["findings"]], done.returncode

    def connect(self):
        """A gateway that is there and starts nothing."""
        token = self.system.expect("rotate-token", {"gateway": "g"})["token"]
        client = self.system.client("g", token)
        client.subscribe("rollcall/v1/agents/g/+/wake")
        client.publish("rollcall/v1/gateways/g/status", json.dumps({"state": "connected", "boot_id": "b"}), retain=True)
        self.addCleanup(client.close)
        return client

    def offline(self, agent):
        wait_until(
            lambda: self.system.expect("get", {"agent": agent})["record"]["status"] == "offline", 10, f"{agent} offline")

    def test_each_trouble_has_its_finding(self):
        self.assertEqual(self.doctor(), ([], 0))
        text = self.system.cli("doctor", check=True).stdout
        self.assertIn("Nothing is wrong", text)
        # Woken before its gateway was ever there.
        self.system.expect("provision", {"agent": "g/a", "role": "main"})
        self.offline("g/a")
        self.assertEqual(self.doctor(), ([("gateway.never", "g")], 1))
        # The gateway is there, and nobody answers.
        client = self.connect()
        self.system.expect("wake", {"agent": "g/a"})
        self.offline("g/a")
        self.assertEqual(self.doctor("g/a"), ([("agent.silent", "g/a")], 1))
        # It answers with something that does not count.
        self.system.expect("wake", {"agent": "g/a"})
        client.publish("rollcall/v1/agents/g/a/heartbeat", '{"status":"okay"}')
        wait_until(
            lambda: self.system.expect("get", {"agent": "g/a"})["record"]["last_rejection"], 10, "the rejection of g/a")
        self.offline("g/a")
        self.assertEqual(self.doctor("g/a"), ([("heartbeat.rejected", "g/a")], 1))
        shown = self.system.cli("doctor", "g/a")
        self.assertEqual(shown.returncode, 1)
        for words in ("okay", "rollcall rotate-token g/a", "record.last_rejection"):
            self.assertIn(words, shown.stdout)
        # Somebody paused it: that is said to who asks about it, and is no trouble of the system.
        self.system.expect("pause", {"agent": "g/a"})
        self.assertEqual(self.doctor("g/a"), ([("agent.paused", "g/a")], 1))
        self.assertEqual(self.doctor(), ([], 0))

    def test_no_such_agent(self):
        done = self.system.cli("doctor", "g/nobody")
        self.assertEqual(done.returncode, 1)
        self.assertIn("g/nobody", done.stderr)
        self.assertEqual(self.system.cli("doctor", "nonsense").returncode, 2)


class BrokenSystem(unittest.TestCase):
    def test_a_stopped_store_is_found(self):
        with RollcallSystem() as system:
            store = system.child("status-store")
            os.kill(store, signal.SIGSTOP)
            try:
                done = system.cli("doctor", "--json")
                found = [finding["id"] for finding in json.loads(done.stdout)["findings"]]
                self.assertIn("service.unanswered", found)
                self.assertEqual(done.returncode, 1)
            finally:
                os.kill(store, signal.SIGCONT)
            arguments = ("doctor", "--json", "--broker", f"mqtt://op%3Aadmin:wrong@127.0.0.1:{system.port}")
            refused = system.cli(*arguments)
            self.assertEqual(json.loads(refused.stdout)["findings"][0]["id"], "broker.refused")
            self.assertEqual(refused.returncode, 69)
            system.stop()
            gone = system.cli(*arguments)
            self.assertEqual(json.loads(gone.stdout)["findings"][0]["id"], "broker.unreachable")
            self.assertEqual(gone.returncode, 69)


if __name__ == "__main__":
    unittest.main()
