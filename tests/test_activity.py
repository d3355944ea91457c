"""The log of the last five minutes: what it keeps, what it forgets, and that nothing in it can break it."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from jpulse import wire
from jpulse.activity import KEPT_SECONDS, MAX_ENTRIES, MAX_TEXT, ActivityLog, Excerpt, iso_time, to_keep

NOON = 1_700_000_000.0
PATH = "/api/1/ws/chat"


def log_of(*messages: Mapping[str, Any]) -> ActivityLog:
    """A log with these messages, a second apart, the first at noon."""
    log = ActivityLog()
    for number, message in enumerate(messages):
        log.add(NOON + number, PATH, "in", "ann", message)
    return log


def types(entries: list[dict[str, str]]) -> list[str]:
    """The types of entries, in their order."""
    return [entry["type"] for entry in entries]


# What an entry is


def test_entry() -> None:
    """An entry has time, namespace, direction, username, type and message, all of them texts."""
    log = ActivityLog()
    log.add(1795372920.0, PATH, "out", "ann", {"type": "said", "text": "né 🙂"})
    assert log.entries(1795372921.0) == [
        {
            "timestamp": "2026-11-22T18:42:00.000Z",
            "namespace": PATH,
            "direction": "out",
            "username": "ann",
            "type": "said",
            "message": '{"type":"said","text":"né 🙂"}',
        }
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1795372920.0, "2026-11-22T18:42:00.000Z"),
        (1795372920.5, "2026-11-22T18:42:00.500Z"),
        (1795372920.123999, "2026-11-22T18:42:00.123Z"),
    ],
)
def test_iso_time(seconds: float, text: str) -> None:
    """A time is written in UTC with three digits of a second, as JavaScript's toISOString does."""
    assert iso_time(seconds) == text


@pytest.mark.parametrize(("message", "kind"), [({}, ""), ({"type": 5}, "5"), ({"type": None}, "None")])
def test_type_that_is_no_text(message: dict[str, Any], kind: str) -> None:
    """A message without a type, or with one that is no text, has an entry all the same."""
    assert types(log_of(message).entries(NOON)) == [kind]


def test_long_message_is_cut() -> None:
    """Of a long message the beginning is shown."""
    (entry,) = log_of({"text": "🙂" * 10_000}).entries(NOON)
    assert entry["message"] == '{"text":"' + "🙂" * (MAX_TEXT - 9)


def test_long_type_is_cut() -> None:
    """A client cannot fill the log with a type of many kilobytes."""
    (entry,) = log_of({"type": "x" * 60_000}).entries(NOON)
    assert len(entry["type"]) <= MAX_TEXT


# What is kept


def test_empty_log() -> None:
    """A log without messages has no entries."""
    assert ActivityLog().entries(NOON) == []


def test_newest_first() -> None:
    """The newest entry comes first."""
    assert types(log_of({"type": "a"}, {"type": "b"}, {"type": "c"}).entries(NOON + 2)) == ["c", "b", "a"]


@pytest.mark.parametrize(("age", "kept"), [(0.0, 1), (299.9, 1), (300.0, 0), (301.0, 0)])
def test_five_minutes(age: float, kept: int) -> None:
    """An entry is forgotten when it is five minutes old."""
    assert len(log_of({"type": "a"}).entries(NOON + age)) == kept


def test_old_entries_go_one_by_one() -> None:
    """What is younger than five minutes stays when what is older goes."""
    log = log_of({"type": "a"}, {"type": "b"}, {"type": "c"})
    assert types(log.entries(NOON + KEPT_SECONDS + 1)) == ["c"]


def test_prune() -> None:
    """Pruning forgets what is old although nobody reads, so that an idle server gives its memory back."""
    log = log_of({"type": "a"}, {"type": "b"})
    log.prune(NOON + KEPT_SECONDS)
    assert types(log.entries(NOON + 1)) == ["b"]


def test_cap() -> None:
    """A full log loses its oldest entry for a new one."""
    log = ActivityLog(max_entries=3)
    for number in range(10):
        log.add(NOON, PATH, "in", "", {"type": str(number)})
    assert types(log.entries(NOON)) == ["9", "8", "7"]


def test_cap_by_default() -> None:
    """The log is capped however many messages pass in five minutes."""
    log = ActivityLog()
    for number in range(MAX_ENTRIES + 500):
        log.add(NOON, PATH, "in", "", {"type": str(number)})
    entries = log.entries(NOON)
    assert len(entries) == MAX_ENTRIES
    assert entries[0]["type"] == str(MAX_ENTRIES + 499)


