"""Where a trial's system runs, so that everything can befall it and nothing else: a network and mounts of its own.

`rollcall up` starts the programs beside its own, and mosquitto from PATH. A stage is a directory with `rollcall` and small
scripts in their places: each service reaches the broker by an address of its own, on which its packets can be dropped,
and reads the wall clock through libfaketime; the broker has a state on disk that can be exchanged while it is dead.
"""

import glob
import os
import pathlib
import shutil
import subprocess
import time

SERVICES = {
    "reconciler": "reconciler", "store": "status-store", "ingest": "heartbeat-ingest", "provisioner": "provisioner",
    "broker": "broker",
}
PORT = 1883
# Third byte of the addresses (127.0.N.instance) by which the parties reach the broker.
NETS = {"reconciler": 1, "ingest": 2, "provisioner": 3, "store": 4, "gateway": 5, "operator": 6}
# The directory with the database and all else: larger than any trial needs; full is what a fault makes it.
DISK_BYTES = 4 << 30
BROKER_SAVES_EVERY = 5
INSIDE = "ROLLCALL_FAULTS_STAGE"

SERVICE_SCRIPT = """#!/bin/sh
# Starts the service with its own way to the broker, and with its own wall clock.
previous=
for argument do
    [ "$previous" = --instance ] && instance=$argument
    previous=$argument
done
previous=
for argument do
    shift
    [ "$previous" = --broker ] && argument="{broker}"
    set -- "$@" "$argument"
    previous=$argument
done
{clock}
exec {program} "$@"
"""
BROKER_SCRIPT = """#!/bin/sh
# Starts the broker on every address, with a state on disk; {stage}/broker/next says what becomes of that first.
cd {stage}/broker || exit 1
if [ -e next ]; then
    rm -f state/* {data}/broker-identities
    cp kept/"$(cat next)"/mosquitto.db state/ 2>/dev/null
    cp kept/"$(cat next)"/broker-identities {data}/ 2>/dev/null
    rm -f next
fi
sed -e 's,^persistence false$,persistence true\\npersistence_location {stage}/broker/state/\\nautosave_interval {every},' \\
    {listen} "$2" > mosquitto.conf
instance=1
{clock}
exec {program} -c mosquitto.conf
"""
# libfaketime adds a variable to the environment, behind which a program in Swift does not find its arguments any more:
# env(1), which it is loaded into first, does so for the program.
CLOCK_LINES = """export LD_PRELOAD={library} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1
export FAKETIME_TIMESTAMP_FILE="{stage}/clock/{name}-$instance\""""


