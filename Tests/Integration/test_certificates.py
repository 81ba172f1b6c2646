"""A control-api of its own beside a system: an identity from the command line, certificates of a private authority."""

import http.client
import os
import re
import signal
import ssl
import subprocess
import tempfile
import threading
import unittest

from rollcall_system import BUILD, REPOSITORY, RollcallSystem, clean_environment, wait_until

NAME = "svc:control-api/2"


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        temporary = tempfile.TemporaryDirectory(prefix="rollcall-")
        cls.addClassCleanup(temporary.cleanup)
        cls.certificates = temporary.name
        subprocess.run(
            [str(REPOSITORY / "infra" / "scripts" / "make-certs"), cls.certificates], check=True, capture_output=True)
        added = cls.system.cli("identity", "add", NAME, "--data", str(cls.system.data), check=True)
        cls.secret = added.stdout.split()[-1]
        cls.system.reload_identities(NAME)

    def path(self, name):
        return os.path.join(self.certificates, name)

    def start(self, *arguments):
        """A control-api that serves with these; its port, or what it says when it does not start."""
        process = subprocess.Popen(
            [str(BUILD / "rollcall-control-api"), "--instance", "2", "--http-port", "0", "--broker",
             f"mqtt://svc%3Acontrol-api%2F2@127.0.0.1:{self.system.port}", *arguments],
            env={**clean_environment(), "ROLLCALL_PASSWORD_FILE": self.secret}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)
        self.process, self.lines = process, []
        lines = self.lines
        for line in process.stdout:
            lines.append(line)
            found = re.search(r"http.listening.*port=(\d+)", line)
            if found:
                # It writes on as it runs.
                threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
                return int(found[1])
        return "".join(lines)

    def status(self, port, context):
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        finally:
            connection.close()

    def trusting(self):
        return ssl.create_default_context(cafile=self.path("ca.crt"))

    def test_https(self):
        port = self.start("--http-cert", self.path("server.crt"), "--http-key", self.path("server.key"))
        wait_until(lambda: self.status(port, self.trusting()) == 200, 15, "a ready control-api")
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.status(port, ssl.create_default_context())

    def test_clients_show_their_certificate(self):
        port = self.start(
            "--http-cert", self.path("server.crt"), "--http-key", self.path("server.key"), "--http-client-ca",
            self.path("ca.crt"))
        context = self.trusting()
        context.load_cert_chain(self.path("client.crt"), self.path("client.key"))
        wait_until(lambda: self.status(port, context) == 200, 15, "a ready control-api")
        self.assertEqual(self.status(port, self.trusting()), 403)
        # One of a server is none of a client.
        context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        self.assertEqual(self.status(port, context), 403)

    def test_a_new_certificate_is_served_after_a_sighup(self):
        with tempfile.TemporaryDirectory(prefix="rollcall-") as directory:
            def make():
                subprocess.run(
                    [str(REPOSITORY / "infra" / "scripts" / "make-certs"), directory], check=True, capture_output=True)

            make()
            certificate, key = os.path.join(directory, "server.crt"), os.path.join(directory, "server.key")
            port = self.start("--http-cert", certificate, "--http-key", key)
            before = ssl.get_server_certificate(("127.0.0.1", port))
            make()
            self.process.send_signal(signal.SIGHUP)
            wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", port)) != before, 15, "the new certificate")
            now = ssl.get_server_certificate(("127.0.0.1", port))
            with open(key, "w", encoding="utf-8") as file:
                file.write("no key")
            self.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: any("http.certificates_unreadable" in line for line in self.lines), 15, "a word about the key")
            self.assertEqual(ssl.get_server_certificate(("127.0.0.1", port)), now)

    def test_what_is_wrong_is_named(self):
        """Each mistake has words of its own, with the file."""
        other = tempfile.TemporaryDirectory(prefix="rollcall-")
        self.addCleanup(other.cleanup)
        subprocess.run(
            [str(REPOSITORY / "infra" / "scripts" / "make-certs"), other.name], check=True, capture_output=True)
        for name, start, end in (("old", "20200101000000Z", "20200102000000Z"), ("early", "20990101000000Z", "20990102000000Z")):
            self.sign(other.name, name, start, end)
        good, key = self.path("server.crt"), self.path("server.key")
        cases = [
            (("nowhere", key), "nowhere: No such file"), ((key, key), "server.key: is no certificate in PEM"),
            ((good, good), "server.crt: is no key in PEM"),
            ((good, os.path.join(other.name, "server.key")), "is not the key of the certificate"),
            ((os.path.join(other.name, "old.crt"), os.path.join(other.name, "server.key")), "the certificate ended on Jan  2"),
            ((os.path.join(other.name, "early.crt"), os.path.join(other.name, "server.key")), "the certificate begins on Jan  1"),
            ((good, key, "--http-client-ca", key), "server.key: is no certificate in PEM"),
            ((good, key, "--http-client-ca", good), "server.crt: is no certificate of an authority"),
        ]
        for (certificate, secret, *more), words in cases:
            with self.subTest(words):
                said = str(self.start("--http-cert", certificate, "--http-key", secret, *more))
                self.assertIn(words, said)
        self.assertIn("--http-key", str(self.start("--http-cert", good)))

    def sign(self, directory, name, start, end):
        """A certificate of this time for the server's key there."""
        path = os.path.join(directory, name)
        os.mkdir(path)
        for file, text in (("index", ""), ("serial", "01\n")):
            with open(os.path.join(path, file), "w", encoding="utf-8") as stream:
                stream.write(text)
        with open(os.path.join(path, "conf"), "w", encoding="utf-8") as stream:
            stream.write(
                f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}/index\nserial={path}/serial\nnew_certs_dir={path}\n"
                "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        subprocess.run(
            ["openssl", "req", "-new", "-key", os.path.join(directory, "server.key"), "-subj", "/CN=localhost", "-out",
             os.path.join(path, "request")], check=True, capture_output=True)
        subprocess.run(
            ["openssl", "ca", "-batch", "-config", os.path.join(path, "conf"), "-cert", os.path.join(directory, "ca.crt"),
             "-keyfile", os.path.join(directory, "ca.key"), "-in", os.path.join(path, "request"), "-out", path + ".crt",
             "-startdate", start, "-enddate", end], check=True, capture_output=True)

    def test_an_identity_stays_as_it_is(self):
        before = (self.system.data / "identities").read_text()
        again = self.system.cli("identity", "add", NAME, "op:ben", "--data", str(self.system.data), check=True)
        self.assertIn("svc-control-api-2", again.stdout)
        after = (self.system.data / "identities").read_text()
        self.assertTrue(after.startswith(before))
        listed = self.system.cli("identity", "list", "--data", str(self.system.data), check=True).stdout
        self.assertIn("op:ben\n", listed)
        self.system.cli("identity", "remove", "op:ben", "--data", str(self.system.data), check=True)
        self.assertEqual((self.system.data / "identities").read_text(), before)
        for name in ("ben", "op:", "svc:x", "op:a/b", "lab/ada"):
            refused = self.system.cli("identity", "add", name, "--data", str(self.system.data))
            self.assertEqual((refused.returncode, name in refused.stderr), (2, True))


if __name__ == "__main__":
    unittest.main()
