"""MQTT clients that outlive their broker, thousands of messages a second of them on one thread.

Not paho: it costs several times as much, and publishes what was under way again after a reconnection, so that a heartbeat
comes at a time of which the trial knows nothing. Here what a lost connection had not acknowledged stays so.
"""

import collections
import heapq
import itertools
import selectors
import socket
import threading
import time

import packets

KEEPALIVE = 10
# A connection that is not made, or a broker that says nothing, for so long is given up.
CONNECT_LIMIT = 3
RECONNECT = 0.2
# A turn of the loop that is longer by so much is a time in which this process, and not the system, is late.
LATE = 0.5
CLOSED, CONNECTING, GREETING, OPEN = range(4)


class Loop:
    """The thread that all links live on."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._timers = []
        self._order = itertools.count()
        self._calls = collections.deque()
        self._own, self._wake = socket.socketpair()
        self._own.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._own, selectors.EVENT_READ, None)
        self._is_ending = False
        # The longest turn: what was received meanwhile was seen so much later.
        self.longest_turn = 0.0
        # (start, end) of each time in which this thread stood still or was busy: what came then has been seen late.
        self.late = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, body):
        """Runs `body()` soon; from any thread."""
        self._calls.append(body)
        if threading.current_thread() is not self._thread:
            try:
                self._wake.send(b"\0")
            except BlockingIOError:
                pass  # it is full of wakes already

    def after(self, seconds, body):
        """On this thread alone."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), body))

    def stop(self):
        def end():
            self._is_ending = True
        self.call(end)
        self._thread.join()
        self._selector.close()
        self._own.close()
        self._wake.close()

    def register(self, connection, events, body):
        self._selector.register(connection, events, body)

    def modify(self, connection, events, body):
        self._selector.modify(connection, events, body)

    def unregister(self, connection):
        self._selector.unregister(connection)

    def _run(self):
        ended = time.monotonic()
        while not self._is_ending:
            wait = max(0, self._timers[0][0] - time.monotonic()) if self._timers else 1
            wait = 0 if self._calls else min(wait, 1)
            ready = self._selector.select(wait)
            begun = time.monotonic()
            for key, events in ready:
                if key.data is None:
                    self._own.recv(4096)
                else:
                    key.data(events)
            for _ in range(len(self._calls)):
                self._calls.popleft()()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
            now = time.monotonic()
            self.longest_turn = max(self.longest_turn, now - begun)
            if now - ended - wait > LATE:
                self.late.append((time.time() - (now - ended), time.time() + LATE))
            ended = now


