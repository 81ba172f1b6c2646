"""`rollcall up`: one system on one directory, from start to its last child."""

import contextlib
import fcntl
import os
import pathlib
import pty
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import termios
import time
import unittest

from rollcall_system import BUILD, ROLLCALL, RollcallSystem, clean_environment, wait_until

SERVICES = {"status-store", "reconciler", "provisioner", "heartbeat-ingest", "control-api"}


def is_alive(pid):
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def up(*arguments, environment=None):
    """Runs `rollcall up` that is expected to end by itself."""
    # Another system here may have the port that is the default.
    http = () if "--http-port" in arguments else ("--http-port", "0")
    return subprocess.run(
        [str(ROLLCALL), "up", *http, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False,
        env=environment or clean_environment())


class RunningSystem(unittest.TestCase):
    """What holds while it runs; one system for all cases."""

    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--checkin-deadline", "7s")
        cls.addClassCleanup(cls.system.close)
        cls.system.start()

    def test_says_that_it_is_up_where_and_as_whom(self):
        ready = self.system.events("rollcall.up")
        self.assertEqual(len(ready), 1)
        self.assertEqual(ready[0]["mqtt_port"], self.system.port)
        self.assertEqual(ready[0]["data"], str(self.system.data))
        self.assertEqual(self.system.env["ROLLCALL_HOST"], "127.0.0.1")
        self.assertEqual(self.system.env["ROLLCALL_USERNAME"], "op:admin")
        self.assertEqual(
            self.system.env["ROLLCALL_BROKER"],
            f"mqtt://op%3Aadmin:{self.system.env['ROLLCALL_PASSWORD']}@127.0.0.1:{self.system.port}")

    def test_everything_it_prints_is_an_event(self):
        self.assertEqual(self.system.other_lines, [])
        for event in self.system.log_events:
            self.assertLessEqual({"time", "level", "service", "instance", "event"}, event.keys())

    def test_a_refused_login_is_in_the_log(self):
        with self.assertRaises(PermissionError):
            self.system.client("nobody/here", "secret")
        refused = self.system.wait_for_event("access.refused", username="nobody/here")
        self.assertEqual((refused["level"], refused["reason"]), ("warning", "unknown_username"))
        self.assertNotIn("secret", [value for value in refused.values()])

    def test_runs_a_broker_and_every_service(self):
        self.assertEqual(set(self.system.children()), SERVICES | {"broker"})

    def test_answers_commands(self):
        answer = self.system.expect("summary")
        self.assertEqual(answer["total"], 0)

    def test_policy_flags_are_in_force(self):
        operator = self.system.operator()
        operator.expect("add-gateway", {"gateway": "policy"})
        answer = operator.expect("provision", {"agent": "policy/a", "role": "main", "wake": False})
        self.assertEqual(answer["record"]["policy"]["checkin_deadline"], "7s")

    def test_nobody_is_anonymous(self):
        with self.assertRaises(PermissionError):
            self.system.client("op:admin", "wrong")
        with self.assertRaises(PermissionError):
            self.system.client("op:other", self.system.env["ROLLCALL_PASSWORD"])

    def test_listens_on_this_host_only(self):
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=False).stdout
        if not listening:
            self.skipTest("no ss(8) here")
        addresses = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{self.system.port}")]
        self.assertEqual(addresses, [f"127.0.0.1:{self.system.port}"])

    def test_no_secret_is_readable_by_others(self):
        # mosquitto gives its socket 0770: the directory guards it.
        for directory, _, names in os.walk(self.system.data):
            for path in [directory] + [os.path.join(directory, name) for name in names if name != "broker.sock"]:
                # A file of the database may be gone by now.
                with self.subTest(path), contextlib.suppress(FileNotFoundError):
                    self.assertEqual(stat.S_IMODE(os.lstat(path).st_mode) & 0o077, 0)

    def test_no_secret_is_on_a_command_line_or_in_the_log(self):
        secrets = [path.read_text().strip() for path in (self.system.data / "secrets").iterdir()]
        self.assertGreaterEqual(len(secrets), 6)
        for name, pid in self.system.children().items():
            arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode()
            for secret in secrets:
                self.assertNotIn(secret, arguments, name)
                self.assertNotIn(secret, environment, name)
        log = self.system.tail(100_000)
        for secret in secrets:
            self.assertNotIn(secret, log)

    def test_children_have_no_descriptor_of_their_parent(self):
        def descriptors(pid, least):
            for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                # One may be closed by now.
                with contextlib.suppress(FileNotFoundError):
                    if int(path.name) >= least:
                        yield os.readlink(path)

        parent = {target for target in descriptors(self.system.pid, 0) if target.startswith("socket:")}
        self.assertTrue(parent)
        for name, pid in self.system.children().items():
            for target in descriptors(pid, 3):
                self.assertNotIn(target, parent, name)

    def test_a_second_up_on_the_same_directory_is_refused(self):
        before = sorted(path.name for path in self.system.data.iterdir())
        result = up("--data", self.system.data, "--mqtt-port", 0)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"another rollcall up runs on {self.system.data} (process {self.system.pid})", result.stderr)
        self.assertEqual(sorted(path.name for path in self.system.data.iterdir()), before)
        self.system.expect("summary")

    def test_a_taken_port_is_refused_and_nothing_made(self):
        with tempfile.TemporaryDirectory() as directory:
            data = pathlib.Path(directory) / "data"
            result = up("--data", data, "--mqtt-port", self.system.port)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"port {self.system.port} of 127.0.0.1 is taken", result.stderr)
            self.assertFalse(data.exists())


