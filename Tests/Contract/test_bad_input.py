"""Whatever is wrong with a request is named, and changes nothing: on the bus as problem+json, on the command line by exit
code."""

import json
import subprocess
import unittest

from contract_document import Document, pointer
from rollcall_system import BUILD
from support import TOPIC_ROOT, SystemTest

TITLES = {
    "unknown-agent": 404, "unknown-gateway": 404, "invalid-request": 422, "conflict": 409, "not-authorized": 403,
    "too-large": 413, "too-many-requests": 429, "unavailable": 503,
}
BAD_AGENTS = ["gw", "gw/", "/a", "gw/a/b", "gw/a b", "gw/ä", "gw/" + "a" * 64, "-gw/a", ".gw/a", "gw/a\n", ""]
BAD_IDS = ["a/b", "a b", "ä", "a" * 64, "-a", "_a", "#", "+", "", "a\u0000"]
OF_AN_AGENT = ("provision", "update", "wake", "delete", "rotate-token", "pause", "resume", "get", "history")
OF_A_GATEWAY = ("add-gateway", "remove-gateway", "rotate-token", "pause", "resume", "list", "history", "summary")
ALL = (*dict.fromkeys(OF_AN_AGENT + OF_A_GATEWAY), "list-gateways")


def required(verb, agent="gw/a"):
    """A request that would be good, to be spoilt."""
    if verb == "provision":
        return {"agent": agent, "role": "worker", "board": "board"}
    if verb in ("add-gateway", "remove-gateway"):
        return {"gateway": "gw"}
    if verb in ("list", "history", "summary", "list-gateways"):
        return {}
    return {"agent": agent}


class BadInputCase(SystemTest):
    arguments = ("--checkin-deadline", "10m")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = Document()
        cls.operator.expect("provision", {"agent": "gw/a", "role": "worker", "board": "board"})
        cls.watcher.wait_event("gw/a", "woken")
        cls.watcher.wait_statuses("gw/a", 2)

    def setUp(self):
        self.before = self.state()
        self.events = len(self.published())

    def tearDown(self):
        self.assertEqual(self.state(), self.before, "something changed")
        self.assertEqual(len(self.published()), self.events, "something was published")

    def state(self):
        return (
            self.expect("list")["records"], self.expect("summary"), self.expect("list-gateways"),
            self.expect("history", {"agent": "gw/a"}))

    def published(self):
        return [
            seen for seen in self.watcher.seen
            if seen.topic.startswith((f"{TOPIC_ROOT}/agents/", f"{TOPIC_ROOT}/gateways/"))]

    def assert_refused(self, verb, payload, kind, *members, **options):
        """The problem is of that kind, well formed, and names just these members."""
        with self.subTest(verb=verb, payload=str(payload)[:120]):
            status, problem = self.operator.request(verb, payload, **options)
            self.assertEqual(
                self.document.errors({"$ref": pointer("components", "schemas", "Problem")}, problem), [], problem)
            self.assertEqual((problem["type"], status), (kind, TITLES[kind]), problem)
            if members:
                self.assertEqual({error["member"] for error in problem["errors"]}, set(members), problem)
            return problem


