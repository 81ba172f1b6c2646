"""Tokens and what may be lost between their rotation and the broker: an overlap lasts, a withdrawn token is dead."""

import time
import unittest

from rollcall_system import RollcallSystem, wait_until


class Rotation(unittest.TestCase):
    def setUp(self):
        self.system = RollcallSystem()
        self.addCleanup(self.system.close)
        self.system.start()
        self.system.cli("add-gateway", "gw", check=True)
        self.old = self.system.expect("provision", {"agent": "gw/a", "role": "main", "wake": False})["token"]

    def admits(self, token):
        client = self.system.client("gw/a", token, connect=False)
        try:
            client.connect()
        except PermissionError:
            return False
        client.close()
        return True

    @property
    def state(self):
        """What the broker remembers of agents and gateways."""
        return self.system.data / "broker-identities"

    def rotate(self, **members):
        return self.system.expect("rotate-token", {"agent": "gw/a", **members})["token"]

    def restart(self, state):
        """Ends all at once and starts it again; the broker remembers `state`."""
        self.system.stop()
        if state is None:
            self.state.unlink()
        else:
            self.state.write_bytes(state)
        self.system.start()

    def test_an_overlap_lasts_when_the_broker_never_heard_of_it(self):
        """As when the store dies between the commit of a rotation and its publication."""
        before = self.state.read_bytes()
        new = self.rotate()
        self.restart(before)
        self.assertTrue(self.admits(self.old))
        self.assertTrue(self.admits(new))
        wait_until(lambda: not self.admits(self.old), 15, "the end of the overlap")

    def test_an_overlap_lasts_when_the_broker_forgot_everything(self):
        new = self.rotate()
        self.restart(None)
        self.assertTrue(self.admits(self.old))
        self.assertTrue(self.admits(new))

    def test_an_overlap_that_is_over_does_not_begin_again_for_a_broker_that_forgot_everything(self):
        new = self.rotate()
        self.assertTrue(self.admits(new))
        self.assertFalse(self.admits(self.old))
        # The store has to hear of it: nobody else remembers.
        time.sleep(3)
        self.restart(None)
        self.assertFalse(self.admits(self.old))
        self.assertTrue(self.admits(new))

    def test_a_token_replaced_at_once_is_dead_whatever_the_broker_heard(self):
        before = self.state.read_bytes()
        second = self.rotate()
        third = self.rotate(now=True)
        self.assertFalse(self.admits(self.old))
        for state in (before, None):
            self.restart(state)
            self.assertFalse(self.admits(self.old))
            self.assertFalse(self.admits(second))
            self.assertTrue(self.admits(third))


if __name__ == "__main__":
    unittest.main()
