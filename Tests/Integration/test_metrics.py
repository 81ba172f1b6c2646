"""`--metrics-port`: whether a service lives, whether it is ready and why not, and its numbers in both text formats."""

import json
import socket
import subprocess
import unittest

from lone_services import SERVICES, LoneServices, get
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rollcall_system import BUILD, wait_until


class Metrics(LoneServices, unittest.TestCase):
    def test_life_readiness_and_numbers(self):
        ports = {service: self.start(service) for service in SERVICES}
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
        self.assertGreaterEqual(samples["heartbeat-ingest"]["rollcall_heartbeats_total"], 0)
        self.assertEqual(
            {sample for sample in samples["provisioner"] if "wake_deliveries" in sample},
            {f"rollcall_wake_deliveries_total {result}" for result in ("woken", "expired", "failed")})

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
