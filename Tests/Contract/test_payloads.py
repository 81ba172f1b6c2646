"""What real agents send as heartbeats, and what each of it counts as: a table of payloads, each sent over MQTT."""

import json
import time
import unittest

from support import TOPIC_ROOT, SystemTest, properties

CHECK_IN, NOTED, GOODBYE, MALFORMED, TOO_LARGE = "check-in", "noted", "goodbye", "malformed", "too_large"
NOT_JSON = "not JSON (RFC 8259): "
UTF_16 = NOT_JSON + "it is UTF-16 or UTF-32, not UTF-8"
TWICE = "comes twice"
DEEP = b'{"a":' * 31 + b"{}" + b"}" * 31
# A Sparkplug B NDEATH: protobuf with a metric `bdSeq`.
SPARKPLUG = bytes.fromhex("08c0b6d5e0f5311214 0a0562645365711080b6d5e0f531200858 01".replace(" ", ""))

# What it is, the bytes, what it counts as for an agent that is awaited, and what the detail of a rejection says.
PAYLOADS = [
    # Alive
    ("nothing", b"", CHECK_IN, None),
    ("an empty object", b"{}", CHECK_IN, None),
    ("with a line end", b"{}\n", CHECK_IN, None),
    ("with a line end of DOS", b'{"status":"ok"}\r\n', CHECK_IN, None),
    ("white space around it", b" \t{ \"status\" : \"ok\" } ", CHECK_IN, None),
    ("over several lines", b'{\r\n\t"status": "ok",\r\n\t"seq": 1\r\n}\r\n', CHECK_IN, None),
    ("degraded", b'{"status":"degraded","note":"no disk"}', CHECK_IN, None),
    ("every member", b'{"status":"ok","boot_id":"b","seq":7,"attempt":1,"templates_digest":"x","note":"n"}', CHECK_IN, None),
    ("members of its own", b'{"temperature":21.5,"tags":["a"],"host":{"cpu":0.1}}', CHECK_IN, None),
    ("a number beyond a double", b'{"temperature":1e999}', CHECK_IN, None),
    ("null members", b'{"status":null,"seq":null,"boot_id":null}', CHECK_IN, None),
    ("an integer as a float", b'{"seq":3.0}', CHECK_IN, None),
    ("escapes in names and values", b'{"st\\u0061tus":"o\\u006b"}', CHECK_IN, None),
    ("umlauts and emoji", '{"note":"läuft 😀"}'.encode(), CHECK_IN, None),
    ("a NUL in an escape", b'{"note":"\\u0000"}', CHECK_IN, None),
    ("sent_at with an offset", b'{"sent_at":"2026-01-31T09:05:07+01:00"}', CHECK_IN, None),
    ("sent_at with +0000", b'{"sent_at":"2026-01-31T09:05:07.123456+0000"}', CHECK_IN, None),
    ("sent_at without a zone", b'{"sent_at":"2026-01-31 09:05:07"}', CHECK_IN, None),
    ("sent_at in epoch seconds", b'{"sent_at":1769850307}', CHECK_IN, None),
    ("sent_at in epoch milliseconds", b'{"sent_at":1769850307042}', CHECK_IN, None),
    ("sent_at in epoch seconds, a fraction", b'{"sent_at":1769850307.042}', CHECK_IN, None),
    ("sent_at of no calendar", b'{"sent_at":"yesterday"}', CHECK_IN, None),
    ("as deep as is allowed", DEEP, CHECK_IN, None),
    ("as large as is allowed", b'{"pad":"' + b"x" * 4_086 + b'"}', CHECK_IN, None),
    # Alive, and no check-in
    ("not ready", b'{"status":"starting"}', NOTED, None),
    ("not ready, for longer", b'{"status":"starting","extend":"2m"}', NOTED, None),
    # It ends
    ("a goodbye", b'{"status":"stopping"}', GOODBYE, None),
    ("a goodbye of a stranger's form besides", b'{"status":"stopping","state":"offline"}', GOODBYE, None),
    # Plain text
    ("Online", b"Online", MALFORMED, NOT_JSON + "'O' at byte 1 where a value is expected"),
    ("Offline", b"Offline", MALFORMED, NOT_JSON + "'O' at byte 1"),
    ("online", b"online", MALFORMED, NOT_JSON + "'o' at byte 1"),
    ("ON", b"ON", MALFORMED, NOT_JSON),
    ("ok", b"ok", MALFORMED, NOT_JSON),
    ("ok in quotes", b'"ok"', MALFORMED, "is a string, not an object"),
    ("1", b"1", MALFORMED, "is an integer, not an object"),
    ("0", b"0", MALFORMED, "is an integer, not an object"),
    ("true", b"true", MALFORMED, "is a boolean, not an object"),
    ("null", b"null", MALFORMED, "is null, not an object"),
    ("an epoch stamp", b"1769850307", MALFORMED, "is an integer, not an object"),
    ("a date", b"2026-01-31T09:05:07Z", MALFORMED, NOT_JSON + "'-' at byte 5 where its end is expected"),
    ("a form", b"status=ok&seq=1", MALFORMED, NOT_JSON),
    ("XML", b"<status>ok</status>", MALFORMED, NOT_JSON + "'<' at byte 1"),
    ("YAML", b"status: ok\nseq: 1\n", MALFORMED, NOT_JSON),
    ("InfluxDB's line protocol", b"agent,host=a up=1i 1769850307000000000", MALFORMED, NOT_JSON),
    ("a template that nobody filled in", b'{"status":"{{ status }}"}', MALFORMED, "status: '{{ status }}' is not one of"),
    # Bytes
    ("NUL", b"\0", MALFORMED, NOT_JSON + "the byte 0x00 at byte 1"),
    ("a blank", b" ", MALFORMED, NOT_JSON + "it ends where a value is expected"),
    ("CRLF", b"\r\n", MALFORMED, NOT_JSON + "it ends where a value is expected"),
    ("a C string", b'{"status":"ok"}\0', MALFORMED, NOT_JSON + "the byte 0x00 at byte 16 where its end is expected"),
    ("a byte order mark", b'\xef\xbb\xbf{"status":"ok"}', MALFORMED, NOT_JSON + "it begins with a byte order mark"),
    ("a byte order mark alone", b"\xef\xbb\xbf", MALFORMED, "byte order mark"),
    ("UTF-16 with a mark", '{"status":"ok"}'.encode("utf-16"), MALFORMED, UTF_16),
    ("UTF-16 of little ends", '{"status":"ok"}'.encode("utf-16-le"), MALFORMED, UTF_16),
    ("UTF-16 of big ends", '{"status":"ok"}'.encode("utf-16-be"), MALFORMED, UTF_16),
    ("latin-1", '{"note":"läuft"}'.encode("latin-1"), MALFORMED, NOT_JSON + "the string at byte 9 is not UTF-8"),
    ("an overlong slash", b'{"note":"\xc0\xaf"}', MALFORMED, "not UTF-8"),
    ("a surrogate in UTF-8", b'{"note":"\xed\xa0\x80"}', MALFORMED, "not UTF-8"),
    ("half a pair", b'{"note":"\\ud83d"}', MALFORMED, "surrogate"),
    ("a tab in a string", b'{"note":"a\tb"}', MALFORMED, "no control character in a string"),
    ("Sparkplug B", SPARKPLUG, MALFORMED, NOT_JSON),
    ("gzip", bytes.fromhex("1f8b0800000000000003abae050043bfa6a302000000"), MALFORMED, NOT_JSON + "the byte 0x1f at byte 1"),
    ("MessagePack", b"\x81\xa6status\xa2ok", MALFORMED, NOT_JSON + "the byte 0x81 at byte 1"),
    ("CBOR", b"\xa1fstatusbok", MALFORMED, NOT_JSON + "the byte 0xa1 at byte 1"),
    # Nearly JSON
    ("a trailing comma", b'{"status":"ok",}', MALFORMED, "'}' at byte 16 where a member's name in quotes is expected"),
    ("a trailing comma in a list", b'{"tags":["a",]}', MALFORMED, "']' at byte 14 where a value is expected"),
    ("quotes of Python", b"{'status': 'ok'}", MALFORMED, "''' at byte 2 where a member's name in quotes is expected"),
    ("names without quotes", b'{status:"ok"}', MALFORMED, "'s' at byte 2"),
    ("a word of Python", b'{"ready":True}', MALFORMED, "'T' at byte 10 where a value is expected"),
    ("NaN", b'{"load":NaN}', MALFORMED, "'N' at byte 9 where a value is expected"),
    ("Infinity", b'{"load":-Infinity}', MALFORMED, "'I' at byte 10 where a digit is expected"),
    ("a leading zero", b'{"seq":007}', MALFORMED, "'0' at byte 9"),
    ("hexadecimal", b'{"seq":0x1F}', MALFORMED, "'x' at byte 9"),
    ("a comment", b'{"status":"ok"} // fine', MALFORMED, "'/' at byte 17 where its end is expected"),
    ("two objects", b'{"status":"ok"}{"status":"ok"}', MALFORMED, "'{' at byte 16 where its end is expected"),
    ("lines of JSON", b'{"status":"ok"}\n{"status":"ok"}\n', MALFORMED, "'{' at byte 17 where its end is expected"),
    ("cut off", b'{"status":"o', MALFORMED, NOT_JSON + "it ends where"),
    ("JSON in a string", b'"{\\"status\\":\\"ok\\"}"', MALFORMED, "is a string, not an object"),
    ("a member twice", b'{"status":"ok","status":"lost"}', MALFORMED, "status: " + TWICE),
    ("a member twice, once escaped", b'{"seq":1,"s\\u0065q":2}', MALFORMED, "seq: " + TWICE),
    ("a member of its own twice", b'{"host":{"a":1,"a":2}}', MALFORMED, "a: " + TWICE),
    ("deeper than is allowed", b'{"a":' * 32 + b"{}" + b"}" * 32, MALFORMED, "lies deeper than 32"),
    ("much deeper", b"[" * 4_000, MALFORMED, "lies deeper than 32"),
    # Other forms
    ("an array", b'[{"status":"ok"}]', MALFORMED, "is an array, not an object"),
    ("an empty array", b"[]", MALFORMED, "is an array, not an object"),
    ("a Last Will of another system", b'{"state":"offline"}', MALFORMED, "state: stands without status"),
    ("a birth of another system", b'{"state":"online"}', MALFORMED, "state: stands without status"),
    ("a gateway's Last Will", b'{"state":"lost"}', MALFORMED, "state: stands without status"),
    ("a gateway's connected", b'{"state":"connected","boot_id":"b"}', MALFORMED, "state: stands without status"),
    # Wrong values
    ("a status nobody knows", b'{"status":"okay"}', MALFORMED, "status: 'okay' is not one of ok, degraded, starting, "),
    ("a status in capitals", b'{"status":"OK"}', MALFORMED, "status: 'OK' is not one of ok, "),
    ("an alias that is HTTP's alone", b'{"status":"online"}', MALFORMED, "status: 'online' is not one of ok, "),
    ("offline as a status", b'{"status":"offline"}', MALFORMED, "status: 'offline' is not one of ok, "),
    ("an empty status", b'{"status":""}', MALFORMED, "status: '' is not one of ok, "),
    ("a status that is a number", b'{"status":1}', MALFORMED, "status: is an integer, not a string"),
    ("a status that is true", b'{"status":true}', MALFORMED, "status: is a boolean, not a string"),
    ("a number as text", b'{"seq":"7"}', MALFORMED, "seq: is a string, not an integer"),
    ("a generation as text", b'{"generation":"1"}', MALFORMED, "generation: is a string, not an integer"),
    ("a fraction", b'{"attempt":1.5}', MALFORMED, "attempt: is a number, not an integer"),
    ("a negative count", b'{"seq":-1}', MALFORMED, "seq: is negative"),
    ("a count beyond 64 bits", b'{"seq":18446744073709551615}', MALFORMED, "seq: is a number, not an integer"),
    ("a generation to come", b'{"generation":99}', MALFORMED, "generation: 99 is newer than the current one, 1"),
    ("a boot id that is a number", b'{"boot_id":12345}', MALFORMED, "boot_id: is an integer, not a string"),
    ("a boot id that is long", b'{"boot_id":"' + b"b" * 65 + b'"}', MALFORMED, "boot_id: is longer than 64 characters"),
    ("a note that is long", b'{"note":"' + b"n" * 257 + b'"}', MALFORMED, "note: is longer than 256 characters"),
    ("a note that is an object", b'{"note":{}}', MALFORMED, "note: is an object, not a string"),
    ("a duration without a unit", b'{"status":"starting","extend":30}', MALFORMED, "extend: is an integer, not a string"),
    ("a duration that is short", b'{"status":"starting","extend":"1ms"}', MALFORMED, "extend: '1ms' is out of bounds"),
    ("two that are wrong", b'{"status":"up","seq":"1"}', MALFORMED, "; seq: is a string, not an integer"),
    ("too large", b'{"pad":"' + b"x" * 4_087 + b'"}', TOO_LARGE, "has 4097 bytes, at most 4096 are taken"),
    ("much too large", b"x" * 100_000, TOO_LARGE, "has 100000 bytes"),
]


