"""A TCP proxy that stands before a Redis and does to its connections what bad networks do."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

CHUNK_BYTES = 4096


class Proxy:
    """
    Passes on what comes, until told to damage it.

    Each attribute may be changed at any time and holds for what comes from then on.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        #: Seconds that every chunk waits; chunks of a connection wait one after the other.
        self.delay_seconds = 0.0
        #: The part of the chunks out of which some bytes vanish.
        self.damage = 0.0
        #: Nothing that the target answers arrives, but at those who have subscribed; connections stay open.
        self.swallow_answers = False
        #: New connections are closed at once.
        self.refuse = False
        #: How many bytes did not arrive.
        self.dropped_bytes = 0
        self._random = random.Random(6)
        self._sockets: set[socket.socket] = set()
        #: The target's ends of connections on which somebody subscribed, and those that were made deaf.
        self._listening: set[socket.socket] = set()
        self._deaf: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The address to give instead of the Redis's own."""
        return f"redis://127.0.0.1:{self.port}"

    def heal(self) -> None:
        """Pass on everything again; what was damaged stays so."""
        self.delay_seconds, self.damage, self.swallow_answers, self.refuse = 0.0, 0.0, False, False

    def cut(self) -> None:
        """End every connection."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def deafen(self) -> None:
        """Let nothing arrive any more at those who have subscribed; connections that they make later work."""
        self._deaf = set(self._listening)

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuse:
                    client.close()
                else:
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            target = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
        except OSError:
            client.close()
            return
        target.settimeout(None)
        self._sockets |= {client, target}
        for ends in ((client, target, False), (target, client, True)):
            thread = threading.Thread(target=self._pass_on, args=ends, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                time.sleep(self.delay_seconds)
                if b"SUBSCRIBE" in data and not answers:
                    self._listening.add(sink)
                sink.sendall(self._what_arrives(data, answers and self._is_swallowed(source)))
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.discard(source)
        source.close()

    def _is_swallowed(self, target: socket.socket) -> bool:
        return target in self._deaf or (self.swallow_answers and target not in self._listening)

    def _what_arrives(self, data: bytes, swallow: bool) -> bytes:
        if swallow:
            arriving = b""
        elif self._random.random() < self.damage:
            begin = self._random.randrange(len(data))
            arriving = data[:begin] + data[begin + self._random.randint(1, 40) :]
        else:
            arriving = data
        self.dropped_bytes += len(data) - len(arriving)
        return arriving
