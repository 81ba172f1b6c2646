"""`--metrics-port`: whether a service lives, whether it is ready and why not, and its numbers in both text formats."""

import json
import os
import socket
import subprocess
import unittest

from lone_services import SERVICES, LoneServices, get
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rollcall_system import BUILD, REPOSITORY, wait_until

DELIVERIES = ("accepted", "no_subscriber", "expired", "failed")
LATENESS = "rollcall_deadline_lateness_seconds_bucket"
DOCUMENT = REPOSITORY / "infra" / "docs" / "metrics.md"
INTRODUCTION = """# Metrics

What each service tells at `/metrics` of its `--metrics-port`, as Prometheus' text form names it. No label names an agent or a
gateway, so that a fleet of any size makes the same few series. Times are seconds.

The lateness of what an operator sees has three parts, each measured by one clock: from the deadline to the verdict
(`rollcall_deadline_lateness_seconds`), to the commit (`rollcall_decision_commit_seconds`), and to the broker's
acknowledgement of the event (`rollcall_event_publish_seconds`).
"""
# With `--alerts` alone.
SINKS = {"rollcall_webhook_deliveries_total", "rollcall_webhook_oldest_seconds"}


class Metrics(LoneServices, unittest.TestCase):
    def test_life_readiness_and_numbers(self):
        sinks = self.directory / "alerts.json"
        sinks.write_text('{"sinks": [{"name": "chat", "form": "slack", "url": "http://127.0.0.1:1/"}]}')
        ports = {
            service: self.start(service, *(["--alerts", str(sinks)] if service == "control-api" else []))
            for service in SERVICES}
        for port in ports.values():
            self.assertEqual(get(port, "/healthz")[0], 200)
            status, kind, text = get(port, "/readyz")
            self.assertEqual((status, kind), (503, "application/problem+json"))
            self.assertIn("not connected to the broker", json.loads(text)["detail"])
        self.start_broker()
        for service, port in ports.items():
            wait_until(lambda port=port: get(port, "/readyz")[0] == 200, 60, f"{service} to be ready")

        wait_until(lambda: self.cli("add-gateway", "gw").returncode == 0, 60, "a gateway")
        self.cli("provision", "gw/a1", "--role", "main", "--checkin-deadline", "100ms", "--max-wake-attempts", "1")

        def declared_offline():
            return self.samples(ports["reconciler"])["rollcall_verdicts_total offline checkin_missed"] == 1

        wait_until(declared_offline, 60, "a verdict")
        samples = {service: self.samples(port) for service, port in ports.items()}
        self.assertGreaterEqual(samples["provisioner"]["rollcall_commands_total"], 1)
        self.assertGreaterEqual(samples["status-store"]["rollcall_frames_committed_total"], 1)
        self.assertEqual(samples["status-store"]["rollcall_store_trouble"], 0)
        self.assertGreater(samples["reconciler"]["rollcall_partitions_owned"], 0)
        self.assertEqual(
            samples["reconciler"]["rollcall_partitions_owned"], samples["status-store"]["rollcall_partitions"])
        owner = samples["reconciler"]
        self.assertEqual((owner["rollcall_agents offline"], owner["rollcall_agents online"]), (1, 0))
        self.assertEqual(owner["rollcall_agents_offline checkin_missed"], 1)
        self.assertEqual(owner["rollcall_gateways never"], 1)
        self.assertEqual(owner["rollcall_lifecycle_events_total provisioning"], 1)
        self.assertEqual(owner["rollcall_deadline_lateness_seconds_count"], 1)
        self.assertGreater(samples["status-store"]["rollcall_commit_duration_seconds_count"], 0)
        self.assertGreaterEqual(samples["status-store"]["rollcall_outbox_age_seconds"], 0)
        wait_until(
            lambda: "rollcall_broker_messages_dropped_total" in self.samples(ports["control-api"]), 10,
            "the broker's own count")
        status, _, _ = get(self.http_port, "/api/v1/agents/gw/a1", Host="127.0.0.1")
        self.assertEqual(status, 401)
        kind = "rollcall_http_request_duration_seconds_count /api/v1/agents/{gateway}/{agent} GET 401"
        self.assertEqual(self.samples(ports["control-api"])[kind], 1)
        self.cli("pause", "gw/a1")
        wait_until(
            lambda: self.samples(ports["reconciler"])["rollcall_agents_offline checkin_missed"] == 0, 10,
            "nobody to wait for a paused agent")
        paths = {sample for sample in samples["heartbeat-ingest"] if sample.startswith("rollcall_heartbeats_total ")}
        self.assertEqual(paths, {f"rollcall_heartbeats_total {path}" for path in ("agent", "gateway", "http")})
        self.assertEqual(
            {sample for sample in samples["provisioner"] if "wake_deliveries" in sample},
            {f"rollcall_wake_deliveries_total {result}" for result in DELIVERIES})
        self.assertEqual(samples["provisioner"]["rollcall_wake_deliveries_total no_subscriber"], 1)
        self.assertEqual(samples["provisioner"]["rollcall_wakes_total provision"], 1)
        self.assertEqual(owner["rollcall_detection_latency_seconds_bucket 1.0"], 1)
        self.assertGreaterEqual(owner["rollcall_decision_commit_seconds_count"], 2)
        self.assertGreaterEqual(samples["status-store"]["rollcall_event_publish_seconds_count"], 2)
        self.assertGreaterEqual(samples["heartbeat-ingest"]["rollcall_canary_round_trip_seconds_count"], 1)
        self.assertEqual(owner["rollcall_epoch_changes_total"], samples["status-store"]["rollcall_partitions"])
        self.check_document(ports)
        buckets = [float(sample.split()[1]) for sample in owner if sample.startswith(LATENESS)]
        self.assertEqual(buckets, [.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, float("inf")])

    def samples(self, port):
        """By name and label; the same in both formats, each with its help."""
        found = []
        forms = (
            ("", "text/plain; version=0.0.4", parse_text),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
             "application/openmetrics-text; version=1.0.0", parse_openmetrics))
        # One after the other at once: meanwhile a name or a label may appear.
        answers = [get(port, "/metrics", Accept=accept) for accept, _, _ in forms]
        for (_, kind, parse), (status, content_type, text) in zip(forms, answers):
            self.assertEqual((status, content_type), (200, f"{kind}; charset=utf-8"))
            if parse is parse_text:
                checked = subprocess.run(
                    ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
                self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
            families = list(parse(text))
            for family in families:
                self.assertTrue(family.documentation.endswith("."), family)
                self.assertIn(family.type, ("counter", "gauge", "histogram"))
                self.assertRegex(family.name, "^(rollcall|process)_[a-z_]+$")
            found.append({
                " ".join([sample.name, *sample.labels.values()]): sample.value
                for family in families for sample in family.samples})
        self.assertEqual(set(found[0]), set(found[1]))
        self.assertGreater(found[0]["process_resident_memory_bytes"], 1_000_000)
        self.assertGreater(found[0]["process_open_fds"], 3)
        self.assertIn("rollcall_loop_stalls_total", found[0])
        return found[0]

    def check_document(self, ports):
        """Each is documented, and is what it is documented as; what all have in common once."""
        rows = {service: dict(self.rows(port)) for service, port in ports.items()}
        self.assertLess(SINKS, set(rows["control-api"]))
        shared = set.intersection(*map(set, rows.values()))
        sections = {"Every service": {name: rows["reconciler"][name] for name in shared}}
        sections |= {
            service: {name: row for name, row in found.items() if name not in shared} for service, found in rows.items()}
        text = INTRODUCTION
        for title, found in sections.items():
            text += f"\n## {title}\n\n| metric | type | labels | what |\n|---|---|---|---|\n"
            text += "".join(found[name] for name in sorted(found))
        if os.environ.get("ROLLCALL_UPDATE_GOLDEN"):
            DOCUMENT.write_text(text)
        self.assertEqual(text, DOCUMENT.read_text())

    def rows(self, port):
        for family in parse_text(get(port, "/metrics")[2]):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            named = ", ".join(f"`{label}`" for label in labels)
            yield name, f"| `{name}` | {family.type} | {named} | {family.documentation} |\n"

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            completed = subprocess.run(
                [str(BUILD / "rollcall-heartbeat-ingest"), "--metrics-port", str(port)], capture_output=True, text=True,
                timeout=30, check=False, env=self.environment("svc:heartbeat-ingest/1"))
        self.assertEqual(completed.returncode, 2)
        self.assertIn(f"port {port} of 127.0.0.1 is taken", completed.stdout)


if __name__ == "__main__":
    unittest.main()
