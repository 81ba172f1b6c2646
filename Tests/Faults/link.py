"""An MQTT 5 client that outlives its broker: reconnects, and subscribes again each time."""

import threading

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions


class Link:
    """One identity's connection. `took(message)` is called on the client's own thread."""

    def __init__(self, port, username, password, filters=(), took=None, will=None, up=None):
        self.filters = list(filters)
        self.is_up = threading.Event()
        self._took = took or (lambda message: None)
        self._up = up or (lambda link: None)
        self._acknowledged = {}
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv5)
        self.paho.username_pw_set(username, password)
        self.paho.reconnect_delay_set(0.1, 0.5)
        self.paho.max_inflight_messages_set(1000)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self.is_up.clear()
        self.paho.on_subscribe = self._on_subscribe
        self.paho.on_message = lambda client, userdata, message: self._took(message)
        self.paho.on_publish = self._on_publish
        if will:
            self.paho.will_set(*will)
        self.paho.connect("127.0.0.1", port, keepalive=10)
        self.paho.loop_start()

    def publish(self, topic, payload=b"", qos=1, retain=False, properties=None, acknowledged=None):
        """Publishes if there is a connection; `acknowledged()` is called when the broker has taken it."""
        if not self.paho.is_connected():
            return False
        info = self.paho.publish(topic, payload, qos, retain, properties)
        if acknowledged and info.rc == mqtt.MQTT_ERR_SUCCESS:
            self._acknowledged[info.mid] = acknowledged
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def _on_connect(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            return
        # paho repeats what was under way; a heartbeat that comes late is of its own time, so that it is not counted.
        self._acknowledged.clear()
        self._up(self)
        if self.filters:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self.filters])
        else:
            self.is_up.set()

    def _on_subscribe(self, client, userdata, mid, reasons, properties):
        self.is_up.set()

    def _on_publish(self, client, userdata, mid, reason, properties):
        acknowledged = self._acknowledged.pop(mid, None)
        if acknowledged and reason.value < 0x80:
            acknowledged()
