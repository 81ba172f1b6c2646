"""The status store when its database fails it: what it says, how it ends, and that it goes on by itself."""

import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

from rollcall_system import BUILD, TOPIC_ROOT, RollcallSystem, clean_environment, wait_until

STORE = BUILD / "rollcall-status-store"
NOWHERE = "mqtt://svc%3Astatus-store%2F1:x@127.0.0.1:1"


def run_store(path, *arguments, timeout="500ms", user=None, seconds=30):
    """Runs the store on a database, with a broker that is not there; the completed process."""
    command = [
        str(STORE), "--database", f"sqlite:{path}", "--broker", NOWHERE, "--connect-timeout", timeout, *arguments]
    if user:
        command = ["runuser", "-u", user, "--", *command]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, env=clean_environment(), cwd="/")


def database_of(system):
    return system.data / "rollcall.db"


def revisions(system, agent):
    """The revisions of an agent's events, oldest first."""
    events = system.expect("history", {"agent": agent, "limit": 1000})["events"]
    return [event["record"]["revision"] for event in reversed(events)]


class Opening(unittest.TestCase):
    """A start on a database that cannot be used: one clear line, and a status that says whether waiting helps."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-store-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "status.db"

    def make(self):
        """A database without a system."""
        completed = run_store(self.path)
        self.assertEqual(completed.returncode, 69, completed.stdout)
        self.assertIn("Connection refused", completed.stdout)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def refused(self, status, *texts, arguments=(), **options):
        completed = run_store(self.path, *arguments, **options)
        self.assertEqual(completed.returncode, status, completed.stdout + completed.stderr)
        lines = [line for line in completed.stdout.splitlines() if "service.failed" in line]
        self.assertEqual(len(lines), 1, completed.stdout)
        for text in (str(self.path), *texts):
            self.assertIn(text, lines[0])

    def test_a_file_that_is_no_database(self):
        self.path.write_bytes(b"not a database at all " * 400)
        self.refused(1, "file is not a database", "put a copy in its place")

    def test_what_is_no_regular_file(self):
        for path in ("/dev/null", self.directory):
            self.path = pathlib.Path(path)
            self.refused(2, "it is no regular file")
            self.assertFalse(pathlib.Path(f"{path}-owner").exists())

    def test_a_damaged_header(self):
        self.make()
        with open(self.path, "r+b") as file:
            file.write(bytes(range(100)))
        self.refused(1, "file is not a database", "put a copy in its place")

    def test_damaged_pages(self):
        self.make()
        size = self.path.stat().st_size
        with open(self.path, "r+b") as file:
            for position in range(4_096 + 5, size, 4_096):
                file.seek(position)
                file.write(b"\xff\xfe\xfd" * 20)
        self.refused(1, "put a copy in its place")

    def test_a_file_cut_short(self):
        self.make()
        os.truncate(self.path, self.path.stat().st_size // 2 // 4_096 * 4_096)
        self.refused(1, "put a copy in its place")

    def test_a_directory(self):
        self.path.mkdir()
        self.refused(2, "it is no regular file", "name another file")

    def test_a_directory_that_is_not_there(self):
        self.path = self.directory / "none" / "status.db"
        self.refused(69, "No such file or directory", "names a file in a directory")

    def test_a_newer_schema(self):
        self.make()
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA user_version = 99")
        self.refused(1, "schema version 99", "a newer one")

    def test_the_database_of_another_program(self):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE notes(text)")
        self.refused(1, "another program")

    def test_another_number_of_partitions(self):
        self.make()
        self.refused(2, "made with 16 partitions", arguments=("--partitions", "8"))

    def test_a_file_that_may_not_be_written(self):
        self.make()
        self.path.chmod(0o444)
        (self.directory / "status.db-owner").chmod(0o666)
        self.directory.chmod(0o777)
        # Nothing is forbidden to root.
        self.refused(69, "may not be written", "let the user", user="nobody" if os.geteuid() == 0 else None)

    def test_a_damaged_write_ahead_log_ends_at_the_damage(self):
        self.make()
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("INSERT INTO meta VALUES('x', '1')")
            connection.commit()
            wal = pathlib.Path(f"{self.path}-wal")
            damaged = bytearray(wal.read_bytes())
            file = self.path.read_bytes()
        damaged[len(damaged) // 2] ^= 0xFF
        self.path.write_bytes(file)
        wal.write_bytes(damaged)
        pathlib.Path(f"{self.path}-shm").unlink(missing_ok=True)
        completed = run_store(self.path)
        self.assertIn("Connection refused", completed.stdout, "the store did not get as far as its broker")
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            self.assertEqual(connection.execute("SELECT count(*) FROM meta WHERE key = 'x'").fetchone(), (0,))

    def test_a_lock_is_waited_for_as_long_as_the_broker(self):
        self.make()
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            started = time.monotonic()
            self.refused(69, "locked", "end whoever else holds it", timeout="2s")
            self.assertGreater(time.monotonic() - started, 1.9)
            process = subprocess.Popen(
                [str(STORE), "--database", f"sqlite:{self.path}", "--broker", NOWHERE], stdout=subprocess.PIPE,
                text=True, env=clean_environment())
            self.addCleanup(process.stdout.close)
            self.assertIn("store.waiting_for_database", process.stdout.readline())
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(5), 0)
            self.assertLess(time.monotonic() - started, 5)


class Running(unittest.TestCase):
    """A system whose database fails while it works."""

    def setUp(self):
        self.system = RollcallSystem("--checkin-deadline", "8s", "--max-wake-attempts", "1", "--lost-grace", "1s")
        self.addCleanup(self.system.close)

    def begin(self):
        """A system with an agent that is online, heartbeats by hand, and one that was never woken."""
        self.system.start()
        self.system.expect("add-gateway", {"gateway": "gw"})
        self.token = self.system.expect("provision", {"agent": "gw/a", "role": "main", "wake": False})["token"]
        self.system.expect("provision", {"agent": "gw/b", "role": "worker", "board": "x", "wake": False})
        self.agent = self.system.client("gw/a", self.token)
        self.agent.subscribe(f"{TOPIC_ROOT}/agents/gw/a/wake")
        self.watcher = self.system.operator()
        self.watcher.subscribe(f"{TOPIC_ROOT}/agents/+/+/lifecycle/+")

    def beat(self):
        self.agent.publish(f"{TOPIC_ROOT}/agents/gw/a/heartbeat", b"")

    def status(self, agent):
        return self.system.expect("get", {"agent": agent})["record"]["status"]

    def goes_on(self):
        """Both agents live a cycle; nothing of their histories is missing."""
        self.agent.messages.clear()
        self.system.insist("wake", {"agent": "gw/a"})
        self.agent.wait_message(lambda message: message.topic.endswith("/wake"), what="the wake")
        self.beat()
        wait_until(lambda: self.status("gw/a") == "online", what="gw/a online")
        for agent in ("gw/a", "gw/b"):
            numbers = revisions(self.system, agent)
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)), agent)

    def went_offline(self):
        return [m.topic for m in self.watcher.messages if m.topic.endswith("/lifecycle/offline")]

    def outage(self, error):
        """What holds while nothing can be committed, between the begin of the trouble and its end."""
        self.system.wait_for_event("store.commit_failed", 20)
        self.assertIn(error, self.system.events("store.commit_failed")[-1]["error"])
        self.system.wait_for_event("reconciler.blind", 20)
        # Asked in vain, not in silence.
        status, answer = self.system.request("update", {"agent": "gw/b", "variables": {"N": "1"}, "wake": False},
                                             idempotency_key="asked-in-vain", seconds=30)
        self.assertEqual((status, answer["type"]), (503, "unavailable"))
        # What is committed can be read all the while.
        self.assertEqual(self.status("gw/b"), "offline")
        shown = self.system.cli("status", check=True).stdout
        self.assertIn(f"the status store can commit nothing: {error}", shown)
        self.assertEqual(self.went_offline(), [])
        # Not a line a second.
        self.assertLessEqual(len(self.system.events("store.commit_failed")), 3)

    def after(self):
        self.system.wait_for_event("store.commits_again", 20)
        answer = self.system.expect("update", {"agent": "gw/b", "variables": {"N": "1"}, "wake": False},
                                    idempotency_key="asked-in-vain", seconds=30)
        self.assertEqual(answer["record"]["variables"], {"N": "1"})
        history = self.system.expect("history", {"agent": "gw/b"})["events"]
        self.assertEqual(len(history), 2, "the update took effect more than once")
        wait_until(
            lambda: "can commit nothing" not in self.system.cli("status", check=True).stdout, 10, "the end in status")
        self.goes_on()
        self.assertEqual(self.went_offline(), [])

    def wake_and_hold(self, hold):
        """Wakes gw/a, begins the trouble, and lets it check in while nothing can be committed."""
        self.system.expect("wake", {"agent": "gw/a"})
        self.agent.wait_message(lambda message: message.topic.endswith("/wake"), what="the wake")
        wait_until(lambda: self.system.expect("get", {"agent": "gw/a"})["record"]["checkin_deadline_at"])
        hold()
        self.beat()

    def test_a_lock_held_by_another_process(self):
        self.begin()
        with contextlib.closing(sqlite3.connect(database_of(self.system), isolation_level=None)) as holder:
            self.wake_and_hold(lambda: holder.execute("BEGIN EXCLUSIVE"))
            self.outage("database is locked")
            holder.execute("ROLLBACK")
        self.after()

    @unittest.skipUnless(os.geteuid() == 0, "only root may mount a small file system")
    def test_a_full_disk(self):
        disk = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-disk-"))
        self.addCleanup(disk.rmdir)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        self.addCleanup(self.system.close)
        self.system.data.mkdir(mode=0o700)
        database_of(self.system).symlink_to(disk / "rollcall.db")
        self.begin()
        ballast = disk / "ballast"
        self.wake_and_hold(lambda: fill(ballast))
        self.outage("database or disk is full")
        ballast.unlink()
        self.after()

    def test_a_file_that_is_moved_away_under_it(self):
        self.begin()
        path = database_of(self.system)
        elsewhere = path.with_suffix(".elsewhere")
        self.wake_and_hold(lambda: path.rename(elsewhere))
        self.outage(f"{path} was deleted")
        elsewhere.rename(path)
        self.after()

    def test_a_second_store_keeps_out(self):
        self.begin()
        path = database_of(self.system)
        completed = run_store(path, timeout="1s")
        self.assertEqual(completed.returncode, 69, completed.stdout)
        self.assertIn("another process holds the database", completed.stdout)
        self.assertIn(str(path), completed.stdout)
        self.goes_on()

    def test_a_frame_that_can_never_be_committed(self):
        self.begin()
        with contextlib.closing(sqlite3.connect(database_of(self.system), isolation_level=None)) as poison:
            poison.execute(
                "CREATE TRIGGER poison BEFORE UPDATE ON agents WHEN NEW.address = 'gw/b' "
                "BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
            status, answer = self.system.request(
                "update", {"agent": "gw/b", "variables": {"N": "1"}, "wake": False}, idempotency_key="poisoned",
                seconds=30)
            self.assertEqual((status, answer["type"]), (503, "unavailable"))
            letter = self.system.wait_for_event("store.dead_letter")
            self.assertIn("poisoned", letter["error"])
            # The others of its partition go on.
            self.goes_on()
            self.assertIn("dead letters: ", self.system.cli("status", check=True).stdout)
            listed = self.system.cli("status", "--dead-letters", check=True).stdout
            self.assertIn("poisoned", listed)
            def shown():
                return next(s for s in self.system.json("status")["services"] if s["service"] == "status-store")["dead_letters"]

            # Presence is refreshed every 2 s.
            wait_until(lambda: shown()["total"] == len(self.system.events("store.dead_letter")), 10, "all dead letters in status")
            report = shown()
            self.assertEqual(report["newest"][-1]["stream"], letter["stream"])
            self.assertEqual(report["total"], len(self.system.events("store.dead_letter")))
            # It is repeated by nobody: one for the request, and one for each time that its client asked again.
            self.assertLessEqual(report["total"], 2)
            kept = poison.execute("SELECT frame FROM dead_letters ORDER BY number LIMIT 1").fetchone()[0]
            self.assertIn(b"gw/b", kept)
            epoch = max(e["epoch"] for e in self.system.events("partition.taken_over", partition=int(letter["partitions"])))
            self.assertGreater(epoch, 1)
            poison.execute("DROP TRIGGER poison")
        self.system.expect(
            "update", {"agent": "gw/b", "variables": {"N": "1"}, "wake": False}, idempotency_key="poisoned", seconds=30)
        self.goes_on()
        # The owner never carried on from what was not committed.
        self.assertEqual(revisions(self.system, "gw/b"), [1, 2])
        self.assertEqual(self.went_offline(), [])

    def test_an_unreadable_frame_of_a_service(self):
        self.begin()
        service = self.system.client("svc:reconciler/1", self.system.secret("svc:reconciler/1"), "svc:reconciler/1~test")
        store = f"{TOPIC_ROOT}/internal/streams/store"
        stream = {"service": "reconciler", "instance": "9", "incarnation": "x", "stream": "events/0/1"}
        for body in ({"partition": 0, "epoch": 1, "entries": 7}, {"what": "is this"}):
            stream["stream"] += "+"
            service.publish(store, {"id": stream, "seq": 1, "lowWaterMark": 1, "age": 0, "body": body})
        self.system.wait_for_event("store.dead_letter", count=1)
        # It comes from nobody who owns anything: whoever does is not disturbed.
        self.goes_on()
        self.assertEqual({e["partitions"] for e in self.system.events("store.dead_letter")}, {""})
        self.assertEqual(self.system.events("partition.dropped"), [])

    def test_an_older_copy_is_put_in_its_place(self):
        """Its reconciler lives on, and knows what the copy does not: it takes what is stored."""
        self.begin()
        path = database_of(self.system)
        copy = path.with_suffix(".copy")
        self.system.cli("backup", copy, "--database", f"sqlite:{path}", check=True)
        self.goes_on()
        self.system.expect("provision", {"agent": "gw/c", "role": "worker", "board": "x", "wake": False})
        self.system.expect("update", {"agent": "gw/b", "variables": {"N": "1"}, "wake": False})
        supervisor = self.system.pid
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(self.system.child("status-store"), signal.SIGKILL)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            copy.rename(path)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.system.wait_for_event("service.started", 20, count=2, service="status-store")
        self.goes_on()
        self.assertEqual(revisions(self.system, "gw/b"), [1])
        self.assertEqual(self.system.request("get", {"agent": "gw/c"})[0], 404)
        answer = self.system.expect("provision", {"agent": "gw/c", "role": "worker", "board": "x", "wake": False})
        self.assertEqual(answer["record"]["revision"], 1)
        self.assertEqual(self.went_offline(), [])

    def test_damage_is_named_by_the_next_start(self):
        self.begin()
        path = database_of(self.system)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with open(path, "r+b") as file:
            for position in range(4_096, size, 4_096):
                file.seek(position)
                file.write(b"\xff" * 4_096)
        os.kill(self.system.child("status-store"), signal.SIGKILL)
        failed = self.system.wait_for_event("service.failed", 20)
        self.assertIn("put a copy in its place", failed["error"])
        self.assertIn(str(path), failed["error"])


def fill(path):
    """Writes a file until there is no room left."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65_536, 4_096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


