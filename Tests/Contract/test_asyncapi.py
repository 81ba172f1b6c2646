"""infra/asyncapi.yaml is well formed: its structure, its references, its schemas and every example."""

import copy
import re
import unittest

import jsonschema
from contract_document import REPOSITORY, Document, pointer

ROOT_MEMBERS = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
CHANNEL_MEMBERS = {"address", "messages", "title", "summary", "description", "parameters", "bindings", "tags"}
OPERATION_MEMBERS = {
    "action", "channel", "title", "summary", "description", "security", "tags", "bindings", "traits", "messages", "reply"}
MESSAGE_MEMBERS = {
    "headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags", "bindings",
    "examples", "traits"}
PARAMETER_MEMBERS = {"enum", "default", "description", "examples", "location"}
COMPONENT_MEMBERS = {
    "schemas", "servers", "channels", "operations", "messages", "securitySchemes", "serverVariables", "parameters",
    "correlationIds", "replies", "replyAddresses", "externalDocs", "tags", "operationTraits", "messageTraits",
    "serverBindings", "channelBindings", "operationBindings", "messageBindings"}
OPERATION_BINDING_MEMBERS = {"qos", "retain", "messageExpiryInterval", "bindingVersion"}
MESSAGE_BINDING_MEMBERS = {
    "payloadFormatIndicator", "correlationData", "contentType", "responseTopic", "bindingVersion"}


def own(members):
    """The members that are not extensions."""
    return {member for member in members if not member.startswith("x-")}


