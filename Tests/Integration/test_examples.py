"""The examples of infra/examples, each run against a system as a reader would run it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from rollcall_system import REPOSITORY, ROLLCALL, RollcallSystem, clean_environment, wait_until

EXAMPLES = REPOSITORY / "infra" / "examples"


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--heartbeat-interval", "1s", "--checkin-deadline", "4s").start()
        cls.addClassCleanup(cls.system.close)
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.system.cli("add-gateway", "lab", check=True)

    def provision(self, name):
        """A new agent that nobody has woken; the file of its token."""
        token = self.system.expect("provision", {"agent": f"lab/{name}", "role": "worker", "board": "a", "wake": False})
        file = self.directory / f"{name}.tok"
        file.write_text(token["token"] + "\n")
        return str(file)

    def start(self, *command, environment=None):
        process = subprocess.Popen(
            command, cwd=self.directory, env={**clean_environment(), **self.system.env, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)

    def record(self, agent):
        return self.system.expect("get", {"agent": agent})["record"]

    def await_status(self, agent, status):
        wait_until(lambda: self.record(agent)["status"] == status, 20, f"{agent} being {status}")

    def wake_until_online(self, name):
        """An example says nothing before its first wake. One that subscribes after it is woken again."""
        self.system.expect("wake", {"agent": f"lab/{name}"})
        self.await_status(f"lab/{name}", "online")

    def seen_again(self, name):
        seen = self.record(f"lab/{name}")["last_seen_at"]
        wait_until(lambda: self.record(f"lab/{name}")["last_seen_at"] != seen, 20, "another heartbeat")

    def gateway(self, name, on_wake, environment=None):
        """A gateway of one agent whose command is this recipe; the agent's address."""
        token = self.system.expect("add-gateway", {"gateway": name})["token"]
        file = self.directory / f"{name}.tok"
        file.write_text(token)
        self.system.expect("provision", {"agent": f"{name}/one", "role": "worker", "board": "a", "wake": False})
        self.start(
            str(ROLLCALL), "gateway", name, "--token-file", str(file), "--dir", str(self.directory), "--on-wake",
            on_wake, environment={"ROLLCALL_BROKER": f"mqtt://127.0.0.1:{self.system.port}", **(environment or {})})
        return f"{name}/one"

    def run_recipe(self, name, on_wake, environment=None):
        agent = self.gateway(name, on_wake, environment)
        self.system.expect("wake", {"agent": agent})
        self.await_status(agent, "online")
        return agent

    def test_an_agent_with_paho(self):
        token = self.provision("paho")
        process = self.start(sys.executable, str(EXAMPLES / "agent.py"), "lab/paho", token)
        self.wake_until_online("paho")
        self.seen_again("paho")
        # Its Last Will speaks for it when it is killed.
        process.kill()
        lapses = lambda: [e for e in self.system.expect("history", {"agent": "lab/paho"})["events"] if e["event"] == "lapsed"]
        wait_until(lapses, 20, "the Last Will")

    def test_an_agent_with_mosquitto_clients(self):
        token = self.provision("clients")
        self.start(str(EXAMPLES / "agent-mosquitto.sh"), "lab/clients", token)
        self.wake_until_online("clients")
        self.seen_again("clients")

    def test_an_agent_with_curl(self):
        token = self.provision("curl")
        self.system.expect("wake", {"agent": "lab/curl"})
        self.start(str(EXAMPLES / "agent-curl.sh"), token, "1")
        self.await_status("lab/curl", "online")
        self.seen_again("curl")

    def test_a_refused_token_ends_the_agent_with_curl(self):
        token = self.provision("wrong")
        pathlib.Path(token).write_text("rc1:lab/wrong.nothing\n")
        process = self.start(str(EXAMPLES / "agent-curl.sh"), token, "1")
        output, _ = process.communicate(timeout=20)
        self.assertEqual((process.returncode, output.strip()), (1, "refused with 401: see the agent's record"))

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not here")
    def test_a_unit_of_systemd(self):
        # The program's path is that of the package; what is verified is the unit.
        unit = self.directory / "rollcall-agent@.service"
        text = (EXAMPLES / unit.name).read_text().replace("/usr/bin/rollcall", str(ROLLCALL))
        unit.write_text(text)
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
        complaints = [line for line in verified.stderr.splitlines() if unit.name in line or "rollcall-agent" in line]
        self.assertEqual(complaints, [])
        # The command line of the unit, with what systemd would put into it.
        token = self.provision("unit")
        line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        values = {"AGENT": "lab/unit", "CREDENTIALS_DIRECTORY": str(self.directory), "STATE_DIRECTORY": str(self.directory),
                  "COMMAND": "exec sleep 600"}
        shutil.copy(token, self.directory / "token")
        command = [
            re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], word)
            for word in line.removeprefix("ExecStart=").split()]
        self.start(*command, environment={"ROLLCALL_BROKER": f"mqtt://127.0.0.1:{self.system.port}"})
        self.wake_until_online("unit")

    def test_a_tmux_session_for_each_agent(self):
        # A server of tmux belongs to the directory that TMUX_TMPDIR names.
        environment = {"TMUX_TMPDIR": str(self.directory)}
        agent = self.run_recipe("mux", f"exec {EXAMPLES}/on-wake-tmux.sh sleep 600", environment)

        def sessions():
            listed = subprocess.run(
                ["tmux", "-L", "rollcall", "list-sessions", "-F", "#{session_name}"], capture_output=True, text=True,
                env={**clean_environment(), **environment})
            return listed.stdout.split()

        self.assertEqual(sessions(), ["mux-one"])
        self.system.expect("delete", {"agent": agent})
        wait_until(lambda: not sessions(), 20, "the end of its session")

    def test_a_container_for_each_agent(self):
        engine = self.stand_in("engine", '[ "$1" = rm ] || { echo "$@" > engine.calls; exec sleep 600; }')
        agent = self.run_recipe("box", f"exec {EXAMPLES}/on-wake-container.sh IMAGE work", {"ROLLCALL_ENGINE": engine})
        call = self.written(agent, "engine.calls")
        self.assertIn(f"run --rm --init --name rollcall-box-one -v {self.directory / agent}:/agent -w /agent", call)
        self.assertTrue(call.rstrip().endswith("IMAGE work"), call)

    def test_an_openclaw_agent(self):
        openclaw = self.stand_in("openclaw", '[ "$1" = health ] || echo "$1 $2 $3 $4" > turn')
        agent = self.run_recipe("claw", f"exec {EXAMPLES}/on-wake-openclaw.sh", {"OPENCLAW": openclaw})
        self.assertEqual(self.written(agent, "turn").strip(), "agent --agent one --message")

    def test_a_program_that_is_not_there_is_named_on_the_record(self):
        agent = self.gateway("none", f"exec {EXAMPLES}/on-wake-openclaw.sh", {"OPENCLAW": "no-such-openclaw"})
        self.system.expect("wake", {"agent": agent})
        wait_until(lambda: self.record(agent)["last_exit_status"] == 127, 20, "the exit status on the record")

    def written(self, agent, name):
        """What a stand-in has left in its agent's directory, once it has."""
        path = self.directory / agent / name
        return wait_until(lambda: path.exists() and path.read_text(), 10, f"{path}")

    def stand_in(self, name, script):
        """A program of this name, where the real one cannot be had."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)


if __name__ == "__main__":
    unittest.main()
