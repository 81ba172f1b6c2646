"""What the package for Debian holds beside programs. `infra/scripts/package-test` makes one, installs and runs it."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from rollcall_system import REPOSITORY

PACKAGING = REPOSITORY / "infra/packaging"


class Units(unittest.TestCase):
    """The units that the package installs: systemd takes them, and what a service may do is little."""

    EXPOSURE_MAX = 2.0

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.root = pathlib.Path(temporary.name)
        cls.units = cls.root / "usr/lib/systemd/system"
        subprocess.run([str(REPOSITORY / "infra/scripts/package"), "--units", str(cls.units)], check=True)
        # What systemd looks for when it verifies.
        for target in pathlib.Path("/lib/systemd/system").glob("*.target"):
            shutil.copy(target, cls.units)
        programs = cls.root / "usr/lib/rollcall"
        programs.mkdir(parents=True)
        for unit in cls.units.glob("rollcall-*@.service"):
            program = programs / unit.name.removesuffix("@.service")
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        (cls.root / "bin").mkdir()
        shutil.copy("/bin/sh", cls.root / "bin/sh")

    def test_there_is_one_for_each_service(self):
        products = re.findall(r'\.executable\(name: "(rollcall-[a-z-]+)"', (REPOSITORY / "Package.swift").read_text())
        units = [path.name.removesuffix("@.service") for path in self.units.glob("rollcall-*.service")]
        self.assertEqual(sorted(units), sorted(products))

    def test_systemd_takes_them(self):
        names = ["rollcall.target"] + [f"{path.name.removesuffix('.service')}1.service" for path in self.units.glob("*.service")]
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", f"--root={self.root}", *names],
            capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if "rollcall" in line]
        self.assertEqual(complaints, [], done.stderr)

    def test_what_a_service_may_do_is_little(self):
        for unit in self.units.glob("*.service"):
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(self.EXPOSURE_MAX * 10)}",
                 str(unit)], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)


class Containers(unittest.TestCase):
    def test_the_compose_file_runs_every_service(self):
        """It is parsed, no more: tests have no container runtime."""
        services = yaml.safe_load((PACKAGING / "compose.yaml").read_text())["services"]
        products = re.findall(r'\.executable\(name: "(rollcall-[a-z-]+)"', (REPOSITORY / "Package.swift").read_text())
        self.assertEqual({service["command"][0] for service in services.values()}, {*products, "mosquitto"})
        for name, service in services.items():
            if name != "broker":
                self.assertEqual(service["environment"]["ROLLCALL_PASSWORD_FILE"], f"/etc/rollcall/secrets/svc-{name}-1")


class Broker(unittest.TestCase):
    def test_its_configuration_is_that_of_the_readme(self):
        """But for paths, the listeners of this host, and what Debian's unit wants."""
        readme = (REPOSITORY / "README.md").read_text()
        wanted = re.search(r"```\n(per_listener_settings.*?)^listener", readme, re.MULTILINE | re.DOTALL)[1]
        lines = (PACKAGING / "mosquitto.conf").read_text().splitlines()
        for line in wanted.splitlines():
            if not line.startswith("plugin") or "topic_root" in line:
                self.assertIn(line, lines)


if __name__ == "__main__":
    unittest.main()
