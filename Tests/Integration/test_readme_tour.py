"""README.md and the product do not drift apart: its tour is run, its links, names and tables are looked up."""

import contextlib
import hashlib
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import readme_document as readme
from rollcall_system import BUILD, READY_SECONDS, REPOSITORY, ROLLCALL, clean_environment, wait_until

README = (REPOSITORY / "README.md").read_text()
# Commands that run until they are ended; `infra/run` with what keeps this tour away from other systems.
ENDLESS = ("infra/run", "mosquitto_sub", "sh bob.sh", "infra/rollcall agent ")
RUN_OPTIONS = " --mqtt-port 0 --http-port 0"
# As many characters as those of infra/run, so that lines break alike; a loaded machine needs the time.
DEADLINES = {"ROLLCALL_CHECKIN_DEADLINE": "9s", "ROLLCALL_OFFLINE_AFTER": "99s"}
# What only looks is asked again until it shows what was just sent: a person types slower than this.
LOOKING = re.compile(r"infra/rollcall (status|history|agents)\b")
STEP_SECONDS = 20

LOG_NAMES = [
    "lifecycle.queue.enqueued", "queue.worker.success", "queue.worker.failed", "lifecycle.reconcile.skip_not_stuck",
    "lifecycle.reconcile.deferred", "lifecycle.reconcile.retriggered", "lifecycle.reconcile.max_attempts_reached",
    "lifecycle.reconcile.skip_stale_generation", "lifecycle.reconcile.skip_missing_agent",
    "lifecycle.reconcile.skip_deleting", "heartbeat.rejected",
]


class Terminal:
    """A shell that is typed into, and what it has printed."""

    def __init__(self, directory, environment):
        self.lines = []
        self._taken = 0
        self._commands = 0
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=directory, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, command):
        """Types a command that runs on."""
        self._taken = len(self.lines)
        self.process.stdin.write(command + "\n")

    def run(self, command):
        """Types a command, waits for its end; the lines that it printed."""
        self._commands += 1
        end = f"end of command {self._commands}: "
        self.type(f"{command}\nprintf '\\n%s%s\\n' '{end}' $?")
        wait_until(lambda: any(line.startswith(end) for line in list(self.lines)), STEP_SECONDS, command)
        lines = self.printed()
        self._taken = len(self.lines)
        index = next(index for index, line in enumerate(lines) if line.startswith(end))
        # The line before the end is empty, or the rest of a line without its end.
        printed = lines[:index]
        return printed[:-1] if printed and printed[-1] == "" else printed

    def printed(self):
        """What was printed since the last command was typed, without what was taken."""
        return self.lines[self._taken:]

    def take(self, count):
        """Takes the first lines of what was printed."""
        self._taken += count

    def close(self):
        for number in [signal.SIGTERM, signal.SIGKILL]:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            self._reader.join(15)
            if not self._reader.is_alive():
                break
        self.process.stdin.close()
        self.process.wait(10)

    def _read(self):
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))


class Tour(unittest.TestCase):
    """The tour, word for word, in a copy of its own."""

    maxDiff = None

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        shutil.copytree(REPOSITORY / "infra", self.directory / "infra")
        # What is built is what is tested, and what setup installs is there: neither is made again.
        (self.directory / ".build").mkdir()
        (self.directory / ".build" / "release").symlink_to(BUILD)
        (self.directory / ".venv").mkdir()
        shutil.copy(REPOSITORY / "infra" / "requirements.txt", self.directory / ".venv")
        (self.directory / "bin").mkdir()
        (self.directory / "bin" / "swift").write_text("#!/bin/sh\n")
        (self.directory / "bin" / "swift").chmod(0o755)
        for name, text in readme.files(README).items():
            (self.directory / name).write_text(text)
        self.environment = {
            **clean_environment(), **DEADLINES, "SKIP_PACKAGES": "1", "NO_COLOR": "1",
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
        }
        self.terminals = {}
        self.addCleanup(self.close)

    def close(self):
        # The system last: what the others run needs it to end in peace.
        for name in sorted(self.terminals, reverse=True):
            self.terminals[name].close()

    def terminal(self, name):
        if name not in self.terminals:
            self.terminals[name] = Terminal(self.directory, self.environment)
        return self.terminals[name]

    def test_prints_what_the_readme_shows(self):
        steps = readme.tour(README)
        commands = [step.command.split()[0:2] for step in steps if step.command]
        for words in [
            ["infra/run"], ["infra/rollcall", "add-gateway"], ["infra/rollcall", "provision"],
            [".", ".rollcall/operator.env"], ["infra/rollcall", "wake"], ["infra/rollcall", "status"],
        ]:
            self.assertIn(words, commands)
        for step in steps:
            self.take(step)
        self.assertEqual((self.directory / "lab.tok").stat().st_mode & 0o777, 0o600)

    def take(self, step):
        terminal = self.terminal(step.terminal)
        expected = readme.masked(step.output)
        if step.command is None or step.command.startswith(ENDLESS):
            if step.command:
                terminal.type(step.command + (RUN_OPTIONS if step.command == "infra/run" else ""))
            seconds = READY_SECONDS if step.command == "infra/run" else STEP_SECONDS
            if expected:
                terminal.take(self.await_output(step.command or "goes on", expected, terminal.printed, seconds))
            else:
                time.sleep(5)  # it prints nothing when it is ready
            return
        if LOOKING.match(step.command):
            self.await_output(step.command, expected, lambda: terminal.run(step.command), STEP_SECONDS)
            return
        self.assertEqual(readme.masked(terminal.run(step.command)), expected, step.command)

    def await_output(self, what, expected, printed, seconds):
        """Waits until what was printed is what is expected; the number of its lines."""
        end = time.monotonic() + seconds
        while True:
            actual = readme.masked(printed())
            if readme.matches(expected, actual):
                return len(actual)
            if time.monotonic() > end:
                self.assertEqual(actual, expected, f"terminal shows, README shows: {what}")
            time.sleep(0.2)

    def test_identities_are_what_the_broker_reads(self):
        environment = {**self.environment, "PATH": f"{BUILD}:{self.environment['PATH']}"}
        subprocess.run(["sh", "make-identities.sh"], cwd=self.directory, env=environment, check=True)
        identities = (self.directory / "identities").read_text().splitlines()
        self.assertEqual([line.split()[0] for line in identities][:2], ["op:admin", "svc:status-store/1"])
        for line in identities:
            name, digest = line.split()
            secret = (self.directory / "secrets" / re.sub("[:/]", "-", name)).read_text().strip()
            self.assertGreaterEqual(len(secret), 43)
            self.assertEqual(hashlib.sha256(secret.encode()).hexdigest(), digest)


