"""The command line beside a system: files that two change at once, services that do not answer, a watch that lost its broker."""

import concurrent.futures
import fcntl
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from rollcall_system import REPOSITORY, ROLLCALL, RollcallSystem, clean_environment, wait_until


class Files(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def run_command(self, *arguments):
        return subprocess.run(
            [str(ROLLCALL), *arguments], capture_output=True, text=True, env=clean_environment(), timeout=60)

    def all_at_once(self, commands):
        with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
            for done in pool.map(lambda arguments: self.run_command(*arguments), commands):
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_no_token_is_lost(self):
        file = str(self.directory / "tokens")
        names = [f"n{number}" for number in range(16)]
        self.all_at_once([("token", "create", name, "--tokens", file) for name in names])
        listed = self.run_command("token", "list", "--tokens", file).stdout
        self.assertEqual(sorted(line.split()[0] for line in listed.splitlines()), sorted(names))

    def test_no_identity_is_lost(self):
        options = ("--identities", str(self.directory / "identities"), "--secrets", str(self.directory / "secrets"))
        names = [f"op:n{number}" for number in range(16)]
        self.all_at_once([("identity", "add", name, *options) for name in names])
        self.assertEqual(sorted(self.run_command("identity", "list", *options).stdout.split()), sorted(names))

    def test_a_comment_stays(self):
        file = self.directory / "tokens"
        file.write_text("# of the night shift\n")
        self.assertEqual(self.run_command("token", "create", "ann", "--tokens", str(file)).returncode, 0)
        self.assertEqual(self.run_command("token", "create", "ben", "--tokens", str(file)).returncode, 0)
        self.assertEqual(self.run_command("token", "revoke", "ann", "--tokens", str(file)).returncode, 0)
        lines = file.read_text().splitlines()
        self.assertEqual(lines[0], "# of the night shift")
        self.assertEqual([line.split()[0] for line in lines[1:]], ["ben"])

    def test_a_misspelt_word_gets_the_nearest(self):
        for words in (("token", "lst"), ("identity", "lst")):
            refused = self.run_command(*words)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("is 'list' meant?", refused.stderr)


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        cls.addClassCleanup(temporary.cleanup)
        cls.templates = pathlib.Path(temporary.name) / "templates"
        shutil.copytree(REPOSITORY / "infra" / "templates", cls.templates)
        cls.system = RollcallSystem("--templates", cls.templates).start()
        cls.addClassCleanup(cls.system.close)
        cls.system.expect("add-gateway", {"gateway": "g"})

    def change(self, value):
        self.system.insist("update", {"agent": "g/w", "variables": {"owner": value}, "wake": False})

    def test_a_sync_that_failed_for_one_ends_with_1(self):
        for name, variables in (("s1", {"colour": "red"}), ("s2", {})):
            self.system.expect(
                "provision", {"agent": f"g/{name}", "role": "lead", "board": "b", "wake": False, "variables": variables})
        (self.templates / "lead" / "COLOUR.md").write_text("{{ colour }}\n")
        done = self.system.cli("sync-templates", "g")
        self.assertRegex(done.stdout, r"GATEWAY +UPDATED +SKIPPED +MAIN +FAILED\ng +1 +\d+ +\S+ +1\n")
        self.assertRegex(done.stdout, r"AGENT +ERROR\ng/s2 .*COLOUR\.md.*colour")
        self.assertEqual(done.returncode, 1)

    def test_a_wait_has_a_limit_and_says_what_it_waits_for(self):
        begin = time.monotonic()
        done = self.system.cli("provision", "g/slow", "--role", "main", "--wait", "2s", "--no-such-option", "x")
        self.assertEqual(done.returncode, 2)
        done = self.system.cli("provision", "g/slow", "--role", "main", "--checkin-deadline", "30s", "--wait", "2s")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("neither online nor offline after 2s", done.stderr)
        self.assertRegex(done.stderr, r"waiting for g/slow: provisioning, wake 1/3, deadline in \d+s\n")
        self.assertLess(time.monotonic() - begin, 20)
        done = self.system.cli(
            "update", "g/slow", "--checkin-deadline", "500ms", "--max-wake-attempts", "2", "--wait", "--json")
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual(json.loads(done.stdout)["record"]["offline_reason"], "checkin_missed")
        shown = self.system.cli("agents", "--gateway", "g", "--status", "offline", "--sort", "offline", check=True).stdout
        self.assertRegex(shown, r"g/slow +main +- +offline \(checkin_missed\) +(now|\ds ago) ")
        self.assertRegex(self.system.cli("history", "g/slow", check=True).stdout, r" offline +checkin_missed +offline +\d")
        refused = self.system.cli("agents", "--sort", "sen")
        self.assertEqual((refused.returncode, "is 'seen' meant?" in refused.stderr), (2, True), refused.stderr)

    def test_agents_fit_into_the_terminal(self):
        self.system.expect("provision", {"agent": "g/wide", "role": "lead", "board": "b" * 40, "wake": False, "variables": {"colour": "red"}})
        for columns in (200, 60):
            leader, follower = os.openpty()
            fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            done = subprocess.run(
                [str(ROLLCALL), "agents", "--role", "lead", "--data", str(self.system.data)], stdout=follower, stderr=subprocess.PIPE,
                env={**clean_environment(), "NO_COLOR": "1"}, timeout=60)
            os.close(follower)
            shown = os.read(leader, 100_000).decode()
            os.close(leader)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = shown.split("\r\n")
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertIn("offline (never_woken)", shown)
            self.assertEqual("b" * 40 in shown, columns == 200)

    def test_bash_completes_values_and_addresses(self):
        self.system.expect("provision", {"agent": "g/complete", "role": "main", "wake": False})
        script = self.system.cli("completions", "bash", check=True).stdout
        path = f"{ROLLCALL.parent}:{os.environ['PATH']}"

        def words(*line):
            asked = subprocess.run(
                ["bash", "-c", script + 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rollcall; printf "%s\\n" "${COMPREPLY[@]}"',
                 "bash", "rollcall", *line], capture_output=True, text=True, timeout=60, cwd=self.system.data,
                env={**clean_environment(), **self.system.env, "PATH": path})
            self.assertEqual((asked.returncode, asked.stderr), (0, ""))
            return asked.stdout.split()

        self.assertIn("sync-templates", words("sync"))
        self.assertEqual(words("provision", "g/a", "--role", ""), ["main", "lead", "worker"])
        self.assertEqual(words("agents", "--sort", "s"), ["status", "seen"])
        self.assertEqual(words("agents", "--status", "off"), ["offline"])
        self.assertEqual(words("agents", "--gateway", ""), ["g"])
        self.assertEqual(words("status", "g/comp"), ["g/complete"])
        self.assertEqual(words("sync-templates", "g"), ["g"])
        self.assertEqual(words("status", "--che"), ["--check"])
        self.assertEqual(words("completions", "f"), ["fish"])

    def test_a_sync_says_how_far_it_is(self):
        names = [f"g/n{number}" for number in range(200)]
        self.system.each(names, lambda operator, agent: operator.insist(
            "provision", {"agent": agent, "role": "worker", "board": "many", "wake": False}))
        provisioner = self.system.child("provisioner")
        sync = subprocess.Popen(
            [str(ROLLCALL), "sync-templates", "g", "--board", "many", "--no-include-main", "--overwrite", "--timeout", "10s",
             "--data", str(self.system.data)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
        events = self.system.operator()
        self.addCleanup(events.close)
        events.subscribe("rollcall/v1/agents/g/+/lifecycle/templates_synced")
        # It takes a while: the provisioner pauses, each time for less than what counts as a stall.
        events.wait_message(lambda message: True, 15, "the first agent")
        for _ in range(4):
            os.kill(provisioner, signal.SIGSTOP)
            time.sleep(0.4)
            os.kill(provisioner, signal.SIGCONT)
            time.sleep(0.02)
        text, errors = sync.communicate(timeout=60)
        self.assertEqual(sync.returncode, 0, text + errors)
        self.assertRegex(errors, r"\d+ agents so far\n")
        self.assertRegex(text, r"\ng +200 +0 +- +0\n")

    def test_a_store_that_does_not_answer_is_named_soon(self):
        store = self.system.child("status-store")
        self.addCleanup(os.kill, store, signal.SIGCONT)
        os.kill(store, signal.SIGSTOP)
        # Until its presence has expired it is only silent.
        time.sleep(8)
        begin = time.monotonic()
        done = self.system.cli("agents")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not running: status-store", done.stderr)
        self.assertLess(time.monotonic() - begin, 8)

    def test_watch_shows_what_it_missed(self):
        self.system.expect("provision", {"agent": "g/w", "role": "main", "wake": False})
        watch = subprocess.Popen(
            [str(ROLLCALL), "watch", "g/w", "--data", str(self.system.data)], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=clean_environment(), text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        lines = []
        time.sleep(1)
        self.change("first")
        os.kill(watch.pid, signal.SIGSTOP)
        broker = self.system.child("broker")
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: self.system.child("broker") != broker, 20, "another broker")
        self.system.disconnect()
        for number in range(5):
            self.change(f"missed {number}")
        os.kill(watch.pid, signal.SIGCONT)
        time.sleep(1)
        self.change("last")
        expected = 7
        for line in watch.stdout:
            lines.append(line)
            if len(lines) == expected:
                break
        self.assertTrue(all("changed" in line for line in lines), lines)
        self.assertEqual([line.split()[0] for line in lines], sorted(line.split()[0] for line in lines))


if __name__ == "__main__":
    unittest.main()