class OddDirectories(unittest.TestCase):
    """A directory may have any name that is text: it is part of files that a shell, a broker and a database read."""

    def test_works_on_any_name(self):
        with tempfile.TemporaryDirectory(prefix="rollcall-") as directory:
            for name in ["a b", " a ", "a\tb", "it's \"quoted\"", "größe 猫", "50%20?x#y", "$HOME `id`", "-a=b", "@:x"]:
                with self.subTest(name), RollcallSystem(data=pathlib.Path(directory) / name / "data") as system:
                    system.expect("add-gateway", {"gateway": "gw"})
                    # The command line finds it by the file that a shell sources, and by the directory.
                    for arguments in [(), ("--data", system.data)]:
                        self.assertEqual(system.json("gateways", *arguments)["gateways"][0]["gateway"], "gw")
                    self.assertTrue((system.data / "broker.sock").is_socket())
                    self.assertEqual(system.stop(), 0)
            self.assertEqual(len(os.listdir(directory)), 9, "nothing is made beside them")

    def test_a_name_that_cannot_work_is_refused_with_the_reason(self):
        with tempfile.TemporaryDirectory(prefix="rollcall-") as directory:
            for name, reason in [("a\nb", "has a line break in its name"), (os.fsdecode(b"a\xffb"), "is not UTF-8")]:
                with self.subTest(name):
                    result = up("--data", os.path.join(directory, name), "--mqtt-port", 0)
                    self.assertEqual(result.returncode, 1)
                    self.assertIn(reason, result.stderr)
                    self.assertEqual(os.listdir(directory), [])


class ChildrenThatDie(unittest.TestCase):
    def test_each_is_started_again_and_the_system_works_on(self):
        with RollcallSystem() as system:
            system.expect("add-gateway", {"gateway": "gw"})
            system.disconnect()
            for name in sorted(SERVICES) + ["broker"]:
                with self.subTest(name):
                    pid = system.child(name)
                    os.kill(pid, signal.SIGKILL)
                    exited = system.wait_for_event("up.child_exited", child=name)
                    self.assertEqual((exited["pid"], exited["signal"], exited["restart_in_seconds"]), (pid, 9, 0.2))
                    system.wait_for_event("up.child_started", child=name, count=2)
                    self.assertNotEqual(system.child(name), pid)
            operator = wait_until(lambda: self.connected(system), what="a connection to the new broker")
            answered = wait_until(lambda: self.lists_gateways(operator), 30, "an answer after every child was killed")
            self.assertEqual([gateway["gateway"] for gateway in answered], ["gw"])

    @staticmethod
    def connected(system):
        try:
            return system.operator()
        except OSError:
            return None

    @staticmethod
    def lists_gateways(operator):
        try:
            status, answer = operator.request("list-gateways", {}, seconds=3)
        except AssertionError:
            return None
        return answer["gateways"] if status == 200 else None

    def test_a_broker_that_died_keeps_its_port(self):
        with RollcallSystem() as system:
            os.kill(system.child("broker"), signal.SIGKILL)
            system.wait_for_event("up.child_started", child="broker", count=2)
            wait_until(lambda: self.connected(system), what="a connection on the same port")


