"""`rollcall agent` and `rollcall gateway`: what they start, what they leave alone, and what they say of it on the wire."""

import itertools
import json
import os
import pathlib
import signal
import socket
import tempfile
import threading
import time
import unittest

from mqtt_client import TOPIC_ROOT
from relay import Relay
from rollcall_system import RollcallSystem, wait_until
from rollcall_runtime import Runtime

# Leaves a line for each start: `PID REASON GENERATION`.
NOTES_START = 'echo "$$ $ROLLCALL_REASON $ROLLCALL_GENERATION" >> ../../starts; '
FAR_AWAY = "2099-01-01T00:00:00.000Z"


class RuntimeCase(unittest.TestCase):
    """One system for all cases of a class; each case has an agent, a directory and runtimes of its own.

    Wakes are published as the provisioner does, so that each test says which wake comes when.
    """

    arguments = ("--checkin-deadline", "60s", "--offline-after", "10m")
    numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem(*cls.arguments)
        cls.addClassCleanup(cls.system.close)
        cls.system.start()
        cls.system.cli("add-gateway", "gw", "--token-file", cls.system.data / "gw.tok", check=True)

    def setUp(self):
        self.agent = f"gw/a{next(self.numbers)}"
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.token_file = self.directory / "token"
        self.system.cli(
            "provision", self.agent, "--role", "main", "--no-wake", "--token-file", self.token_file, check=True)
        self.watcher = self.system.operator()
        self.addCleanup(self.watcher.close)
        self.watcher.subscribe(
            f"{TOPIC_ROOT}/agents/{self.agent}/heartbeat", f"{TOPIC_ROOT}/agents/{self.agent}/files",
            f"{TOPIC_ROOT}/gateways/gw/heartbeats", f"{TOPIC_ROOT}/gateways/gw/status")
        self.provisioner = self.system.client(
            "svc:provisioner/1", self.system.secret("svc:provisioner/1"), "svc:provisioner/1~test")
        self.addCleanup(self.provisioner.close)

    def agent_runtime(self, command, *arguments, token_file=None):
        return self.runtime(self.agent, token_file or self.token_file, command, *arguments)

    def gateway_runtime(self, command, *arguments):
        return self.runtime("gw", self.system.data / "gw.tok", command, *arguments)

    def runtime(self, identity, token_file, command, *arguments):
        runtime = Runtime(self.system, identity, token_file, command, self.directory, *arguments)
        self.addCleanup(runtime.close)
        return runtime.started()

    def wake(self, generation, attempt=1, reason="manual"):
        self.provisioner.publish(f"{TOPIC_ROOT}/agents/{self.agent}/wake", {
            "agent": self.agent, "generation": generation, "attempt": attempt, "max_attempts": 3, "reason": reason,
            "deadline_at": FAR_AWAY, "heartbeat_topic": f"{TOPIC_ROOT}/agents/{self.agent}/heartbeat",
            "heartbeat_interval": "60s", "reset_session": False, "templates_digest": None})

    def heartbeat(self, seconds=10, **members):
        """The next heartbeat of the agent that says this, on its own topic or in its gateway's message."""
        found = []

        def says(message):
            entries = [json.loads(message.payload or b"{}")]
            if message.topic.endswith("/heartbeats"):
                entries = [e for e in entries[0]["agents"] if e["agent"] == self.agent.split("/")[1]]
            elif not message.topic.endswith("/heartbeat"):
                return False
            found[:] = [e for e in entries if all(e.get(name) == value for name, value in members.items())]
            return bool(found)

        self.watcher.wait_message(says, seconds, f"a heartbeat with {members}")
        return found[0]

    def heard(self):
        """The heartbeats of the agent that nobody asked for yet, but for those that say that it waits."""
        payloads = [m.payload for m in list(self.watcher.messages) if m.topic.endswith(("/heartbeat", "/heartbeats"))]
        return [payload for payload in payloads if b"waiting" not in payload]

    def starts(self, count=None):
        """What each start noted: `[pid, reason, generation]`."""
        file = self.directory / "starts"

        def read():
            return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

        if count is not None:
            wait_until(lambda: len(read()) >= count, 10, f"{count} starts")
        return read()


