"""Who is silent: pings on time, and an end to connections from which nothing comes."""

from __future__ import annotations

import random
from collections.abc import Callable

from .connection import Connection
from .errors import CloseCode
from .hub import Hub
from .websocket import PING_FRAME


class Heartbeat:
    """
    Pings every connection every `ping_interval` seconds, each at its own time.

    A connection is ended with 4408 when nothing at all came from it for `ping_interval +
    pong_timeout` seconds; any traffic counts as life (RFC 6455 section 5.5.2 asks for
    no more). One whose handler is at work is spared: its input may wait unread. One that
    has begun a message and does not bring its end is ended after `message_seconds`.

    A sweep looks at every connection, which costs 0.1 ms for a thousand.
    """

    def __init__(
        self,
        hub: Hub,
        ping_interval: float,
        pong_timeout: float,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._hub = hub
        self._ping_interval = ping_interval
        self._silence = ping_interval + pong_timeout
        self._spread = spread
        self._last_sweep: float | None = None
        #: Seconds between two sweeps, so that a silent client is noticed in time.
        self.tick = min(1.0, ping_interval / 10, pong_timeout / 2)

    def sweep(self, now: float) -> None:
        """Do what is due at the monotonic time `now`."""
        self._hub.scheduler.cut_overdue(now)
        late = self._last_sweep is not None and now - self._last_sweep > self.tick + 1.0
        self._last_sweep = now
        silent = []
        for connection in list(self._hub.connections()):
            if now >= connection.next_ping_at:
                self._ping(connection, now)
            if now - connection.last_heard >= self._silence and not connection.busy:
                silent.append(connection)
            elif connection.begun_at:
                self._look_at_unfinished(connection, now)
        # After a pause of the whole process the clients' bytes wait unread: hear them first.
        if not late:
            self._end(silent)

    def _ping(self, connection: Connection, now: float) -> None:
        if connection.next_ping_at == 0.0:
            # Thousands may have come in one second; from here on each has its own time.
            connection.next_ping_at = now + self._ping_interval * self._spread()
        else:
            connection.next_ping_at = now + self._ping_interval
            connection.send_frame(PING_FRAME)

    @staticmethod
    def _look_at_unfinished(connection: Connection, now: float) -> None:
        seconds = connection.namespace.limits.message_seconds
        # While a handler is at work it may be our fault that no more was read.
        if seconds and now - connection.begun_at >= seconds and not connection.busy:
            connection.close(CloseCode.NO_SIGN_OF_LIFE, f"A message did not end within {seconds:g} seconds")

    def _end(self, silent: list[Connection]) -> None:
        for connection in silent:
            connection.close(CloseCode.NO_SIGN_OF_LIFE, "No sign of life")
