"""The rules and the dashboard in infra/monitoring: with a real Prometheus, an Alertmanager and a receiver of its messages."""

import http.server
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
import unittest
import urllib.parse
import urllib.request

import yaml
from lone_services import SERVICES, LoneServices, get
from rollcall_system import REPOSITORY, ROLLCALL, free_port, wait_until

MONITORING = REPOSITORY / "infra" / "monitoring"


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, cwd=MONITORING)


class Rules(unittest.TestCase):
    def test_rules(self):
        for arguments in (("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")):
            completed = promtool(*arguments)
            self.assertEqual(completed.returncode, 0, completed.stdout + completed.stderr)
        rules = [
            rule["alert"] for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
            for rule in group["rules"]]
        tests = (MONITORING / "rules_test.yaml").read_text()
        self.assertEqual([rule for rule in rules if rule not in tests], [])

    def test_panels_have_numbers_of_their_own(self):
        numbers = [panel["id"] for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Monitoring(LoneServices, unittest.TestCase):
    def start_monitoring(self, ports):
        """Prometheus with the rules that are shipped, and where Alertmanager's messages arrive."""
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        receiver.received = queue.Queue()
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        alertmanager, prometheus = free_port(), free_port()
        configuration = self.directory / "alertmanager.yml"
        configuration.write_text(json.dumps({
            "route": {
                "receiver": "test", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s"},
            "receivers": [{
                "name": "test",
                "webhook_configs": [{"url": f"http://127.0.0.1:{receiver.server_port}/"}]}]}))
        self.run_process([
            "prometheus-alertmanager", f"--config.file={configuration}", "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{alertmanager}", f"--storage.path={self.directory}/alertmanager"])
        configuration = self.directory / "prometheus.yml"
        configuration.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(MONITORING / "rules.yaml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
            "scrape_configs": [
                {"job_name": f"rollcall-{service}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for service, port in ports.items()]}))
        self.run_process([
            "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={self.directory}/prometheus",
            f"--web.listen-address=127.0.0.1:{prometheus}"])
        return prometheus, receiver.received

    def query(self, prometheus, expression):
        status, _, text = get(prometheus, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        self.assertEqual(status, 200, text)
        return json.loads(text)["data"]["result"]

    def test_a_killed_agent_is_announced_and_every_panel_has_data(self):
        self.start_broker()
        sinks = self.directory / "alerts.json"
        sinks.write_text('{"sinks": [{"name": "chat", "form": "slack", "url": "http://127.0.0.1:1/"}]}')
        ports = {
            service: self.start(service, *(["--alerts", str(sinks)] if service == "control-api" else []))
            for service in SERVICES}
        wait_until(lambda: self.cli("add-gateway", "gw").returncode == 0, 60, "a gateway")
        token = self.directory / "token"
        self.assertEqual(
            self.cli(
                "provision", "gw/a1", "--role", "main", "--no-wake", "--checkin-deadline", "1s",
                "--max-wake-attempts", "1", "--lost-grace", "500ms", "--token-file", str(token)).returncode, 0)
        agent = self.run_process(
            [str(ROLLCALL), "agent", "gw/a1", "--on-wake", "exec sleep 600", "--dir", str(self.directory),
             "--token-file", str(token)], env=self.environment("gw/a1"), start_new_session=True)
        prometheus, received = self.start_monitoring(ports)
        wait_until(lambda: self.cli("wake", "gw/a1", "--wait").returncode == 0, 60, "the agent to be online")
        wait_until(
            lambda: [sample["value"][1] for sample in self.query(
                prometheus, 'rollcall_agents{status="online"}')] == ["1"], 60, "Prometheus to know of it")

        commands = self.children(agent)
        os.killpg(agent.pid, signal.SIGKILL)
        for command in commands:
            os.kill(command, signal.SIGKILL)
        offline_at = None
        while True:
            if offline_at is None and json.loads(
                    self.cli("status", "gw/a1", "--json").stdout)["record"]["status"] == "offline":
                offline_at = time.monotonic()
            try:
                message = received.get(timeout=0.2 if offline_at is None else 60)
            except queue.Empty:
                self.assertIsNone(offline_at, "nothing was announced")
                continue
            names = {alert["labels"]["alertname"]: alert for alert in message["alerts"]}
            if "RollcallAgentsOffline" in names:
                break
        self.assertEqual(names["RollcallAgentsOffline"]["labels"]["cause"], "checkin_missed")
        self.assertEqual(names["RollcallAgentsOffline"]["annotations"]["summary"], "1 agents are offline (checkin_missed)")
        if offline_at is not None:
            self.assertLess(time.monotonic() - offline_at, 15)

        dashboard = json.loads((MONITORING / "dashboard.json").read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        get(self.http_port, "/healthz")
        wait_until(lambda: self.query(prometheus, "rollcall_http_request_duration_seconds_count"), 30, "a request")
        # A rate needs two samples.
        wait_until(
            lambda: all(
                self.query(prometheus, f"rate({name}[1m])") for name in (
                    "rollcall_broker_messages_dropped_total", "rollcall_http_request_duration_seconds_count")),
            30, "rates")
        def empty():
            return [text for text in expressions if not self.query(prometheus, text)]

        wait_until(lambda: not empty(), 60, "data in every panel")
        # A number that is not there would silence a rule for ever.
        names = set(json.loads(get(prometheus, "/api/v1/label/__name__/values")[2])["data"])
        used = set(re.findall(r"rollcall_[a-z_]+", (MONITORING / "rules.yaml").read_text()))
        self.assertEqual(used - names, set())

    @staticmethod
    def children(process):
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []


if __name__ == "__main__":
    unittest.main()
