"""What a run was: one table to be read by people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from statistics import median

from .access import revocations
from .deliveries import holes
from .history import History
from .plan import USER_DEMOTED, USER_DISABLED
from .violations import Violation
from .windows import CLOCK_JUMPS, Windows


def table(history: History, violations: list[Violation], seed: int, seconds: float) -> str:
    """All totals."""
    rows = [*_traffic(history), *_bridges(history), *_faults(history), *_exits(history), *_memory(history)]
    found = Counter(each.rule for each in violations)
    told = ", ".join(f"{count} {rule}" for rule, count in sorted(found.items()))
    rows.append(("violations", f"{len(violations)}" + (f" ({told})" if told else "")))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows]
    return "\n".join([f"seed {seed}, {seconds:.0f} s", *lines])


def _traffic(history: History) -> Iterator[tuple[str, str]]:
    visits = history.visits.values()
    opened = [each for each in visits if each.opened is not None]
    yield "messages sent by clients", str(sum(len(each.sent) for each in visits))
    yield "messages handled", str(len(history.done))
    yield "deliveries checked", str(sum(len(each.got) for each in visits))
    yield "connections", f"{len(opened)}, {_refusals(history)}"
    yield "closed with", _counted(Counter(each.ended.code for each in opened if each.ended))
    yield "sign-ins, sign-outs", f"{len(history.signed_in)}, {len(history.signed_out)}"
    yield "users disabled or demoted", str(_decisions(history))
    yield "stalls, dead clients", _stalls(history)
    yield "server processes", str(len(history.processes))


def _refusals(history: History) -> str:
    refused = Counter(each.refused.status for each in history.visits.values() if each.refused)
    return "refused: " + (_counted(refused) or "none")


def _counted(counts: Counter[int]) -> str:
    return ", ".join(f"{count} × {code or 'nothing'}" for code, count in sorted(counts.items()))


def _decisions(history: History) -> int:
    changes = [each for user in history.changes.values() for each in user]
    return sum(each.what in ("disabled", "demoted") for each in changes)


def _stalls(history: History) -> str:
    stalls = [stall for each in history.visits.values() for stall in each.stalls]
    dead = sum(each.until == float("inf") for each in stalls)
    return f"{len(stalls) - dead}, {dead}"


def _bridges(history: History) -> Iterator[tuple[str, str]]:
    windows = Windows(history)
    crossed = {
        (hole.receiver.pid, hole.did.message)
        for hole in holes(history, windows)
        if hole.receiver.pid != hole.did.pid
    }
    processes = history.processes.values()
    gaps = sum(gap.count for each in processes for gap in each.gaps if gap.path.startswith("/"))
    lost = sum(max((state.lost for state in each.states), default=0) for each in processes)
    yield "lost while crossing, in windows", f"{len(crossed)} (receivers counted {gaps}, senders {lost})"


def _faults(history: History) -> Iterator[tuple[str, str]]:
    by_kind: dict[str, list[float]] = defaultdict(list)
    for fault in history.faults:
        by_kind[fault.kind].append(fault.recovered - fault.lifted)
    for kind, seconds in sorted(by_kind.items()):
        if kind in (USER_DISABLED, USER_DEMOTED, CLOCK_JUMPS):
            yield kind, f"{len(seconds)} ×"
            continue
        yield kind, f"{len(seconds)} ×, all well after {median(seconds):.2f} s, at most {max(seconds):.2f} s"


def _exits(history: History) -> Iterator[tuple[str, str]]:
    """How long those stayed who had lost their right to."""
    by_reason: dict[str, list[float]] = defaultdict(list)
    for visit, process, stay in history.opened():
        for at, reason in revocations(history, visit):
            if stay.joined.at < at < stay.until < process.ended:
                by_reason[reason].append(stay.until - at)
    for reason, seconds in sorted(by_reason.items()):
        yield f"out when {reason}", f"{len(seconds)} sockets, after {max(seconds):.2f} s at most"


def _memory(history: History) -> Iterator[tuple[str, str]]:
    worst: dict[int, int] = {}
    for each in history.memory:
        worst[each.pid] = max(worst.get(each.pid, 0), each.size)
    if worst:
        sizes = sorted(worst.values(), reverse=True)
        yield "worst memory of a process", f"{sizes[0] / 2**20:.0f} MiB (of {len(sizes)} processes)"
