"""MQTT 5 packets: as much of them as a client needs that publishes, subscribes and receives with QoS 0 and 1."""

import dataclasses
import struct

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
RECEIVE_MAXIMUM, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER_PROPERTY = 0x21, 0x03, 0x08, 0x09, 0x26
# Lengths of the properties of a fixed length (MQTT 5, 2.2.2.2); all others are texts, pairs of them or one varint.
FIXED = {
    0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1,
    0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}
VARINT = 0x0B


@dataclasses.dataclass
class Message:
    """What was received."""

    topic: str
    payload: bytes
    # By identifier; user properties are pairs below `USER_PROPERTY`.
    properties: dict

    @property
    def attributes(self):
        return dict(self.properties.get(USER_PROPERTY, ()))


def varint(number):
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def take_varint(data, start):
    """(number, where it ends), or (None, start) while some of it is missing."""
    number = shift = 0
    for end in range(start, min(start + 4, len(data))):
        number |= (data[end] & 0x7F) << shift
        if data[end] < 0x80:
            return number, end + 1
        shift += 7
    return None, start


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(value)) + value


def take_text(data, start):
    end = start + 2 + int.from_bytes(data[start:start + 2], "big")
    return bytes(data[start + 2:end]), end


def packet(head, body):
    return bytes([head]) + varint(len(body)) + body


def encode_properties(properties):
    """`properties` maps identifiers to texts, `USER_PROPERTY` to pairs of them."""
    out = bytearray()
    for identifier, value in (properties or {}).items():
        for pair in value if identifier == USER_PROPERTY else ((value,),):
            out.append(identifier)
            for each in pair:
                out += text(each)
    return varint(len(out)) + bytes(out)


def decode_properties(data, start):
    """(properties, where they end)."""
    length, at = take_varint(data, start)
    found, end = {}, at + length
    while at < end:
        identifier = data[at]
        at += 1
        if identifier in FIXED:
            found[identifier] = int.from_bytes(data[at:at + FIXED[identifier]], "big")
            at += FIXED[identifier]
        elif identifier == VARINT:
            found[identifier], at = take_varint(data, at)
        elif identifier == USER_PROPERTY:
            name, at = take_text(data, at)
            value, at = take_text(data, at)
            found.setdefault(identifier, []).append((name.decode(), value.decode()))
        else:
            found[identifier], at = take_text(data, at)
    return found, end


def connect(username, password, keepalive, will=None):
    """A CONNECT with a clean start; `will` is (topic, payload), retained."""
    flags = 0xC2 | (0x2C if will else 0)
    body = text("MQTT") + bytes([5, flags]) + struct.pack("!H", keepalive) + b"\0" + text("")
    if will:
        body += b"\0" + text(will[0]) + text(will[1])
    return packet(0x10, body + text(username) + text(password))


def publish(topic, payload, identifier, retain=False, properties=None):
    """A PUBLISH with QoS 1."""
    return packet(
        0x32 | retain, text(topic) + struct.pack("!H", identifier) + encode_properties(properties) + payload)


def subscribe(filters, identifier):
    """A SUBSCRIBE with QoS 1."""
    return packet(0x82, struct.pack("!H", identifier) + b"\0" + b"".join(text(each) + b"\1" for each in filters))


def puback(identifier):
    return b"\x40\x02" + struct.pack("!H", identifier)


PING = b"\xc0\x00"
GOODBYE = b"\xe0\x00"


def take_packet(data, start):
    """(first byte, body, where it ends), or None while some of it is missing."""
    if len(data) - start < 2:
        return None
    length, at = take_varint(data, start + 1)
    if length is None or len(data) - at < length:
        return None
    return data[start], memoryview(data)[at:at + length], at + length


def take_message(head, body):
    """(message, identifier or None) of a received PUBLISH."""
    topic, at = take_text(body, 0)
    identifier = None
    if head & 0x06:
        identifier = int.from_bytes(body[at:at + 2], "big")
        at += 2
    properties, at = decode_properties(body, at)
    return Message(topic.decode(), bytes(body[at:]), properties), identifier
