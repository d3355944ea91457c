"""The log of the last five minutes: who said what in which namespace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

KEPT_SECONDS = 300.0
MAX_ENTRIES = 1000
#: Of larger messages only the beginning is kept, so that a full log stays within a few megabytes.
MAX_KEPT_BYTES = 1024
_encode = msgspec.json.Encoder(enc_hook=repr).encode
#: What is shown of a message; the rest is cut.
MAX_TEXT = 500


def iso_time(seconds: float) -> str:
    """Write a time (seconds since 1970) as `2026-11-22T18:42:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Excerpt(msgspec.Struct, frozen=True):
    """The beginning of a message that is too large to be kept whole."""

    type: str
    text: bytes


def to_keep(message: Mapping[str, Any], encoded: bytes, start: int = 0) -> Mapping[str, Any] | Excerpt:
    """What the log keeps of a message whose JSON begins at `start`: itself, or an excerpt of a large one."""
    if len(encoded) <= MAX_KEPT_BYTES:
        return message
    return Excerpt(_shown(_type_of, message), encoded[start : start + MAX_TEXT])


class ActivityLog:
    """Keeps references to what passed and formats them only when they are read."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._entries: deque[tuple[float, str, str, str, Mapping[str, Any] | Excerpt]] = deque(
            maxlen=max_entries
        )

    def add(
        self, now: float, namespace: str, direction: str, username: str, message: Mapping[str, Any] | Excerpt
    ) -> None:
        """Keep a message that came `in` or went `out`; the oldest falls out of a full log."""
        self._entries.append((now, namespace, direction, username, message))

    def prune(self, now: float) -> None:
        """Forget what is older than five minutes."""
        entries = self._entries
        while entries and entries[0][0] <= now - KEPT_SECONDS:
            entries.popleft()

    def entries(self, now: float, limit: int = MAX_ENTRIES) -> list[dict[str, str]]:
        """The newest `limit` entries of the last five minutes, newest first."""
        self.prune(now)
        return [_entry(*each) for each in islice(reversed(self._entries), limit)]


def _entry(
    when: float, namespace: str, direction: str, username: str, message: Mapping[str, Any] | Excerpt
) -> dict[str, str]:
    return {
        "timestamp": iso_time(when),
        "namespace": namespace,
        "direction": direction,
        "username": username,
        "type": _shown(_type_of, message),
        "message": _shown(_json_of, message),
    }


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
