"""A receiver of alerts: an HTTP server that keeps what is posted, and answers as the test wants."""

import http.server
import json
import threading
import time

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received = {"at": time.time(), "path": self.path, "headers": dict(self.headers), "body": body}
        status = self.server.owner.status(received)
        received["status"] = status
        self.server.owner.posts.append(received)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Receiver:
    def __init__(self, status=lambda post: 200):
        self.posts = []
        self.status = status
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        """What was answered 2xx, in its order, each verified by the library of the receivers."""
        for post in list(self.posts):
            if 200 <= post["status"] < 300:
                yield post["at"], Webhook(SECRET).verify(post["body"], post["headers"])

    def events(self, change="offline"):
        """When, and what, of each event in these messages."""
        return [
            (at, event) for at, message in self.taken() for event in message["data"]["events"]
            if event["change"] == change]


def write_sinks(path, *sinks):
    path.write_text(json.dumps({"sinks": list(sinks)}))
    return path


def webhook(receiver, **members):
    return {
        "name": "ops", "form": "webhook", "url": receiver.url, "secrets": [SECRET], "group_wait": "0s",
        "group_interval": "0s", **members}
