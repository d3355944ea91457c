"""Rules of what processes tell of themselves: totals, counts, what is left over, outages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from math import inf

from .events import Figures, Memory
from .history import History, Process, Stay
from .violations import SPOKEN, Found, Violation
from .windows import (
    RECOVERY_SECONDS,
    Windows,
    causes_of,
    downs,
)

#: What a process counted so long before it was killed the others may not know.
UNTOLD_SECONDS = 0.5
#: How much a process may have grown in a run, beyond a quarter.
GROWTH_BYTES = 24 * 1024 * 1024
#: Connections that the notes of the demos may keep, made when they are needed.
NOTES_POOL = 8
#: A process that is not much older has not yet all that it will keep.
GROWN_UP_SECONDS = 90.0


def statistics(history: History) -> Found:
    """At the end every process tells the same figures as the histories."""
    windows = Windows(history)
    for each in history.figures:
        if not each.idle:
            yield from _wrong_totals(history, windows, each)
            yield from _wrong_counts(history, each)


def _wrong_totals(history: History, windows: Windows, figures: Figures) -> Found:
    for path in SPOKEN:
        told = figures.told["namespaces"][path]
        bounds = [_counted(history, windows, each, figures, path) for each in history.processes.values()]
        least, most = sum(low for low, _ in bounds), sum(high for _, high in bounds)
        if not least <= told["totalMessages"] <= most:
            wanted = str(most) if least == most else f"{least} to {most}"
            text = f"process {figures.pid} tells {told['totalMessages']} messages in {path}, not {wanted}"
            yield Violation("statistics", text, figures.at, (), (), (figures.pid,))


def _counted(
    history: History, windows: Windows, process: Process, reader: Figures, path: str
) -> tuple[int, int]:
    """What one process has to know at least of another's messages, and what it may know."""
    places = [each.place for each in process.stays.values() if each.joined.path == path]
    # A message counts when it comes in and when it goes out; who joins is greeted.
    weights = [(place, 1) for place in places] + [(place, 2) for place, _ in process.done(path)]
    most = sum(weight for _, weight in weights)
    if process.ended > reader.at:
        return most, most
    told_at = _last_told(history, windows, process)
    return sum(weight for place, weight in weights if place <= told_at), most


def _last_told(history: History, windows: Windows, process: Process) -> int:
    """The place of the last word on its figures that certainly reached all others that were there."""
    until = process.ended - UNTOLD_SECONDS if process.was_killed else inf
    for place, told in reversed(process.told):
        others = [each for each in history.processes.values() if each.began < told.at < each.ended]
        may_be_lost = any(windows.excuse(process.pid, each.pid, told.at) for each in others)
        if told.state == "up" and told.at <= until and not may_be_lost:
            return place
    return 0


def _wrong_counts(history: History, figures: Figures) -> Found:
    present = [stay.joined for stay in _present(history, figures.at)]
    for path in SPOKEN:
        told = figures.told["namespaces"][path]
        there = [each for each in present if each.path == path]
        wanted = {
            "clientCount": len({each.client_id for each in there}),
            "activeUsers": len({each.user for each in there if each.user}),
        }
        for name, count in wanted.items():
            if told[name] != count:
                text = f"process {figures.pid} tells {name} {told[name]} in {path}, not {count}"
                yield Violation("statistics", text, figures.at, (), (), (figures.pid,))
    sockets = sum(each.pid == figures.pid for each in present)
    if figures.told["sockets"] != sockets:
        text = f"process {figures.pid} has {figures.told['sockets']} sockets, not {sockets}"
        yield Violation("statistics", text, figures.at, (), (), (figures.pid,))


def _present(history: History, at: float) -> Iterator[Stay]:
    """The connections that are there at some time."""
    for process in history.processes.values():
        if process.ended > at:
            yield from (stay for stay in process.stays.values() if stay.joined.at < at < stay.until)


def leak(history: History) -> Found:
    """When all have left, nothing of them is left: connections, sessions, tasks, files."""
    idle = [each for each in history.figures if each.idle]
    busy_until = max((each.at for each in history.figures if not each.idle), default=inf)
    before = [each for each in idle if each.at < busy_until]
    for figures in idle:
        if before and figures.at > busy_until:
            for what, text in _left_over(before, figures).items():
                text = f"process {figures.pid}: {what} {text}"
                yield Violation("leak", text, figures.at, (), (), (figures.pid,))


def _left_over(before: list[Figures], end: Figures) -> dict[str, str]:
    """What a process has that none had before there were clients; most processes came later."""
    found = {
        what: f"is {end.told[what]}, not 0"
        for what in ("sockets", "connections", "sessions", "handlers")
        if end.told[what]
    }
    for what in ("tasks", "files"):
        usual: Counter[str] = Counter()
        for each in before:
            usual |= Counter(each.told[what])
        more = Counter(end.told[what]) - usual
        if what == "files" and more["socket"] < NOTES_POOL:
            del more["socket"]
        if more:
            found[what] = f"grew by {dict(more)}"
    return found


def growth(history: History) -> Found:
    """A process that serves long does not grow."""
    by_pid: dict[int, list[Memory]] = defaultdict(list)
    for each in history.memory:
        if each.at - history.process(each.pid).began >= GROWN_UP_SECONDS:
            by_pid[each.pid].append(each)
    for pid, grown in by_pid.items():
        begin, end = grown[0].size, grown[-1].size
        if end > 1.25 * begin + GROWTH_BYTES:
            text = f"process {pid} grew from {begin >> 20} to {end >> 20} MiB"
            yield Violation("growth", text, grown[-1].at, (), (), (pid,))


def outage(history: History) -> Found:
    """A bridge goes down for a fault alone."""
    for process in history.processes.values():
        for begin, _ in downs(process):
            held_up = any(end - since > 1 and begin - 10 < end for since, end in process.pauses)
            if begin > process.began and not causes_of(history.faults, begin) and not held_up:
                text = f"the bridge of process {process.pid} went down for no reason"
                yield Violation("outage", text, begin, (), (), (process.pid,))


def unmended(history: History) -> Found:
    """After each fault all is well again in time."""
    for fault in history.faults:
        if fault.recovered == inf:
            text = f"not all was well {RECOVERY_SECONDS:.0f} s after {fault.kind} was over"
            yield Violation("unmended", text, fault.lifted, (), (), (fault.pid,) if fault.pid else ())