class TheEnd(unittest.TestCase):
    def test_sigterm_ends_services_before_the_broker_and_leaves_nothing(self):
        with RollcallSystem() as system:
            children = system.children()
            self.assertEqual(system.stop(), 0)
            ended = [event["child"] for event in system.events("up.child_exited")]
            self.assertEqual(set(ended), set(children))
            self.assertEqual(ended[-1], "broker")
            self.assertEqual(ended[-2], "status-store")
            self.assertEqual({event["status"] for event in system.events("up.child_exited")}, {0})
            self.assertEqual([name for name, pid in children.items() if is_alive(pid)], [])
            self.assertTrue((system.data / "operator.env").exists())

    def test_ctrl_c_does_the_same(self):
        with RollcallSystem() as system:
            os.killpg(system.process.pid, signal.SIGINT)  # a terminal signals the whole group
            system.process.wait(15)
            self.assertEqual(system.stop(), 0)  # its log is read to the end
            self.assertEqual(system.events("up.child_exited")[-1]["child"], "broker")

    def test_a_killed_up_takes_its_children_with_it(self):
        with RollcallSystem() as system:
            children = system.children()
            system.kill()
            wait_until(lambda: not any(is_alive(pid) for pid in children.values()), 15, "the end of all children")
            system.mqtt_port = system.port
            system.start()

    def test_a_service_that_stands_still_is_killed_and_no_other(self):
        for name in ["reconciler", "heartbeat-ingest", "broker"]:
            with self.subTest(name), RollcallSystem() as system:
                os.kill(system.child(name), signal.SIGSTOP)
                start = time.monotonic()
                self.assertEqual(system.stop(20), 1, "it was no clean end")
                self.assertLess(time.monotonic() - start, 14)
                killing = system.events("up.killing")
                self.assertEqual([(event["child"], event["reason"]) for event in killing], [(name, "it stands still")])
                exits = {event["child"]: event.get("status") for event in system.events("up.child_exited")}
                self.assertEqual(exits, {**dict.fromkeys(SERVICES | {"broker"}, 0), name: None})
                self.assertEqual((system.log_events[-1]["event"], system.log_events[-1]["killed"]), ("up.stopped", name))

    def test_repeated_signals_change_nothing(self):
        for signals in [
            [signal.SIGHUP, signal.SIGHUP], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT],
            [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGINT],
        ]:
            with self.subTest(signals), RollcallSystem() as system:
                for number in signals:
                    os.kill(system.pid, number)
                    time.sleep(0.02)
                self.assertEqual(system.process.wait(15), 0)
                self.assert_clean(system)

    def test_a_terminal_that_closes_ends_it_cleanly(self):
        with tempfile.TemporaryDirectory(prefix="rollcall-") as directory:
            data = pathlib.Path(directory) / "data"
            terminal, other = pty.openpty()
            process = subprocess.Popen(
                [str(ROLLCALL), "up", "--data", str(data), "--mqtt-port", "0", "--http-port", "0"],
                stdin=other, stdout=other, stderr=other, env=clean_environment(), preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
            os.close(other)
            said = b""
            while b"rollcall is up" not in said:
                said += os.read(terminal, 4_096)
            os.close(terminal)
            self.assertEqual(process.wait(15), 0)
            self.assertEqual([path.name for path in data.glob("rollcall.db-wal")], [], "the store has closed its file")

    def assert_clean(self, system):
        system._join()
        self.assertEqual(system.events("up.killing"), [])
        self.assertEqual({event.get("status") for event in system.events("up.child_exited")}, {0})
        self.assertEqual(len(system.events("up.child_exited")), len(SERVICES) + 1)
        self.assertEqual(system.log_events[-1]["event"], "up.stopped")
        self.assertFalse((system.data / "rollcall.db-wal").exists(), "the store has closed its file")

    def test_can_be_ended_while_it_starts(self):
        system = RollcallSystem()
        try:
            system.start(wait=False)
            system.wait_for_event("up.child_started", child="broker")
            self.assertEqual(system.stop(), 0)
        finally:
            system.close()


class State(unittest.TestCase):
    def test_survives_a_restart(self):
        with RollcallSystem() as system:
            operator = system.operator()
            token = operator.expect("add-gateway", {"gateway": "gw"})["token"]
            operator.expect("provision", {"agent": "gw/a", "role": "main", "wake": False})
            secrets = {path.name: path.read_text() for path in (system.data / "secrets").iterdir()}
            environment = dict(system.env)
            system.restart()
            self.assertEqual(system.env, environment)
            self.assertEqual({path.name: path.read_text() for path in (system.data / "secrets").iterdir()}, secrets)
            self.assertEqual(system.expect("get", {"agent": "gw/a"})["record"]["agent"], "gw/a")
            system.client("gw", token)

    def test_a_long_directory_name_works_without_a_socket(self):
        parent = tempfile.mkdtemp(prefix="rollcall-")
        self.addCleanup(shutil.rmtree, parent, ignore_errors=True)
        data = pathlib.Path(parent) / ("a directory with spaces and a long name " * 3).strip()
        system = RollcallSystem(data=data)
        try:
            system.start()
            self.assertFalse((data / "broker.sock").exists())
            system.expect("summary")
        finally:
            system.close()

    def test_works_as_an_ordinary_user(self):
        if os.geteuid() != 0:
            self.skipTest("every other case runs as an ordinary user")
        nobody = pwd.getpwnam("nobody")
        reachable = subprocess.run(["runuser", "-u", "nobody", "--", "test", "-x", str(ROLLCALL)], check=False)
        if reachable.returncode != 0:
            self.skipTest(f"nobody may not read {BUILD}")
        parent = tempfile.mkdtemp(prefix="rollcall-")
        self.addCleanup(shutil.rmtree, parent, ignore_errors=True)
        os.chown(parent, nobody.pw_uid, nobody.pw_gid)
        system = RollcallSystem(data=pathlib.Path(parent) / "data", user="nobody")
        try:
            system.start()
            self.assertEqual(
                {os.stat(f"/proc/{pid}").st_uid for pid in system.children().values()}, {nobody.pw_uid})
            system.expect("summary")
            self.assertEqual(system.stop(), 0)
        finally:
            system.close()


class Refusals(unittest.TestCase):
    def test_bad_usage(self):
        for arguments, reason in [
            (["--mqtt-port", "70000"], "--mqtt-port: '70000' is not an integer from 0 to 65535"),
            (["--demo", "x"], "--demo: 'x' is not an integer"),
            (["--checkin-deadline", "1"], "--checkin-deadline"),
            (["--topic-root", "a/#"], "--topic-root"),
            (["--no-such"], "unknown option --no-such"),
            (["here"], "unexpected argument 'here'"),
        ]:
            with self.subTest(arguments):
                result = up(*arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(reason, result.stderr)

    def test_missing_mosquitto_names_the_package(self):
        # In a mount namespace of its own, every mosquitto is a file that cannot be executed.
        hide = 'for f in /usr/sbin/mosquitto /usr/local/sbin/mosquitto; do [ ! -e $f ] || mount --bind /dev/null $f; done'
        command = ["unshare", "--mount", "sh", "-c", f'{hide} && exec "$0" up --mqtt-port 0 --data /nowhere', str(ROLLCALL)]
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("needs root to hide mosquitto")
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False,
            env={**clean_environment(), "PATH": "/usr/bin:/bin"})
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("apt-get install mosquitto", result.stderr)

    def test_templates_that_are_not_there(self):
        result = up("--mqtt-port", 0, "--templates", "/nowhere")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/nowhere: No such file or directory", result.stderr)

    def test_a_directory_that_cannot_be_made(self):
        result = up("--mqtt-port", 0, "--data", "/proc/rollcall")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/proc/rollcall: ", result.stderr)

    def test_a_port_that_is_listened_on_everywhere(self):
        with socket.create_server(("", 0)) as listener:
            result = up("--mqtt-port", listener.getsockname()[1])
        self.assertEqual(result.returncode, 1)
        self.assertIn("is taken", result.stderr)

    def test_help(self):
        result = up("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for option in ["--data", "--mqtt-port", "--http-port", "--demo", "--templates", "--checkin-deadline"]:
            self.assertIn(option, result.stdout)


if __name__ == "__main__":
    unittest.main()
