"""TLS to the broker: each mistake has words of its own, which name the file and the cause, from every kind of program."""

import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import unittest

from rollcall_system import BUILD, REPOSITORY, ROLLCALL, clean_environment, free_port, wait_until

PAST, PRESENT, FUTURE = ("20200101000000Z", "20210101000000Z"), ("20200101000000Z", "20991231000000Z"), (
    "20900101000000Z", "20991231000000Z")


class Broker:
    """mosquitto with TLS, to which everybody may connect."""

    def __init__(self, directory, port):
        self.directory, self.port, self.process, self.reader = directory, port, None, None

    def start(self, certificate, authority=None):
        """With this certificate of the server's key, and only for clients of an authority."""
        lines = [
            f"listener {self.port} 127.0.0.1", "allow_anonymous true", f"certfile {certificate}",
            f"keyfile {self.directory / 'server.key'}", f"cafile {authority or self.directory / 'ca.crt'}",
            f"require_certificate {'true' if authority else 'false'}", "persistence false", "user root"]
        (self.directory / "broker.conf").write_text("\n".join(lines) + "\n")
        self.stop()
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.directory / "broker.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True)
        for line in self.process.stderr:
            if "running" in line:
                break
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.reader.join()
            self.process.stderr.close()


class BrokerCertificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        cls.addClassCleanup(temporary.cleanup)
        cls.directory = pathlib.Path(temporary.name)
        cls.make("own")
        cls.make("other")
        cls.own = cls.directory / "own"
        (cls.own / "text.crt").write_text("no certificate\n")
        (cls.own / "token").write_text("secret\n")
        for name, common_name, times in [
                ("good", "localhost", PRESENT), ("named", "broker.example", PRESENT), ("ended", "localhost", PAST),
                ("early", "localhost", FUTURE)]:
            cls.sign(name, common_name, *times)
        cls.broker = Broker(cls.own, free_port())
        cls.addClassCleanup(cls.broker.stop)

    @classmethod
    def make(cls, name):
        subprocess.run(
            [str(REPOSITORY / "infra" / "scripts" / "make-certs"), str(cls.directory / name)], check=True,
            capture_output=True)

    @classmethod
    def sign(cls, file, common_name, start, end):
        """A certificate of this name and time for the server's key; localhost is also 127.0.0.1."""
        path = cls.own / file
        path.mkdir()
        (path / "index").touch()
        (path / "serial").write_text("01\n")
        names = "DNS:localhost,IP:127.0.0.1" if common_name == "localhost" else f"DNS:{common_name}"
        (path / "conf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}/index\nserial={path}/serial\nnew_certs_dir={path}\n"
            f"default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName={names}\n")
        subprocess.run(
            ["openssl", "req", "-new", "-key", str(cls.own / "server.key"), "-subj", f"/CN={common_name}", "-out",
             str(path / "request")], check=True, capture_output=True)
        subprocess.run(
            ["openssl", "ca", "-batch", "-config", str(path / "conf"), "-cert", str(cls.own / "ca.crt"), "-keyfile",
             str(cls.own / "ca.key"), "-in", str(path / "request"), "-out", f"{path}.crt", "-startdate", start,
             "-enddate", end], check=True, capture_output=True)

    def programs(self):
        """A service, an operator's command and a runtime: (command, environment)."""
        url = f"127.0.0.1:{self.broker.port}"
        return {
            "service": [str(BUILD / "rollcall-heartbeat-ingest"), "--broker", f"mqtts://{url}"],
            "operator": [str(ROLLCALL), "gateways", "--broker", f"mqtts://op%3Aann:x@{url}"],
            "runtime": [
                str(ROLLCALL), "agent", "lab/ada", "--on-wake", "true", "--dir", str(self.directory / "agents"),
                "--token-file", str(self.own / "token"), "--broker", f"mqtts://{url}"],
        }

    def said(self, command, *arguments):
        """(exit status, what a program that cannot connect says)."""
        ended = subprocess.run(
            [*command, "--connect-timeout", "1s", *arguments], env=clean_environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60)
        return ended.returncode, ended.stdout

    def check(self, status, pattern, *arguments):
        """Every program ends so, and says this."""
        for kind, command in self.programs().items():
            with self.subTest(kind):
                ended, text = self.said(command, *arguments)
                self.assertEqual(ended, status, text)
                self.assertRegex(text, pattern)
                self.assertNotIn("TLS error", text)

    def test_files(self):
        """What is wrong with our own files is said before anybody is connected: there is no broker."""
        ca, certificate, key = self.own / "ca.crt", self.own / "client.crt", self.own / "client.key"
        text, absent, other = self.own / "text.crt", self.own / "absent", self.own / "server.key"
        for pattern, arguments in [
                (f"{text}: is no certificate in PEM", ("--ca-file", text)),
                (f"{absent}: No such file", ("--ca-file", absent)),
                (f"{absent}: No such file", ("--cert-file", absent, "--key-file", key)),
                (f"{text}: is no certificate in PEM", ("--cert-file", text, "--key-file", key)),
                (f"{text}: is no key in PEM", ("--cert-file", certificate, "--key-file", text)),
                (f"{other}: is not the key of the certificate {certificate}",
                 ("--cert-file", certificate, "--key-file", other)),
                (f"{self.own}/ended.crt: the certificate ended on Jan  1 00:00:00 2021 GMT",
                 ("--cert-file", self.own / "ended.crt", "--key-file", other)),
                (f"{self.own}/early.crt: the certificate begins on Jan  1 00:00:00 2090 GMT",
                 ("--cert-file", self.own / "early.crt", "--key-file", other)),
                ("--cert-file and --key-file belong together", ("--cert-file", certificate)),
        ]:
            self.check(2, re.escape(pattern), *map(str, arguments), *([] if "--ca-file" in arguments else [
                "--ca-file", str(ca)]))

    def test_servers(self):
        """What is wrong with the broker's certificate is said with OpenSSL's verdict."""
        ca, other = str(self.own / "ca.crt"), str(self.directory / "other" / "ca.crt")
        for certificate, trusted, pattern in [
                ("good", other, "'CN=Rollcall trial authority' is from no authority that is trusted: self-signed certificate in certificate chain"),
                ("good", None, "is from no authority that is trusted: self-signed certificate in certificate chain"),
                ("named", ca, "'CN=broker.example' is not for 127.0.0.1 but for DNS:broker.example: IP address mismatch"),
                ("ended", ca, "'CN=localhost' ended on Jan  1 00:00:00 2021 GMT: certificate has expired"),
                ("early", ca, "'CN=localhost' begins on Jan  1 00:00:00 2090 GMT: certificate is not yet valid"),
        ]:
            self.broker.start(self.own / f"{certificate}.crt")
            self.check(
                69, re.escape(f"{pattern}; trusted: {trusted or '/etc/ssl/certs'}"),
                *(["--ca-file", trusted] if trusted else []))

    def test_names(self):
        self.broker.start(self.own / "named.crt")
        status, text = self.said(
            [str(ROLLCALL), "gateways", "--broker", f"mqtts://op%3Aann:x@localhost:{self.broker.port}"], "--ca-file",
            str(self.own / "ca.crt"))
        self.assertEqual(status, 69)
        self.assertIn("is not for localhost but for DNS:broker.example: hostname mismatch", text)

    def test_clients(self):
        """A broker that asks for a certificate says what it thinks of ours."""
        trusted = ["--ca-file", str(self.own / "ca.crt")]
        self.broker.start(self.own / "good.crt", authority=self.own / "ca.crt")
        self.check(69, "the server requires a client certificate, and none is given", *trusted)
        foreign = self.directory / "other" / "client.crt"
        self.check(
            69, re.escape(f"the server does not accept the certificate {foreign}: "), *trusted, "--cert-file",
            str(foreign), "--key-file", str(foreign.with_suffix(".key")))
        status, text = self.said(
            self.programs()["operator"], *trusted, "--cert-file", str(self.own / "client.crt"), "--key-file",
            str(self.own / "client.key"))
        self.assertEqual((status, "nobody takes requests" in text), (1, True), text)

    def test_a_port_without_tls(self):
        plain = subprocess.Popen(["mosquitto", "-p", str(self.broker.port)], stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (plain.terminate(), plain.wait(), plain.stderr.close()))
        next(line for line in plain.stderr if "running" in line)
        self.check(69, "the server does not speak TLS as we do: ", "--ca-file", str(self.own / "ca.crt"))

    def test_a_running_service_meets_an_expired_certificate(self):
        self.broker.start(self.own / "good.crt")
        for kind in ("service", "runtime"):
            process = subprocess.Popen(
                [*self.programs()[kind], "--ca-file", str(self.own / "ca.crt")], env=clean_environment(),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
            reader.start()
            try:
                wait_until(lambda: any(".started" in line for line in lines), 15, "a connection")
                self.broker.start(self.own / "ended.crt")
                wait_until(
                    lambda: any(
                        "disconnected" in line and "ended on Jan  1 00:00:00 2021 GMT" in line for line in lines), 15,
                    "a word about the certificate")
                self.broker.start(self.own / "good.crt")
                wait_until(lambda: any("reconnected" in line for line in lines), 15, "a connection again")
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=15)
                reader.join(timeout=15)
                process.stdout.close()


if __name__ == "__main__":
    unittest.main()