class WhatWorksIsLeftAlone(RuntimeCase):
    def check(self, runtime):
        self.wake(1)
        boot = self.heartbeat(generation=1)["boot_id"]
        self.starts(1)
        # A repeat, another attempt, and the recovery of a later cycle with all its attempts.
        for generation, attempt, reason in [
            (1, 1, "manual"), (1, 2, "retrigger"), (2, 1, "recover"), (2, 1, "recover"), (2, 2, "retrigger"),
            (4, 1, "recover"),
        ]:
            self.wake(generation, attempt, reason)
            beat = self.heartbeat(generation=generation, attempt=attempt)
            self.assertEqual(beat["boot_id"], boot)
            self.assertNotIn("status", beat)
        self.assertEqual(len(self.starts()), 1)
        # An older one than seen is ignored.
        self.wake(3, 1)
        runtime.wait_for("agent.old_wake_ignored")
        self.assertEqual(len(self.starts()), 1)
        # A cycle that somebody asked for starts it anew.
        self.wake(5, 1, "update")
        beat = self.heartbeat(generation=5)
        self.assertNotEqual(beat["boot_id"], boot)
        self.assertEqual([start[1:] for start in self.starts(2)], [["manual", "1"], ["update", "5"]])

    def test_by_the_runtime_of_an_agent(self):
        self.check(self.agent_runtime(NOTES_START + "exec sleep 600"))

    def test_by_the_runtime_of_a_gateway(self):
        self.check(self.gateway_runtime(NOTES_START + "exec sleep 600"))

    def test_a_recovery_of_what_does_not_run_starts_it(self):
        self.agent_runtime(NOTES_START + "exec sleep 600")
        self.wake(1, 1, "recover")
        self.heartbeat(generation=1)
        self.assertEqual([start[1:] for start in self.starts(1)], [["recover", "1"]])

    def test_a_retrigger_of_a_cycle_that_somebody_asked_for_starts_it_anew(self):
        self.agent_runtime(NOTES_START + "exec sleep 600")
        self.wake(1)
        self.heartbeat(generation=1)
        self.wake(2, 2, "retrigger")  # the first wake of this cycle was lost
        self.heartbeat(generation=2)
        self.assertEqual(len(self.starts(2)), 2)


class HowItEnds(RuntimeCase):
    def check_end(self, runtime, status, end=None):
        self.wake(1)
        boot = self.heartbeat(generation=1)["boot_id"]
        if end:
            os.kill(int(self.starts(1)[0][0]), end)
        goodbye = self.heartbeat(status="stopping")
        self.assertEqual(goodbye["exit_status"], status)
        self.assertEqual((goodbye["boot_id"], goodbye["generation"]), (boot, 1))
        self.assertEqual(goodbye.get("reason", "finished"), "finished")
        self.assertEqual(runtime.wait_for("agent.exited")["status"], status)

    def test_an_agent_that_crashes(self):
        self.check_end(self.agent_runtime("sleep 4; exit 3"), 3)

    def test_an_agent_that_finishes(self):
        self.check_end(self.agent_runtime("sleep 4"), 0)

    def test_an_agent_that_is_killed(self):
        self.check_end(self.agent_runtime(NOTES_START + "exec sleep 600"), 128 + signal.SIGKILL, signal.SIGKILL)

    def test_an_agent_of_a_gateway_that_is_killed(self):
        self.check_end(self.gateway_runtime(NOTES_START + "exec sleep 600"), 128 + signal.SIGKILL, signal.SIGKILL)

    def check_stop(self, runtime):
        self.wake(1)
        boot = self.heartbeat(generation=1)["boot_id"]
        self.assertEqual(runtime.end(), 0)
        goodbye = self.heartbeat(status="stopping")
        self.assertEqual((goodbye["reason"], goodbye["boot_id"]), ("host_stopping", boot))
        self.assertNotIn("exit_status", goodbye, "nobody crashed")
        self.assertEqual(self.heard(), [])

    def test_a_runtime_of_an_agent_that_is_stopped(self):
        self.check_stop(self.agent_runtime("exec sleep 600"))

    def test_a_runtime_of_a_gateway_that_is_stopped(self):
        self.check_stop(self.gateway_runtime("exec sleep 600"))

        def states():
            messages = list(self.watcher.messages)
            return [json.loads(m.payload)["state"] for m in messages if m.topic.endswith("/gateways/gw/status")]

        wait_until(lambda: states()[-1:] == ["stopped"], 10, "the word that it has stopped")

    def test_a_runtime_that_is_stopped_before_its_agent_checked_in(self):
        runtime = self.agent_runtime(NOTES_START + "exec sleep 600")
        self.heartbeat(status="waiting")
        self.wake(1)
        self.starts(1)
        self.assertEqual(runtime.end(), 0)
        goodbye = self.heartbeat(status="stopping")
        self.assertEqual((goodbye["reason"], goodbye["generation"]), ("host_stopping", 1))
        self.assertNotIn("boot_id", goodbye, "no life of that name ever began")


