"""The table that is printed, as Markdown that can also be read as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .cases import CASES, Metric
from .goals import OURS, verdicts
from .peers import PEERS
from .results import Results

TITLES = {peer.name: peer.title for peer in PEERS}
FOOTNOTE = """\
Medians of the rounds, with the least and the most of them; "× ours" is a server's figure by jPulse's.
CPU is that of the server's processes alone, in which the kernel's part of sending and receiving is included.
Half load is half of what each server takes when it has a core for itself, so the rates differ.
All answer a message of 42 bytes with the same envelope of about 110; those in Python read and write JSON with
msgspec, those of Socket.IO with what they bring along. jPulse runs with its limits, statistics, activity log,
ctx and heartbeat on, but without a message rate (max_messages_per_second=0), as a closed loop is above any,
and without refusing clients when it is overloaded (max_loop_lag_seconds=0).
What serves and what asks have a core each; where there are fewer than four cores, the second process shares
with them, so that only CPU per delivery and not messages per second can be compared."""


def render(results: Results, machine: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """All that a reader needs: the machine, the figures, the goals and what is missing."""
    parts = [
        "\n".join(f"{name}: {value}" for name, value in machine.items()),
        "measured: " + "; ".join(value for value in versions.values() if value),
        markdown(("what", "unit", "server", "median", "least–most", "× ours"), _rows(results)),
        FOOTNOTE,
    ]
    goals = [(*each[:3], "met" if each.met else "missed") for each in verdicts(results)]
    if goals:
        parts.append(markdown(("goal of jPulse", "bound", "found", ""), goals))
    if results.failures:
        parts.append("\n".join(f"{each.case}, {TITLES[each.peer]}: {each.why}" for each in results.failures))
    return "\n\n".join(parts)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its columns aligned."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.ljust(width) for cell, width in zip(line, widths, strict=True))


def _rows(results: Results) -> Iterator[Sequence[str]]:
    for case in CASES:
        for metric in case.metrics:
            yield from _rows_of(results, metric)


def _rows_of(results: Results, metric: Metric) -> Iterator[Sequence[str]]:
    """The peers' figures, jPulse's first; title and unit stand in the first row alone."""
    title, unit, ours = metric.title, metric.unit, results.median(metric.name, OURS)
    for peer in results.peers(metric.name):
        spread = results.spread(metric.name, peer)
        assert spread is not None
        value, least, most = (f"{each:,.{metric.digits}f}" for each in spread)
        ratio = f"{spread.median / ours:.2f}" if ours and peer != OURS else ""
        yield title, unit, TITLES[peer], value, f"{least}–{most}" if least != most else "", ratio
        title = unit = ""