class BadRequestTest(BadInputCase):
    def test_unknown_agents(self):
        for verb in OF_AN_AGENT:
            if verb != "provision":
                self.assert_refused(verb, {"agent": "gw/nobody"}, "unknown-agent", "agent")
                self.assert_refused(verb, {"agent": "nowhere/a"}, "unknown-agent", "agent")

    def test_unknown_gateways(self):
        for verb in OF_A_GATEWAY:
            if verb != "add-gateway":
                self.assert_refused(verb, {"gateway": "nowhere"}, "unknown-gateway", "gateway")
        self.assert_refused(
            "provision", {"agent": "nowhere/a", "role": "main"}, "unknown-gateway", "gateway")

    def test_bad_addresses(self):
        for verb in OF_AN_AGENT:
            for address in BAD_AGENTS:
                self.assert_refused(verb, {**required(verb), "agent": address}, "invalid-request", "agent")

    def test_bad_ids(self):
        for verb in OF_A_GATEWAY:
            for identifier in BAD_IDS:
                self.assert_refused(verb, {"gateway": identifier}, "invalid-request", "gateway")
        for verb in ("provision", "update", "list"):
            for identifier in BAD_IDS:
                self.assert_refused(verb, {**required(verb), "board": identifier}, "invalid-request", "board")
        for verb in ("pause", "resume"):
            for identifier in BAD_IDS:
                self.assert_refused(verb, {"board": identifier}, "invalid-request", "board")

    def test_roles_and_boards(self):
        for verb in ("provision", "update"):
            self.assert_refused(verb, {"agent": "gw/a", "role": "boss"}, "invalid-request", "role")
            self.assert_refused(verb, {"agent": "gw/a", "role": "main", "board": "board"}, "invalid-request", "board")
        self.assert_refused("provision", {"agent": "gw/new"}, "invalid-request", "role")
        self.assert_refused("provision", {"agent": "gw/new", "role": "worker"}, "invalid-request", "board")
        self.assert_refused("provision", {"agent": "gw/new", "role": "lead"}, "invalid-request", "board")
        self.assert_refused("list", {"role": "boss"}, "invalid-request", "role")
        for status in ("asleep", [], ["online", "asleep"], ["online", 1], {"online": True}):
            self.assert_refused("list", {"status": status}, "invalid-request", "status")

    def test_unknown_members(self):
        for verb in ALL:
            problem = self.assert_refused(verb, {**required(verb), "surprise": 1}, "invalid-request", "surprise")
            self.assertIn("surprise", problem["detail"])
        self.assert_refused(
            "update", {"agent": "gw/a", "policy": {"check_in": "1s"}}, "invalid-request", "policy.check_in")

    def test_missing_members(self):
        for verb in ALL:
            if required(verb):
                self.assert_refused(verb, {}, "invalid-request", next(iter(required(verb))))
        self.assert_refused("pause", {"agent": "gw/a", "gateway": "gw"}, "invalid-request", "agent")
        for verb in ("rotate-token", "history"):
            self.assert_refused(verb, {"agent": "gw/a", "gateway": "gw"}, "invalid-request", "agent")

    def test_wrong_types(self):
        for verb in ALL:
            good = required(verb)
            for member in good:
                for value in (7, True, ["gw/a"], {"a": 1}, 1.5):
                    self.assert_refused(verb, {**good, member: value}, "invalid-request", member)
        for member in ("agent", "gateway"):
            for value in (7, True, ["gw/a"], {"a": 1}):
                self.assert_refused("history", {member: value}, "invalid-request", member)
        for verb in ("provision", "update"):
            good = required(verb)
            for member, value in [
                ("policy", "1s"), ("policy", []), ("variables", []), ("variables", "a"), ("wake", "yes"), ("wake", 1),
                ("board", 1), ("role", 1),
            ]:
                self.assert_refused(verb, {**good, member: value}, "invalid-request", member)
            self.assert_refused(verb, {**good, "variables": {"a": 1}}, "invalid-request", "variables.a")
            self.assert_refused(verb, {**good, "variables": {"a b": "1"}}, "invalid-request", "variables.a b")
        self.assert_refused("remove-gateway", {"gateway": "gw", "force": "yes"}, "invalid-request", "force")
        self.assert_refused("rotate-token", {"agent": "gw/a", "now": 1}, "invalid-request", "now")
        self.assert_refused("pause", {"agent": "gw/a", "until": "tomorrow"}, "invalid-request", "until")
        self.assert_refused("pause", {"agent": "gw/a", "until": "2001-01-01T00:00:00Z"}, "invalid-request", "until")
        for limit in (0, 1001, -1, "10", 1.5, True):
            self.assert_refused("list", {"limit": limit}, "invalid-request", "limit")
            self.assert_refused("history", {"agent": "gw/a", "limit": limit}, "invalid-request", "limit")
        self.assert_refused("list", {"after": "no address"}, "invalid-request", "after")
        self.assert_refused("history", {"agent": "gw/a", "before": "x"}, "invalid-request", "before")
        for since in ("yesterday", "2026-01-31", 7):
            self.assert_refused("history", {"since": since}, "invalid-request", "since")

    def test_policies_out_of_bounds_are_named(self):
        for verb, good in [
            ("provision", required("provision")), ("update", {"agent": "gw/a"}), ("add-gateway", {"gateway": "gw"}),
        ]:
            for setting, value in [
                ("checkin_deadline", "99ms"), ("checkin_deadline", "31d"), ("checkin_deadline", "1"),
                ("checkin_deadline", "1 s"), ("checkin_deadline", "-1s"), ("checkin_deadline", "1.5s"),
                ("checkin_deadline", 30), ("checkin_deadline", "99999999999999999999d"), ("max_wake_attempts", 0),
                ("max_wake_attempts", 101), ("max_wake_attempts", "3"), ("max_wake_attempts", 1.5), ("on_lapse", "cry"),
                ("wake_rate", "fast"), ("wake_rate", "-1/s"), ("heartbeat_rate", "10"), ("offline_after", "0s"),
                ("lost_grace", True), ("heartbeat_interval", {}), ("startup_extension_max", ""),
            ]:
                self.assert_refused(verb, {**good, "policy": {setting: value}}, "invalid-request", f"policy.{setting}")
        problem = self.assert_refused(
            "update", {"agent": "gw/a", "policy": {"checkin_deadline": "1ms", "max_wake_attempts": 500}},
            "invalid-request", "policy.checkin_deadline", "policy.max_wake_attempts")
        self.assertIn("100ms", json.dumps(problem))
        self.assertIn("30d", json.dumps(problem))

    def test_every_wrong_member_is_named_at_once(self):
        self.assert_refused(
            "provision", {"agent": "a", "role": "boss", "board": "/", "wake": 1, "color": "red", "policy": {"x": 1}},
            "invalid-request", "agent", "role", "board", "wake", "color", "policy.x")

    def test_what_is_not_json(self):
        for verb in ALL:
            for payload in (b"not JSON", b"{", b"[1]", b'"gw/a"', b"null", b"7", b"{\"agent\": \"\xff\"}", b"{}{}"):
                self.assert_refused(verb, payload, "invalid-request", "")

    def test_large_payloads(self):
        for verb in ALL:
            payload = json.dumps({**required(verb), "note": "x" * 1_000_000}).encode()
            self.assert_refused(verb, payload, "too-large", "")
            self.assert_refused(verb, b"x" * 65_537, "too-large", "")
        # Just as large as is allowed, it is read.
        fitting = json.dumps({"agent": "gw/a", "note": ""})
        fitting = fitting.replace('""', '"' + "x" * (65_536 - len(fitting)) + '"').encode()
        self.assertEqual(len(fitting), 65_536)
        self.assert_refused("update", fitting, "invalid-request", "note")
        self.assert_refused("get", fitting, "invalid-request", "note")
        self.assert_refused(
            "update", {"agent": "gw/a", "variables": {"a": "x" * 8_193}}, "invalid-request", "variables.a")

    def test_deep_json(self):
        self.assert_refused("get", b"[" * 30_000, "invalid-request")
        self.assert_refused("wake", b'{"agent":' * 6_000, "invalid-request")

    def test_verbs_that_do_not_exist(self):
        for verb in ("dance", "Provision", "get%20", "getx"):
            self.assert_refused(verb, {"agent": "gw/a"}, "invalid-request")
        self.assert_refused("sync-templates", {"gateway": "nowhere"}, "unknown-gateway", "gateway")

    def test_a_gateway_that_still_has_agents(self):
        self.assert_refused("remove-gateway", {"gateway": "gw"}, "conflict", "force")

    def test_idempotency_keys(self):
        self.assert_refused("wake", {"agent": "gw/a"}, "invalid-request", idempotency_key="k" * 257)


