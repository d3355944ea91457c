"""
Several server processes on one port: forked, watched, replaced, restarted, ended together.

The parent has no event loop and serves nothing. It holds the listening sockets, so that no
connection is refused while workers come and go, and one end of a pipe: when that closes,
however the parent ended, the workers know that they are alone.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from .errors import StartError
from .timers import backoff_seconds

log = logging.getLogger("jpulse.prefork")

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: What the parent tells a worker: another serves in its place; do not wait any longer.
RETIRE, HURRY = signal.SIGUSR1, signal.SIGUSR2
#: A worker that ends sooner is replaced later and later.
SHORT_LIFE_SECONDS = 5.0
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 30.0
FIRST_HELPER_WAIT_SECONDS = 0.1
#: Workers that end one after the other before any of them has served.
MAX_FAILED_STARTS = 4
#: What a worker gets beyond drain_seconds until it is killed.
GRACE_SECONDS = 4.0
#: Exit statuses of a worker that has said in one line why it cannot start.
EXPLAINED = (1, 2)


class Lifeline:
    """What a worker has of its parent."""

    def __init__(self, slot: int, parent_gone: int, ready: int) -> None:
        #: Which of the workers this is, from 0 on; its successor will be the same.
        self.slot = slot
        #: Becomes readable, at its end, when the parent is gone.
        self.parent_gone = parent_gone
        self._ready = ready

    def tell_ready(self) -> None:
        """Let the parent know that this worker serves."""
        os.write(self._ready, b"1")
        os.close(self._ready)


class Helper(Protocol):
    """A process that the workers need, such as a Redis of their own."""

    #: None while it does not run.
    pid: int | None

    def start(self) -> None:
        """Start it; StartError if that cannot be."""

    def stop(self) -> None:
        """End it and leave nothing behind."""


class Worker:
    """A child that serves."""

    def __init__(self, slot: int, pid: int, ready: int, serve_by: float) -> None:
        self.slot = slot
        self.pid = pid
        #: The pipe on which it says that it serves; None once it is closed.
        self.ready_pipe: int | None = ready
        self.serves = False
        self.started_at = time.monotonic()
        #: When it is killed if it does not serve; None once it serves or was killed.
        self.serve_by: float | None = serve_by
        #: True from the moment at which it was told to end.
        self.retiring = False
        #: When it is killed if its successor serves and it has not ended.
        self.end_by: float | None = None

    def close_pipe(self) -> None:
        """Hear no more of it."""
        if self.ready_pipe is not None:
            os.close(self.ready_pipe)
            self.ready_pipe = None


class Supervisor:
    """
    Keeps `count` workers at work until a signal ends them.

    SIGTERM and SIGINT let all of them drain, SIGHUP replaces one after the other, each when
    its successor serves.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Lifeline], int],
        *,
        drain_seconds: float,
        start_seconds: float,
        helper: Helper | None = None,
        on_ready: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._count = count
        self._work = work
        self._drain_seconds = drain_seconds
        self._start_seconds = start_seconds
        self._helper = helper
        self._on_ready = on_ready
        #: Called once, when all are told to end and no other worker will be made.
        self._on_end = on_end
        self._workers: dict[int, Worker] = {}
        #: When each empty slot gets its next worker.
        self._due: dict[int, float] = {}
        #: Workers in a row that ended young, by slot.
        self._failures = dict.fromkeys(range(count), 0)
        self._failed_starts = 0
        self._has_served = False
        self._announced = False
        #: Slots whose workers SIGHUP has still to replace.
        self._rolling: deque[int] = deque()
        self._helper_due: float | None = None
        self._helper_failures = 0
        self._helper_started_at = 0.0
        #: Set when all have to end.
        self._deadline: float | None = None
        self._status: int | None = None

    def run(self) -> int:
        """Work until all workers have ended; returns the exit status."""
        self._life_read, self._life_write = os.pipe()
        with _woken_by_signals() as self._wakeup:
            try:
                if self._helper is not None:
                    self._helper_started_at = time.monotonic()
                    self._helper.start()
                # The first one alone: it makes what the others find made, and what is wrong is told once.
                self._due[0] = 0.0
                while self._status is None or self._workers:
                    self._step()
            finally:
                self._kill(list(self._workers.values()))
                if self._helper is not None:
                    self._helper.stop()
                os.close(self._life_read)
                os.close(self._life_write)
        return self._status

    def _step(self) -> None:
        """Wait for something to happen, and do what it asks for."""
        self._start_due()
        pipes = [each.ready_pipe for each in self._workers.values() if each.ready_pipe is not None]
        readable, _, _ = select.select([self._wakeup, *pipes], [], [], self._wait_seconds())
        if self._wakeup in readable:
            for number in os.read(self._wakeup, 4096):
                self._on_signal(number)
        for worker in [each for each in self._workers.values() if each.ready_pipe in readable]:
            self._on_ready_pipe(worker)
        self._reap()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._kill(list(self._workers.values()))
        self._kill_overdue(time.monotonic())

    def _wait_seconds(self) -> float | None:
        times = [*self._due.values()]
        deadlines = [self._helper_due, self._deadline]
        for worker in self._workers.values():
            deadlines += [worker.end_by, worker.serve_by]
        times += [each for each in deadlines if each is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    # Workers

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            del self._due[slot]
            self._fork(slot)
        if self._helper is not None and self._helper_due is not None and self._helper_due <= now:
            self._start_helper(self._helper)

    def _fork(self, slot: int) -> None:
        ready_read, ready_write = os.pipe()
        sys.stdout.flush()
        # What is sent to the child before it has handlers of its own waits until it has.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            os.close(ready_read)
            self._be_worker(Lifeline(slot, self._life_read, ready_write))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(ready_write)
        self._workers[pid] = Worker(slot, pid, ready_read, time.monotonic() + self._start_seconds)

    def _be_worker(self, lifeline: Lifeline) -> NoReturn:
        """Do a worker's work, and never return into the parent's code."""
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends these to all of us; the parent passes them on in its own way.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(self._life_write)
            os.close(self._wakeup)
            for worker in self._workers.values():
                worker.close_pipe()
            status = self._work(lifeline)
        except BaseException:
            log.exception("worker %d failed", os.getpid())
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)

    def _on_ready_pipe(self, worker: Worker) -> None:
        """Learn that a worker serves, or, by an empty pipe, that it has ended."""
        assert worker.ready_pipe is not None
        worker.serves = bool(os.read(worker.ready_pipe, 1))
        worker.serve_by = None
        worker.close_pipe()
        if not worker.serves or self._deadline is not None:
            return
        self._has_served = True
        log.info("worker %d serves", worker.pid)
        if not self._retire_predecessors(worker):
            self._roll()
        if not self._announced:
            self._start_missing()
            self._announce()

    def _start_missing(self) -> None:
        taken = {each.slot for each in self._workers.values()} | self._due.keys()
        self._due.update(dict.fromkeys(set(range(self._count)) - taken, 0.0))

    def _announce(self) -> None:
        serving = sum(each.serves for each in self._workers.values())
        if serving == self._count:
            self._announced = True
            self._on_ready()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._helper is not None and pid == self._helper.pid:
                self._on_helper_end(self._helper, status)
            elif pid in self._workers:
                self._on_worker_end(self._workers.pop(pid), os.waitstatus_to_exitcode(status))

    def _on_worker_end(self, worker: Worker, status: int) -> None:
        worker.close_pipe()
        if self._deadline is not None:
            return
        if worker.retiring:
            log.info("worker %d has ended", worker.pid)
            self._roll()
        elif not self._has_served:
            self._on_failed_start(worker, status)
        elif self._has_other_in(worker.slot):
            # In the middle of a restart: whichever of the two is left goes on.
            log.error("worker %d ended (%s) while it was to be replaced", worker.pid, _how(status))
            if not worker.serves:
                self._rolling.clear()
        else:
            self._replace(worker, status)

    def _replace(self, worker: Worker, status: int) -> None:
        seconds = self._seconds_until_next(worker)
        log.error(
            "worker %d ended (%s); another takes its place in %.1f s", worker.pid, _how(status), seconds
        )
        self._due[worker.slot] = time.monotonic() + seconds

    def _on_failed_start(self, worker: Worker, status: int) -> None:
        """End if no worker can start, at once if this one has said why."""
        self._failed_starts += 1
        if status in EXPLAINED:
            self._end(status)
        elif self._failed_starts >= MAX_FAILED_STARTS:
            log.error("the workers do not come up (%s); see above", _how(status))
            self._end(1)
        else:
            self._replace(worker, status)

    def _seconds_until_next(self, worker: Worker) -> float:
        """How long an empty slot waits: not at all, unless its workers end soon one after the other."""
        if worker.serves and time.monotonic() - worker.started_at >= SHORT_LIFE_SECONDS:
            self._failures[worker.slot] = 0
            return 0.0
        failures = self._failures[worker.slot]
        self._failures[worker.slot] = failures + 1
        return backoff_seconds(failures, FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS)

    # Restarting one by one

    def _roll(self) -> None:
        """Start the successor of the next worker that SIGHUP wants replaced."""
        while self._rolling:
            slot = self._rolling.popleft()
            if slot not in self._due:
                self._fork(slot)
                return

    def _retire_predecessors(self, successor: Worker) -> bool:
        """End whom a worker replaces; True if there is one."""
        old = [
            each for each in self._workers.values() if each.slot == successor.slot and each is not successor
        ]
        for worker in old:
            if not worker.retiring:
                worker.retiring = True
                worker.end_by = time.monotonic() + self._drain_seconds + GRACE_SECONDS
                os.kill(worker.pid, RETIRE)
        return bool(old)

    def _has_other_in(self, slot: int) -> bool:
        return any(each.slot == slot and not each.retiring for each in self._workers.values())

    # Signals

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._deadline is None:
                log.info("stopping %d workers", len(self._workers))
            self._end(0)
        elif number == signal.SIGHUP and self._announced and self._deadline is None:
            log.info("restarting %d workers, one after the other", self._count)
            is_rolling = len(self._workers) > self._count
            self._rolling = deque(range(self._count))
            if not is_rolling:
                self._roll()

    def _end(self, status: int) -> None:
        """Let all workers drain; a second call hurries them."""
        if self._status is None:
            self._status = status
            self._deadline = time.monotonic() + self._drain_seconds + GRACE_SECONDS
            self._due.clear()
            self._helper_due = None
            self._tell_all(signal.SIGTERM)
            self._on_end()
        else:
            self._tell_all(HURRY)

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            os.kill(worker.pid, number)

    def _kill(self, workers: list[Worker]) -> None:
        for worker in workers:
            log.warning("worker %d did not end in time and is killed", worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            del self._workers[worker.pid]

    def _kill_overdue(self, now: float) -> None:
        """Kill who was replaced and goes on, and who does not serve in time; all are reaped as usual."""
        for worker in self._workers.values():
            if worker.end_by is not None and now >= worker.end_by:
                worker.end_by = None
                log.warning("worker %d did not end in time and is killed", worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
            elif worker.serve_by is not None and now >= worker.serve_by:
                worker.serve_by = None
                log.warning("worker %d does not serve in time and is killed", worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    # The helper

    def _start_helper(self, helper: Helper) -> None:
        self._helper_due = None
        self._helper_started_at = time.monotonic()
        try:
            helper.start()
        except StartError as error:
            log.error("%s", error)
            self._plan_helper()

    def _on_helper_end(self, helper: Helper, status: int) -> None:
        helper.pid = None
        if self._deadline is None:
            log.error("Redis ended (%s); it is started again", _how(os.waitstatus_to_exitcode(status)))
            if time.monotonic() - self._helper_started_at >= SHORT_LIFE_SECONDS:
                self._helper_failures = 0
            self._plan_helper()

    def _plan_helper(self) -> None:
        seconds = backoff_seconds(self._helper_failures, FIRST_HELPER_WAIT_SECONDS, LAST_WAIT_SECONDS)
        self._helper_failures += 1
        self._helper_due = time.monotonic() + seconds


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """Turn signals into bytes on a pipe, so that one select() waits for all."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _how(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
