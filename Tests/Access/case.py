"""What every access test begins with."""

import contextlib
import unittest

from broker import CONTROL, NOT_AUTHORIZED, STORE, Broker, Client, digest, secret_of
from rollcall_system import wait_until

AGENTS = ["gw1", "gw1/a1", "gw1/a2", "gw2", "gw2/a1"]


class AccessCase(unittest.TestCase):
    """A fresh broker for each test, with a status store that has minted the usual agents and gateways."""

    options = ()

    def setUp(self):
        self.exits = contextlib.ExitStack()
        self.addCleanup(self.exits.close)
        self.broker = Broker(self.options)
        self.exits.callback(self.broker.close)
        self.broker.start()
        self.store = self.connected(STORE)
        self.mint(*AGENTS)

    def client(self, username, secret=None, **keywords):
        client = Client(self.broker, username, secret, **keywords)
        self.exits.callback(client.close)
        return client

    def connected(self, username, secret=None, **keywords):
        client = self.client(username, secret, **keywords)
        self.assertEqual(client.connect(), 0, f"{username} is welcome")
        return client

    def control(self, *lines):
        return self.store.publish(CONTROL, "\n".join(lines))

    def mint(self, *usernames):
        self.assertEqual(self.control(*[f"set {name} {digest(secret_of(name))}" for name in usernames]), 0)

    def admits(self, username, secret=None, **keywords):
        client = self.client(username, secret, **keywords)
        reason = client.connect()
        client.close()
        return reason == 0

    def assert_admits_soon(self, *arguments, **keywords):
        """Once the broker has seen that another connection ended."""
        wait_until(lambda: self.admits(*arguments, **keywords), 10, f"a welcome for {arguments}")

    def assert_refused(self, reason):
        self.assertEqual(reason, NOT_AUTHORIZED)

    def assert_published(self, reason):
        self.assertIn(reason, (0, 16))
