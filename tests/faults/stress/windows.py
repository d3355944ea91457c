"""
When messages between two processes may be lost, and when anything may come late.

The window of a process is from half a second before something was done to its way to Redis
(what was under way then) until its bridge says that it is up again. From one process to
another, what was sent in the window of either of them may be lost, if it is counted; what
was sent outside of both may not. A process that is killed takes with it what it had not
published: half a second. Cutting a publisher's connection excuses nothing, since what it
should have sent waits; nor does freezing Redis for so short a time that nobody notices.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from .events import Bridge, Fault
from .history import History, Process

REDIS_KILLED, REDIS_FROZEN = "redis killed", "redis frozen"
REDIS_AWAY, REDIS_AND_WORKER_KILLED = "redis away", "redis and worker killed"
LISTENERS_CUT, PUBLISHERS_CUT = "listeners cut", "publishers cut"
STORE_LOCKED, MONGO_FROZEN, MONGO_KILLED = "store locked", "mongod frozen", "mongod killed"
WORKER_FROZEN, HANDLER_BLOCKS = "worker frozen", "handler blocks"
HANDLER_HANGS, CLOCK_JUMPS = "handler never returns", "clock jumps"
ROLLING, SERVER_RESTARTED = "rolling restart", "server restarted"

#: In these, what is under way may be lost.
LOSING = (REDIS_KILLED, REDIS_AWAY, REDIS_AND_WORKER_KILLED, REDIS_FROZEN, LISTENERS_CUT)
BRIDGE_FAULTS = (*LOSING, PUBLISHERS_CUT)
STORE_FAULTS = (STORE_LOCKED, MONGO_FROZEN, MONGO_KILLED)
#: What is not well by then never will be.
RECOVERY_SECONDS = 40.0
#: What was sent so long before a fault may have been under way.
BEFORE_SECONDS = 0.5
#: A bridge that goes down so long after a fault was lifted does so because of it.
NOTICED_SECONDS = 10.0

Interval = tuple[float, float]


class Windows:
    """The windows of every process of a history."""

    def __init__(self, history: History) -> None:
        self._faults = history.faults
        self._processes = history.processes
        self._of: dict[int, list[Interval]] = {
            process.pid: self._windows(process) for process in history.processes.values()
        }
        self._redis = [(each.at, each.lifted + 1) for each in history.faults if each.kind in BRIDGE_FAULTS]

    def excuse(self, sender: int, receiver: int, at: float) -> bool:
        """Tell whether what one process sent to another at some time may be lost."""
        return any(begin <= at <= end for pid in (sender, receiver) for begin, end in self._of[pid])

    def calm(self, pids: tuple[int, ...], since: float, until: float) -> bool:
        """Tell whether nothing held up these processes, or Redis, for a while."""
        return not any(begin < until and since < end for begin, end in self._held_up(pids))

    def working_seconds(self, pids: tuple[int, ...], since: float, until: float) -> float:
        """For how long of a while neither these processes nor Redis were held up, at least."""
        lost = sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in self._held_up(pids))
        return until - since - lost

    def paused(self, pid: int, since: float, until: float) -> float:
        """For how long of a while a process was held up."""
        pauses = self._processes[pid].pauses
        return sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in pauses)

    def _held_up(self, pids: tuple[int, ...]) -> Iterator[Interval]:
        """When one of these processes, or Redis, did not do what it should."""
        yield from self._redis
        for pid in pids:
            yield from self._of[pid]
            yield from self._processes[pid].pauses

    def _windows(self, process: Process) -> list[Interval]:
        windows = [self._window(process, *each) for each in downs(process)]
        if process.was_killed:
            windows.append((process.ended - BEFORE_SECONDS, process.ended))
        return [each for each in windows if each is not None]

    def _window(self, process: Process, begin: float, end: float) -> Interval | None:
        causes = causes_of(self._faults, begin)
        if causes and all(each.kind == PUBLISHERS_CUT for each in causes):
            return None
        # A fault before this process was there is none of it.
        begins = [max(each.at, process.began) for each in causes if each.kind in LOSING]
        return min([begin, *begins]) - BEFORE_SECONDS, end


def downs(process: Process) -> list[Interval]:
    """From when to when a process's bridge was down; it is not up before it says so."""
    if not process.states:
        return []
    found, since = [], process.began if process.began > -inf else None
    for state in process.states:
        since = _step(found, since, state)
    if since is not None:
        found.append((since, process.ended))
    return found


def _step(found: list[Interval], since: float | None, state: Bridge) -> float | None:
    if state.state == "down":
        return state.at if since is None else since
    if state.state == "up" and since is not None:
        found.append((since, state.at))
        return None
    return since


def causes_of(faults: list[Fault], down_at: float) -> list[Fault]:
    """The faults that may have taken a bridge down."""
    kinds = BRIDGE_FAULTS
    return [
        each
        for each in faults
        if each.kind in kinds and each.at - 0.1 <= down_at <= each.lifted + NOTICED_SECONDS
    ]
