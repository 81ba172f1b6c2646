"""A service whose identity, instance or topic root cannot work ends at once with status 2 and says which."""

import subprocess
import unittest

from rollcall_system import BUILD, RollcallSystem


class Misfits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--reconcilers", "2")
        cls.addClassCleanup(cls.system.close)
        cls.system.start()

    def refused(self, service, *arguments, identity, password=None):
        """The only lines of a service that ends by itself."""
        environment = dict(self.system.environment)
        if password is None:
            environment["ROLLCALL_PASSWORD_FILE"] = str(
                self.system.data / "secrets" / identity.replace(":", "-").replace("/", "-"))
        user = identity.replace(":", "%3A").replace("/", "%2F") + (f":{password}" if password else "")
        result = subprocess.run(
            [str(BUILD / f"rollcall-{service}"), "--broker", f"mqtt://{user}@127.0.0.1:{self.system.port}", *arguments],
            env=environment, capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        lines = result.stdout.splitlines()
        self.assertLessEqual(len(lines), 5, lines)
        self.assertEqual(len([line for line in lines if "service.failed" in line]), 1)
        return result.stdout

    def test_the_identity_of_another_instance(self):
        text = self.refused("reconciler", identity="svc:reconciler/2")
        self.assertIn("svc:reconciler/2", text)
        self.assertIn("svc:reconciler/1", text)
        self.assertIn("--instance", text)

    def test_the_identity_of_another_service(self):
        text = self.refused("heartbeat-ingest", identity="svc:provisioner/1")
        self.assertIn("svc:provisioner/1", text)
        self.assertIn("svc:heartbeat-ingest/1", text)

    def test_an_identity_that_is_no_service(self):
        text = self.refused("reconciler", identity="op:admin")
        self.assertIn("op:admin", text)
        self.assertIn("svc:reconciler/1", text)

    def test_a_wrong_secret(self):
        text = self.refused("reconciler", identity="svc:reconciler/1", password="wrong")
        self.assertIn("svc:reconciler/1", text)
        self.assertIn("not authorized", text)

    def test_an_unknown_identity(self):
        text = self.refused("reconciler", "--instance", "9", identity="svc:reconciler/9", password="any")
        self.assertIn("svc:reconciler/9", text)

    def test_a_topic_root_that_the_broker_does_not_serve(self):
        text = self.refused("reconciler", "--topic-root", "other/v1", "--instance", "2", identity="svc:reconciler/2")
        self.assertIn("'other/v1'", text)
        self.assertIn("--topic-root", text)

        # It had the name of one that runs, which is started again.
        self.system.insist("summary")


if __name__ == "__main__":
    unittest.main()