class Facts(unittest.TestCase):
    """What the README states is so."""

    def test_links_lead_somewhere(self):
        for document in [REPOSITORY / "README.md", *sorted((REPOSITORY / "infra").rglob("*.md"))]:
            for target in readme.relative_links(document.read_text()):
                with self.subTest(document=document.name, target=target):
                    self.assertTrue((document.parent / target).exists())

    def test_log_names_of_the_troubleshooting_guide_are_in_the_code(self):
        sources = "".join(
            path.read_text() for folder in ["Services", "Shared"] for path in (REPOSITORY / folder).rglob("*.swift"))
        guide = readme.section(README, "Troubleshooting")
        names = {name for name in re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", guide)}
        self.assertLessEqual(set(LOG_NAMES), names)
        for name in names:
            with self.subTest(name):
                self.assertIn(f'"{name}"', sources)

    def test_policy_defaults_are_those_of_the_program(self):
        table = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", readme.section(README, "Policy"), re.MULTILINE)
        shown = re.findall(r"--([\w-]+) \S+\s+default (\S+) \[ROLLCALL_", self.rollcall("up", "--help"))
        self.assertEqual(table, [(name.replace("-", "_"), default) for name, default in shown])

    def test_every_subcommand_is_mentioned(self):
        names = re.findall(r"^  ([a-z-]+) +\S", self.rollcall("--help"), re.MULTILINE)
        self.assertGreater(len(names), 15)
        for name in names:
            with self.subTest(name):
                self.assertTrue(re.search(rf"`(rollcall )?{name}[ `]", README), name)

    def test_the_demonstrations_deadlines_are_those_of_infra_run(self):
        run = (REPOSITORY / "infra" / "run").read_text()
        defaults = dict(re.findall(r"ROLLCALL_(\w+):-(\w+)\}", run))
        prose = " ".join(README.split())
        for sentence in [
            f"{defaults['CHECKIN_DEADLINE'][:-1]} s to check in",
            f"after {defaults['OFFLINE_AFTER'][:-1]} s without a heartbeat",
        ]:
            self.assertTrue(sentence in prose, sentence)

    def rollcall(self, *arguments):
        return subprocess.run(
            [str(ROLLCALL), *arguments], capture_output=True, text=True, check=True, env=clean_environment()).stdout


class Bob(unittest.TestCase):
    """`bob.sh` as a newcomer runs it: in a terminal, with clients that stand for mosquitto's."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        (self.directory / "bob.sh").write_text(readme.files(README)["bob.sh"])
        (self.directory / "bob.tok").write_text("token\n")
        for name, text in {
            "mosquitto_sub": "echo '{\"generation\":1}'; exec sleep 600", "mosquitto_pub": "echo beat >> beats",
        }.items():
            (self.directory / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.directory / name).chmod(0o755)
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            # What a background job ignores no shell can trap (POSIX, trap): a newcomer's terminal ignores nothing.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            environment = {"PATH": f"{self.directory}:{os.environ['PATH']}", "ROLLCALL_HOST": "h", "ROLLCALL_MQTT_PORT": "1"}
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], environment)
        self.session = pid
        os.write(self.terminal, b"sh bob.sh\n")
        self.addCleanup(self.kill_all)
        beats = self.directory / "beats"
        # The answer to the wake, then the first of its own.
        wait_until(lambda: beats.exists() and len(beats.read_text().splitlines()) >= 2, 15, "heartbeats")

    def processes(self):
        """What runs in the session of the terminal beside its shell."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            process = int(path.parent.name)
            if int(fields[3]) == self.session and process != self.session and fields[0] != "Z":
                found.append(process)
        return found

    def kill_all(self):
        for process in [*self.processes(), self.session]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(self.session, 0)

    def check(self):
        # The sleep of 5 s that was under way may end by itself.
        wait_until(lambda: not self.processes(), 20, "the end of everything that bob.sh began")

    def test_ends_by_control_c(self):
        os.write(self.terminal, b"\x03")
        self.check()
        os.close(self.terminal)

    def test_ends_with_its_terminal(self):
        os.close(self.terminal)
        self.check()


if __name__ == "__main__":
    unittest.main()
