"""The published contract, infra/asyncapi.yaml: finds the channel of a topic and checks messages against it."""

import datetime
import json
import pathlib
import re

import jsonschema
import referencing
import referencing.jsonschema
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PATH = REPOSITORY / "infra" / "asyncapi.yaml"
BASE = "urn:rollcall:asyncapi"


def pointer(*keys):
    """A JSON Pointer (RFC 6901) as the fragment of a reference."""
    return "#/" + "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time", raises=ValueError)
def is_date_time(value):
    """RFC 3339, for which Python's reader is close enough: a time zone must be there."""
    if not isinstance(value, str):
        return True
    return "T" in value.upper() and datetime.datetime.fromisoformat(value).tzinfo is not None


class Channel:
    """A channel of the document: its topic as a pattern, its messages by name."""

    def __init__(self, document, name, value):
        self.name = name
        self.value = value
        self.address = value["address"]
        pattern = re.escape(self.address)
        for parameter, reference in value.get("parameters", {}).items():
            resolved = document.resolve(reference)
            if "enum" in resolved:
                inner = "|".join(map(re.escape, resolved["enum"]))
            else:
                inner = resolved["x-pattern"]
            pattern = pattern.replace(re.escape("{" + parameter + "}"), f"(?P<{parameter}>{inner})")
        self.pattern = re.compile(pattern)
        self.messages = {key: document.message(pointer("channels", name, "messages", key)) for key in value["messages"]}


class Document:
    """The whole document."""

    def __init__(self, path=PATH):
        # Through JSON, so that repeated nodes are equal and keys are text.
        self.value = json.loads(json.dumps(yaml.safe_load(path.read_text())))
        resource = referencing.Resource.from_contents(
            self.value, default_specification=referencing.jsonschema.DRAFT7)
        self.registry = referencing.Registry().with_resource(BASE, resource)
        self.channels = {name: Channel(self, name, value) for name, value in self.value["channels"].items()}

    # References

    def lookup(self, reference):
        """What `#/a/b` refers to; `KeyError` when there is nothing."""
        if not reference.startswith("#/"):
            raise KeyError(reference)
        node = self.value
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            node = node[int(part)] if isinstance(node, list) else node[part]
        return node

    def resolve(self, node):
        """The node itself, or what it refers to."""
        while isinstance(node, dict) and "$ref" in node:
            node = self.lookup(node["$ref"])
        return node

    def message(self, reference):
        """A message with its traits applied (AsyncAPI 3.0: the message's own members win)."""
        message = self.resolve({"$ref": reference})
        merged = {}
        for trait in message.get("traits", []):
            merged.update(self.resolve(trait))
        merged.update(message)
        return merged

    # Topics

    def channel_of(self, topic):
        """`(channel, parameters)` of a topic; `(None, {})` when the document does not know it."""
        for channel in self.channels.values():
            match = channel.pattern.fullmatch(topic)
            if match:
                return channel, match.groupdict()
        return None, {}

    def operations_of(self, channel_name):
        """The operations on a channel, by name."""
        reference = pointer("channels", channel_name)
        return {
            name: operation for name, operation in self.value["operations"].items()
            if operation["channel"]["$ref"] == reference
        }

    def bindings_of(self, operation):
        """The MQTT bindings of an operation, its traits applied."""
        merged = {}
        for trait in operation.get("traits", []):
            merged.update(self.resolve(trait).get("bindings", {}).get("mqtt", {}))
        merged.update(operation.get("bindings", {}).get("mqtt", {}))
        return merged

    def replies_to(self, channel_name):
        """The names of the messages that may answer a request on this channel."""
        names = set()
        for operation in self.operations_of(channel_name).values():
            for reference in operation.get("reply", {}).get("messages", []):
                names.add(reference["$ref"].rsplit("/", 1)[1])
        return names

    # Schemas

    def validator(self, schema):
        """A validator of a schema of this document, its references resolved."""
        def absolute(node):
            if isinstance(node, dict):
                return {
                    key: BASE + value if key == "$ref" and isinstance(value, str) else absolute(value)
                    for key, value in node.items()
                }
            if isinstance(node, list):
                return [absolute(item) for item in node]
            return node

        return jsonschema.Draft7Validator(absolute(schema), registry=self.registry, format_checker=formats)

    def errors(self, schema, value):
        """What is wrong with a value, a sentence each."""
        return [sentence(error) for error in self.validator(schema).iter_errors(value)]

    def message_errors(self, message, payload, headers, content_type):
        """What is wrong with a message; empty when it is as described.

        `payload` is the decoded JSON (`None` of no bytes), `headers` the user properties.
        """
        found = [f"payload: {error}" for error in self.errors(message["payload"], payload)]
        if "headers" in message:
            found += [f"user properties: {error}" for error in self.errors(message["headers"], headers)]
        elif headers:
            found.append(f"user properties {headers} are not described")
        wanted = message.get("bindings", {}).get("mqtt", {}).get("contentType")
        if wanted is not None and content_type != wanted:
            found.append(f"content type {content_type} instead of {wanted}")
        return found


def sentence(error):
    """A validation error with its place, and of alternatives what is wrong with each."""
    place = "/".join(map(str, error.absolute_path)) or "(all)"
    text = f"{place}: {error.message[:300]}"
    for cause in error.context or []:
        text += f"\n    {sentence(cause)}"
    return text