def references(node, path=()):
    """Every reference below a node, with where it is."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield path, node
        for key, value in node.items():
            yield from references(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from references(value, (*path, str(index)))


class AsyncAPITest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = Document()
        cls.value = cls.document.value

    # Structure

    def test_the_root_is_that_of_asyncapi_3(self):
        self.assertEqual(self.value["asyncapi"], "3.0.0")
        self.assertLessEqual(own(self.value), ROOT_MEMBERS)
        self.assertLessEqual(own(self.value["components"]), COMPONENT_MEMBERS)
        self.assertEqual(self.value["defaultContentType"], "application/json")
        for name, server in self.value["servers"].items():
            with self.subTest(server=name):
                self.assertIn(server["protocol"], ("mqtt", "secure-mqtt"))
                self.assertEqual(
                    set(re.findall(r"\{(\w+)\}", server["host"])), set(server.get("variables", {})))

    def test_the_version_is_the_product_s(self):
        source = (REPOSITORY / "Shared" / "API" / "Limits.swift").read_text()
        product = re.search(r'static let product = "([^"]+)"', source)[1]
        self.assertEqual(self.value["info"]["version"], product)

    def test_every_reference_resolves_and_stands_alone(self):
        count = 0
        for path, node in references(self.value):
            with self.subTest(path="/".join(path)):
                self.document.lookup(node["$ref"])
                # Draft 7 ignores whatever stands beside a reference.
                self.assertEqual(set(node), {"$ref"})
            count += 1
        self.assertGreater(count, 100)

    def test_every_component_is_used(self):
        used = {node["$ref"] for _, node in references(self.value)}
        for kind, components in self.value["components"].items():
            if kind == "securitySchemes":
                continue
            for name in components:
                self.assertIn(pointer("components", kind, name), used)

    def test_channels_declare_the_parameters_of_their_address(self):
        addresses = [channel["address"] for channel in self.value["channels"].values()]
        self.assertEqual(len(addresses), len(set(addresses)))
        for name, channel in self.value["channels"].items():
            with self.subTest(channel=name):
                self.assertLessEqual(own(channel), CHANNEL_MEMBERS)
                self.assertEqual(
                    set(re.findall(r"\{(\w+)\}", channel["address"])), set(channel.get("parameters", {})))
                self.assertTrue(channel["address"].startswith("rollcall/v1/"))
                self.assertLessEqual(channel["address"].count("/") + 1, 8)
                self.assertTrue(channel["messages"])
                self.assertFalse(channel["address"].startswith("rollcall/v1/internal"))
        for name, parameter in self.value["components"]["parameters"].items():
            with self.subTest(parameter=name):
                self.assertLessEqual(own(parameter), PARAMETER_MEMBERS)
                self.assertTrue("enum" in parameter or "x-pattern" in parameter)
                for example in parameter.get("examples", []):
                    self.assertRegex(example, f"^(?:{parameter['x-pattern']})$")

    def test_no_two_channels_take_the_same_topic(self):
        for name, channel in self.document.channels.items():
            topic = channel.address
            for parameter, reference in channel.value.get("parameters", {}).items():
                resolved = self.document.resolve(reference)
                topic = topic.replace("{" + parameter + "}", (resolved.get("enum") or resolved["examples"])[0])
            takers = [other.name for other in self.document.channels.values() if other.pattern.fullmatch(topic)]
            self.assertEqual(takers, [name], topic)

    def test_every_channel_has_an_operation(self):
        for name in self.value["channels"]:
            if name != "replies":
                self.assertTrue(self.document.operations_of(name), name)

    def test_operations_use_the_messages_of_their_channel(self):
        sent = set()
        for name, operation in self.value["operations"].items():
            with self.subTest(operation=name):
                self.assertLessEqual(own(operation), OPERATION_MEMBERS)
                self.assertIn(operation["action"], ("send", "receive"))
                channel = operation["channel"]["$ref"]
                self.assertTrue(operation["messages"])
                for message in operation["messages"]:
                    self.assertTrue(message["$ref"].startswith(channel + "/messages/"), message)
                    sent.add(message["$ref"])
                bindings = self.document.bindings_of(operation)
                self.assertLessEqual(own(bindings), OPERATION_BINDING_MEMBERS)
                self.assertIn(bindings["qos"], (0, 1, 2))
                self.assertIsInstance(bindings["retain"], bool)
                self.assertEqual(bindings["bindingVersion"], "0.2.0")
                if "reply" in operation:
                    reply = operation["reply"]
                    self.assertLessEqual(set(reply), {"address", "channel", "messages"})
                    self.assertEqual(reply["channel"]["$ref"], "#/channels/replies")
                    for message in reply["messages"]:
                        self.assertTrue(message["$ref"].startswith("#/channels/replies/messages/"), message)
                        sent.add(message["$ref"])
                    self.assertIn("#/channels/replies/messages/problem", [m["$ref"] for m in reply["messages"]])
        every = {
            pointer("channels", name, "messages", message)
            for name, channel in self.value["channels"].items() for message in channel["messages"]
        }
        self.assertEqual(sent, every)

    def test_every_command_is_answered(self):
        for name, channel in self.value["channels"].items():
            if not channel["address"].startswith("rollcall/v1/commands/"):
                continue
            with self.subTest(channel=name):
                (operation,) = self.document.operations_of(name).values()
                self.assertEqual(operation["action"], "receive")
                self.assertGreaterEqual(len(operation["reply"]["messages"]), 2)

    # Schemas and examples

    def test_schemas_are_draft_7(self):
        for name, schema in self.value["components"]["schemas"].items():
            with self.subTest(schema=name):
                jsonschema.Draft7Validator.check_schema(schema)

    def test_patterns_and_required_members_are_meant(self):
        def check(node, path):
            if isinstance(node, dict):
                if isinstance(node.get("pattern"), str):
                    re.compile(node["pattern"])
                    self.assertTrue(node["pattern"].startswith("^"), path)
                if isinstance(node.get("required"), list) and "properties" in node:
                    self.assertLessEqual(set(node["required"]), set(node["properties"]), path)
                for key, value in node.items():
                    check(value, (*path, key))
            elif isinstance(node, list):
                for index, value in enumerate(node):
                    check(value, (*path, index))

        for name, schema in self.value["components"]["schemas"].items():
            with self.subTest(schema=name):
                check(schema, (name,))

    def test_examples_of_schemas_satisfy_them(self):
        for name, schema in self.value["components"]["schemas"].items():
            for index, example in enumerate(schema.get("examples", [])):
                with self.subTest(schema=name, example=index):
                    self.assertEqual(self.document.errors(schema, example), [])

    def test_every_message_has_an_example_and_it_satisfies_its_schema(self):
        for name in self.value["components"]["messages"]:
            message = self.document.message(pointer("components", "messages", name))
            with self.subTest(message=name):
                self.assertLessEqual(own(message), MESSAGE_MEMBERS)
                self.assertLessEqual(
                    own(message.get("bindings", {}).get("mqtt", {})), MESSAGE_BINDING_MEMBERS)
                self.assertTrue(message["examples"])
            for example in message["examples"]:
                with self.subTest(message=name, example=example["name"]):
                    self.assertLessEqual(set(example), {"name", "summary", "headers", "payload"})
                    content_type = message.get("bindings", {}).get("mqtt", {}).get("contentType")
                    self.assertEqual(
                        self.document.message_errors(
                            message, example["payload"], example.get("headers", self.headers(name)), content_type), [])

    def headers(self, name):
        """The headers of an example that shows none: those that its message needs anyway."""
        examples = self.document.message(pointer("components", "messages", name))["examples"]
        return next((example["headers"] for example in examples if "headers" in example), {})

    def test_the_record_is_exactly_its_members(self):
        schema = self.value["components"]["schemas"]["AgentRecord"]
        self.assertEqual(set(schema["required"]), set(schema["properties"]))
        self.assertEqual(len(schema["required"]), 36)
        for example in schema["examples"]:
            for member in example:
                less = {key: value for key, value in example.items() if key != member}
                self.assertTrue(self.document.errors(schema, less), f"without {member}")
            more = {**example, "surprise": 1}
            self.assertTrue(self.document.errors(schema, more))

    def test_schemas_refuse_what_the_contract_refuses(self):
        record = self.value["components"]["schemas"]["AgentRecord"]["examples"][1]
        wrong = [
            ("AgentRecord", {**record, "agent": "berlin"}),
            ("AgentRecord", {**record, "status": "asleep"}),
            ("AgentRecord", {**record, "last_seen_at": "2026-01-31T09:05:09Z"}),
            ("AgentRecord", {**record, "wake_attempts": 1}),
            ("AgentRecord", {**record, "checkin_deadline_at": record["last_seen_at"]}),
            ("AgentRecord", {**record, "board_id": None}),
            ("AgentRecord", {**record, "paused": True}),
            ("AgentRecord", {**record, "policy": {}}),
            ("AgentEvent", {"event": "offline", "reason": "checkin_missed", "record": record}),
            ("AgentEvent", {"event": "online", "reason": None, "record": None}),
            ("AgentEvent", {"event": "online", "record": record}),
            ("AgentEvent", {"event": "heartbeat_rejected", "reason": "ugly", "record": None}),
            ("Heartbeat", {"status": "fine"}),
            ("Heartbeat", {"note": "n" * 257}),
            ("Heartbeat", {"generation": "1"}),
            ("Heartbeat", {"state": "offline"}),
            ("GatewayHeartbeats", {"agents": ["a b"]}),
            ("GatewayHeartbeats", {"agents": [{"status": "ok"}]}),
            ("ProvisionRequest", {"agent": "berlin/a", "role": "main", "board": "b"}),
            ("ProvisionRequest", {"agent": "berlin/a", "rule": "worker"}),
            ("ProvisionRequest", {"agent": "berlin/a", "policy": {"checkin_deadline": "soon"}}),
            ("ProvisionRequest", {"agent": "berlin/a", "policy": {"max_wake_attempts": 101}}),
            ("ProvisionRequest", {"agent": "berlin/a", "wake": "no"}),
            ("PauseRequest", {}),
            ("PauseRequest", {"agent": "berlin/a", "gateway": "berlin"}),
            ("RotateTokenRequest", {"now": True}),
            ("ListRequest", {"limit": 1001}),
            ("ListRequest", {"limit": 0}),
            ("Problem", {"type": "conflict", "title": "t", "status": 404, "detail": "d", "errors": []}),
            ("EmptyRequest", {"a": 1}),
        ]
        for name, value in wrong:
            with self.subTest(schema=name, value=str(value)[:100]):
                self.assertTrue(self.document.errors({"$ref": pointer("components", "schemas", name)}, value))

    def test_the_document_says_nothing_about_what_is_internal(self):
        document = copy.deepcopy(self.value)
        document["info"] = {}
        self.assertNotIn("/internal/", str(document))
        self.assertNotIn("$CONTROL", str(document))


if __name__ == "__main__":
    unittest.main()
