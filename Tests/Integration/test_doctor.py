"""`rollcall doctor`: each trouble, made on purpose, is found by its cause and by nothing else."""

import datetime
import json
import os
import signal
import sqlite3
import threading
import unittest
import urllib.request

from lone_services import SERVICES, LoneServices
from mqtt_client import TOPIC_ROOT, Client
from rollcall_system import RollcallSystem, wait_until


class Doctor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--checkin-deadline", "500ms", "--max-wake-attempts", "1").start()
        cls.addClassCleanup(cls.system.close)
        for gateway in ("g", "empty", "name", "h"):
            cls.system.expect("add-gateway", {"gateway": gateway})

    def doctor(self, *arguments):
        """What is found, by id and subject, and the exit status."""
        done = self.system.cli("doctor", *arguments, "--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["healthy"], not report["findings"])
        return [(finding["id"], finding["subject"]) for finding in report["findings"]], done.returncode

    def connect(self, gateway="g"):
        """A gateway that is there and starts nothing."""
        token = self.system.expect("rotate-token", {"gateway": gateway})["token"]
        client = self.system.client(gateway, token)
        client.subscribe(f"rollcall/v1/agents/{gateway}/+/wake")
        self.say(client, gateway, "connected")
        self.addCleanup(client.close)
        return client

    def say(self, client, gateway, state):
        client.publish(
            f"rollcall/v1/gateways/{gateway}/status", json.dumps({"state": state, "boot_id": "b"}), retain=True)
        wait_until(lambda: state in [
            one["state"] for one in self.system.expect("list-gateways")["gateways"] if one["gateway"] == gateway
        ], 20, f"{gateway} {state}")

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

    def test_an_agent_with_its_own_runtime_speaks_for_itself(self):
        token = self.system.expect("provision", {"agent": "name/a", "role": "main", "wake": False})["token"]
        client = self.system.client("name/a", token)
        self.addCleanup(client.close)
        client.subscribe("rollcall/v1/agents/name/a/wake")
        self.system.expect("wake", {"agent": "name/a"})
        client.publish("rollcall/v1/agents/name/a/heartbeat", '{"status":"okay"}')
        self.offline("name/a")
        self.assertEqual(self.doctor("name/a"), ([("heartbeat.rejected", "name/a")], 1))
        self.system.expect("delete", {"agent": "name/a"})

    def test_a_lost_gateway_whose_agents_are_there(self):
        client = self.connect("h")
        self.system.expect("provision", {"agent": "h/a", "role": "main", "policy": {"checkin_deadline": "20s"}})
        client.publish("rollcall/v1/agents/h/a/heartbeat", "")
        wait_until(
            lambda: self.system.expect("get", {"agent": "h/a"})["record"]["status"] == "online", 10, "h/a online")
        self.assertEqual(self.doctor("h/a"), ([], 0))
        self.say(client, "h", "lost")
        self.assertEqual(self.doctor("h/a"), ([("gateway.lost", "h")], 1))
        self.assertIn("! gateway h is lost, and nobody is down yet", self.system.cli("doctor", "h/a").stdout)
        self.system.expect("delete", {"agent": "h/a"})

    def test_an_agent_that_is_online_is_looked_at_too(self):
        client = self.connect("name")
        policy = {"checkin_deadline": "20s", "heartbeat_interval": "60s", "offline_after": "10m"}
        self.system.expect("provision", {"agent": "name/b", "role": "main", "policy": policy})
        client.publish("rollcall/v1/agents/name/b/heartbeat", "")
        wait_until(
            lambda: self.system.expect("get", {"agent": "name/b"})["record"]["status"] == "online", 10, "name/b online")
        self.assertEqual(self.doctor(), ([], 0))
        self.system.expect("update", {"agent": "name/b", "wake": False, "policy": {"offline_after": "90s"}})
        self.assertEqual(self.doctor(), ([("policy.tight", "name/b")], 1))
        self.system.expect("update", {"agent": "name/b", "wake": False, "policy": {"offline_after": None}})
        client.publish("rollcall/v1/agents/name/b/heartbeat", '{"status":"okay"}')
        wait_until(lambda: self.doctor() == ([("heartbeat.rejected", "name/b")], 1), 10, "the finding")
        self.system.expect("delete", {"agent": "name/b"})

    def test_services_are_checked_without_agents(self):
        self.system.expect("provision", {"agent": "g/check", "role": "main"})
        self.offline("g/check")
        self.assertEqual(self.doctor()[1], 1)
        done = self.system.cli("status", "--check")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("Nothing is wrong", done.stdout)
        self.assertEqual(self.system.cli("status", "--check", "g/check").returncode, 2)
        self.system.expect("delete", {"agent": "g/check"})

    def test_no_such_agent(self):
        done = self.system.cli("doctor", "g/nobody")
        self.assertEqual(done.returncode, 1)
        self.assertIn("g/nobody", done.stderr)
        self.assertEqual(self.system.cli("doctor", "nonsense").returncode, 2)


class Warned(unittest.TestCase):
    """What services say of themselves and others while they do their work."""

    def test_a_clock_that_is_wrong_and_who_wants_too_much(self):
        with RollcallSystem() as system:
            def found(*arguments):
                done = system.cli("doctor", "--json", *arguments)
                return [(one["id"], one["subject"], one["summary"]) for one in json.loads(done.stdout)["findings"]]
            self.assertEqual(found(), [])
            name = "svc:provisioner/1"
            forger = system.client(name, system.secret(name), client_id=f"{name}-forger")
            topic = f"{TOPIC_ROOT}/services/provisioner/1"
            forger.subscribe(topic)
            running = forger.wait_message(lambda message: json.loads(message.payload)["state"] == "running", 10)
            presence = json.loads(running.payload)

            def is_late():
                # The true one comes every two seconds.
                at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=41)
                forger.publish(
                    topic, json.dumps({**presence, "time": at.isoformat(timespec="milliseconds")[:23] + "Z"}), retain=True)
                return any(
                    one[:2] == ("clock.skew", "provisioner/1") and "41 s behind" in one[2] for one in found())
            wait_until(is_late, 30, "the wrong clock")
            wait_until(lambda: found() == [], 10, "the right clock")

            token = system.expect("add-gateway", {"gateway": "greedy"})["token"]
            greedy = system.client("greedy", token)
            for number in range(60):
                greedy.publish(f"{TOPIC_ROOT}/agents/greedy/nobody{number}/heartbeat", "")
            wait_until(lambda: [one[0] for one in found()] == ["budget.exceeded"], 10, "who wants too much")
            self.assertIn("greedy ×", found()[0][2])


