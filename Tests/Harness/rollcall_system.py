"""A private Rollcall system for a test: `rollcall up` on a directory and a port of its own.

    with RollcallSystem("--checkin-deadline", "1s") as system:
        system.cli("add-gateway", "gw", check=True)
        token = system.expect("provision", {"agent": "gw/main", "role": "main"})["token"]
        agent = system.client("gw/main", token)
        status, problem = system.request("wake", {"agent": "gw/nobody"})

`ROLLCALL_BUILD` names the directory of the built programs (default: .build/debug of this repository). With `ROLLCALL_EVIDENCE`,
a directory, every system leaves its log there: `infra/test` keeps it when a test of the file fails.
"""

import concurrent.futures
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from mqtt_client import TOPIC_ROOT, Client  # both are for tests too

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ROLLCALL_BUILD") or REPOSITORY / ".build" / "debug").resolve()
ROLLCALL = BUILD / "rollcall"
# A system is up within a second or two; a loaded machine gets more.
READY_SECONDS = 60
EVIDENCE_NUMBERS = itertools.count(1)


class SystemFailed(AssertionError):
    """`rollcall up` ended, or did not get ready in time; the text holds the end of its log."""


def evidence(name):
    """The path of a new file or directory that is kept when a test of this file fails; `None` when nobody keeps anything."""
    directory = os.environ.get("ROLLCALL_EVIDENCE")
    return pathlib.Path(directory) / f"{next(EVIDENCE_NUMBERS)}-{name}" if directory else None


