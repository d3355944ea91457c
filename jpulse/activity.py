"""The log of the last five minutes: who said what in which namespace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import msgspec

#: `{"timestamp", "namespace", "direction", "username", "type", "message"}`
Entry = dict[str, str]

KEPT_SECONDS = 300.0
MAX_ENTRIES = 1000
#: Of larger messages only the beginning is kept, so that a full log stays within a few megabytes.
MAX_KEPT_BYTES = 1024
_encode = msgspec.json.Encoder(enc_hook=repr).encode
#: What is shown of a message; the rest is cut.
MAX_TEXT = 500


def iso_time(seconds: float) -> str:
    """Write a time (seconds since 1970) as `2026-11-22T18:42:00.000Z`."""
    second, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_to_the_second(second)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(second: int) -> str:
    """The part that thousands of times share: statistics write them by the thousand."""
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")


class Excerpt(msgspec.Struct, frozen=True):
    """The beginning of a message that is too large to be kept whole."""

    type: str
    text: bytes


def to_keep(message: Mapping[str, Any], encoded: bytes, start: int = 0) -> Mapping[str, Any] | Excerpt:
    """What the log keeps of a message whose JSON begins at `start`: itself, or an excerpt of a large one."""
    if len(encoded) <= MAX_KEPT_BYTES:
        return message
    return Excerpt(_shown(_type_of, message), encoded[start : start + MAX_TEXT])


class News(NamedTuple):
    """What came since a mark."""

    #: Newest first, as `ActivityLog.entries`.
    entries: list[Entry]
    #: How many more came that are not among them.
    skipped: int
    #: To be given to the next `since`.
    mark: int


class _Kept(msgspec.Struct):
    """A message as it passed, until somebody reads it."""

    when: float
    namespace: str
    direction: str
    username: str
    message: Any
    #: Set by the first reader; the message is let go of then.
    entry: Entry | None = None


class ActivityLog:
    """
    Keeps references to what passed and formats them only when they are read, each once.

    What stands in the entries that readers get is shared between them: nobody changes it.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self.max_entries = max_entries
        self._entries: deque[_Kept] = deque(maxlen=max_entries)
        #: Messages that were ever added.
        self._added = 0
        #: At which second of the last five minutes how many had been added, for `left_out`.
        self._checkpoints: deque[tuple[int, int]] = deque(maxlen=int(KEPT_SECONDS) + 1)
        self._begin = self._end = 0

    @property
    def mark(self) -> int:
        """Stands for this moment, in a later call of `since`."""
        return self._added

    def add(
        self, now: float, namespace: str, direction: str, username: str, message: Mapping[str, Any] | Excerpt
    ) -> None:
        """Keep a message that came `in` or went `out`; the oldest falls out of a full log."""
        if not self._begin <= now < self._end:
            self._begin_second(int(now))
        self._added += 1
        self._entries.append(_Kept(now, namespace, direction, username, message))

    def prune(self, now: float) -> None:
        """Forget what is older than five minutes."""
        entries, since = self._entries, now - KEPT_SECONDS
        while entries and entries[0].when <= since:
            entries.popleft()
        while self._checkpoints and self._checkpoints[0][0] < since:
            self._checkpoints.popleft()

    def entries(self, now: float, limit: int = MAX_ENTRIES) -> list[Entry]:
        """The newest `limit` entries of the last five minutes, newest first."""
        self.prune(now)
        return self._newest(limit)

    def since(self, mark: int, now: float, limit: int = MAX_ENTRIES) -> News:
        """
        What was added after a mark, at most the newest `limit` of it.

        What the cap left out meanwhile counts as skipped, and so does what has become too old.
        """
        self.prune(now)
        added = max(0, self._added - mark)
        entries = self._newest(min(added, limit))
        return News(entries, added - len(entries), self._added)

    def left_out(self, now: float) -> int:
        """How many messages of the last five minutes are missing because of the cap, to about a second."""
        self.prune(now)
        if not self._checkpoints:
            return 0
        # What came in the oldest second before its checkpoint is not counted: rather too few than some
        # that nobody has left out.
        return max(0, self._added - self._checkpoints[0][1] - len(self._entries))

    def _newest(self, limit: int) -> list[Entry]:
        return [each.entry or _format(each) for each in islice(reversed(self._entries), limit)]

    def _begin_second(self, second: int) -> None:
        self._checkpoints.append((second, self._added))
        self._begin, self._end = second, second + 1


def _format(kept: _Kept) -> Entry:
    kept.entry = {
        "timestamp": iso_time(kept.when),
        "namespace": kept.namespace,
        "direction": kept.direction,
        "username": kept.username,
        "type": _shown(_type_of, kept.message),
        "message": _shown(_json_of, kept.message),
    }
    kept.message = None
    return kept.entry


def _type_of(message: Any) -> str:
    kind = message.get("type", "") if isinstance(message, Mapping) else msgspec.to_builtins(message)["type"]
    return str(kind)


def _json_of(message: Any) -> str:
    if isinstance(message, Excerpt):
        return message.text.decode("utf-8", "ignore")
    return _encode(message).decode()


def _shown(write: Callable[[Any], str], message: Any) -> str:
    """The beginning of a text that JSON can carry, whatever handlers have left in the message."""
    try:
        return write(message)[:MAX_TEXT].encode("utf-8", "replace").decode()
    except Exception as error:  # noqa: BLE001 - whatever an application's objects raise
        return f"(not shown: {type(error).__name__})"