def members(group):
    """The processes of a process group that have not ended."""
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = file.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state not in "ZX":
            found.append(int(file.parent.name))
    return found


class WhatACommandLeaves(RuntimeCase):
    """Never two of one command: what it started ends with it, and with its runtime."""

    def group(self):
        group = int(self.starts(1)[0][0])
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in members(group)])
        return group

    def check_kill(self, make):
        runtime = make('trap "" TERM; ' + NOTES_START + "sleep 600; true")
        self.wake(1)
        self.heartbeat(generation=1)
        group = self.group()
        self.assertGreaterEqual(len(members(group)), 2)
        runtime.end(signal.SIGKILL)
        wait_until(lambda: not members(group), 5, "the end of the command")

    def test_by_the_runtime_of_an_agent_that_is_killed(self):
        self.check_kill(self.agent_runtime)

    def test_by_the_runtime_of_a_gateway_that_is_killed(self):
        self.check_kill(self.gateway_runtime)

    def test_by_a_crash(self):
        self.agent_runtime(NOTES_START + "sleep 600 & sleep 3; exit 3")
        self.wake(1)
        self.heartbeat(generation=1)
        group = self.group()
        self.assertEqual(self.heartbeat(status="stopping")["exit_status"], 3)
        self.assertEqual(members(group), [])

    def test_by_a_crash_when_it_does_not_end(self):
        self.agent_runtime(NOTES_START + '(trap "" TERM; sleep 600; true) & sleep 3; exit 3')
        self.wake(1)
        self.heartbeat(generation=1)
        group = self.group()
        self.assertEqual(self.heartbeat(20, status="stopping")["exit_status"], 3)
        self.assertEqual(members(group), [])


