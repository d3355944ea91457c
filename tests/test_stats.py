"""Counters of a namespace and the colour that sums them up, at any time that a test likes."""

from __future__ import annotations

import random

import pytest

from jpulse.stats import NamespaceStats

HOUR = 3600.0
#: The beginning of a minute, so that a test can count in minutes from here.
NOON = 1_700_000_000.0 // 60 * 60


def stats_with(*times: float) -> NamespaceStats:
    """Counters after messages at these times."""
    stats = NamespaceStats()
    for time in times:
        stats.count(time)
    return stats


# The colour


@pytest.mark.parametrize(
    ("silent", "clients", "colour"),
    [
        (0.0, 1, "green"),
        (299.9, 1, "green"),
        (300.0, 1, "yellow"),
        (1799.9, 1, "yellow"),
        (1800.0, 1, "red"),
        (1e9, 1, "red"),
        (0.0, 0, "green"),
        (299.9, 0, "green"),
        (300.0, 0, "red"),
        (1799.9, 0, "red"),
        (1800.0, 0, "red"),
        (300.0, 5000, "yellow"),
    ],
)
def test_colour(silent: float, clients: int, colour: str) -> None:
    """Green for five minutes after a message, then yellow if there are clients, red after thirty minutes."""
    assert stats_with(NOON).colour(NOON + silent, clients) == colour


@pytest.mark.parametrize("clients", [0, 1])
def test_colour_without_a_message(clients: int) -> None:
    """A namespace that never had a message is red, with clients or without."""
    assert NamespaceStats().colour(NOON, clients) == "red"


def test_colour_comes_back() -> None:
    """A message makes a red namespace green again."""
    stats = stats_with(NOON)
    assert stats.colour(NOON + HOUR, 1) == "red"
    stats.count(NOON + HOUR)
    assert stats.colour(NOON + HOUR, 1) == "green"


def test_colour_after_the_clock_was_set_back() -> None:
    """A message that seems to come from the future is a message of just now."""
    assert stats_with(NOON).colour(NOON - 10, 1) == "green"


# Totals


def test_no_messages() -> None:
    """A new namespace has nothing to tell."""
    stats = NamespaceStats()
    assert (stats.total, stats.dropped, stats.last_activity) == (0, 0, None)
    assert stats.messages_per_hour(NOON) == 0


def test_totals() -> None:
    """Every message counts one, and the last one's time is kept."""
    stats = stats_with(NOON, NOON + 1, NOON + 5000)
    assert (stats.total, stats.last_activity) == (3, NOON + 5000)


# Messages of the last hour


def test_messages_per_hour() -> None:
    """Messages of this minute and the 59 before it are those of the last hour."""
    stats = stats_with(NOON, NOON + 59.9, NOON + 60, NOON + 61)
    assert stats.messages_per_hour(NOON + 61) == 4
    assert stats.messages_per_hour(NOON + 59 * 60 + 59.9) == 4
    assert stats.messages_per_hour(NOON + 60 * 60) == 2
    assert stats.messages_per_hour(NOON + 61 * 60) == 0


def test_messages_of_every_minute() -> None:
    """With one message a minute an hour has sixty, however long it goes on."""
    stats = NamespaceStats()
    for minute in range(500):
        stats.count(NOON + minute * 60)
        assert stats.messages_per_hour(NOON + minute * 60) == min(minute + 1, 60)


@pytest.mark.parametrize("gap", [HOUR, HOUR + 60, 2 * HOUR, 24 * HOUR, 365 * 24 * HOUR, 50 * 365 * 24 * HOUR])
def test_long_gap(gap: float) -> None:
    """After a gap of an hour or of years only what came since then counts."""
    stats = stats_with(NOON, NOON + 30)
    stats.count(NOON + gap + 30)
    assert stats.messages_per_hour(NOON + gap + 30) == 1
    assert stats.total == 3


@pytest.mark.parametrize("minutes", [1, 2, 30, 58, 59])
def test_gap_within_the_hour(minutes: int) -> None:
    """A gap of less than an hour forgets nothing."""
    stats = stats_with(NOON)
    stats.count(NOON + minutes * 60)
    assert stats.messages_per_hour(NOON + minutes * 60) == 2


def test_asking_changes_nothing() -> None:
    """Who asks often hears the same as who asks once."""
    asked, quiet = NamespaceStats(), NamespaceStats()
    dice = random.Random(7)
    now = NOON
    for _ in range(300):
        now += dice.expovariate(1 / 100)
        asked.count(now)
        quiet.count(now)
        asked.messages_per_hour(now)
    assert asked.messages_per_hour(now) == quiet.messages_per_hour(now)


def test_any_times() -> None:
    """The ring counts what a list of all messages would."""
    dice = random.Random(8)
    stats, times, now = NamespaceStats(), [], NOON
    for _ in range(1000):
        now += dice.choice([0, 0.5, 20, 61, 600, 4000])
        stats.count(now)
        times.append(now)
        first_minute = now // 60 - 59
        assert stats.messages_per_hour(now) == sum(time // 60 >= first_minute for time in times)


def test_first_minute_of_all() -> None:
    """Time may begin at zero."""
    assert stats_with(0.0, 1.0).messages_per_hour(1.0) == 2


# A clock that is set back


@pytest.mark.parametrize("back", [0.001, 1, 60, 61, HOUR, 24 * HOUR, NOON])
def test_clock_set_back(back: float) -> None:
    """A clock that is set back loses no message of the total and breaks nothing."""
    stats = stats_with(NOON, NOON - back, NOON - back + 1)
    assert stats.total == 3
    assert stats.messages_per_hour(NOON - back + 1) >= 2
    assert stats.colour(NOON - back + 1, 1) == "green"


@pytest.mark.parametrize("back", [1, 60, 600])
def test_clock_set_back_a_little(back: float) -> None:
    """A small correction of the clock forgets none of the last hour's messages."""
    stats = stats_with(NOON, NOON + 30, NOON - back)
    assert stats.messages_per_hour(NOON - back) == 3


def test_clock_set_back_a_day() -> None:
    """After a clock that was a day ahead is set right, an hour still ends after an hour."""
    stats = stats_with(NOON + 24 * HOUR)
    for minute in range(180):
        stats.count(NOON + minute * 60)
    assert stats.messages_per_hour(NOON + 179 * 60) <= 61
