"""Services that a test starts one by one on a broker of its own that lets everybody in, each with its metrics."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from rollcall_system import BUILD, REPOSITORY, ROLLCALL, free_port

SERVICES = ("status-store", "reconciler", "provisioner", "heartbeat-ingest", "control-api")


def get(port, path, **headers):
    """Status, content type and text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


class LoneServices:
    """For a TestCase; everything ends with its test."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-services-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.broker_port = free_port()
        self.processes = {}
        self.http_port = None

    def run_process(self, command, **options):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process

    def start_broker(self):
        configuration = self.directory / "broker.conf"
        configuration.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n")
        return self.run_process([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(configuration)])

    def environment(self, username):
        name = username.replace(":", "%3A").replace("/", "%2F")
        return {**os.environ, "ROLLCALL_BROKER": f"mqtt://{name}:any@127.0.0.1:{self.broker_port}"}

    def start(self, service, *arguments, instance=1):
        """Starts a service; the port of its metrics."""
        name = f"{service}/{instance}"
        arguments = {
            "status-store": ["--database", f"sqlite:{self.directory / 'db'}", "--access", "none"],
            "control-api": ["--http-port", "0"],
            "provisioner": ["--templates", str(REPOSITORY / "infra" / "templates")]}.get(service, []) + [*arguments]
        process = self.run_process(
            [str(BUILD / f"rollcall-{service}"), "--log-format", "json", "--connect-timeout", "60s",
             "--metrics-port", "0", "--instance", str(instance), *arguments], env=self.environment(f"svc:{name}"))
        self.processes[name] = process
        ports = {}
        last = "http.listening" if service == "control-api" else "metrics.listening"
        while last not in ports:
            line = process.stdout.readline()
            self.assertTrue(line, f"{service} ended")
            entry = json.loads(line)
            ports[entry["event"]] = entry.get("port")
        # Nobody reads on: a pipe holds more than this service logs here.
        self.http_port = ports.get("http.listening", self.http_port)
        return ports["metrics.listening"]

    def cli(self, *arguments):
        return subprocess.run(
            [str(ROLLCALL), *arguments], capture_output=True, text=True, timeout=60, check=False,
            env=self.environment("op:admin"))
