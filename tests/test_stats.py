"""Counters of a namespace and the colour that sums them up, at any time that a test likes."""

from __future__ import annotations

import random

import msgspec
import pytest

from jpulse.errors import CloseCode
from jpulse.stats import (
    BUCKETS,
    DROP_REASONS,
    MAX_FOREIGN_CODES,
    OTHER_CODES,
    SERIES_SECONDS,
    TOLD_WITHIN_SECONDS,
    Figures,
    NamespaceStats,
    merge,
    merge_messages,
    quantile,
    series_end,
)

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
        (299.999, 1, "green"),
        (300.001, 1, "yellow"),
        (1799.999, 1, "yellow"),
        (1800.001, 1, "red"),
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


# Messages of the last seconds


def test_series() -> None:
    """The series has the messages of every whole second, newest last, and not the second that still runs."""
    stats = stats_with(NOON, NOON + 0.5, NOON + 3, NOON + 4.9)
    assert stats.series(NOON + 4.95) == [2, 0, 0, 1]
    assert stats.series(NOON + 5) == [2, 0, 0, 1, 1]
    assert stats.series(NOON + 7.5) == [2, 0, 0, 1, 1, 0, 0]


def test_series_of_a_silent_namespace() -> None:
    """Zeros at the beginning are left out, so that who is silent for long has nothing to tell."""
    stats = stats_with(NOON)
    assert NamespaceStats().series(NOON) == []
    assert stats.series(NOON + SERIES_SECONDS) == [1] + [0] * (SERIES_SECONDS - 1)
    assert stats.series(NOON + SERIES_SECONDS + 1) == []
    assert stats.series(NOON + 3600) == []


def test_series_and_hour_together() -> None:
    """Whichever is read first, both know of a message, and of time that has passed."""
    stats = stats_with(NOON)
    stats.series(NOON + 3599)
    assert stats.messages_per_hour(NOON + 3599) == 1
    stats.series(NOON + 3600)
    assert stats.messages_per_hour(NOON + 3600) == 0
    stats.count(NOON + 3600)
    assert stats.messages_per_hour(NOON + 3600) == 1
    assert stats.series(NOON + 3601) == [1]


def test_series_at_any_times() -> None:
    """The series counts what a list of all messages would."""
    dice = random.Random(9)
    stats, times, now = NamespaceStats(), [], NOON
    for _ in range(2000):
        now += dice.choice([0, 0.1, 0.5, 3, 70, 400] if dice.random() < 0.1 else [0, 0.1])
        stats.count(now)
        times.append(int(now))
        if dice.random() < 0.2:
            wanted = [times.count(second) for second in range(int(now) - SERIES_SECONDS, int(now))]
            series = stats.series(now)
            assert [0] * (len(wanted) - len(series)) + series == wanted
            assert not series or series[0]


@pytest.mark.parametrize("back", [1, 20, SERIES_SECONDS, HOUR])
def test_series_after_the_clock_was_set_back(back: float) -> None:
    """Seconds that lie in the future after the clock was set back are not shown as long ago."""
    stats = stats_with(NOON, NOON - back)
    assert stats.series(NOON - back + 1) == [1]


# What else is counted


def test_bytes_and_deliveries() -> None:
    """A received message counts its bytes, a frame that goes out its bytes for each receiver."""
    stats = NamespaceStats()
    stats.received(NOON, 10)
    stats.received(NOON, 5)
    stats.delivered(3, 100)
    stats.delivered(0, 100)
    assert (stats.total, stats.bytes_in, stats.deliveries, stats.bytes_out) == (2, 15, 3, 300)


def test_drops() -> None:
    """What is dropped is counted by its reason."""
    stats = NamespaceStats()
    for number, reason in enumerate(DROP_REASONS):
        for _ in range(number):
            stats.drop(reason)
    assert stats.dropped == sum(range(len(DROP_REASONS)))
    told = {reason: number for number, reason in enumerate(DROP_REASONS) if number}
    assert stats.figures(NOON).dropped == told
    with pytest.raises(KeyError):
        stats.drop("mood")


def test_connections() -> None:
    """Connections are counted when they come, and by their close code when they go."""
    stats = NamespaceStats()
    for code in (CloseCode.NORMAL, 1000, CloseCode.RESTART, 4000):
        stats.connected()
        stats.closed(code)
    figures = stats.figures(NOON)
    assert figures.connects == 4
    assert figures.closes == {1000: 2, 1012: 1, 4000: 1}


