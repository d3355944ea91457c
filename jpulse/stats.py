"""Counters of a namespace in O(1) a message, and the colour that sums them up."""

from __future__ import annotations

MINUTES = 60
ACTIVE_SECONDS = 300.0
STALE_SECONDS = 1800.0


class NamespaceStats:
    """Counts messages of the last hour in a ring of minutes. Times are seconds since 1970."""

    __slots__ = ("_minute", "_ring", "dropped", "last_activity", "total")

    def __init__(self) -> None:
        self.total = 0
        self.dropped = 0
        #: None until the first message.
        self.last_activity: float | None = None
        self._ring = [0] * MINUTES
        self._minute = 0

    def count(self, now: float) -> None:
        """Count one message."""
        minute = int(now // 60)
        if minute != self._minute:
            self._turn_to(minute)
        self._ring[minute % MINUTES] += 1
        self.total += 1
        self.last_activity = now

    def messages_per_hour(self, now: float) -> int:
        """Messages of this minute and the 59 before it."""
        self._turn_to(int(now // 60))
        return sum(self._ring)

    def _turn_to(self, minute: int) -> None:
        if minute <= self._minute - MINUTES:
            # The clock was set back: what the ring holds lies in the future.
            self._ring = [0] * MINUTES
            self._minute = minute
        for passed in range(max(self._minute + 1, minute - MINUTES + 1), minute + 1):
            self._ring[passed % MINUTES] = 0
        self._minute = max(minute, self._minute)

    def colour(self, now: float, clients: int) -> str:
        """
        Say how alive a namespace is.

        green: a message in the last 5 minutes; yellow: none for 5 to 30 minutes, with
        clients; red: none for 30 minutes, or no clients.
        """
        silent = STALE_SECONDS if self.last_activity is None else now - self.last_activity
        if silent < ACTIVE_SECONDS:
            return "green"
        return "yellow" if clients and silent < STALE_SECONDS else "red"