def is_object(payload):
    """Whether others, too, read an object: it can be part of a larger message."""
    def refuse(word):
        raise ValueError(word)

    try:
        value = json.loads(payload.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


class PayloadTest(SystemTest):
    arguments = ("--checkin-deadline", "10m", "--heartbeat-rate", "0")
    filters = ("agents/+/+/lifecycle/+",)

    def provisioned(self, count):
        """So many agents that are awaited, with the token of their gateway's one connection."""
        players = [self.agent("payload") for _ in range(count)]
        for player in players:
            self.watcher.wait_event(player.address, "woken", 30)
        client = self.system.client("gw", self.gateway_tokens["gw"])
        return players, client

    def check(self, player, verdict, detail, reason=None):
        """What an agent's payload came to."""
        event = {CHECK_IN: "online", GOODBYE: "offline", NOTED: None}.get(verdict, "heartbeat_rejected")
        if event:
            message = self.watcher.wait_event(player.address, event, 20).json
        record = player.get()
        if verdict == CHECK_IN:
            self.assertEqual((record["status"], record["last_rejection"]), ("online", None))
        elif verdict == GOODBYE:
            self.assertEqual((record["status"], message["reason"]), ("offline", "goodbye"))
        elif verdict == NOTED:
            self.assertEqual((record["status"], record["last_rejection"]), ("provisioning", None))
        else:
            rejection = record["last_rejection"]
            self.assertEqual((record["status"], rejection["reason"], rejection["count"]), ("provisioning", verdict, 1))
            self.assertIn(detail, rejection["detail"])
            self.assertLessEqual(len(rejection["detail"]), 256)
            self.assertEqual((message["reason"], message["record"]["last_rejection"]), (verdict, rejection))
            (line,) = self.system.events("heartbeat.rejected", agent=player.address)
            self.assertEqual((line["reason"], line["detail"]), (verdict, rejection["detail"]))
            self.assertIsNone(record["last_seen_at"])

    def test_every_payload_has_its_verdict(self):
        self.assertGreaterEqual(len(PAYLOADS), 60)
        players, client = self.provisioned(len(PAYLOADS))
        for player, (_, payload, _, _) in zip(players, PAYLOADS):
            client.publish(player.topic, payload)
        for player, (what, payload, verdict, detail) in zip(players, PAYLOADS):
            with self.subTest(what=what, payload=payload[:80]):
                self.check(player, verdict, detail)

    def test_an_entry_of_a_gateway_is_judged_as_a_heartbeat(self):
        """The same table, each as an entry, as far as it is an object; its neighbour in the message is never harmed."""
        entries = [
            (what, payload.strip(), verdict, detail) for what, payload, verdict, detail in PAYLOADS
            if is_object(payload) and payload.strip() != b"{}" and payload.count(b"{") < 9]
        self.assertGreater(len(entries), 40)
        players, client = self.provisioned(len(entries) + 1)
        neighbour = players.pop()
        for player, (_, inner, _, _) in zip(players, entries):
            own = json.dumps({"agent": player.address.split("/")[1]}).encode()[:-1] + b"," + inner[1:]
            name = json.dumps(neighbour.address.split("/")[1]).encode()
            client.publish(f"{TOPIC_ROOT}/gateways/gw/heartbeats", b'{"agents":[' + own + b"," + name + b"]}")
        self.watcher.wait_event(neighbour.address, "online")
        for player, (what, inner, verdict, detail) in zip(players, entries):
            if "as large as" in what or "too large" in what:
                verdict, detail = TOO_LARGE, "at most 4096 are taken"
            with self.subTest(what=what, payload=inner[:80]):
                self.check(player, verdict, detail)

    def test_a_message_that_is_broken_as_a_whole_says_what_is_wrong(self):
        (player,), client = self.provisioned(1)
        name = player.address.split("/")[1]
        for payload, detail in [
            (f'{{"agents":["{name}",]}}', "where a value is expected"), (f'["{name}"]', "is an array, not an object"),
            (f'{{"agents":["{name}"],"agents":[]}}', "agents: " + TWICE), ("{}", "agents: is missing"), ("", "it ends where"),
            (f'\ufeff{{"agents":["{name}"]}}', "byte order mark"), (f'{{"agents":"{name}"}}', "agents: is a string, not an array"),
            ('{"agents":[7]}', "agents[0]: is an integer, not an id or an object"),
        ]:
            with self.subTest(payload=payload):
                before = len(self.system.events("heartbeat.rejected", gateway="gw"))
                client.publish(f"{TOPIC_ROOT}/gateways/gw/heartbeats", payload.encode())
                line = self.system.wait_for_event("heartbeat.rejected", count=before + 1, gateway="gw")
                self.assertIn(detail, line["detail"])
        self.assertEqual(player.get()["status"], "provisioning")

    def test_a_wrong_token_is_named(self):
        (player,), client = self.provisioned(1)
        client.publish(player.topic, b"", properties=properties(user=[("x-agent-token", "wrong")]))
        self.check(player, "bad_token", "x-agent-token: is not this agent's token")

    def test_a_command_is_read_as_strictly(self):
        self.online_agent("strict")
        (address,) = [seen.json["record"]["agent"] for seen in self.watcher.seen
                      if "/strict-" in seen.topic and seen.topic.endswith("/online")]
        for payload, member, detail in [
            (f'{{"agent":"{address}","agent":"gw/y"}}', "agent", TWICE), (f'{{"agent":"{address}",}}', "", NOT_JSON),
            (f'\ufeff{{"agent":"{address}"}}', "", "byte order mark"), (f'{{"agent":"{address}"}} x', "", "its end"),
            (f'{{"agent":"{address}","x":' + "[" * 40 + "]" * 40 + "}", "", "deeper than 32"),
        ]:
            for verb in ("delete", "get"):
                with self.subTest(verb=verb, payload=payload):
                    problem = self.refuse(verb, payload, 422, "invalid-request")
                    self.assertEqual([error["member"] for error in problem["errors"]], [member])
                    self.assertIn(detail, problem["detail"])
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            problem = self.refuse("delete", f'{{"agent":"{address}"}}'.encode(encoding), 422, "invalid-request")
            self.assertIn(UTF_16, problem["detail"])
        time.sleep(0.3)
        self.assertEqual(self.expect("get", {"agent": address})["record"]["status"], "online")


if __name__ == "__main__":
    unittest.main()