def clean_environment():
    """This process's environment without what would configure Rollcall."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}


def seconds_of(stamp):
    """A time of a record, an event or the log as seconds since 1970."""
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def wait_until(condition, seconds=10, what="the condition"):
    """Calls `condition` until it gives something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not hold within {seconds} s")
        time.sleep(0.02)


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on. It lies below what Linux gives to outgoing connections, which would take it
    before its user does, and below where `rollcall up` looks."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RollcallSystem:
    """`rollcall up` with its services, from start to stop.

    `arguments` are more options of `rollcall up`; `data` a directory that outlives the system (default: a temporary
    one, removed by `close`); `user` a user to run as (needs root); `environment` more variables.
    """

    def __init__(self, *arguments, data=None, mqtt_port=0, user=None, environment=None):
        self._temporary = None
        if data is None:
            self._temporary = tempfile.mkdtemp(prefix="rollcall-")
            data = pathlib.Path(self._temporary) / "data"
        self.data = pathlib.Path(data)
        self.arguments = [str(argument) for argument in arguments]
        self.mqtt_port = mqtt_port
        self.http_port = 0
        self.user = user
        self.environment = {**clean_environment(), **(environment or {})}
        self.process = None
        self.port = None
        self.env = {}
        self.log_events = []
        self.other_lines = []
        self.errors = ""
        self._readers = []
        self._clients = []
        self._operator = None

    # Life

    def start(self, wait=True, seconds=READY_SECONDS):
        """Starts the system and, with `wait`, returns once it is up."""
        command = [
            str(ROLLCALL), "up", "--data", str(self.data), "--mqtt-port", str(self.mqtt_port),
            "--http-port", str(self.http_port), "--log-format", "json", *self.arguments,
        ]
        if self.user:
            command = ["runuser", "-u", self.user, "--", *command]
        self.log_events = []
        self.other_lines = []
        self.errors = ""
        self._kept_log = evidence("system.log")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
            cwd=self._temporary or "/", start_new_session=True)
        self._readers = [
            threading.Thread(target=self._read_log, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self.process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        if wait:
            self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds=READY_SECONDS):
        """Returns once `rollcall.up` was logged; sets `port` and `env`."""
        ready = self.wait_for_event("rollcall.up", seconds)
        self.port = int(ready["mqtt_port"])
        self.env = read_operator_environment(self.data / "operator.env")
        return ready

    @property
    def pid(self):
        """The process of `rollcall up` itself, also when it was started through runuser."""
        if not self.user:
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def stop(self, seconds=15):
        """Ends the system cleanly (SIGTERM); its exit status."""
        self.disconnect()
        if self.process is None:
            return None
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemFailed(f"rollcall up did not stop within {seconds} s\n{self.tail()}") from None
        self._join()
        return status

    def kill(self):
        """Ends `rollcall up` as a crash would (SIGKILL); its children are to follow by themselves."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)
        self._join()

    def restart(self):
        """Stops, and starts again on the same data and port."""
        self.stop()
        self.mqtt_port = self.port or self.mqtt_port
        self.http_port = int(self.env.get("ROLLCALL_HTTP", ":0").rpartition(":")[2])
        return self.start()

    def close(self):
        """Ends everything and removes a temporary directory."""
        try:
            self.stop()
        finally:
            if self._temporary:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    # Log

    def events(self, name, **members):
        """The log events of that name whose members have these values."""
        return [
            event for event in list(self.log_events)
            if event.get("event") == name and all(event.get(key) == value for key, value in members.items())
        ]

    def wait_for_event(self, name, seconds=10, count=1, **members):
        """The newest of at least `count` log events of that name and members."""
        end = time.monotonic() + seconds
        while True:
            found = self.events(name, **members)
            if len(found) >= count:
                return found[-1]
            if self.process.poll() is not None:
                self._join()
                if len(self.events(name, **members)) >= count:
                    continue
                raise SystemFailed(f"rollcall up ended with {self.process.returncode} before {name}\n{self.tail()}")
            if time.monotonic() > end:
                raise SystemFailed(f"no {name} {members or ''} within {seconds} s\n{self.tail()}")
            time.sleep(0.02)

    def suspensions(self):
        """Grows whenever the system says that a part of it stood still, that it judges nobody, or that it judges again. Then
        heartbeats may have been lost, and wakes are repeated: that is right, and no test of an exact order of things."""
        return sum(len(self.events(name)) for name in ("service.stalled", "reconciler.blind", "reconciler.sighted"))

    def tail(self, lines=40):
        """The end of the log and of what went to standard error."""
        log = [json.dumps(event) for event in self.log_events[-lines:]]
        return "\n".join(log + self.other_lines[-lines:] + [self.errors])

    def child(self, name):
        """The process id of the newest child of that name: `broker`, `provisioner`, `reconciler`, …"""
        return int(self.events("up.child_started", child=name)[-1]["pid"])

    def children(self):
        """The newest process id of each child, by name."""
        return {event["child"]: int(event["pid"]) for event in self.events("up.child_started")}

    # Use

    def cli(self, *arguments, check=False, input=None, seconds=60, environment=None):
        """Runs `rollcall ARGUMENTS` as the operator; the completed process with text output."""
        completed = subprocess.run(
            [str(ROLLCALL), *map(str, arguments)], input=input, capture_output=True, text=True, timeout=seconds,
            env={**self.environment, **self.env, **(environment or {})}, cwd=self._temporary or "/", check=False)
        if check and completed.returncode != 0:
            raise AssertionError(
                f"rollcall {' '.join(map(str, arguments))} ended with {completed.returncode}\n"
                f"{completed.stdout}{completed.stderr}")
        return completed

    def json(self, *arguments, **options):
        """The answer of `rollcall ARGUMENTS --json`, which must succeed."""
        return json.loads(self.cli(*arguments, "--json", check=True, **options).stdout)

    def client(self, username=None, password=None, client_id="", will=None, connect=True):
        """A connected MQTT 5 client (`Client`), as the operator unless told otherwise."""
        if username is None:
            username, password = self.env["ROLLCALL_USERNAME"], self.env["ROLLCALL_PASSWORD"]
        client = Client(self.port, username, password, client_id, will)
        self._clients.append(client)
        if connect:
            client.connect()
        return client

    def operator(self):
        """A connected client as the operator."""
        return self.client()

    def request(self, verb, members=None, **options):
        """Sends a command as the operator, on one connection for all: `(status, answer)`, see `Client.request`."""
        if self._operator is None:
            self._operator = self.operator()
        return self._operator.request(verb, members, **options)

    def expect(self, verb, members=None, **options):
        """The answer to a command that must succeed, see `Client.expect`."""
        if self._operator is None:
            self._operator = self.operator()
        return self._operator.expect(verb, members, **options)

    def insist(self, verb, members=None, **options):
        """The same on a busy machine, see `Client.insist`."""
        if self._operator is None:
            self._operator = self.operator()
        return self._operator.insist(verb, members, **options)

    def each(self, agents, body, operators=4):
        """The results of `body(operator, agent)` for every agent, `operators` of them at a time (one identity has 8 connections)."""
        clients = [self.operator() for _ in range(operators)]

        def work(number):
            return [body(clients[number], agent) for agent in agents[number::operators]]

        try:
            with concurrent.futures.ThreadPoolExecutor(operators) as pool:
                return [result for results in pool.map(work, range(operators)) for result in results]
        finally:
            for client in clients:
                client.close()
                self._clients.remove(client)

    def secret(self, username):
        """The secret of an operator or a service of this system."""
        return (self.data / "secrets" / username.replace(":", "-").replace("/", "-")).read_text().strip()

    def reload_identities(self, username, secret=None):
        """Lets the broker read the file of operators and services again; returns once it knows this one."""
        os.kill(self.child("broker"), signal.SIGHUP)

        def is_known():
            try:
                Client(self.port, username, secret or self.secret(username), f"{username}~known").connect().close()
            except PermissionError:
                return False
            return True

        wait_until(is_known, 10, f"a welcome for {username}")

    def disconnect(self):
        """Closes every client that this system gave."""
        for client in self._clients:
            client.close()
        self._clients = []
        self._operator = None

    # Inside

    def _read_log(self, stream):
        with stream, open(self._kept_log or os.devnull, "wb", buffering=0) as kept:
            for line in stream:
                kept.write(line)
                self._take(line.decode(errors="replace").rstrip("\n"))

    def _take(self, text):
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if isinstance(event, dict):
            self.log_events.append(event)
        else:
            self.other_lines.append(text)

    def _read_errors(self, stream):
        with stream:
            for line in stream:
                self.errors += line.decode(errors="replace")

    def _join(self):
        for reader in self._readers:
            reader.join(10)


def read_operator_environment(path):
    """The variables that a shell has after sourcing `path`."""
    completed = subprocess.run(
        ["sh", "-c", '. "$0"; env -0', str(path)], capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    pairs = (entry.split("=", 1) for entry in completed.stdout.decode().split("\0") if "=" in entry)
    return {name: value for name, value in pairs if name.startswith("ROLLCALL_")}