def test_limit() -> None:
    """A reader may ask for less."""
    assert types(log_of({"type": "a"}, {"type": "b"}, {"type": "c"}).entries(NOON, limit=2)) == ["c", "b"]
    assert log_of({"type": "a"}).entries(NOON, limit=0) == []


def test_clock_set_back() -> None:
    """A clock that is set back breaks nothing, and the order of coming stays."""
    log = log_of({"type": "a"})
    log.add(NOON - 100, PATH, "in", "", {"type": "b"})
    assert types(log.entries(NOON - 100)) == ["b", "a"]


# Odd contents


class Colour(enum.Enum):
    """An enumeration that JSON does not know."""

    RED = 1


class Stubborn:
    """An object that cannot even say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Said(msgspec.Struct):
    """A typed message."""

    type: str
    text: str


def deep(depth: int) -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> dict[str, Any]:
    """A dict that holds itself."""
    value: dict[str, Any] = {"type": "cycle"}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"a": {1, 2}}, id="set"),
        pytest.param({"a": b"bytes"}, id="bytes"),
        pytest.param({"a": object()}, id="object"),
        pytest.param({"a": Colour.RED, "type": Colour.RED}, id="Enum"),
        pytest.param({"a": float("nan")}, id="NaN"),
        pytest.param({"a": float("inf")}, id="Infinity"),
        pytest.param({"a": 2**70}, id="2**70"),
        pytest.param({"a": 10**5000}, id="number of 5,000 digits"),
        pytest.param({"a": "\ud800"}, id="lone surrogate"),
        pytest.param({"type": "\ud800"}, id="lone surrogate as type"),
        pytest.param({"\ud800": 1}, id="lone surrogate as key"),
        pytest.param({("a", 1): 1}, id="tuple as key"),
        pytest.param({None: 1}, id="None as key"),
        pytest.param({"a": deep(900)}, id="900 lists deep"),
        pytest.param({"a": deep(100_000)}, id="100,000 lists deep"),
        pytest.param(cycle(), id="cycle"),
        pytest.param({"a": Stubborn()}, id="object without a repr"),
        pytest.param({"type": Stubborn()}, id="object without a repr as type"),
        pytest.param(Said("said", "hello"), id="Struct"),
    ],
)
def test_odd_content(message: Any) -> None:
    """What handlers leave in a message keeps nobody from reading the log, as JSON, with its neighbours."""
    entries = log_of({"type": "before"}, message, {"type": "after"}).entries(NOON + 2)
    assert len(entries) == 3
    assert (entries[0]["type"], entries[2]["type"]) == ("after", "before")
    assert set(entries[1]) == {"timestamp", "namespace", "direction", "username", "type", "message"}
    json.loads(wire.plain_success({"activityLog": entries}))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"a":1180591620717411303424}', id="2**70"),
        pytest.param(b'{"a":' + b"9" * 4000 + b"}", id="number of 4,000 digits"),
        pytest.param(b'{"type":' + b"[" * 300 + b"]" * 300 + b"}", id="300 arrays deep as type"),
        pytest.param(b'{"a":1e308,"b":-1e-308,"type":1e308}', id="extreme numbers"),
        pytest.param(rb'{"type":"\u0000\u2028\"</script>"}', id="odd characters"),
    ],
)
def test_whatever_a_client_sends(payload: bytes) -> None:
    """A message that was accepted from a client can be shown in the log."""
    json.loads(wire.plain_success({"activityLog": log_of(wire.decode(payload)).entries(NOON)}))


def test_deepest_message_that_a_client_can_send() -> None:
    """A message as deep as decoding allows can be shown, also by a reader whose own stack is deep already."""
    depth = 2000
    while True:
        try:
            message = wire.decode(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
            break
        except Exception:  # noqa: BLE001 - however it is refused, less deep is tried next
            depth -= 1
    log = log_of(message)

    def read_below(levels: int) -> list[dict[str, str]]:
        return read_below(levels - 1) if levels else log.entries(NOON)

    assert len(read_below(50)) == 1


def test_large_message_is_kept_in_part() -> None:
    """Of a large message the log keeps its type and its beginning, not the whole."""
    message = {"type": "big", "pad": "x" * 100_000}
    encoded = json.dumps(message).encode()
    kept = to_keep(message, b"head" + encoded, 4)
    assert isinstance(kept, Excerpt)
    log = ActivityLog()
    log.add(NOON, "/api/1/ws/x", "in", "ann", kept)
    [entry] = log.entries(NOON)
    assert entry["type"] == "big"
    assert entry["message"] == encoded.decode()[:MAX_TEXT]


def test_small_message_is_kept_as_it_is() -> None:
    """A small message costs nothing until the log is read."""
    message = {"type": "small"}
    assert to_keep(message, b'{"type":"small"}') is message
