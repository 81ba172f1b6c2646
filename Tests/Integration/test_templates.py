"""`sync-templates` with real runtimes: a fleet that stays as it is, tokens that change under agents at work, two provisioners."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from mqtt_client import TOPIC_ROOT
from rollcall_runtime import Runtime
from rollcall_system import REPOSITORY, ROLLCALL, RollcallSystem, wait_until

# Beats with the token that is in its folder now, as an agent that has only curl does.
CURL = """
echo $$ >> starts
while :; do
    token=$(cat .rollcall-token)
    code=$(curl -s -o /dev/null -w '%{http_code}' -X POST -H "X-Agent-Token: $token" URL/api/v1/agent/heartbeat)
    echo "$code $token" >> beats
    sleep 0.5
done
"""


class TemplatesCase(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        cls.addClassCleanup(temporary.cleanup)
        cls.directory = pathlib.Path(temporary.name)
        cls.templates = cls.directory / "templates"
        shutil.copytree(REPOSITORY / "infra" / "templates", cls.templates)
        cls.system = RollcallSystem("--templates", cls.templates, *cls.arguments).start()
        cls.addClassCleanup(cls.system.close)
        cls.system.cli(
            "add-gateway", "g", "--wake-rate", "1000/s", "--heartbeat-interval", "2s", "--checkin-deadline", "60s",
            "--token-file", cls.directory / "gateway.token", check=True)

    def provision(self, names, variables=lambda name: {}):
        addresses = [f"g/{name}" for name in names]
        return self.system.each(addresses, lambda operator, agent: operator.insist("provision", {
            "agent": agent, "role": "worker", "board": "b", "variables": variables(agent), "wake": False}))

    def runtime(self, command):
        runtime = Runtime(self.system, "g", self.directory / "gateway.token", command, self.directory / "agents")
        self.addCleanup(runtime.close)
        return runtime.started()

    def records(self):
        return {record["agent"]: record for record in self.system.json("agents", "--gateway", "g")["records"]}

    def wake_all(self, names):
        self.system.each([f"g/{name}" for name in names], lambda operator, agent: operator.insist("wake", {"agent": agent}))
        wait_until(
            lambda: all(record["status"] == "online" for record in self.records().values()), 40, "a fleet that is online")

    def in_step(self, but=()):
        """Whether every agent but these has reported the templates that it is to run."""
        return all(
            record["templates_digest"] == record["templates_digest_reported"] for agent, record in self.records().items()
            if agent not in but)

    def events_since(self, since):
        """What the history says of the gateway since then: (subject, event) of each."""
        answer = self.system.expect("history", {"gateway": "g", "since": since, "limit": 1000})
        self.assertIsNone(answer["next"])
        return [(event["subject"], event["event"]) for event in answer["events"]]

    def now(self):
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 1))


class Tokens(TemplatesCase):
    names = [f"t{number}" for number in range(5)]

    def status(self, token):
        request = urllib.request.Request(
            self.system.env["ROLLCALL_HTTP"] + "/api/v1/agent/heartbeat", method="POST", headers={"X-Agent-Token": token})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def beats(self, name):
        file = self.directory / "agents" / "g" / name / "beats"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def test_each_agent_checks_in_with_its_new_token(self):
        old = {}
        for name, answer in zip(self.names, self.provision(self.names)):
            old[name] = answer["token"]
            folder = self.directory / "agents" / "g" / name
            folder.mkdir(parents=True)
            (folder / ".rollcall-token").write_text(answer["token"] + "\n")
        runtime = self.runtime(CURL.replace("URL", self.system.env["ROLLCALL_HTTP"]))
        self.wake_all(self.names)
        for name in self.names:
            wait_until(lambda: ["200", old[name]] in self.beats(name), 15, "a beat with the old token")
        before = self.records()
        answer = self.system.json("sync-templates", "g", "--rotate-tokens")
        self.assertEqual((answer["agents_updated"], answer["errors"]), (len(self.names), []))
        runtime.wait_for("agent.token_written", len(self.names))
        new = {}
        for name in self.names:
            new[name] = (self.directory / "agents" / "g" / name / ".rollcall-token").read_text().strip()
            self.assertNotEqual(new[name], old[name])
            wait_until(lambda: ["200", new[name]] in self.beats(name), 15, "a beat with the new token")
            # The old one ends when the new one is first used.
            wait_until(lambda: self.status(old[name]) == 401, 5, "the end of the old token")
        self.system.insist("summary", {})
        for agent, record in self.records().items():
            self.assertEqual((record["status"], record["lifecycle_generation"]), ("online", before[agent]["lifecycle_generation"]))
            self.assertNotEqual(record["token_id"], before[agent]["token_id"])
        # It is asked for once; nobody is started anew; nothing that was rendered holds a secret.
        time.sleep(6)
        self.assertEqual(len(runtime.named("agent.token_written")), len(self.names))
        for name in self.names:
            folder = self.directory / "agents" / "g" / name
            self.assertEqual(len((folder / "starts").read_text().split()), 1)
            self.assertEqual((folder / ".rollcall-token").stat().st_mode & 0o777, 0o600)
            rendered = [file for file in folder.iterdir() if not file.name.startswith(".") and file.suffix == ".md"]
            self.assertGreater(len(rendered), 3)
            for file in rendered:
                for secret in (old[name], new[name], new[name].rpartition(".")[2]):
                    self.assertNotIn(secret, file.read_text())
        # A start has it.
        environment = pathlib.Path("/proc", (self.directory / "agents/g/t0/starts").read_text().split()[0], "environ")
        self.assertIn(b"ROLLCALL_TOKEN_FILE=" + str(self.directory / "agents/g/t0/.rollcall-token").encode(),
                      environment.read_bytes().split(b"\0"))


class Fleet(TemplatesCase):
    """Several hundred agents that beat while their templates change."""

    count = 300

    def test_a_sync_changes_templates_and_nothing_else(self):
        names = [f"a{number:03}" for number in range(self.count)]
        broken = "g/a007"
        self.provision(names, lambda agent: {} if agent == broken else {"colour": "red"})
        self.runtime("echo $$ >> starts; exec sleep 600")
        self.wake_all(names)
        before = self.records()
        since = self.now()
        time.sleep(1.1)
        (self.templates / "worker" / "COLOUR.md").write_text("{{ colour }} for {{ agent }}\n")
        done = self.system.cli("sync-templates", "g")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stdout, rf"g +{self.count - 1} +0 +- +1\n")
        self.assertRegex(done.stdout, rf"{broken} .*COLOUR\.md.*colour")
        wait_until(lambda: self.in_step(), 10, "templates in step")
        after = self.records()
        for agent, record in after.items():
            self.assertEqual(
                (record["status"], record["lifecycle_generation"], record["boot_id"]),
                ("online", before[agent]["lifecycle_generation"], before[agent]["boot_id"]))
            file = self.directory / "agents" / agent / "COLOUR.md"
            self.assertEqual(file.read_text() if file.exists() else None, None if agent == broken else f"red for {agent}\n")
            self.assertEqual(len((self.directory / "agents" / agent / "starts").read_text().split()), 1)
        self.assertEqual(after[broken]["templates_digest"], before[broken]["templates_digest"])
        # A report of other templates is a change; nothing else has happened.
        self.assertEqual(
            sorted(self.events_since(since)),
            sorted((agent, event) for agent in before if agent != broken for event in ("templates_synced", "changed")))


class Provisioners(TemplatesCase):
    """Two provisioners share the work of a sync; whichever ends, each agent is done once."""

    arguments = ("--provisioners", "2")
    names = [f"p{number:03}" for number in range(300)]

    def check(self, since, answer):
        self.assertEqual((answer["agents_updated"], answer["agents_skipped"], answer["errors"]), (len(self.names), 0, []))
        self.assertEqual(
            sorted(self.events_since(since)), sorted((f"g/{name}", "templates_synced") for name in self.names))

    def test_no_agent_is_synced_twice_and_none_is_forgotten(self):
        self.provision(self.names)
        for attempt in range(3):
            with self.subTest(attempt):
                since = self.now()
                time.sleep(1.1)
                (self.templates / "worker" / "TURN.md").write_text(f"{attempt}\n")
                sync = subprocess.Popen(
                    [str(ROLLCALL), "sync-templates", "g", "--overwrite", "--json"], stdout=subprocess.PIPE, text=True,
                    env={**self.system.environment, **self.system.env})
                if attempt > 0:
                    # In the middle of it; who asked, asks again.
                    wait_until(lambda: len(self.events_since(since)) > 5, 10, "a sync under way")
                    os.kill(self.system.child(["provisioner", "provisioner/2"][attempt - 1]), signal.SIGKILL)
                text, _ = sync.communicate(timeout=60)
                self.check(since, json.loads(text))


if __name__ == "__main__":
    unittest.main()