class CommandLineTest(BadInputCase):
    def cli(self, code, *arguments, **options):
        """Runs the command line; its problem on standard error when it was asked for JSON."""
        with self.subTest(arguments=" ".join(map(str, arguments))[:120]):
            completed = self.system.cli(*arguments, **options)
            self.assertEqual(completed.returncode, code, (arguments, completed.stdout[-500:], completed.stderr[-500:]))
            if code:
                self.assertEqual(completed.stdout, "")
                self.assertNotEqual(completed.stderr, "")
            return completed

    def test_unknown_agents_and_gateways_exit_with_1(self):
        for arguments in [
            ("update", "gw/nobody", "--var", "a=b"), ("wake", "gw/nobody"), ("delete", "gw/nobody"), ("pause", "gw/nobody"),
            ("resume", "gw/nobody"), ("rotate-token", "gw/nobody"), ("status", "gw/nobody"), ("history", "gw/nobody"),
            ("provision", "nowhere/a", "--role", "main"), ("remove-gateway", "nowhere"), ("remove-gateway", "gw"),
            ("agents", "--gateway", "nowhere"), ("doctor", "gw/nobody"),
        ]:
            self.cli(1, *arguments)

    def test_invalid_requests_exit_with_2(self):
        for arguments in [
            ("wake", "gw"), ("wake", "gw/a b"), ("provision", "gw/new", "--role", "boss"), ("provision", "gw/new"),
            ("provision", "gw/new", "--role", "worker"), ("provision", "gw/a", "--checkin-deadline", "soon"),
            ("provision", "gw/a", "--checkin-deadline", "1ms"), ("update", "gw/a", "--max-wake-attempts", "0"),
            ("add-gateway", "a b"), ("agents", "--limit", "0"), ("agents", "--status", "asleep"),
            ("pause", "gw/a", "--until", "tomorrow"), ("history", "gw/a", "--limit", "5000"),
            ("update", "gw/a", "--var", "a=" + "x" * 70_000),
        ]:
            self.cli(2, *arguments)

    def test_bad_usage_exits_with_2(self):
        for arguments in [
            (), ("dance",), ("wake",), ("wake", "gw/a", "gw/b"), ("wake", "--surprise", "gw/a"), ("provision", "gw/a", "--role"),
            ("provision", "gw/a", "--no-dance"), ("up", "--surprise"), ("up", "--mqtt-port", "high"),
            ("up", "--checkin-deadline", "soon"), ("up", "--max-wake-attempts", "0"),
            ("completions", "tcsh-of-mars"), ("status", "--broker", "http://nowhere"),
        ]:
            self.cli(2, *arguments)

    def test_a_misspelt_word_gets_the_nearest_known_one(self):
        for arguments, meant in [
            (("statsu",), "'status'"), (("agnt", "gw/a"), "'agent'"), (("up", "--dta", "x"), "'--data'"),
            (("provision", "gw/a", "--checkin-deadlin=x", "--rol", "main"), None), (("wake", "--josn", "gw/a"), "'--json'"),
            (("dance",), None), (("agent", "gw/a", "--on-wke", "true"), "'--on-wake'"),
        ]:
            errors = self.cli(2, *arguments).stderr
            if meant:
                self.assertIn(f"is {meant} meant?", errors)
            else:
                self.assertNotIn("meant?", errors)

    def test_everything_takes_h(self):
        for arguments in [(), ("up",), ("agent",), ("gateway",), ("bench",), ("wake",), ("status",), ("completions",)]:
            self.assertIn("Usage: ", self.cli(0, *arguments, "-h").stdout)
        for service in ["provisioner", "reconciler", "heartbeat-ingest", "status-store"]:
            completed = subprocess.run([BUILD / f"rollcall-{service}", "-h"], capture_output=True, text=True, check=False)
            self.assertEqual(completed.returncode, 0, completed.stderr)
            self.assertIn("Usage: ", completed.stdout)

    def test_no_broker_exits_with_69(self):
        for verb in (("agents",), ("wake", "gw/a"), ("status",)):
            self.cli(69, *verb, "--broker", "mqtt://op%3Ax:y@127.0.0.1:1", environment={"ROLLCALL_CONNECT_TIMEOUT": "1s"})

    def test_good_requests_exit_with_0(self):
        for arguments in [
            ("status", "gw/a"), ("status",), ("agents",), ("gateways",), ("history", "gw/a"), ("--help",), ("--version",),
            ("wake", "--help"), ("completions", "bash"),
        ]:
            self.assertNotEqual(self.cli(0, *arguments).stdout, "")

    def test_problems_are_json_when_asked_for(self):
        for code, arguments, kind, member in [
            (1, ("wake", "gw/nobody"), "unknown-agent", "agent"), (2, ("wake", "gw"), "invalid-request", "agent"),
            (1, ("remove-gateway", "gw"), "conflict", "force"),
            (2, ("agents", "--limit", "0"), "invalid-request", "limit"),
        ]:
            completed = self.cli(code, *arguments, "--json")
            problem = json.loads(completed.stderr)
            self.assertEqual(
                self.document.errors({"$ref": pointer("components", "schemas", "Problem")}, problem), [], problem)
            self.assertEqual(problem["type"], kind)
            self.assertEqual([error["member"] for error in problem["errors"]], [member])