class FullHistory(LoneServices, unittest.TestCase):
    def test_a_history_that_is_about_to_be_cut_is_found(self):
        self.start_broker()
        for service in SERVICES:
            self.start(service, *(["--history-mib", "1"] if service == "status-store" else []))

        def found():
            return [one["id"] for one in json.loads(self.cli("doctor", "--json").stdout)["findings"]]
        wait_until(lambda: self.cli("add-gateway", "gw").returncode == 0, 60, "a gateway")
        wait_until(lambda: found() == [], 20, "all services")
        operator = Client(self.broker_port, "op:admin", "any", "", None)
        operator.connect()
        self.addCleanup(operator.close)
        # Each row of history has its record.
        variables = {f"V{number}": "x" * 1000 for number in range(8)}
        for number in range(103):
            operator.expect(
                "provision", {"agent": f"gw/a{number}", "role": "main", "wake": False, "variables": variables})
        wait_until(lambda: found() == ["store.history_full"], 60, "the finding")


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
                self.assertEqual(system.cli("status", "--check").returncode, 1)
            finally:
                os.kill(store, signal.SIGCONT)
            self.a_locked_database_is_found(system)
            arguments = ("doctor", "--json", "--broker", f"mqtt://op%3Aadmin:wrong@127.0.0.1:{system.port}")
            refused = system.cli(*arguments)
            self.assertEqual(json.loads(refused.stdout)["findings"][0]["id"], "broker.refused")
            self.assertEqual(refused.returncode, 69)
            system.stop()
            gone = system.cli(*arguments)
            self.assertEqual(json.loads(gone.stdout)["findings"][0]["id"], "broker.unreachable")
            self.assertEqual(gone.returncode, 69)

    def test_a_service_that_ends_again_and_again_is_found(self):
        with RollcallSystem() as system:
            request = urllib.request.Request(
                system.env["ROLLCALL_HTTP"] + "/api/v1/doctor",
                headers={"Authorization": f"Bearer {system.env['ROLLCALL_HTTP_TOKEN']}"})

            def found():
                with urllib.request.urlopen(request) as answer:
                    return [(finding["id"], finding["subject"]) for finding in json.load(answer)["findings"]]
            watcher = system.operator()
            watcher.subscribe(f"{TOPIC_ROOT}/services/provisioner/1")
            known = set()

            def runs_anew(message):
                """One that dies before it says that it runs is no restart but a service that is missing."""
                presence = json.loads(message.payload)
                if presence["state"] != "running" or presence["incarnation"] in known:
                    return False
                known.add(presence["incarnation"])
                return True
            watcher.wait_message(runs_anew, 30, "the provisioner")
            for _ in range(3):
                before = system.child("provisioner")
                os.kill(before, signal.SIGKILL)
                watcher.wait_message(runs_anew, 30, "another provisioner")
                wait_until(lambda: system.child("provisioner") != before, 10, "the line that names it")
            wait_until(lambda: found() == [("service.restarting", "provisioner/1")], 20, "the finding")

    def a_locked_database_is_found(self, system):
        """No frame of a reconciler waits: only commands do."""
        wait_until(lambda: system.cli("status", "--check").returncode == 0, 30, "the store again")
        holder = sqlite3.connect(system.data / "rollcall.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        asked = threading.Thread(target=lambda: system.cli("add-gateway", "g", "--timeout", "20s"))
        asked.start()
        try:
            def found():
                done = system.cli("doctor", "--json")
                return [finding["id"] for finding in json.loads(done.stdout)["findings"]]
            wait_until(lambda: found() == ["store.trouble"], 20, "the trouble")
            self.assertEqual(system.cli("status", "--check").returncode, 1)
        finally:
            holder.execute("ROLLBACK")
            holder.close()
            asked.join()
        wait_until(lambda: found() == [], 20, "the end of the trouble")


if __name__ == "__main__":
    unittest.main()
