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
        pytest.param(b'{"type":' + b"[" * 63 + b"]" * 63 + b"}", id="63 arrays deep as type"),
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


# What the cap leaves out


def test_nothing_left_out() -> None:
    """A log that is not full leaves nothing out, also while what is old goes."""
    log = ActivityLog(max_entries=1000)
    for number in range(700):
        log.add(NOON + number * 0.9, PATH, "in", "", {})
        assert log.left_out(NOON + number * 0.9) == 0
    assert log.left_out(NOON + 10_000) == 0
    assert ActivityLog().left_out(NOON) == 0


def test_left_out_by_the_cap() -> None:
    """A full log knows how many messages of the last five minutes it no longer has."""
    log = ActivityLog(max_entries=10)
    for number in range(25):
        log.add(NOON + number / 100, PATH, "in", "", {})
    assert log.left_out(NOON + 1) == 15
    assert log.left_out(NOON + KEPT_SECONDS - 1) == 15
    assert log.left_out(NOON + KEPT_SECONDS + 1) == 0


def test_left_out_over_time() -> None:
    """With one message every tenth of a second the number stays what five minutes hold, less the cap."""
    log = ActivityLog(max_entries=100)
    for number in range(10_000):
        log.add(NOON + number / 10, PATH, "in", "", {})
    assert 2880 <= log.left_out(NOON + 999.9) <= 2900


def test_left_out_after_the_clock_was_set_back() -> None:
    """A clock that is set back makes the number wrong for a while, and nothing else."""
    log = ActivityLog(max_entries=10)
    for number in range(50):
        log.add(NOON + number, PATH, "in", "", {})
    log.add(NOON - 10_000, PATH, "in", "", {})
    assert log.left_out(NOON - 10_000) >= 0
    for number in range(20):
        log.add(NOON - 9000 + number, PATH, "in", "", {})
    assert log.left_out(NOON + 400) == 0


# News


def test_since() -> None:
    """A reader that gives its mark hears what came after it, newest first, and nothing twice."""
    log = log_of({"type": "a"}, {"type": "b"})
    mark = log.mark
    assert log.since(mark, NOON + 2) == ([], 0, mark)
    log.add(NOON + 2, PATH, "in", "", {"type": "c"})
    log.add(NOON + 3, PATH, "in", "", {"type": "d"})
    news = log.since(mark, NOON + 3)
    assert (types(news.entries), news.skipped) == (["d", "c"], 0)
    assert log.since(news.mark, NOON + 3).entries == []
    assert types(log.since(0, NOON + 3).entries) == ["d", "c", "b", "a"]


def test_since_with_a_limit() -> None:
    """Of many news a reader may ask for the newest, and is told how many it misses."""
    log = log_of(*({"type": str(number)} for number in range(10)))
    news = log.since(4, NOON + 10, limit=2)
    assert (types(news.entries), news.skipped, news.mark) == (["9", "8"], 4, 10)


def test_since_of_a_full_log() -> None:
    """What the cap left out since the mark is told as skipped, and so is what became too old."""
    log = ActivityLog(max_entries=3)
    for number in range(10):
        log.add(NOON + number, PATH, "in", "", {"type": str(number)})
    news = log.since(2, NOON + 10)
    assert (types(news.entries), news.skipped) == (["9", "8", "7"], 5)
    assert log.since(2, NOON + 400) == ([], 8, 10)


def test_since_a_mark_of_another_log() -> None:
    """A mark that lies ahead, as after a restart, brings nothing and breaks nothing."""
    assert log_of({"type": "a"}).since(1000, NOON) == ([], 0, 1)


def test_formatted_once() -> None:
    """A message is formatted by its first reader, and let go of; later ones get the same entry."""
    message = {"type": "a", "text": "as it was"}
    log = log_of(message)
    [first] = log.entries(NOON)
    message["text"] = "changed"
    [second] = log.since(0, NOON).entries
    assert second is first
    assert "as it was" in second["message"]