class BadHeartbeatTest(BadInputCase):
    def tearDown(self):
        pass  # a rejection is an event

    def test_rejected_heartbeats_change_nothing_but_the_rejection(self):
        gateway = self.system.client("gw", self.gateway_tokens["gw"])
        before = self.expect("get", {"agent": "gw/a"})["record"]
        payloads = [
            b"\xff\xfe", b"null", b"{}{}", b'{"status": null, "seq": "x"}', b'{"generation": -1}', b'{"generation": 1e99}',
            b'{"extend": "1ms", "status": "starting"}', b'{"templates_digest": 7}', b"[" * 4_000, b"x" * 1_000_000,
        ]
        for index, payload in enumerate(payloads):
            gateway.publish(f"{TOPIC_ROOT}/agents/gw/a/heartbeat", payload)
            self.system.wait_for_event("heartbeat.rejected", 10, index + 1, agent="gw/a")
        for payload in (b"x", b"[]", b'{"agents": 7}', b'{"agents": [7, null, {}, {"agent": "a b"}]}', b"x" * 262_145):
            gateway.publish(f"{TOPIC_ROOT}/gateways/gw/heartbeats", payload)
        gateway.publish(f"{TOPIC_ROOT}/gateways/gw/status", b"not JSON")
        gateway.publish(f"{TOPIC_ROOT}/gateways/gw/status", b'{"state": "dancing"}')
        after = self.expect("get", {"agent": "gw/a"})["record"]
        moving = ("revision", "updated_at", "last_rejection")
        self.assertEqual(
            {key: value for key, value in after.items() if key not in moving},
            {key: value for key, value in before.items() if key not in moving})
        # And everything goes on.
        gateway.publish(f"{TOPIC_ROOT}/gateways/gw/heartbeats", {"agents": ["a"]})
        self.watcher.wait_event("gw/a", "online")
        self.assertIn(self.expect("list-gateways")["gateways"][0]["state"], ("never", "connected"))


if __name__ == "__main__":
    unittest.main()
