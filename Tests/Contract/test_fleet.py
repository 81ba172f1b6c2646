"""The whole fleet in one answer: all rows or none, at a position from which the events go on."""

import concurrent.futures
import http.client
import json
import os
import signal
import time
import unittest

from rollcall_system import RollcallSystem, wait_until

# More than two pages of what the table is made of.
AGENTS = 1_100


def fleet(system, query="", **headers):
    """Status, headers and body of the table, and how long it took."""
    connection = http.client.HTTPConnection(system.env["ROLLCALL_HTTP"].rpartition("/")[2], timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers["Authorization"] = f"Bearer {system.env['ROLLCALL_HTTP_TOKEN']}"
    began = time.monotonic()
    try:
        connection.request("GET", "/api/v1/fleet" + query, headers=headers)
        response = connection.getresponse()
        body = response.read()
        return response.status, response.headers, json.loads(body) if body else None, time.monotonic() - began
    finally:
        connection.close()


def rows(table):
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


class Fleet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem().start()
        cls.addClassCleanup(cls.system.close)
        for gateway in ("g", "h"):
            cls.system.expect("add-gateway", {"gateway": gateway})
        names = [f"{'gh'[number % 2]}/a{number:04}" for number in range(AGENTS)]
        cls.system.each(names, lambda operator, name: operator.insist(
            "provision", {"agent": name, "role": "worker", "board": f"b{int(name[3:]) % 3}", "wake": False}))
        cls.names = sorted(names)

    def test_every_agent_has_a_row(self):
        status, _, table, took = fleet(self.system)
        self.assertEqual(status, 200, table)
        found = rows(table)
        self.assertEqual([f"{row['gateway']}/{row['agent']}" for row in found], self.names)
        print(f"{AGENTS} rows in {took:.2f} s, {len(json.dumps(table['rows'], separators=(',', ':'))) // AGENTS} bytes each")
        record = self.system.expect("get", {"agent": self.names[0]})["record"]
        for name in ("role", "status", "offline_reason", "wake_attempts", "paused", "revision", "last_provision_error"):
            self.assertEqual(found[0][name], record[name], name)

    def test_filters(self):
        _, _, table, _ = fleet(self.system, "?gateway=g&board=b0&status=offline,updating")
        expected = [name for name in self.names if name.startswith("g") and int(name[3:]) % 3 == 0]
        self.assertEqual([f"{row['gateway']}/{row['agent']}" for row in rows(table)], expected)
        for query, problem in (("?status=x", 422), ("?limit=3", 422), ("?nothing=x", 422), ("?gateway=nobody", None)):
            status, _, answer, _ = fleet(self.system, query)
            self.assertEqual(status, problem or status, query)
            self.assertTrue(status != 200 or answer["rows"] == [], query)

    def test_the_events_go_on_behind_it(self):
        _, headers, before, _ = fleet(self.system, "?board=b1")
        self.assertEqual(fleet(self.system, "?board=b1", If_None_Match=headers["ETag"])[0], 304)
        name = next(name for name in self.names if int(name[3:]) % 3 == 1)
        self.system.expect("pause", {"agent": name})
        time.sleep(1.2)
        status, _, after, _ = fleet(self.system, "?board=b1", If_None_Match=headers["ETag"])
        self.assertEqual(status, 200)
        changed = [new for old, new in zip(rows(before), rows(after), strict=True) if old != new]
        self.assertEqual([(f"{row['gateway']}/{row['agent']}", row["paused"]) for row in changed], [(name, True)])
        self.assertEqual(self.first_event_behind(before["position"], name), "paused")
        self.assertGreater(after["position"], before["position"])

    def first_event_behind(self, position, agent):
        connection = http.client.HTTPConnection(self.system.env["ROLLCALL_HTTP"].rpartition("/")[2], timeout=30)
        connection.request("GET", f"/api/v1/events?after={position}&agent={agent}", headers={
            "Authorization": f"Bearer {self.system.env['ROLLCALL_HTTP_TOKEN']}"})
        try:
            for line in connection.getresponse():
                if line.startswith(b"event: "):
                    return line[7:].decode().strip()
        finally:
            connection.close()

    def test_a_table_is_whole_or_refused(self):
        """The store is stopped while tables are made: nobody is told a part."""
        store = self.system.child("status-store")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(fleet, self.system) for _ in range(6)]
            time.sleep(0.05)
            os.kill(store, signal.SIGSTOP)
            try:
                asked += [pool.submit(fleet, self.system, f"?board=b{number % 3}") for number in range(6)]
                concurrent.futures.wait(asked[6:], 25)
            finally:
                os.kill(store, signal.SIGCONT)
            answers = [answer.result() for answer in asked]
        statuses = {answer[0] for answer in answers}
        self.assertIn(503, statuses)
        self.assertLessEqual(statuses, {200, 503})
        for status, headers, body, _ in answers:
            if status == 503:
                self.assertEqual((headers["Content-Type"], body["type"]), ("application/problem+json", "unavailable"))
            else:
                self.assertEqual(len(body["rows"]), AGENTS)
        wait_until(lambda: fleet(self.system)[0] == 200, 30, "a table after the outage")
        self.assertEqual(len(fleet(self.system)[2]["rows"]), AGENTS)


if __name__ == "__main__":
    unittest.main()
