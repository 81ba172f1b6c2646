"""A way to a broker that can be cut and healed."""

import socket
import threading


class Relay:
    """Takes connections on a free loopback port and carries their bytes to `port`."""

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = []
        self._is_cut = False
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Ends all connections, and each new one as soon as it is made."""
        self._is_cut = True
        self._drop()

    def heal(self):
        self._is_cut = False

    def close(self):
        self._listener.close()
        self._drop()
        for each in self._sockets:
            each.close()

    def _drop(self):
        for each in list(self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for ends in [(near, far), (far, near)]:
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    @staticmethod
    def _carry(source, target):
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass  # the other end has gone
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