class StartsThatFail(RuntimeCase):
    def failure(self):
        failure = self.heartbeat(status="stopping")
        self.assertEqual((failure["generation"], failure["attempt"]), (1, 1))
        self.assertNotIn("boot_id", failure)
        self.assertLessEqual(len(failure["note"]), 256)
        return failure["exit_status"], failure["note"]

    def test_a_command_that_ends_at_once(self):
        self.agent_runtime("exit 3")
        self.wake(1)
        self.assertEqual(self.failure(), (3, "the command ended with status 3 in its first second"))

    def test_a_command_that_does_not_exist(self):
        self.gateway_runtime("exec /no/such/program")
        self.wake(1)
        status, note = self.failure()
        self.assertEqual(status, 127)
        self.assertIn("127", note)

    def test_a_command_without_an_error_says_nothing(self):
        runtime = self.agent_runtime("exit 0")
        self.heartbeat(status="waiting")
        self.wake(1)
        runtime.wait_for("agent.ended_early")
        time.sleep(1.5)
        self.assertEqual(self.heard(), [])

    def test_a_folder_that_cannot_be_made(self):
        (self.directory / "gw").write_text("in the way")
        runtime = self.agent_runtime("exec sleep 600")
        self.wake(1)
        status, note = self.failure()
        self.assertEqual(status, 126)
        self.assertIn("not a directory", note)
        self.assertIn("not a directory", runtime.wait_for("agent.start_failed")["error"])

    def test_the_next_attempt_starts_again(self):
        self.agent_runtime(NOTES_START + "[ $ROLLCALL_ATTEMPT -gt 1 ] || exit 5; exec sleep 600")
        self.wake(1, 1)
        self.assertEqual(self.failure()[0], 5)
        self.wake(1, 2, "retrigger")
        self.assertNotIn("status", self.heartbeat(generation=1, attempt=2))
        self.assertEqual(len(self.starts(2)), 2)

    def test_files_that_cannot_be_written_are_named_when_it_checks_in(self):
        (self.directory / self.agent / ".rollcall-templates-digest").mkdir(parents=True)
        self.gateway_runtime("exec sleep 600")
        self.system.expect("wake", {"agent": self.agent})
        beat = self.heartbeat(generation=1)
        self.assertRegex(beat["note"], "^started without its files: .*digest")


class WhoIsThere(RuntimeCase):
    def test_an_agents_runtime_waits_and_starts_what_it_announced(self):
        runtime = self.agent_runtime("exec sleep 600")
        waiting = self.heartbeat(status="waiting")
        self.assertEqual(waiting.keys(), {"status", "boot_id"})
        self.wake(1)
        self.assertEqual(self.heartbeat(generation=1)["boot_id"], waiting["boot_id"])
        self.assertEqual(runtime.end(), 0)
        self.agent_runtime("exec sleep 600")
        self.assertNotEqual(self.heartbeat(status="waiting")["boot_id"], waiting["boot_id"])

    def test_a_gateway_names_its_life_and_refutes_its_death(self):
        runtime = self.gateway_runtime("exec sleep 600")

        def said(state):
            message = self.watcher.wait_message(
                lambda m: m.topic.endswith("/gateways/gw/status") and not m.retain
                and json.loads(m.payload)["state"] == state)
            return json.loads(message.payload)

        boot = said("connected")["boot_id"]
        self.assertTrue(boot)
        token = (self.system.data / "gw.tok").read_text().strip()
        other = self.system.client("gw", token, "gw~other")
        for death in [{"state": "lost", "boot_id": "earlier"}, {"state": "lost", "boot_id": boot}, {"state": "lost"}]:
            other.publish(f"{TOPIC_ROOT}/gateways/gw/status", death, retain=True)
            self.assertEqual(said("lost"), death)
            self.assertEqual(said("connected"), {"state": "connected", "boot_id": boot})
        other.close()
        # Its Last Will.
        runtime.end(signal.SIGKILL)
        self.assertEqual(said("lost"), {"state": "lost", "boot_id": boot})

    def test_answers_come_where_no_agent_can_be(self):
        self.gateway_runtime("exec sleep 600")
        self.system.expect("wake", {"agent": self.agent})
        request = self.watcher.wait_message(lambda m: m.topic.endswith("/files"), what="the request for files")
        self.assertTrue(request.properties.ResponseTopic.startswith(f"{TOPIC_ROOT}/replies/gw/-/"))
        self.heartbeat(generation=1)

    def test_no_agent_takes_answers_by_its_name(self):
        """An agent may be called as a level of a topic is: its gateway and its neighbours get their files all the same."""
        names = ["files", "credentials", "heartbeat", "status", "wake", "templates", "x"]
        for name in names:
            token_file = self.directory / name
            self.system.cli(
                "provision", f"gw/{name}", "--role", "main", "--no-wake", "--token-file", token_file, check=True)
            self.addCleanup(self.system.expect, "delete", {"agent": f"gw/{name}"})
            greedy = self.system.client(f"gw/{name}", token_file.read_text().strip())
            greedy.subscribe(f"{TOPIC_ROOT}/replies/gw/{name}/#")
            self.addCleanup(self.assertEqual, greedy.messages, [])
        runtime = self.gateway_runtime("exec sleep 600")
        for agent in [self.agent, *(f"gw/{name}" for name in names)]:
            record = self.system.expect("wake", {"agent": agent})["record"]
            wait_until(
                lambda: self.system.expect("get", {"agent": agent})["record"]["status"] == "online", 20, f"{agent} online")
            own = self.system.expect("get", {"agent": agent})["record"]
            self.assertEqual(own["templates_digest_reported"], own["templates_digest"], record)
        for event in ("agent.files_failed", "agent.files_refused", "agent.files_missing"):
            self.assertEqual(runtime.named(event), [])


