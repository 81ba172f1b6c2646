"""Events over HTTP as they are committed: a client that comes again has no gap and no repeat."""

import http.client
import json
import os
import signal
import threading
import time
import unittest

from mqtt_client import TOPIC_ROOT
from rollcall_system import RollcallSystem, wait_until


class Client:
    """Reads a stream of Server-Sent Events, and opens it again where it was whenever it ends."""

    def __init__(self, system, query="", last=None):
        self.system = system
        self.query = query
        self.last = last
        self.events = []
        self.comments = 0
        self.openings = 0
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            try:
                self.read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)

    def read(self):
        host = self.system.env["ROLLCALL_HTTP"].rpartition("/")[2]
        connection = http.client.HTTPConnection(host, timeout=30)
        headers = {"Authorization": f"Bearer {self.system.env['ROLLCALL_HTTP_TOKEN']}"}
        if self.last is not None:
            headers["Last-Event-ID"] = self.last
        connection.request("GET", "/api/v1/events" + self.query, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            time.sleep(0.1)
            return
        self.openings += 1
        block = {}
        # What is not ended by an empty line is not an event.
        while not self.stopped and (line := response.readline().decode()).endswith("\n"):
            if line == "\n":
                self.last = block.get("id", self.last)
                if "data" in block:
                    self.events.append((block.get("event"), int(block["id"]), json.loads(block["data"])))
                block = {}
            elif line.startswith(":"):
                self.comments += 1
            else:
                name, _, value = line.rstrip("\n").partition(": ")
                block[name] = value

    @property
    def ids(self):
        """Of agents' events: history has no others."""
        return [event["id"] for _, _, event in self.events if "gateway" not in event]


class EventStreamTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--checkin-deadline", "10m").start()
        cls.addClassCleanup(cls.system.close)
        for gateway in ("g", "h"):
            cls.system.expect("add-gateway", {"gateway": gateway})
            cls.change(f"{gateway}/a", "provision", role="main")

    @classmethod
    def change(cls, agent, verb="update", **members):
        return cls.system.expect(verb, {"agent": agent, "wake": False, **members})["record"]

    def follow(self, query="", last=None):
        client = Client(self.system, query, last)
        self.addCleanup(setattr, client, "stopped", True)
        wait_until(lambda: client.openings, 10, "the stream")
        return client

    def kill(self):
        """Whether it ran: after an end it comes back in a moment."""
        try:
            os.kill(self.system.child("control-api"), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def history(self, **members):
        """Oldest first."""
        return self.system.expect("history", {"limit": 1000, **members})["events"][::-1]

    def test_a_gateway_s_own_events_are_in_it_and_in_no_history_of_agents(self):
        token = self.system.expect("add-gateway", {"gateway": "own"})["token"]
        self.change("own/a", "provision", role="main")
        client = self.follow("?gateway=own")
        self.system.client("own", token).publish(f"{TOPIC_ROOT}/gateways/own/status", '{"state":"connected"}', retain=True)
        wait_until(lambda: "gateway_connected" in [kind for kind, _, _ in client.events], 10, "the gateway's event")
        event = next(event for kind, _, event in client.events if kind == "gateway_connected")
        self.assertEqual((event["gateway"], event["subject"], event["agents"], event["record"]), ("own", "own", 1, None))
        for members in ({}, {"gateway": "own"}):
            events = self.system.expect("history", members)["events"]
            self.assertIn("own/a", [entry["subject"] for entry in events])
            self.assertNotIn("gateway_connected", [entry["event"] for entry in events])

    def test_no_gap_and_no_repeat_across_kills(self):
        client = self.follow()
        wait_until(lambda: client.last, 10, "a position")
        begin = len(self.history())
        for number in range(60):
            self.change("g/a", variables={"n": str(number)})
            if number % 20 == 10:
                wait_until(self.kill, 10, "a control-api to kill")
        expected = self.history()[begin:]
        self.assertEqual(len(expected), 60)
        wait_until(lambda: len(client.events) >= 60, 30, "all events")
        self.assertEqual([event for _, _, event in client.events], expected)
        positions = [position for _, position, _ in client.events]
        self.assertEqual(positions, sorted(set(positions)))
        self.assertGreater(client.openings, 1)
        # From any position on, and from the beginning.
        later = self.follow(last=str(positions[30]))
        whole = self.follow("?after=0")
        wait_until(lambda: len(later.events) >= 29 and len(whole.events) >= begin + 60, 30, "what was before")
        self.assertEqual(later.ids, [event["id"] for event in expected[31:]])
        self.assertEqual(whole.ids, [event["id"] for event in self.history()])

    def test_filters(self):
        of_gateway, of_agent, of_kind = (
            self.follow(f"?after=0&{query}") for query in ("gateway=h", "agent=g/a", "event=deleting,deleted"))
        self.change("h/b", "provision", role="worker", board="x")
        self.system.expect("delete", {"agent": "h/b"})
        wait_until(lambda: len(of_kind.events) >= 2, 10, "the end of h/b")
        self.assertEqual([name for name, _, _ in of_kind.events], ["deleting", "deleted"])
        expected = [event["id"] for event in self.history(gateway="h")]
        wait_until(lambda: len(of_gateway.ids) >= len(expected), 10, "the gateway's events")
        self.assertEqual(of_gateway.ids, expected)
        expected = [event["id"] for event in self.history(agent="g/a")]
        wait_until(lambda: len(of_agent.ids) >= len(expected), 10, "the agent's events")
        self.assertEqual(of_agent.ids, expected)

    def test_a_position_of_another_database_is_reset(self):
        client = self.follow(last="999999999")
        wait_until(lambda: client.events, 10, "the reset")
        self.assertEqual(client.events[0][0], "reset")
        self.change("h/a", variables={"x": "1"})
        wait_until(lambda: len(client.events) > 1, 10, "an event behind it")
        self.assertEqual(client.events[1][2], self.history()[-1])

    def test_a_silent_stream_has_a_comment(self):
        client = self.follow("?agent=g/nobody")
        wait_until(lambda: client.comments >= 2, 25, "a comment after 15 s")
        self.assertEqual(client.openings, 1)
