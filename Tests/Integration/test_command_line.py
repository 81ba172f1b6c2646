"""The command line beside a system: files that two change at once, services that do not answer, a watch that lost its broker."""

import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
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
        self.assertIn("1 failed", done.stdout)
        self.assertEqual(done.returncode, 1)

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