class TwoOfOneName(RuntimeCase):
    def check(self, make, stands_still=False):
        older = make(NOTES_START + "exec sleep 600")
        self.wake(1)
        self.heartbeat(generation=1)
        pid = int(self.starts(1)[0][0])
        if stands_still:
            os.kill(older.process.pid, signal.SIGSTOP)
        try:
            newer = make(NOTES_START + "exec sleep 600")
            if stands_still:
                time.sleep(1.5)
        finally:
            os.kill(older.process.pid, signal.SIGCONT)
        self.assertEqual(older.status(10), 1)
        self.assertEqual(len(older.named("runtime.duplicate")), 1)
        self.assertIn("another runtime", older.errors)
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)
        # The newer one stays where it is, and starts what is woken.
        time.sleep(2)
        self.assertIsNone(newer.process.poll())
        self.assertEqual([e["event"] for e in newer.events if "connected" in e["event"]], [])
        self.wake(2)
        self.heartbeat(generation=2)
        self.assertEqual(len(self.starts(2)), 2)
        self.assertEqual(newer.end(), 0)

    def test_runtimes_of_an_agent(self):
        self.check(self.agent_runtime)

    def test_runtimes_of_a_gateway(self):
        self.check(self.gateway_runtime)

    def test_an_older_one_of_an_agent_that_stood_still(self):
        self.check(self.agent_runtime, stands_still=True)

    def test_an_older_one_of_a_gateway_that_stood_still(self):
        self.check(self.gateway_runtime, stands_still=True)

    def check_newer_broker(self, unanswered, connections):
        """mosquitto 2.1 and others say it themselves (MQTT 5, reason code 0x8E)."""
        connects = []

        def serve(listener):
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connects.append(connection.recv(4_096))
                    if len(connects) > unanswered:
                        connection.sendall(bytes([0x20, 3, 0, 0, 0]) + bytes([0xE0, 2, 0x8E, 0]))
                    try:
                        connection.recv(4_096)
                    except ConnectionResetError:
                        pass

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            result = self.system.cli(
                "agent", self.agent, "--on-wake", "true", "--token-file", self.token_file, "--broker",
                f"mqtt://127.0.0.1:{listener.getsockname()[1]}", seconds=15)
            time.sleep(1)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("runtime.duplicate", result.stdout)
        self.assertEqual(len(connects), connections, "it does not take the session back")

    def test_what_a_newer_broker_says(self):
        self.check_newer_broker(unanswered=0, connections=1)

    def test_its_own_attempt_that_arrives_late_is_no_other(self):
        """A proxy took it while the way behind was cut, and delivers it when the next one has been answered."""
        self.check_newer_broker(unanswered=1, connections=3)

    def test_a_connection_that_is_closed_for_another_reason_is_made_again(self):
        runtime = self.agent_runtime("exec sleep 600")
        token = self.system.expect("rotate-token", {"agent": self.agent, "now": True})["token"]
        runtime.wait_for("runtime.disconnected")
        self.token_file.write_text(token + "\n")
        runtime.wait_for("runtime.reconnected")
        self.assertEqual(runtime.named("runtime.duplicate"), [])
        self.assertEqual(runtime.end(), 0)


