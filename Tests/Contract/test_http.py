"""Agents and operators over HTTP: what a 200 promises, who may do what, and what is refused with which words."""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import threading
import time
import unittest

from rollcall_system import RollcallSystem, wait_until


class Answer:
    """The answer to one request."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)


def ask(system, method, path, body=None, headers=None, token=None):
    """One request on a connection of its own; `token` is the operator's unless `headers` bring another."""
    connection = http.client.HTTPConnection("127.0.0.1", int(system.env["ROLLCALL_HTTP"].rpartition(":")[2]), timeout=20)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if isinstance(body, dict):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class HTTP(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = RollcallSystem("--checkin-deadline", "3s", "--reconcilers", "2", "--ingests", "2").start()
        cls.addClassCleanup(cls.system.close)
        cls.system.expect("add-gateway", {"gateway": "g"})

    def provision(self, name, **members):
        members = {"agent": f"g/{name}", "role": "worker", "board": "b1", **members}
        return self.system.expect("provision", members)["token"]

    def operate(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.system, method, path, body, headers, self.system.env["ROLLCALL_HTTP_TOKEN"])

    def speak(self, token, body=None, path="/api/v1/agent/heartbeat", method="POST"):
        return ask(self.system, method, path, body, {"X-Agent-Token": token})

    # Agents

    def test_a_heartbeat_checks_in(self):
        token = self.provision("a1")
        self.assertRegex(token, r"^rc1:g/a1\.[A-Za-z0-9_-]{43}$")
        answer = self.speak(token)
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(answer.json["record"]["status"], "online")
        # Committed: it is what everybody sees from now on.
        self.assertEqual(self.system.expect("get", {"agent": "g/a1"})["record"]["status"], "online")

    def test_the_files_of_before_keep_working(self):
        token = self.provision("a2")
        self.assertEqual(ask(self.system, "GET", "/healthz").json, {"ok": True})
        answer = self.speak(token, {"name": "a2", "board_id": "b1", "status": "online"})
        self.assertEqual(answer.json["record"]["status"], "online", answer.text)
        bearer = ask(self.system, "POST", "/api/v1/agent/heartbeat", "", {"Authorization": f"Bearer {token}"})
        self.assertEqual(bearer.status, 200)
        health = self.speak(token, path="/api/v1/agent/healthz", method="GET")
        self.assertEqual(
            health.json, {
                "ok": True, "agent": "g/a2", "agent_id": "a2", "gateway_id": "g", "board_id": "b1", "status": "online",
                "role": "worker",
            })
        boards = self.speak(token, path="/api/v1/agent/boards", method="GET").json
        self.assertEqual((boards["items"], boards["total"]), ([{"id": "b1", "name": "b1"}], 1))
        tasks = self.speak(token, path="/api/v1/agent/boards/b1/tasks", method="GET").json
        self.assertEqual((tasks["items"], tasks["total"]), ([], 0))

    def test_a_wrong_token_is_told_on_the_record_that_it_names(self):
        self.provision("a3")
        answer = self.speak("rc1:g/a3.wrong")
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        rejection = self.system.expect("get", {"agent": "g/a3"})["record"]["last_rejection"]
        self.assertEqual((rejection["reason"], rejection["count"]), ("bad_token", 1))
        for token in ("nonsense", "rc1:g/nobody.x", "rc1:g.x", "rc1:.x"):
            self.assertEqual(self.speak(token).status, 401, token)
        self.assertEqual(ask(self.system, "POST", "/api/v1/agent/heartbeat").status, 401)

    def test_what_does_not_count_is_said(self):
        token = self.provision("a4")
        for body, status in (
                ('{"status":"okay"}', 422), ('{"generation":99}', 422), ("x", 422), ("\ufeff{}", 422),
                ('{"note":"%s"}' % ("x" * 5000), 413)):
            answer = self.speak(token, body.encode())
            self.assertEqual(answer.status, status, answer.text)
        self.assertIn("generation", self.speak(token, '{"generation":99}').json["detail"])
        flood = set()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            for _ in range(5):  # a busy machine may take a hundred at its leisure
                flood.update(pool.map(lambda _: self.speak(token).status, range(100)))
                if 429 in flood:
                    break
        self.assertIn(429, flood)
        self.assertLessEqual(flood, {200, 429})

    def test_a_200_is_never_taken_back(self):
        """Ingests and owners are killed while agents beat over HTTP: who was answered 200 is not judged silent."""
        names = [f"k{number}" for number in range(20)]
        tokens = {name: self.provision(name, wake=False) for name in names}
        said = {}
        stop = threading.Event()

        def beat(name):
            while not stop.wait(0.3):
                try:
                    if self.speak(tokens[name]).status == 200:
                        said[name] = said.get(name, 0) + 1
                except (OSError, http.client.HTTPException):
                    pass

        threads = [threading.Thread(target=beat, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        watcher = self.system.operator()
        watcher.subscribe("rollcall/v1/agents/g/+/lifecycle/offline")
        try:
            for child in ("heartbeat-ingest", "reconciler", "control-api", "heartbeat-ingest/2", "reconciler/2"):
                os.kill(self.system.child(child), signal.SIGKILL)
                time.sleep(1.5)
            wait_until(lambda: all(self.state(name) == "online" for name in names), 20, "all online")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(len(said), len(names))
        late = [message for message in watcher.messages if "/k" in message.topic]
        self.assertEqual(late, [])

    def test_an_answer_to_a_life_before_is_nobodys(self):
        """A control-api that is killed numbers anew: what was asked before must not be told to who asks now."""
        for name in ("x1", "x2"):
            self.provision(name, wake=False)
        told = []
        for _ in range(5):
            wait_until(self.is_healthy, 20, "control-api")
            store, before = self.system.child("status-store"), self.system.child("control-api")
            os.kill(store, signal.SIGSTOP)
            try:
                lost = threading.Thread(target=self.try_to_get, args=("x1", []))
                lost.start()
                time.sleep(0.1)
                os.kill(before, signal.SIGKILL)
                lost.join()
                answer = threading.Thread(target=self.try_to_get, args=("x2", told))
                answer.start()
                time.sleep(0.5)
            finally:
                os.kill(store, signal.SIGCONT)
            answer.join()
        # The tests behind this one need it again; each kill doubled the wait before its start.
        wait_until(self.is_healthy, 20, "control-api")
        self.assertTrue(told)
        self.assertEqual(set(told), {"g/x2"})

    def is_healthy(self):
        try:
            return ask(self.system, "GET", "/healthz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def try_to_get(self, name, told):
        """Asks until somebody answers; the agent of the record that is told."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                answer = self.operate("GET", f"/api/v1/agents/g/{name}")
            except ConnectionRefusedError:
                time.sleep(0.01)
                continue
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                told.append(answer.json["record"]["agent"])
                return
            time.sleep(0.01)

    def state(self, name):
        return self.system.expect("get", {"agent": f"g/{name}"})["record"]["status"]

    # Operators

    def test_the_life_of_an_agent(self):
        made = self.operate("POST", "/api/v1/agents", {"agent": "g/o1", "role": "main"})
        self.assertEqual(made.status, 201, made.text)
        self.assertTrue(made.json["token"].startswith("rc1:g/o1."))
        again = self.operate("POST", "/api/v1/agents", {"agent": "g/o1", "wake": False})
        self.assertEqual((again.status, again.json["token"]), (200, None))
        path = "/api/v1/agents/g/o1"
        got = self.operate("GET", path)
        tag = got.headers["ETag"]
        self.assertEqual(tag, f'"{got.json["record"]["revision"]}"')
        self.assertEqual(self.operate("GET", path, If_None_Match=tag).status, 304)
        changed = self.operate("PATCH", path, {"variables": {"x": "1"}, "wake": False}, If_Match=tag)
        self.assertEqual(changed.json["record"]["variables"], {"x": "1"})
        self.assertEqual(self.operate("PATCH", path, {"wake": False}, If_Match=tag).status, 412)
        self.assertEqual(self.operate("POST", path + "/pause").json, {"paused": 1})
        self.assertEqual(self.operate("POST", path + "/resume").json, {"paused": 1})
        self.assertEqual(self.operate("POST", path + "/wake").status, 200)
        events = self.operate("GET", path + "/history?limit=2")
        self.assertEqual(len(events.json["events"]), 2)
        older = self.operate("GET", events.headers["Link"][1:].partition(">")[0])
        self.assertEqual(older.status, 200, older.text)
        everything = self.operate("GET", "/api/v1/history?gateway=g&since=2026-01-31T09:00:00Z&limit=1000").json["events"]
        own = [event for event in everything if event["subject"] == "g/o1"]
        begin = own.index(events.json["events"][0])
        self.assertEqual(own[begin:begin + 4], events.json["events"] + older.json["events"])
        self.assertEqual(self.operate("DELETE", path).status, 200)
        wait_until(lambda: self.operate("GET", path).status == 404, 10, "the end of the agent")

    def test_pages(self):
        for number in range(5):
            self.provision(f"p{number}", wake=False, board="pages")
        path, seen = "/api/v1/agents?board=pages&limit=2", []
        while path:
            page = self.operate("GET", path)
            seen += [record["agent"] for record in page.json["records"]]
            link = page.headers["Link"]
            path = link[1:link.index(">")] if link else None
        self.assertEqual(seen, [f"g/p{number}" for number in range(5)])

    def test_of_two_changes_that_know_one_revision_one_is_done(self):
        self.provision("im", wake=False)
        path = "/api/v1/agents/g/im"
        for _ in range(10):
            tag = self.operate("GET", path).headers["ETag"]

            def change(value):
                return self.operate("PATCH", path, {"variables": {"owner": value}, "wake": False}, If_Match=tag).status

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                self.assertEqual(sorted(pool.map(change, "abcd")), [200, 412, 412, 412])
        tag = self.operate("GET", path).headers["ETag"]
        body = {"variables": {"owner": "e"}, "wake": False}
        first = self.operate("PATCH", path, body, If_Match=tag, Idempotency_Key="im")
        again = self.operate("PATCH", path, body, If_Match=tag, Idempotency_Key="im")
        self.assertEqual((first.status, again.status), (200, 200))
        self.assertEqual(first.headers["ETag"], again.headers["ETag"])

    def test_many_change_one_agent_at_once(self):
        self.provision("many", wake=False)

        def change(value):
            return self.operate(
                "PATCH", "/api/v1/agents/g/many", {"variables": {"owner": str(value)}, "wake": False}).status

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertEqual(set(pool.map(change, range(16))), {200})

    def test_keys(self):
        first = self.operate("POST", "/api/v1/agents", {"agent": "g/i1", "role": "main"}, Idempotency_Key="k1")
        again = self.operate("POST", "/api/v1/agents", {"agent": "g/i1", "role": "main"}, Idempotency_Key="k1")
        self.assertEqual(first.json["record"]["revision"], again.json["record"]["revision"])
        other = self.operate("POST", "/api/v1/agents", {"agent": "g/i2", "role": "main"}, Idempotency_Key="k1")
        self.assertEqual((other.status, other.json["type"]), (409, "conflict"))

    def token(self, *arguments):
        return self.system.cli("token", *arguments, "--data", str(self.system.data), check=True)

    def test_scopes(self):
        for scope in ("read", "operate"):
            made = self.token("create", f"t-{scope}", "--scope", scope)
            token = made.stdout.split()[-1]
            wait_until(
                lambda: ask(self.system, "GET", "/api/v1/summary", token=token).status == 200, 5, "the new token")
            expected = 403 if scope == "read" else 404
            self.assertEqual(
                ask(self.system, "POST", "/api/v1/agents/g/none/wake", token=token).status, expected, scope)
            self.assertEqual(ask(self.system, "DELETE", "/api/v1/agents/g/none", token=token).status, 403)
        listed = self.token("list").stdout
        self.assertIn("t-operate", listed)
        self.token("revoke", "t-operate")
        wait_until(
            lambda: ask(self.system, "GET", "/api/v1/summary", token=token).status == 401, 5, "the end of the token")
        self.assertEqual(self.operate("GET", "/api/v1/summary").status, 200)

    def test_the_document(self):
        document = ask(self.system, "GET", "/openapi.json").json
        self.assertEqual(document["openapi"], "3.1.0")
        heartbeat = document["paths"]["/api/v1/agent/heartbeat"]["post"]
        self.assertEqual(heartbeat["tags"], ["agent-main", "agent-lead", "agent-worker"])
        for name in ("operationId", "summary", "description", "x-llm-intent", "x-when-to-use", "x-routing-policy"):
            self.assertTrue(heartbeat[name], name)
        self.assertEqual(ask(self.system, "GET", "/readyz").status, 200)
        services = {entry["service"] for entry in self.operate("GET", "/api/v1/services").json["services"]}
        self.assertEqual(
            services, {"provisioner", "reconciler", "heartbeat-ingest", "status-store", "control-api"})

    def test_the_doctor(self):
        """The same findings as the command line's, and for one agent alone."""
        self.provision("d1", wake=False)

        def found(report):
            # control-api has looked at what the broker drops for longer.
            return [[(check["id"], check["result"]) for check in report["checks"] if check["id"] != "broker.dropping"],
                    [finding["id"] for finding in report["findings"]]]

        def is_same():
            answer = self.operate("GET", "/api/v1/doctor")
            self.assertEqual(answer.status, 200, answer.text)
            return found(answer.json) == found(json.loads(self.system.cli("doctor", "--json").stdout))

        # They look at two moments.
        wait_until(is_same, 10, "the same findings by both ways")
        self.assertEqual(self.operate("GET", "/api/v1/doctor/g/d1").json["subject"], "g/d1")
        self.assertEqual(self.operate("GET", "/api/v1/doctor/g/nobody").status, 404)

    def test_what_is_not_served(self):
        self.assertEqual(ask(self.system, "GET", "/nothing").status, 404)
        wrong = ask(self.system, "PUT", "/api/v1/agents")
        self.assertEqual((wrong.status, wrong.headers["Allow"]), (405, "GET, HEAD, POST"))
        self.assertEqual(ask(self.system, "GET", "/healthz", headers={"Host": "evil.example"}).status, 421)
        self.assertEqual(ask(self.system, "GET", "/api/v1/summary").status, 401)
        self.assertNotIn("Access-Control-Allow-Origin", ask(self.system, "GET", "/healthz").headers)
        self.assertEqual(self.operate("POST", "/api/v1/agents", "x" * 70_000).status, 413)

    def test_a_request_without_its_end_is_not_waited_for(self):
        port = int(self.system.env["ROLLCALL_HTTP"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"POST /api/v1/agent/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                               b"Content-Length: 6\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 400"))


if __name__ == "__main__":
    unittest.main()
