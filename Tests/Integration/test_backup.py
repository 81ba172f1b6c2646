"""`rollcall backup`: what was answered before it is in it, it holds up nobody, and a system goes on from it elsewhere."""

import pathlib
import shutil
import stat
import tempfile
import threading
import time
import unittest

from rollcall_system import RollcallSystem, wait_until

AGENTS = 300
CHECKIN = ("--checkin-deadline", "5s")


class Backup(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-backup-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.file = self.directory / "rollcall.backup"
        self.system = RollcallSystem(*CHECKIN)
        self.addCleanup(self.system.close)
        self.system.start()

    def backup(self, *arguments, **options):
        return self.system.cli("backup", self.file, *(arguments or ("--data", self.system.data)), **options)

    def restored(self):
        """A system on the file, in another directory."""
        data = self.directory / "elsewhere"
        data.mkdir()
        shutil.copy(self.file, data / "rollcall.db")
        system = RollcallSystem(*CHECKIN, data=data)
        self.addCleanup(system.close)
        return system.start()

    def test_nothing_that_was_answered_is_missing_under_load(self):
        self.system.expect("add-gateway", {"gateway": "gw"})
        answered = {}  # agent: revision and when it was answered
        updates = []  # when each was asked for, and answered
        stop = threading.Event()

        def work(number):
            client = self.system.operator()
            for agent in (f"gw/a{n}" for n in range(number, AGENTS, 3)):
                client.insist("provision", {"agent": agent, "role": "worker", "board": "b", "wake": False})
            n = 0
            while not stop.is_set():
                agent, n = f"gw/a{number + n % (AGENTS // 3) * 3}", n + 1
                asked = time.monotonic()
                answer = client.insist("update", {"agent": agent, "variables": {"N": str(n)}, "wake": False})
                updates.append((asked, time.monotonic()))
                answered.setdefault(agent, []).append((time.monotonic(), answer["record"]["revision"]))

        workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for worker in workers:
            worker.start()
        try:
            wait_until(lambda: len(answered) >= AGENTS, 120, "a first update of every agent")
            began = time.monotonic()
            self.backup(check=True)
            ended = time.monotonic()
            wait_until(lambda: all(any(at > ended for at, _ in list(list_)) for list_ in list(answered.values())), 120,
                       "updates after the backup")
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        # Before and after it a busy machine may lose one, which is asked for again after 10 s.
        self.assertLess(max(end - start for start, end in updates), 25)
        self.assertLess(max(end - start for start, end in updates if start <= ended and end >= began), 5)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual(list(self.directory.iterdir()), [self.file], "something was left behind")
        self.system.stop()

        restored = self.restored()
        records = restored.expect("list", {"limit": 1000})["records"]
        revision = {record["agent"]: record["revision"] for record in records}
        after = 0
        for agent, answers in answered.items():
            self.assertGreaterEqual(revision.get(agent, 0), max((r for at, r in answers if at <= began), default=0), agent)
            # What was asked for after it is not in it: it is one state, not a mixture.
            after += sum(revision[agent] < r for at, r in answers if at > ended)
        self.assertGreater(after, 0)

    def test_the_system_works_on_it(self):
        token = self.system.expect("add-gateway", {"gateway": "gw"})["token"]
        agent = self.system.expect("provision", {"agent": "gw/a", "role": "main", "wake": False})["token"]
        self.backup(check=True)
        later = self.system.expect("rotate-token", {"agent": "gw/a", "now": True})["token"]
        self.system.expect("provision", {"agent": "gw/b", "role": "worker", "board": "b", "wake": False})
        self.system.stop()

        restored = self.restored()
        self.assertEqual(restored.request("get", {"agent": "gw/b"})[0], 404)
        with self.assertRaises(PermissionError):
            restored.client("gw/a", later)
        restored.client("gw", token)
        client = restored.client("gw/a", agent)
        client.subscribe("rollcall/v1/agents/gw/a/wake")
        restored.expect("wake", {"agent": "gw/a"})
        client.publish("rollcall/v1/agents/gw/a/heartbeat", "")
        wait_until(
            lambda: restored.expect("get", {"agent": "gw/a"})["record"]["status"] == "online", 10, "gw/a online")
        self.assertEqual(restored.stop(), 0)

    def test_it_is_refused_with_a_reason(self):
        self.file.write_text("mine")
        refused = self.backup()
        self.assertEqual((refused.returncode, self.file.read_text()), (1, "mine"))
        self.assertIn("it is there already", refused.stderr)
        self.file.unlink()
        for url, reason in (
            (f"sqlite:{self.directory}/nothing.db", "unable to open"), (f"sqlite:{self.directory}", "no regular file"),
            (f"sqlite:{self.system.data}/mosquitto.conf", "not a database"),
        ):
            refused = self.backup("--database", url)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(reason, refused.stderr)
        self.assertEqual(self.backup("--database", "postgres://h/d").returncode, 2)
        self.file = self.directory / "none" / "file"
        refused = self.backup()
        self.assertEqual(refused.returncode, 1)
        self.assertIn("No such file or directory", refused.stderr)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_it_works_while_no_store_runs(self):
        self.system.expect("add-gateway", {"gateway": "gw"})
        self.system.kill()
        self.backup(check=True)
        self.assertEqual([g["gateway"] for g in self.restored().expect("list-gateways", {})["gateways"]], ["gw"])


if __name__ == "__main__":
    unittest.main()
