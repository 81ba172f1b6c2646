#!/usr/bin/env python3
"""An agent with paho-mqtt (2.x): answers its wakes, then sends a heartbeat at the interval that the wake names.

usage: ROLLCALL_HOST=HOST ROLLCALL_MQTT_PORT=PORT agent.py GATEWAY/AGENT TOKEN-FILE
"""

import json
import os
import sys
import threading
import uuid

import paho.mqtt.client as mqtt

name, token = sys.argv[1], open(sys.argv[2]).read().strip()
topic = f"rollcall/v1/agents/{name}"
boot_id = str(uuid.uuid4())
newest = (0, 0)
woken = threading.Event()
interval = 5.0


def seconds(text):
    """A duration of the wake (`500ms`, `5s`, `2m`, `1h`, `1d`) in seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)):
        if text.removesuffix(unit).isdigit():
            return int(text.removesuffix(unit)) * factor
    raise ValueError(text)


def beat(client, **members):
    client.publish(f"{topic}/heartbeat", json.dumps({"boot_id": boot_id, **members}), qos=1)


def on_message(client, _, message):
    global newest, interval
    wake = json.loads(message.payload)
    number = (wake["generation"], wake["attempt"])
    if number < newest:
        return
    newest, interval = number, seconds(wake["heartbeat_interval"])
    # Start the work here. The same number again starts nothing: only the answer is repeated.
    beat(client, generation=wake["generation"], attempt=wake["attempt"])
    woken.set()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
client.username_pw_set(name, token)
client.will_set(f"{topic}/heartbeat", json.dumps({"status": "lost", "boot_id": boot_id}), qos=1)
client.on_connect = lambda client, *_: client.subscribe(f"{topic}/wake", qos=1)
client.on_message = on_message
client.connect(os.environ["ROLLCALL_HOST"], int(os.environ["ROLLCALL_MQTT_PORT"]))
client.loop_start()
woken.wait()
while not threading.Event().wait(interval):
    beat(client)