class Link:
    """One identity's connection; `took(message)` and `up(link)` are called on the loop's thread.

    `tokens` are tried in turn when one is refused: of a token that was rotated, either may be the one that counts.
    """

    def __init__(self, loop, address, username, tokens, filters=(), took=None, will=None, up=None):
        self.tokens = list(tokens)
        self.is_up = threading.Event()
        # (from, to) of each time in which it was connected and subscribed.
        self.spans = []
        self.refusals = 0
        self._loop = loop
        self._address = address
        self._username = username
        self._filters = list(filters)
        self._took = took or (lambda message: None)
        self._will = will
        self._up = up or (lambda link: None)
        self._state = CLOSED
        self._socket = None
        self._away_until = 0
        self._is_ending = False
        self._up_since = None
        self._era = 0
        self._is_flushing = False
        self._reset()
        loop.call(self._connect)

    # From any thread

    def publish(self, topic, payload=b"", retain=False, properties=None, acknowledged=None):
        """Publishes if there is a connection; `acknowledged()` is called when the broker has taken it for somebody."""
        if not self.is_up.is_set():
            return False
        payload = payload.encode() if isinstance(payload, str) else payload
        self._loop.call(lambda: self._queue(topic, payload, retain, properties, acknowledged))
        return True

    def later(self, seconds, body):
        """Runs `body()` after so many seconds, on the loop's thread."""
        self._loop.call(lambda: self._loop.after(seconds, body))

    def use(self, token):
        """A token minted now: tried first from the next connection on."""
        self.tokens = [token] + [each for each in self.tokens if each != token][:2]

    def cut(self, away=0.0):
        """Ends the connection without a word, and stays away for so many seconds: the Last Will is published."""
        def end():
            self._away_until = time.monotonic() + away
            self._lose()
        self._loop.call(end)

    def close(self):
        done = threading.Event()

        def end():
            self._is_ending = True
            if self._state == OPEN:
                self._out += packets.GOODBYE
                self._write()
            self._lose()
            done.set()
        self._loop.call(end)
        done.wait(5)

    def was_up(self, start, end):
        """Whether it was connected all that time (seconds since 1970)."""
        current = [(self._up_since, float("inf"))] if self._up_since else []
        return any(first <= start and end <= last for first, last in self.spans + current)

    # Connections

    def _reset(self):
        self._in = bytearray()
        self._out = bytearray()
        self._in_flight = {}
        self._pending = collections.deque()
        self._receive_maximum = 20
        self._next_identifier = 1
        self._heard_at = time.monotonic()

    def _connect(self):
        if self._is_ending or self._state != CLOSED:
            return
        wait = self._away_until - time.monotonic()
        if wait > 0:
            return self._loop.after(wait, self._connect)
        self._reset()
        self._era += 1
        era = self._era
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._state = CONNECTING
        self._socket.connect_ex(self._address)
        self._loop.register(self._socket, selectors.EVENT_WRITE, self._ready)
        self._loop.after(CONNECT_LIMIT, lambda: self._give_up(era))

    def _give_up(self, era):
        if era == self._era and self._state in (CONNECTING, GREETING):
            self._lose()

    def _lose(self):
        if self._state == CLOSED:
            return
        self._loop.unregister(self._socket)
        self._socket.close()
        self._state = CLOSED
        if self._up_since:
            self.spans.append((self._up_since, time.time()))
            self._up_since = None
        self.is_up.clear()
        self._reset()
        self._loop.after(RECONNECT, self._connect)

    def _ready(self, events):
        if self._state == CONNECTING:
            if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return self._lose()
            self._state = GREETING
            self._out += packets.connect(self._username, self.tokens[0], KEEPALIVE, self._will)
        if events & selectors.EVENT_READ and not self._read():
            return
        self._write()

    def _read(self):
        era = self._era
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._lose()
            return False
        self._heard_at = time.monotonic()
        self._in += data
        at = 0
        while self._era == era and self._state != CLOSED:
            found = packets.take_packet(self._in, at)
            if found is None:
                break
            head, body, at = found
            self._handle(head, body)
            body.release()
        if self._era != era or self._state == CLOSED:
            return False
        del self._in[:at]
        return True

    def _write(self):
        if self._state in (CLOSED, CONNECTING):
            return
        if self._out:
            try:
                del self._out[:self._socket.send(self._out)]
            except BlockingIOError:
                pass
            except OSError:
                return self._lose()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._loop.modify(self._socket, wanted, self._ready)

    # Packets

    def _handle(self, head, body):
        kind = head >> 4
        if kind == packets.PUBLISH:
            message, identifier = packets.take_message(head, body)
            if identifier is not None:
                self._out += packets.puback(identifier)
            self._took(message)
        elif kind == packets.PUBACK:
            acknowledged = self._in_flight.pop(int.from_bytes(body[:2], "big"), None)
            # What nobody had subscribed to was taken by nobody: an ingest that is not admitted yet receives nothing.
            if acknowledged and (len(body) < 3 or body[2] == 0):
                acknowledged()
            self._send_pending()
        elif kind == packets.CONNACK:
            self._greeted(body)
        elif kind == packets.SUBACK:
            self._opened()
        elif kind == packets.DISCONNECT:
            self._lose()

    def _greeted(self, body):
        if body[1] >= 0x80:
            self.refusals += 1
            self.tokens.append(self.tokens.pop(0))
            return self._lose()
        properties, _ = packets.decode_properties(body, 2)
        self._receive_maximum = properties.get(packets.RECEIVE_MAXIMUM, 65535)
        if self._filters:
            self._out += packets.subscribe(self._filters, 65535)
        else:
            self._opened()

    def _opened(self):
        self._state = OPEN
        self._up_since = time.time()
        self.is_up.set()
        self._watch(self._era)
        self._up(self)

    def _watch(self, era):
        """Pings, and gives a silent broker up."""
        if era != self._era or self._state != OPEN:
            return
        if time.monotonic() > self._heard_at + 1.5 * KEEPALIVE:
            return self._lose()
        self._out += packets.PING
        self._write()
        self._loop.after(KEEPALIVE / 2, lambda: self._watch(era))

    def _queue(self, topic, payload, retain, properties, acknowledged):
        if self._state != OPEN:
            return
        self._pending.append((topic, payload, retain, properties, acknowledged))
        # What one turn queues leaves together.
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call(self._flush)

    def _flush(self):
        self._is_flushing = False
        self._send_pending()

    def _send_pending(self):
        while self._pending and len(self._in_flight) < self._receive_maximum:
            topic, payload, retain, properties, acknowledged = self._pending.popleft()
            identifier = self._next_identifier
            self._next_identifier = identifier % 65000 + 1
            self._in_flight[identifier] = acknowledged
            self._out += packets.publish(topic, payload, identifier, retain, properties)
        if self._out and self._state == OPEN:
            self._write()
