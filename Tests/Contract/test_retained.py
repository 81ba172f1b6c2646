"""What is retained in the broker: `status` and presence alone. A retain flag on anything else is as if it were not set."""

import time
import unittest

from support import TOPIC_ROOT, SystemTest, Watcher, properties, wait_until


class RetainedTest(SystemTest):
    arguments = ("--checkin-deadline", "10m", "--lost-grace", "10m")
    filters = ("agents/+/+/lifecycle/+",)

    def retained(self):
        """The topics, below the root, on which a newcomer is given something retained."""
        watcher = Watcher(
            self.system.port, self.system.env["ROLLCALL_USERNAME"], self.system.env["ROLLCALL_PASSWORD"], f"{TOPIC_ROOT}/#")
        try:
            watcher.wait(lambda seen: any("/services/" in message.topic for message in seen), 10, "a presence")
            # What is retained comes before what is published later.
            self.expect("summary")
            watcher.wait(lambda seen: any("/replies/" in message.topic for message in seen), 10, "an answer")
        finally:
            watcher.close()
        return {message.topic.removeprefix(TOPIC_ROOT + "/") for message in watcher.seen if message.retain}

    def awaited(self, gateway):
        player = self.agent("retained", gateway=gateway)
        self.watcher.wait_event(player.address, "woken")
        return player

    def test_nothing_but_status_and_presence_stays(self):
        token = self.expect("add-gateway", {"gateway": "keeper"})["token"]
        gateway = self.system.client("keeper", token)
        gateway.publish(f"{TOPIC_ROOT}/gateways/keeper/status", {"state": "connected"}, retain=True)
        # It counts as any other.
        first, second = self.awaited("keeper"), self.awaited("keeper")
        first.connect().publish(first.topic, b"", retain=True)
        self.watcher.wait_event(first.address, "online")
        gateway.publish(f"{TOPIC_ROOT}/gateways/keeper/heartbeats", {"agents": [second.address.split("/")[1]]}, retain=True)
        self.watcher.wait_event(second.address, "online")
        replies = f"{TOPIC_ROOT}/replies/keeper/-/x"
        gateway.subscribe(replies)
        for topic in ("files", "credentials"):
            gateway.publish(
                f"{TOPIC_ROOT}/agents/{first.address}/{topic}", {}, retain=True, properties=properties(response_topic=replies))
            gateway.wait_message(lambda message: message.topic == replies, what=f"the answer to {topic}")
        # A Last Will comes once, and what takes it away is no heartbeat.
        dying = self.system.client(second.address, second.token, will={
            "topic": second.topic, "payload": '{"status":"stopping"}', "retain": True})
        dying.cut()
        self.watcher.wait_event(second.address, "offline")
        time.sleep(0.5)
        self.assertEqual(second.get()["status"], "offline")
        kept = self.retained()
        self.assertEqual(
            {topic for topic in kept if not topic.startswith("services/")},
            {f"agents/{first.address}/status", f"agents/{second.address}/status", "gateways/keeper/status"})
        # Nothing outlives what it was about.
        for player in (first, second):
            self.expect("delete", {"agent": player.address})
            self.watcher.wait_event(player.address, "deleted")
        self.expect("remove-gateway", {"gateway": "keeper", "force": True})
        wait_until(
            lambda: all(topic.startswith("services/") for topic in self.retained()), 10, "nothing retained but presence")


if __name__ == "__main__":
    unittest.main()