class TokenFiles(RuntimeCase):
    def test_what_editors_add_is_not_part_of_the_token(self):
        token = self.token_file.read_bytes().strip()
        for number, text in enumerate([
            token, token + b"\r\n", token + b" \t \n", b"\xef\xbb\xbf" + token + b"\r\n", token + b"\n\n",
        ]):
            with self.subTest(text):
                file = self.directory / f"token-{number}"
                file.write_bytes(text)
                self.assertEqual(self.agent_runtime("exec sleep 600", token_file=file).end(), 0)

    def test_what_is_no_token_is_refused_with_its_reason(self):
        for text, reason in [(b"", "is empty"), (b" \r\n", "is empty"), ("token".encode("utf-16"), "UTF-8")]:
            with self.subTest(text):
                file = self.directory / "no-token"
                file.write_bytes(text)
                result = self.system.cli("agent", self.agent, "--on-wake", "true", "--token-file", file)
                self.assertEqual(result.returncode, 2)
                self.assertIn(f"{file}: {reason}", result.stderr.replace("is not text in ", ""))


class ThroughCuts(RuntimeCase):
    def test_what_ended_meanwhile_is_told_before_the_gateway_is_there_again(self):
        relay = Relay(self.system.port)
        self.addCleanup(relay.close)
        runtime = self.gateway_runtime(
            NOTES_START + "while [ ! -e ../../done ]; do sleep 0.1; done", "--broker", f"mqtt://127.0.0.1:{relay.port}")
        self.wake(1)
        self.heartbeat(generation=1)
        relay.cut()
        runtime.wait_for("runtime.disconnected")
        (self.directory / "done").touch()
        runtime.wait_for("agent.exited")
        self.watcher.messages.clear()
        relay.heal()

        def said():
            return [m.payload for m in list(self.watcher.messages) if b'"stopping"' in m.payload or b'"connected"' in m.payload]

        wait_until(lambda: len(said()) >= 2, 10, "its return")
        self.assertIn(b'"exit_status":0', said()[0])
        self.assertIn(b'"connected"', said()[1])
        # What asks for it all the same is told again, and starts nothing.
        self.watcher.messages.clear()
        self.wake(2, reason="recover")
        self.assertEqual(self.heartbeat(status="stopping", generation=2)["exit_status"], 0)
        self.assertEqual(len(self.starts()), 1)

    def test_a_broker_of_another_topic_root(self):
        result = self.system.cli(
            "agent", self.agent, "--on-wake", "true", "--token-file", self.token_file, "--topic-root", "other/v1")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(f"other/v1/agents/{self.agent}/wake", result.stderr)
        self.assertIn("--topic-root", result.stderr)


class ThroughOutages(RuntimeCase):
    """With the services' own wakes: what was cut off comes back as it was."""

    arguments = ("--checkin-deadline", "2s", "--heartbeat-interval", "1s", "--offline-after", "3s")

    def check(self, runtime):
        self.system.cli("wake", self.agent, check=True)
        self.heartbeat(generation=1)
        os.kill(runtime.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: self.record()["provision_action"] == "recover", 15, "a recovery")
        finally:
            os.kill(runtime.process.pid, signal.SIGCONT)
        wait_until(
            lambda: self.record()["status"] == "online" and self.record()["lifecycle_generation"] > 1, 10, "online again")
        os.kill(self.system.child("broker"), signal.SIGKILL)
        runtime.wait_for("runtime.reconnected")
        wait_until(lambda: self.record()["status"] == "online", 15, "online with a new broker")
        time.sleep(4)
        self.assertEqual(self.record()["status"], "online")
        self.assertEqual(len(self.starts()), 1, "what works is started once")

    def record(self):
        # By a connection of its own: the broker is killed.
        return self.system.json("status", self.agent)["record"]

    def test_of_an_agents_runtime(self):
        self.check(self.agent_runtime(NOTES_START + "exec sleep 600"))

    def test_of_a_gateways_runtime(self):
        self.check(self.gateway_runtime(NOTES_START + "exec sleep 600"))


if __name__ == "__main__":
    unittest.main()