def test_close_codes_of_clients() -> None:
    """However many codes clients invent, only some are told apart, and the server's own always are."""
    stats = NamespaceStats()
    for code in range(3000, 5000):
        stats.closed(code)
    stats.closed(CloseCode.NORMAL)
    closes = stats.figures(NOON).closes
    own = {int(code) for code in CloseCode}
    assert closes[1000] == 1
    assert closes[CloseCode.SESSION_ENDED] == 1
    assert len(set(closes) - own) == MAX_FOREIGN_CODES + 1
    assert sum(closes.values()) == 2001
    assert closes[OTHER_CODES] > 1900


# Handler times


def test_quantiles() -> None:
    """Quantiles are interpolated within their bucket."""
    counts = [0] * (len(BUCKETS) + 1)
    assert quantile(counts, 0.5) is None
    assert quantile([], 0.5) is None
    counts[1] = 10
    assert quantile(counts, 0.5) == pytest.approx(0.00075)
    assert quantile(counts, 1.0) == pytest.approx(0.001)
    counts[4] = 10
    assert quantile(counts, 0.25) == pytest.approx(0.00075)
    assert quantile(counts, 0.75) == pytest.approx(0.0075)


def test_quantiles_beyond_the_buckets() -> None:
    """Of calls that took longer than the last bound, only that is known."""
    counts = [0] * len(BUCKETS) + [5]
    assert quantile(counts, 0.5) == BUCKETS[-1]
    assert quantile([1, *counts[1:]], 0.01) == pytest.approx(BUCKETS[0] * 0.06)


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.0007, 0.001, 3.0, 10.0, 1000.0])
def test_handler_buckets(seconds: float) -> None:
    """A handler call falls into the first bucket whose bound it does not exceed."""
    stats = NamespaceStats()
    stats.handled(seconds)
    figures = stats.figures(NOON)
    bucket = figures.handler_counts.index(1)
    assert sum(figures.handler_counts) == 1
    assert figures.handler_seconds == seconds
    assert bucket == len(BUCKETS) or seconds <= BUCKETS[bucket]
    assert bucket == 0 or seconds > BUCKETS[bucket - 1]
    assert figures.handler_quantile(1.0) == BUCKETS[min(bucket, len(BUCKETS) - 1)]


# What processes tell each other


def busy_figures(now: float, *times: float) -> Figures:
    """Figures of a namespace in which everything happened, with messages at these times."""
    stats = stats_with(*times)
    stats.received(times[-1], 10)
    stats.delivered(2, 50)
    stats.drop("rate")
    stats.connected()
    stats.closed(1000)
    stats.handled(0.002)
    return stats.figures(now)


def test_figures_travel() -> None:
    """Figures come out of msgpack as they went in, and those of an idle namespace are a few bytes."""
    figures = busy_figures(NOON + 9, NOON, NOON + 5)
    encoded = msgspec.msgpack.encode(figures)
    assert msgspec.msgpack.decode(encoded, type=Figures) == figures
    assert len(msgspec.msgpack.encode(NamespaceStats().figures(NOON))) < 50


def test_figures_of_other_versions() -> None:
    """A process of another version may leave fields out and add some."""
    told = msgspec.msgpack.encode({"total": 7, "mood": "good"})
    assert msgspec.msgpack.decode(told, type=Figures) == Figures(total=7)


def test_figures_are_a_copy() -> None:
    """What was told does not change with what is counted later."""
    stats = stats_with(NOON)
    figures = stats.figures(NOON + 1)
    before = msgspec.msgpack.encode(figures)
    stats.count(NOON + 1)
    stats.drop("rate")
    stats.closed(1000)
    stats.handled(1.0)
    assert msgspec.msgpack.encode(figures) == before


def test_merge() -> None:
    """Figures of several processes add up; the last activity is the latest."""
    now = NOON + 10
    one, two = busy_figures(now, NOON, NOON + 5), busy_figures(now, NOON + 7)
    merged = merge([one, two, Figures()], int(now))
    assert (merged.total, merged.per_hour, merged.last_activity) == (5, 5, NOON + 7)
    assert (merged.deliveries, merged.bytes_out, merged.bytes_in, merged.connects) == (4, 200, 20, 2)
    assert (merged.dropped, merged.closes) == ({"rate": 2}, {1000: 2})
    assert (sum(merged.handler_counts), merged.handler_seconds) == (2, pytest.approx(0.004))
    assert merged.series == [1, 0, 0, 0, 0, 2, 0, 2, 0, 0]
    assert merged.series_end == int(now)
    assert merged.colour(NOON + 7 + 299, 1) == "green"
    assert merged.per_second() == 4 / 5
    brief = merge_messages([one, two])
    assert (brief.total, brief.per_hour, brief.last_activity) == (5, 5, NOON + 7)


