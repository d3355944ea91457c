"""
Counters of a namespace in O(1) a message, and the colour that sums them up.

What one process has counted is a `Figures`, which it can tell the others; `merge` adds them up.
Times are seconds since 1970, and an argument everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

import msgspec

from .errors import CloseCode

MINUTES = 60
#: Seconds of which the number of messages is known one by one.
SERIES_SECONDS = 300
#: Messages a second are a mean over so many.
RATE_SECONDS = 5
#: What happened so long ago all processes have told by now.
TOLD_WITHIN_SECONDS = 2
ACTIVE_SECONDS = 300.0
STALE_SECONDS = 1800.0

#: Why a message was not handled or (slow) not delivered: over the rate, too large, no message, outbox full,
#: too many pings or fragments, a handler that worked too long.
DROP_REASONS = ("rate", "size", "invalid", "slow", "frames", "overdue")
#: Upper bounds in seconds of the buckets of handler times; one more bucket has what took longer.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_KNOWN_CODES = frozenset(int(code) for code in CloseCode)
#: Clients may send any code from 3000 to 4999: so many of them are told apart.
MAX_FOREIGN_CODES = 16
#: Stands for the close codes that are not.
OTHER_CODES = 0

_Key = TypeVar("_Key", str, int)


class Ring:
    """Counts per minute or second of the last `size` of them; a unit is a time divided by its length."""

    __slots__ = ("_counts", "newest", "total")

    def __init__(self, size: int) -> None:
        self._counts = [0] * size
        #: The newest unit that the ring has seen.
        self.newest = 0
        #: The sum of all that the ring holds.
        self.total = 0

    def add(self, unit: int, count: int) -> None:
        """Count; a unit that is too old for the ring empties it, since the clock was set back then."""
        self.turn_to(unit)
        self._counts[unit % len(self._counts)] += count
        self.total += count

    def turn_to(self, unit: int) -> None:
        """Forget what is `size` units old or older, seen from this unit."""
        counts, size = self._counts, len(self._counts)
        if abs(unit - self.newest) >= size:
            # What the ring holds is too old, or lies in the future of a clock that was set back.
            self._counts, self.total, self.newest = [0] * size, 0, unit
        for passed in range(self.newest + 1, unit + 1):
            self.total -= counts[passed % size]
            counts[passed % size] = 0
            self.newest = passed

    def last(self, end: int) -> list[int]:
        """The counts of the units before `end`, newest last, without the zeros at the beginning."""
        self.turn_to(end)
        if not self.total:
            return []
        cut = end % len(self._counts)
        counts = self._counts[cut:] + self._counts[:cut]
        # Units from `end` on stand where the oldest would.
        begin = self.newest - end + 1
        return counts[next((place for place in range(begin, len(counts)) if counts[place]), len(counts)) :]

    def held(self) -> list[int]:
        """The counts up to the newest unit, newest last, without the zeros at the beginning."""
        cut = (self.newest + 1) % len(self._counts)
        counts = self._counts[cut:] + self._counts[:cut]
        return counts[next((place for place, count in enumerate(counts) if count), len(counts)) :]


class Figures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    What one process tells the others of a namespace, or the sum over all processes.

    Every field has a default, and unknown ones are ignored, so that processes of
    different versions understand each other.
    """

    total: int = 0
    #: Those of them that came in.
    received: int = 0
    #: Messages of this minute and the 59 before it.
    per_hour: int = 0
    #: Messages per minute, newest last, without zeros at the beginning, and the minute after the last.
    minutes: list[int] = []
    minutes_end: int = 0
    last_activity: float | None = None
    #: Frames put into outboxes, and their bytes.
    deliveries: int = 0
    bytes_out: int = 0
    #: Bytes that compression has kept from being sent.
    bytes_saved: int = 0
    #: Bytes of the messages that were received.
    bytes_in: int = 0
    dropped: dict[str, int] = {}
    #: Times that a client's input was held back because too much of it waited for a busy handler.
    pauses: int = 0
    connects: int = 0
    closes: dict[int, int] = {}
    #: Handler calls by BUCKETS, the last for longer ones, and the seconds of all together.
    handler_counts: list[int] = []
    handler_seconds: float = 0.0
    #: Messages per second, newest last, without zeros at the beginning.
    series: list[int] = []
    #: The second (since 1970) after the last one of `series`.
    series_end: int = 0

    def colour(self, now: float, clients: int) -> str:
        """Say how alive the namespace is; see the function of this name."""
        return colour(self.last_activity, now, clients)

    def hour_until(self, now: float) -> int:
        """Messages of the minute of `now` and the 59 before it, of those that were told."""
        gone = int(now // 60) + 1 - self.minutes_end
        return sum(self.minutes[-max(0, MINUTES - max(0, gone)) :]) if gone < MINUTES else 0

    def per_second(self) -> float:
        """Messages a second, as a mean over the last few whole seconds."""
        return sum(self.series[-RATE_SECONDS:]) / RATE_SECONDS

    def handler_quantile(self, part: float) -> float | None:
        """The seconds within which this part of the handler calls ended; see `quantile`."""
        return quantile(self.handler_counts, part)


class NamespaceStats:
    """What this process counts of one namespace."""

    __slots__ = (
        "_begin",
        "_end",
        "_fresh",
        "_minutes",
        "_seconds",
        "_total",
        "bytes_in",
        "bytes_out",
        "bytes_saved",
        "closes",
        "connects",
        "deliveries",
        "drops",
        "handler_counts",
        "handler_seconds",
        "last_activity",
        "messages_in",
        "pauses",
    )

    def __init__(self) -> None:
        #: None until the first message.
        self.last_activity: float | None = None
        self.bytes_in = self.bytes_out = self.bytes_saved = 0
        self.messages_in = self.deliveries = self.connects = self.pauses = 0
        self.drops = dict.fromkeys(DROP_REASONS, 0)
        self.closes: dict[int, int] = {}
        self.handler_counts = [0] * (len(BUCKETS) + 1)
        self.handler_seconds = 0.0
        self._total = 0
        self._minutes = Ring(MINUTES)
        #: One more for the second that still runs.
        self._seconds = Ring(SERIES_SECONDS + 1)
        #: Messages from `_begin` to `_end`, a second apart, that are in no other counter yet.
        self._fresh = 0
        self._begin = self._end = 0

    # Counting

    def count(self, now: float) -> None:
        """Count one message."""
        if not self._begin <= now < self._end:
            self._settle(now)
        self._fresh += 1
        self.last_activity = now

    def received(self, now: float, size: int) -> None:
        """Count a message that came in, of `size` bytes."""
        # count() written out: it is called for every message.
        if not self._begin <= now < self._end:
            self._settle(now)
        self._fresh += 1
        self.last_activity = now
        self.messages_in += 1
        self.bytes_in += size

    def delivered(self, receivers: int, size: int, saved: int = 0) -> None:
        """Count a frame of `size` bytes, without compression `saved` more, in so many receivers' outboxes."""
        self.deliveries += receivers
        self.bytes_out += receivers * size
        self.bytes_saved += receivers * saved

    def drop(self, reason: str) -> None:
        """Count a message that was dropped; the reasons are DROP_REASONS."""
        self.drops[reason] += 1

    def connected(self) -> None:
        """Count a connection that was made."""
        self.connects += 1

    def closed(self, code: int) -> None:
        """Count a connection that ended; rare codes of the clients' own are counted together."""
        closes = self.closes
        if code not in closes and code not in _KNOWN_CODES and len(closes) >= MAX_FOREIGN_CODES:
            code = OTHER_CODES
        closes[int(code)] = closes.get(code, 0) + 1

    def handled(self, seconds: float) -> None:
        """Count a handler call that took so long."""
        self.handler_counts[bisect_left(BUCKETS, seconds)] += 1
        self.handler_seconds += seconds

    def _settle(self, now: float) -> None:
        """Put what is fresh where it belongs, and begin the second of `now`."""
        if self._fresh:
            self._total += self._fresh
            self._seconds.add(self._begin, self._fresh)
            self._minutes.add(self._begin // 60, self._fresh)
            self._fresh = 0
        self._begin = int(now)
        self._end = self._begin + 1
        self._minutes.turn_to(self._begin // 60)

    # Reading

    @property
    def total(self) -> int:
        """Messages since the start."""
        return self._total + self._fresh

    @property
    def dropped(self) -> int:
        """Messages that were dropped, for whatever reason."""
        return sum(self.drops.values())

    def messages_per_hour(self, now: float) -> int:
        """Messages of this minute and the 59 before it."""
        if self._fresh or not self._begin <= now < self._end:
            self._settle(now)
        return self._minutes.total

    def series(self, now: float) -> list[int]:
        """Messages per second, newest last, up to the last whole second; no zeros at the beginning."""
        self._settle(now)
        return self._seconds.last(int(now))

    def colour(self, now: float, clients: int) -> str:
        """Say how alive the namespace is; see the function of this name."""
        return colour(self.last_activity, now, clients)

    def figures(self, now: float) -> Figures:
        """All of it, to be told to other processes."""
        return Figures(
            total=self.total,
            received=self.messages_in,
            per_hour=self.messages_per_hour(now),
            # Not `last`: that would turn the ring to a minute to come, and lose the oldest.
            minutes=self._minutes.held(),
            minutes_end=self._minutes.newest + 1,
            last_activity=self.last_activity,
            deliveries=self.deliveries,
            bytes_out=self.bytes_out,
            bytes_saved=self.bytes_saved,
            bytes_in=self.bytes_in,
            dropped={reason: count for reason, count in self.drops.items() if count},
            connects=self.connects,
            pauses=self.pauses,
            closes=self.closes.copy(),
            handler_counts=self.handler_counts.copy() if any(self.handler_counts) else [],
            handler_seconds=self.handler_seconds,
            series=self.series(now),
            series_end=int(now),
        )


def colour(last_activity: float | None, now: float, clients: int) -> str:
    """
    Say how alive a namespace is.

    green: a message in the last 5 minutes; yellow: none for 5 to 30 minutes, with
    clients; red: none for 30 minutes, or no clients.
    """
    silent = STALE_SECONDS if last_activity is None else now - last_activity
    if silent < ACTIVE_SECONDS:
        return "green"
    return "yellow" if clients and silent < STALE_SECONDS else "red"


def quantile(counts: Sequence[int], part: float) -> float | None:
    """
    Estimate within how many seconds `part` (0 to 1) of the handler calls ended; None if there was none.

    Calls are taken to be spread evenly within their bucket, as Prometheus does; what is
    beyond the last bound counts as that bound.
    """
    rank = part * sum(counts)
    lower, before = 0.0, 0
    for upper, count in zip(BUCKETS, counts, strict=False):
        if count and before + count >= rank:
            return lower + (upper - lower) * (rank - before) / count
        lower, before = upper, before + count
    return BUCKETS[-1] if any(counts) else None


def merge_messages(figures: Iterable[Figures]) -> Figures:
    """Add up total, per_hour and last_activity alone, at a tenth of the cost of `merge`."""
    total = per_hour = 0
    last: float | None = None
    for each in figures:
        total += each.total
        per_hour += each.per_hour
        if each.last_activity is not None and (last is None or each.last_activity > last):
            last = each.last_activity
    return Figures(total=total, per_hour=per_hour, last_activity=last)


def series_end(now: float, processes: int) -> int:
    """
    Where a merged series ends: with several processes, where all have told what they counted.

    A chart whose last seconds lack something would always fall at its end.
    """
    return int(now) - (TOLD_WITHIN_SECONDS if processes > 1 else 0)


def merge(figures: Iterable[Figures], end: int) -> Figures:
    """
    Add up what processes have told of one namespace, with the series of the seconds before `end`.

    Figures that end earlier are those of a namespace in which nothing has happened since.
    """
    parts = list(figures)
    merged = merge_messages(parts)
    for each in parts:
        merged.received += each.received
        merged.deliveries += each.deliveries
        merged.bytes_out += each.bytes_out
        merged.bytes_saved += each.bytes_saved
        merged.bytes_in += each.bytes_in
        merged.connects += each.connects
        merged.pauses += each.pauses
        merged.handler_seconds += each.handler_seconds
        _add_to(merged.dropped, each.dropped)
        _add_to(merged.closes, each.closes)
    merged.handler_counts = _add_columns(each.handler_counts for each in parts)
    merged.series_end = end
    merged.series = _add_columns(_series_until(each, end) for each in parts if each.series)[::-1]
    return merged


def _series_until(figures: Figures, end: int) -> list[int]:
    """The series before `end`, newest first."""
    behind = end - figures.series_end
    newest_first = figures.series[::-1]
    newest_first = [0] * behind + newest_first if behind > 0 else newest_first[-behind:]
    return newest_first[:SERIES_SECONDS]


def _add_columns(rows: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip_longest(*rows, fillvalue=0)]


def _add_to(totals: dict[_Key, int], counts: dict[_Key, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count