def isolation():
    """The command that gives a process a network and mounts of its own; None where that is not allowed."""
    for command in (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"]):
        try:
            if subprocess.run([*command, "true"], capture_output=True, timeout=10).returncode == 0:
                return command
        except (OSError, subprocess.TimeoutExpired):
            continue
    return None


def faketime():
    """libfaketime for programs with threads; None where it is not installed."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib/faketime/libfaketime.so.1")
    return found[0] if found else None


def mosquitto():
    return shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


class Stage:
    """`is_isolated`: this process has been started through `isolation()`."""

    def __init__(self, directory, build, is_isolated, has_clocks=True):
        self.directory = pathlib.Path(directory)
        self.programs = self.directory / "programs"
        self.data = self.directory / "disk" / "data"
        self.broker = self.directory / "broker"
        self.is_isolated = is_isolated
        self.library = faketime() if has_clocks else None
        self.port = PORT if is_isolated else 0
        self._build = pathlib.Path(build)
        for path in (self.programs, self.directory / "disk", self.directory / "clock", self.broker / "state",
                     self.broker / "kept"):
            path.mkdir(parents=True)
        if is_isolated:
            self._run("ip", "link", "set", "lo", "up")
            self._mount(DISK_BYTES)
            # libfaketime leaves a file in it for each process that is killed.
            self._run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", "/dev/shm")
            self._make_rules()
        self._make_programs()

    def address(self, party, number=1):
        """Where this party finds the broker (after the start)."""
        return (f"127.0.{NETS[party]}.{number}" if self.is_isolated else "127.0.0.1"), self.port

    def close(self):
        if self.is_isolated:
            subprocess.run(["umount", "-l", self.directory / "disk"], capture_output=True)

    # Programs

    def _make_programs(self):
        # A link would be followed to the programs that it lies beside.
        shutil.copy(self._build / "rollcall", self.programs / "rollcall")
        os.symlink(self._build / "libRollcallBrokerAccess.so", self.programs / "libRollcallBrokerAccess.so")
        # Nobody of a trial speaks HTTP yet.
        os.symlink(self._build / "rollcall-control-api", self.programs / "rollcall-control-api")
        for name, service in SERVICES.items():
            if name == "broker":
                continue
            broker = "$argument"
            if self.is_isolated:
                broker = f"mqtt://svc%3A{service}%2F$instance@127.0.{NETS[name]}.$instance:{self.port}"
            self._write_script(f"rollcall-{service}", SERVICE_SCRIPT.format(
                broker=broker, clock=self._clock_lines(name), program=f"env {self._build}/rollcall-{service}"))
        self._write_script("mosquitto", BROKER_SCRIPT.format(
            stage=self.directory, data=self.data, every=BROKER_SAVES_EVERY, clock=self._clock_lines("broker"),
            listen=r"-e 's,^\(listener [0-9]*\) 127.0.0.1$,\1,'" if self.is_isolated else "", program=mosquitto()))

    def _write_script(self, name, script):
        path = self.programs / name
        path.write_text(script)
        path.chmod(0o755)

    def _clock_lines(self, name):
        if not self.library:
            return ""
        return CLOCK_LINES.format(library=self.library, stage=self.directory, name=name)

    # Clocks

    def set_clock(self, victim, hours):
        """The wall clock of `reconciler`, `ingest/2`, …: so many hours from the true one; within two seconds."""
        name, _, instance = victim.partition("/")
        path = self.directory / "clock" / f"{name}-{instance or 1}"
        unfinished = path.with_suffix(".new")
        unfinished.write_text(f"{hours:+d}h\n" if hours else "+0\n")
        unfinished.rename(path)

    # The broker's state

    def keep_broker_state(self, name):
        """A copy of what the broker has saved, to be put in its place later; whether there was anything."""
        kept = self.broker / "kept" / name
        kept.mkdir(exist_ok=True)
        try:
            shutil.copy(self.broker / "state" / "mosquitto.db", kept / "mosquitto.db")
            shutil.copy(self.data / "broker-identities", kept / "broker-identities")
        except FileNotFoundError:
            shutil.rmtree(kept)
            return False
        return True

    def exchange_broker_state(self, name):
        """The next start of the broker finds the state of that name; it finds nothing when there is none."""
        (self.broker / "next.new").write_text(name)
        (self.broker / "next.new").rename(self.broker / "next")

    # Disk

    def _mount(self, size):
        self._run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", self.directory / "disk")

    def fill_disk(self):
        """Nothing more can be written to the data directory but what lies in it already; whether that is so."""
        for _ in range(20):
            state = os.statvfs(self.directory / "disk")
            used = (state.f_blocks - state.f_bfree) * state.f_frsize
            # It may grow between the two calls: then the kernel refuses.
            if subprocess.run(["mount", "-o", f"remount,size={used}", self.directory / "disk"],
                              capture_output=True).returncode == 0:
                return True
            time.sleep(0.01)
        return False

    def free_disk(self):
        self._run("mount", "-o", f"remount,size={DISK_BYTES}", self.directory / "disk")

    # Network

    def _make_rules(self):
        """Packets to or from the addresses in two sets are dropped; both sets are empty yet.

        On their way in: TCP is told of a packet that cannot leave, and then does not repeat it as one that was lost.
        """
        rules = """
            add table ip faults
            add set ip faults to_broker { type ipv4_addr; }
            add set ip faults from_broker { type ipv4_addr; }
            add chain ip faults input { type filter hook input priority 0; }
            add rule ip faults input ip daddr @to_broker drop
            add rule ip faults input ip saddr @from_broker drop
        """
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def drop(self, address, directions):
        """Bytes on that way vanish, `directions` of `to_broker` and `from_broker`, until `pass_again`."""
        for direction in directions:
            self._run("nft", "add", "element", "ip", "faults", direction, f"{{ {address} }}")

    def pass_again(self, address, directions):
        for direction in directions:
            self._run("nft", "delete", "element", "ip", "faults", direction, f"{{ {address} }}")

    def cut(self, address):
        """Ends the connections on that way with a RST for both sides."""
        subprocess.run(["ss", "-t", "-K", "dst", address], capture_output=True)

    @staticmethod
    def _run(*command):
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
