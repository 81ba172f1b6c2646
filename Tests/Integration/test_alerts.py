"""Alerts out, as a receiver sees them: signed, soon, each at least once, in order, whatever is killed."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import readme_document
from alert_receiver import SECRET, Receiver, webhook, write_sinks
from lone_services import LoneServices, get
from rollcall_system import REPOSITORY, ROLLCALL, RollcallSystem, free_port, seconds_of, wait_until
from standardwebhooks import Webhook

FAST = ("--checkin-deadline", "300ms", "--max-wake-attempts", "1")


def temporary(test):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-alerts-"))
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    return directory


def alertmanager(test):
    """Starts one; its port."""
    directory, port = temporary(test), free_port()
    (directory / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    process = subprocess.Popen(
        ["prometheus-alertmanager", f"--config.file={directory}/alertmanager.yml", "--cluster.listen-address=",
         f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={directory}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    test.addCleanup(process.wait, 10)
    test.addCleanup(process.kill)
    return port


def labels(port):
    """Of the alerts that an Alertmanager has."""
    return [alert["labels"] for alert in json.loads(get(port, "/api/v2/alerts?active=true")[2])]


def receiver(test, *arguments):
    made = Receiver(*arguments)
    test.addCleanup(made.close)
    return made


class AlertsTest(unittest.TestCase):
    def start(self, *sinks):
        system = RollcallSystem("--alerts", write_sinks(temporary(self) / "alerts.json", *sinks), *FAST)
        self.addCleanup(system.close)
        system.start()
        system.expect("add-gateway", {"gateway": "g"})
        # A new sink is told what comes from its first question on, which follows at once.
        system.wait_for_event("alerts.begun")
        time.sleep(2)
        return system

    def test_forms(self):
        machine, people, phone = receiver(self), receiver(self), receiver(self)
        system = self.start(
            webhook(machine), {"name": "chat", "form": "slack", "url": people.url, "group_wait": "0s"},
            {"name": "phone", "form": "ntfy", "url": phone.url, "token": "tk_1", "group_wait": "0s"})
        system.expect("provision", {"agent": "g/a", "role": "main"})
        at, event = wait_until(machine.events, 10, "an alert")[0]
        [offline] = [
            entry for entry in system.expect("history", {"agent": "g/a"})["events"] if entry["event"] == "offline"]
        self.assertEqual((event["id"], event["cause"]), (offline["id"], "checkin_missed"))
        self.assertEqual(event["error"], offline["record"]["last_provision_error"])
        self.assertLess(at - seconds_of(offline["time"]), 5)
        self.assertGreaterEqual(at, seconds_of(offline["time"]))
        post = machine.posts[0]
        self.assertEqual(post["headers"]["Content-Type"], "application/cloudevents+json")
        self.assertRegex(post["headers"]["webhook-id"], r"^evt_[A-Za-z0-9_-]{22}$")
        message = json.loads(post["body"])
        self.assertEqual((message["type"], message["subject"]), ("dev.rollcall.alert.v1", "g"))

        text = json.loads(wait_until(lambda: people.posts, 10, "a message")[0]["body"])["text"]
        self.assertEqual(
            text, f"g: 1 agent offline\ng/a: {event['error']}\noffline now: checkin_missed 1")
        headers = wait_until(lambda: phone.posts, 10, "a message")[0]["headers"]
        self.assertEqual(
            (headers["Title"], headers["Priority"], headers["Authorization"]),
            ("g: 1 agent offline", "high", "Bearer tk_1"))

        self.check_in(system, "g/a")
        wait_until(lambda: machine.events("online"), 10, "the end of the alert")
        self.assertEqual([*machine.taken()][-1][1]["data"]["state"], "resolved")

    def test_an_alertmanager_hears_of_the_end_too(self):
        port = alertmanager(self)
        system = self.start({"name": "am", "form": "alertmanager", "url": f"http://127.0.0.1:{port}/"})
        system.expect("provision", {"agent": "g/a", "role": "main"})
        wanted = {"alertname": "RollcallAgentOffline", "agent": "g/a", "gateway": "g"}
        wait_until(lambda: labels(port) == [wanted], 20, "the alert")
        self.check_in(system, "g/a")
        wait_until(lambda: not labels(port), 20, "its end")

    def test_a_gateway_that_is_lost(self):
        hook = receiver(self)
        system = self.start(webhook(hook))
        gateway = system.client("g", system.expect("rotate-token", {"gateway": "g", "now": True})["token"])

        def say(state, boot="b1"):
            gateway.publish("rollcall/v1/gateways/g/status", {"state": state, "boot_id": boot}, qos=1, retain=True)

        def message(number):
            wait_until(lambda: len([*hook.taken()]) == number, 20, f"message {number}")
            return [*hook.taken()][-1][1]["data"]

        say("connected")
        say("lost")
        self.assertEqual(
            {name: message(1)[name] for name in ("gateway_lost", "summary", "events", "state")},
            {"gateway_lost": True, "summary": "gateway g is lost", "events": [], "state": "firing"})
        for agent in ("g/a", "g/b"):
            system.expect("provision", {"agent": agent, "role": "worker", "board": "b"})
        wait_until(lambda: sum(told["data"]["explained"] for _, told in hook.taken()) == 2, 20, "both to be counted")
        self.assertEqual(hook.events(), [])
        say("connected", "b2")
        # Its agents do not answer: 0.3 s later more is told.
        returned = "gateway g is connected again"
        wait_until(
            lambda: any(returned in told["data"]["summary"] for _, told in hook.taken()), 20, "its return")

    def check_in(self, system, agent):
        token = system.expect("rotate-token", {"agent": agent, "now": True})["token"]
        client = system.client(agent, token)
        client.publish(f"rollcall/v1/agents/{agent}/heartbeat", b"", qos=1)

    def test_a_receiver_that_fails(self):
        answers = [500, 302, 200]
        failing = receiver(self, lambda post: answers[min(len(failing.posts), 2)])
        system = self.start(webhook(failing))
        system.expect("provision", {"agent": "g/a", "role": "main"})
        wait_until(failing.events, 30, "the alert")
        self.assertEqual([post["status"] for post in failing.posts], [500, 302, 200])
        self.assertEqual({post["path"] for post in failing.posts}, {"/hook"})
        self.assertEqual(len({post["headers"]["webhook-id"] for post in failing.posts}), 1)
        self.assertEqual(len({post["headers"]["webhook-timestamp"] for post in failing.posts}), 3)
        pauses = [after["at"] - before["at"] for before, after in zip(failing.posts, failing.posts[1:])]
        for pause, wanted in zip(pauses, (1, 5)):
            self.assertTrue(wanted - 0.1 < pause < wanted + 4, pauses)
        self.assertEqual(system.wait_for_event("alerts.failing")["error"], "answered 500")
        system.wait_for_event("alerts.delivering")

    def test_a_storm_in_which_control_api_and_store_are_killed(self):
        numbers = random.Random(7)
        hook = receiver(self, lambda post: 503 if numbers.random() < 0.1 else 200)
        system = self.start(webhook(hook))
        agents = [f"g/a{number}" for number in range(60)]
        # A new sink is told what comes from its first question on: it has asked once something is told.
        system.insist("provision", {"agent": agents[0], "role": "worker", "board": "b"})
        wait_until(hook.events, 20, "the first to arrive")

        def kill(child):
            # One that was killed just now is started again first.
            wait_until(lambda: os.path.exists(f"/proc/{system.child(child)}"), 20, f"{child} to be there")
            os.kill(system.child(child), signal.SIGKILL)

        for number, agent in enumerate(agents):
            system.insist("provision", {"agent": agent, "role": "worker", "board": "b"})
            if number in (20, 50):
                kill("control-api")
            if number in (10, 35):
                kill("status-store")
        for number, agent in enumerate(agents):
            system.insist("wake", {"agent": agent})
            if number == 30:
                kill("status-store")
                kill("control-api")

        def committed():
            page = system.insist("history", {"gateway": "g", "limit": 1000})
            return {event["id"]: event for event in page["events"] if event["event"] == "offline"}

        wait_until(
            lambda: len({event["subject"] for event in committed().values()}) == len(agents)
            and system.insist("summary", {"gateway": "g"})["by_status"]["offline"] == len(agents), 60, "the verdicts")
        offline = committed()
        wait_until(
            lambda: {event["id"] for _, event in hook.events()} >= set(offline), 90,
            f"each of {len(offline)} to arrive")
        self.assertGreater(len(offline), len(agents))
        first = {}
        for at, event in hook.events():
            self.assertIn(event["id"], offline, "it was told and is not committed")
            self.assertGreaterEqual(at, seconds_of(offline[event["id"]]["time"]))
            first.setdefault(event["agent"], [])
            if event["sequence"] not in first[event["agent"]]:
                first[event["agent"]].append(event["sequence"])
        for agent, sequences in first.items():
            self.assertEqual(sequences, sorted(sequences), agent)

    def test_a_new_sink_is_told_nothing_old(self):
        hook = receiver(self)
        system = RollcallSystem(*FAST)
        self.addCleanup(system.close)
        system.start()
        system.expect("add-gateway", {"gateway": "g"})
        system.expect("provision", {"agent": "g/old", "role": "main"})
        wait_until(
            lambda: system.expect("get", {"agent": "g/old"})["record"]["status"] == "offline", 10, "the verdict")
        system.arguments += ["--alerts", str(write_sinks(temporary(self) / "alerts.json", webhook(hook)))]
        system.restart()
        system.wait_for_event("alerts.begun")
        time.sleep(1)
        system.expect("provision", {"agent": "g/new", "role": "worker", "board": "b"})
        wait_until(hook.events, 10, "an alert")
        self.assertEqual([event["agent"] for _, event in hook.events()], ["g/new"])


class InstancesTest(LoneServices, unittest.TestCase):
    def metric(self, port, name, label=""):
        lines = get(port, "/metrics")[2].splitlines()
        [line] = [line for line in lines if line.startswith(name) and label in line]
        return int(line.split()[-1])

    def test_one_of_several_instances_serves_a_sink(self):
        hook = receiver(self)
        sinks = write_sinks(self.directory / "alerts.json", webhook(hook))
        self.start_broker()
        for service in ("status-store", "provisioner", "heartbeat-ingest"):
            self.start(service)
        self.start("reconciler", *FAST)
        ports = [self.start("control-api", "--alerts", str(sinks), instance=number) for number in (1, 2)]
        wait_until(lambda: self.cli("add-gateway", "g").returncode == 0, 60, "a gateway")

        def storm(board):
            for number in range(5):
                self.assertEqual(
                    self.cli("provision", f"g/{board}{number}", "--role", "worker", "--board", board).returncode, 0)
            names = {f"g/{board}{number}" for number in range(5)}
            wait_until(lambda: {event["agent"] for _, event in hook.events()} >= names, 30, "the alerts")

        def told():
            return len({event["id"] for _, event in hook.events()})

        storm("x")
        time.sleep(1)
        self.assertEqual(told(), 5)
        counts = [self.metric(port, "rollcall_webhook_deliveries_total", "delivered") for port in ports]
        # Who stalls loses the sink to another, and may have delivered.
        if not any(self.metric(port, "rollcall_loop_stalls_total") for port in ports):
            self.assertEqual((len(hook.events()), min(counts)), (5, 0), counts)
        self.processes[f"control-api/{counts.index(max(counts)) + 1}"].kill()
        storm("y")
        self.assertEqual(told(), 10)


class CommandTest(unittest.TestCase):
    def run_alerts(self, sinks, *arguments):
        path = temporary(self) / "alerts.json"
        path.write_text(sinks if isinstance(sinks, str) else json.dumps({"sinks": sinks}))
        completed = subprocess.run(
            [str(ROLLCALL), "alerts", *arguments, "--alerts", str(path)], capture_output=True, text=True, timeout=60,
            check=False)
        return completed.returncode, completed.stdout, completed.stderr.replace(str(path), "FILE")

    def test_test_and_list(self):
        hook = receiver(self, lambda post: 200 if len(hook.posts) < 1 else 403)
        sinks = [webhook(hook), {"name": "chat", "form": "slack", "url": "http://127.0.0.1:1/secret"}]
        self.assertEqual(self.run_alerts(sinks, "test", "ops"), (0, "ops has taken it\n", ""))
        self.assertIn("a test", Webhook(SECRET).verify(hook.posts[0]["body"], hook.posts[0]["headers"])["data"]["summary"])
        server = hook.url.removesuffix("/hook")
        self.assertEqual(
            self.run_alerts(sinks, "test", "ops"), (1, "", f"rollcall alerts: ops: {server} answered 403\n"))
        status, _, errors = self.run_alerts(sinks, "test", "chat")
        self.assertEqual(status, 1)
        self.assertRegex(errors, "^rollcall alerts: chat: http://127.0.0.1:1: Couldn't connect")
        self.assertEqual(
            self.run_alerts(sinks, "list"), (0, f"ops  webhook  {server}\nchat  slack  http://127.0.0.1:1\n", ""))
        status, _, errors = self.run_alerts(sinks, "test", "opps")
        self.assertEqual((status, errors.split("\n")[0]), (2, "rollcall alerts: FILE: there is no sink 'opps'"))

    def test_a_file_that_is_wrong(self):
        sinks = '{"sinks": [{"name": "ops", "form": "slack", "url": "ftp://x"}]}'
        said = "--alerts: FILE: sinks[0].url: is not an http:// or https:// address"
        status, output, errors = self.run_alerts(sinks, "list")
        self.assertEqual((status, output, errors.split("\n")[0]), (2, "", f"rollcall alerts: {said}"))
        path = temporary(self) / "alerts.json"
        path.write_text(sinks)
        for command in (["rollcall", "up"], ["rollcall-control-api", "--broker", "mqtt://127.0.0.1"]):
            completed = subprocess.run(
                [str(ROLLCALL.parent / command[0]), *command[1:], "--alerts", str(path)], capture_output=True, text=True,
                timeout=60, check=False)
            self.assertEqual(completed.returncode, 2)
            self.assertIn(said, completed.stderr.replace(str(path), "FILE"))

    def test_a_file_that_is_too_large(self):
        status, _, errors = self.run_alerts(" " * ((1 << 20) + 1), "list")
        self.assertEqual(
            (status, errors.split("\n")[0]), (2, "rollcall alerts: --alerts: FILE: is larger than 1048576 bytes"))

    def test_the_file_of_the_documentation(self):
        document = (REPOSITORY / "infra" / "docs" / "alerts.md").read_text()
        text = readme_document.files(document)["alerts.json"]
        status, output, errors = self.run_alerts(text, "list")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(
            [line.split()[:2] for line in output.splitlines()],
            [["pager", "webhook"], ["chat", "slack"], ["phone", "ntfy"], ["duty", "alertmanager"]])
        self.assertNotIn("XXXX", output)

    def test_alertmanager(self):
        port = alertmanager(self)
        sink = {"name": "am", "form": "alertmanager", "url": f"http://127.0.0.1:{port}"}
        wait_until(lambda: self.run_alerts([sink], "test", "am")[0] == 0, 30, "Alertmanager")
        self.assertEqual(labels(port), [{"alertname": "RollcallTest"}])


if __name__ == "__main__":
    unittest.main()