class Large(unittest.TestCase):
    """A system with more gateways than one answer holds."""

    def test_a_lookup_whose_answer_is_too_large_is_refused(self):
        system = RollcallSystem()
        self.addCleanup(system.close)
        system.start()
        system.expect("add-gateway", {"gateway": "gw"})
        system.expect("provision", {"agent": "gw/a", "role": "main", "wake": False})
        system.stop()
        with contextlib.closing(sqlite3.connect(database_of(system))) as connection:
            partitions = int(connection.execute("SELECT value FROM meta WHERE key = 'partitions'").fetchone()[0])
            (state,) = connection.execute("SELECT CAST(state AS TEXT) FROM gateways WHERE gateway = 'gw'").fetchone()
            names = [f"gateway-{number:05}" for number in range(20_000)]
            connection.executemany(
                "INSERT INTO gateways VALUES(?, ?, CAST(? AS BLOB))",
                [(name, fnv1a(name) % partitions, state.replace('"gw"', f'"{name}"')) for name in names])
            connection.commit()
        system.start()
        status, problem = system.request("summary")
        self.assertEqual((status, problem["type"]), (413, "too-large"), problem)
        self.assertIn("one gateway at a time", problem["detail"])
        self.assertEqual(system.expect("summary", {"gateway": "gw"})["total"], 1)
        self.assertEqual(system.expect("summary", {"gateway": names[-1]})["total"], 0)
        self.assertEqual(system.cli("status").returncode, 2)


def fnv1a(text):
    """Which partition a gateway lies in follows from this."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


if __name__ == "__main__":
    unittest.main()