def test_merge_of_one() -> None:
    """One process alone is what it says, and none is nothing."""
    figures = busy_figures(NOON + 10, NOON, NOON + 5)
    assert merge([figures], int(NOON) + 10) == without_minutes(figures)
    assert merge([], int(NOON)) == Figures(series_end=int(NOON))
    assert merge([figures], int(NOON) + 13).series == [*figures.series, 0, 0, 0]
    assert merge_messages([]) == Figures()


def test_merge_changes_nothing() -> None:
    """Adding up leaves what is added up as it was."""
    figures = busy_figures(NOON + 10, NOON)
    before = msgspec.msgpack.encode(figures)
    merge([figures, figures], int(NOON) + 10)
    assert msgspec.msgpack.encode(figures) == before


def test_merged_series_ends_where_all_have_told() -> None:
    """The series ends a moment ago, so that its last seconds have what every process counted."""
    now = NOON + 60
    fresh = stats_with(*(NOON + second for second in range(60))).figures(now)
    older = stats_with(*(NOON + second for second in range(60))).figures(now - 1)
    merged = merge([fresh, older], series_end(now + 0.5, processes=2))
    assert merged.series == [2] * (60 - TOLD_WITHIN_SECONDS)
    assert merged.series_end == now - TOLD_WITHIN_SECONDS
    assert series_end(now + 0.5, processes=1) == now


def test_merged_series_with_a_silent_process() -> None:
    """Figures that were told long ago are those of a namespace in which nothing happened since."""
    fresh = stats_with(*(NOON + second for second in range(60))).figures(NOON + 60)
    silent = stats_with(*(NOON + second for second in range(30))).figures(NOON + 30)
    merged = merge([silent, fresh], int(NOON) + 60)
    assert merged.series == [2] * 30 + [1] * 30


def test_merged_series_of_clocks_that_differ() -> None:
    """A process whose clock is ahead adds to the chart what lies within it."""
    one, ahead = stats_with(NOON, NOON + 1).figures(NOON + 10), stats_with(NOON + 15).figures(NOON + 20)
    assert merge([one, ahead], int(NOON) + 10).series == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert merge([ahead], int(NOON) + 10).series == []


def test_truth_over_processes() -> None:
    """However messages fall on processes, the sum is what one process would have counted."""
    dice = random.Random(10)
    alone, several, now = NamespaceStats(), [NamespaceStats() for _ in range(4)], NOON
    for _ in range(3000):
        now += dice.choice([0, 0, 0.01, 0.2])
        for stats in (alone, dice.choice(several)):
            stats.received(now, 7)
    merged = merge((each.figures(now) for each in several), int(now))
    assert merged == without_minutes(alone.figures(now))


def without_minutes(figures: Figures) -> Figures:
    """Figures without the counts per minute, which are not added up: they are for those that have ended."""
    return msgspec.structs.replace(figures, minutes=[], minutes_end=0)


def test_hour_of_what_was_told() -> None:
    """Of counts per minute those of the last sixty make the hour, however long ago they were told."""
    figures = Figures(minutes=[1, 2, 4], minutes_end=1000)
    told = {
        minute: figures.hour_until(60.0 * minute + 30)
        for minute in (999, 1000, 1055, 1056, 1057, 1058, 1059, 5000)
    }
    assert told == {999: 7, 1000: 7, 1055: 7, 1056: 7, 1057: 6, 1058: 4, 1059: 0, 5000: 0}
    assert Figures().hour_until(NOON) == 0


def test_telling_leaves_the_hour_alone() -> None:
    """Figures that are told do not take the oldest minute from the hour."""
    stats = NamespaceStats()
    stats.count(NOON)
    now = NOON + 59 * 60 + 30
    assert stats.messages_per_hour(now) == 1
    assert stats.figures(now).minutes[0] == 1
    assert stats.messages_per_hour(now) == 1
