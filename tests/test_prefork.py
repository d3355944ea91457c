"""The supervisor of several processes: workers that die, that hang, and the signals that reach all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jpulse import prefork
from jpulse.prefork import EXPLAINED, MAX_FAILED_STARTS, Supervisor

from .conftest import ROOT, wait_until

SERVE, HANG, IGNORE = "serve", "hang", "ignore"
#: Starts the supervisor without the package's `__init__`, which would import all the rest ten times as long.
START = """
import runpy, sys, types

package = types.ModuleType("jpulse")
package.__path__ = ["jpulse"]
sys.modules["jpulse"] = package
runpy.run_module("tests.apps.supervised", run_name="__main__")
"""


class Supervised:
    """A supervisor in a process of its own, and what it and its workers told."""

    def __init__(
        self, folder: Path, count: int, behaviour: str, drain_seconds: float, start_seconds: float
    ) -> None:
        self._folder = folder
        self.let_workers(behaviour)
        self._log_path = folder / "log"
        numbers = map(str, (count, drain_seconds, start_seconds))
        command = [sys.executable, "-c", START, str(folder), *numbers]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, stdin=subprocess.DEVNULL
            )

    def let_workers(self, behaviour: str) -> None:
        """Say what workers do that start from now on: see `tests.apps.supervised`."""
        (self._folder / "behaviour").write_text(behaviour, encoding="utf-8")

    @property
    def log(self) -> str:
        """All that was told."""
        return self._log_path.read_text(encoding="utf-8")

    def begun(self) -> list[tuple[int, int]]:
        """The slot and process id of every worker that has begun."""
        return [(int(slot), int(pid)) for slot, pid in re.findall(r"began (\d+) (\d+)\n", self.log)]

    def alive(self) -> list[int]:
        """The workers that run."""
        return [pid for _, pid in self.begun() if is_running(pid)]

    def serving(self) -> int:
        """How many workers that run have said so."""
        return sum(f"worker {pid} serves" in self.log for pid in self.alive())

    def wait_for(self, pattern: str, count: int = 1, seconds: float = 10) -> None:
        """Wait until something was told so many times."""
        try:
            wait_until(lambda: len(re.findall(pattern, self.log)) >= count, seconds, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; what was told:\n{self.log}") from None

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 10) -> int:
        """Wait for the end and return the exit status; no worker may be left then."""
        wait_until(lambda: self.process.poll() is not None, seconds, "the end of the supervisor")
        assert self.alive() == []
        return int(self.process.returncode)

    def cleanup(self) -> None:
        """Kill whatever is left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pid in self.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Start supervisors: `supervise(2, "serve")`; all is killed after the test."""
    started: list[Supervised] = []

    def start(
        count: int = 2, behaviour: str = SERVE, drain_seconds: float = 1.0, start_seconds: float = 60.0
    ) -> Supervised:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Supervised(folder, count, behaviour, drain_seconds, start_seconds))
        return started[-1]

    yield start
    for each in started:
        each.cleanup()


@pytest.fixture
def pair(supervise: Supervise) -> Supervised:
    """A supervisor whose two workers serve."""
    supervised = supervise()
    supervised.wait_for("all serve")
    return supervised


# Beginning


def test_all_serve(supervise: Supervise) -> None:
    """The first worker starts alone, the others when it serves, and `on_ready` comes once, after all."""
    supervised = supervise(4)
    supervised.wait_for("all serve")
    told = [line.split() for line in supervised.log.splitlines()]
    begins = [number for number, words in enumerate(told) if words[0] == "began"]
    first_serves = next(number for number, words in enumerate(told) if words[-1] == "serves")
    assert begins[0] < first_serves < begins[1]
    assert told[-1] == ["all", "serve"]
    assert sorted(slot for slot, _ in supervised.begun()) == [0, 1, 2, 3]
    assert supervised.serving() == 4
    supervised.send(signal.SIGTERM)
    assert supervised.wait() == 0
    assert supervised.log.count("all serve") == 1


@pytest.mark.parametrize("status", EXPLAINED)
def test_explained_start(supervise: Supervise, status: int) -> None:
    """A first worker that has said why it cannot start ends all at once, with its exit status."""
    supervised = supervise(3, f"end {status}")
    assert supervised.wait() == status
    assert len(supervised.begun()) == 1
    assert "ERROR" not in supervised.log


@pytest.mark.parametrize("behaviour", ["end 3", "raise it cannot start"])
def test_workers_that_never_come_up(supervise: Supervise, behaviour: str) -> None:
    """Workers that die at the start again and again are given up, with a message and exit status 1."""
    supervised = supervise(2, behaviour)
    assert supervised.wait() == 1
    assert len(supervised.begun()) == MAX_FAILED_STARTS
    assert "the workers do not come up" in supervised.log
    waits = [float(each) for each in re.findall(r"another takes its place in ([\d.]+) s", supervised.log)]
    assert len(waits) == MAX_FAILED_STARTS - 1
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    if behaviour.startswith("raise"):
        assert "RuntimeError: it cannot start" in supervised.log


def test_workers_that_come_up_at_last(supervise: Supervise) -> None:
    """Workers that fail at first and then start serve as if nothing had been."""
    supervised = supervise(2, "end 3")
    supervised.wait_for("another takes its place")
    supervised.let_workers(SERVE)
    supervised.wait_for("all serve")
    assert supervised.serving() == 2


def test_only_the_first_may_explain(pair: Supervised) -> None:
    """Once the server has served, a worker that cannot start ends nobody else; it is tried again."""
    pair.let_workers("end 1")
    os.kill(pair.alive()[0], signal.SIGKILL)
    pair.wait_for("exit status 1", 2)
    assert pair.process.poll() is None
    assert pair.serving() == 1
    pair.let_workers(SERVE)
    wait_until(lambda: pair.serving() == 2)


# Workers that die


def test_killed_worker_is_replaced(pair: Supervised) -> None:
    """A worker that is killed is replaced in its place, and the others are left alone."""
    (slot, victim), (_, other) = pair.begun()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pair.begun()) == 3 and pair.serving() == 2)
    assert pair.begun()[2][0] == slot
    assert other in pair.alive()
    assert f"worker {victim} ended (killed by SIGKILL)" in pair.log


def test_worker_that_ends_by_itself_is_replaced(pair: Supervised) -> None:
    """A worker that ends without being told to, with whatever status, is replaced."""
    victim = pair.alive()[0]
    os.kill(victim, signal.SIGTERM)
    wait_until(lambda: pair.serving() == 2 and victim not in pair.alive())
    assert f"worker {victim} ended (exit status 0)" in pair.log


def test_backoff(supervise: Supervise) -> None:
    """A worker that dies soon after it has served is replaced later and later, and the others serve on."""
    supervised = supervise(1, "serve 0.01")
    supervised.wait_for("another takes its place", 4)
    waits = [float(each) for each in re.findall(r"place in ([\d.]+) s", supervised.log)][:4]
    assert waits == sorted(waits)
    assert waits[3] > 2 * waits[0]
    assert supervised.process.poll() is None


def test_no_backoff_after_a_long_life(supervise: Supervise) -> None:
    """A worker that has served for a while is replaced at once."""
    supervised = supervise(1, "serve 0.7")
    supervised.wait_for("another takes its place", 2)
    assert re.findall(r"place in ([\d.]+) s", supervised.log)[:2] == ["0.0", "0.0"]


def test_death_while_stopping(supervise: Supervise) -> None:
    """A worker that dies during a drain is not replaced."""
    supervised = supervise(2, IGNORE, drain_seconds=3)
    supervised.wait_for("all serve")
    supervised.send(signal.SIGTERM)
    supervised.wait_for("stopping 2 workers")
    for pid in supervised.alive():
        os.kill(pid, signal.SIGKILL)
    assert supervised.wait() == 0
    assert len(supervised.begun()) == 2


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end(pair: Supervised, number: signal.Signals) -> None:
    """SIGTERM and SIGINT let every worker drain, and the exit status is 0."""
    workers = pair.alive()
    pair.send(number)
    assert pair.wait() == 0
    assert sorted(map(int, re.findall(r"drained (\d+)", pair.log))) == sorted(workers)
    assert "killed" not in pair.log


def test_end_before_anybody_serves(supervise: Supervise) -> None:
    """SIGTERM during the start ends it, with exit status 0."""
    supervised = supervise(2, HANG)
    supervised.wait_for("began")
    supervised.send(signal.SIGTERM)
    assert supervised.wait() == 0
    assert len(supervised.begun()) == 1


def test_end_while_a_place_is_empty(supervise: Supervise) -> None:
    """SIGTERM while a worker waits to be replaced ends at once, without starting it."""
    supervised = supervise(1, "end 3")
    supervised.wait_for("takes its place", 3)
    begun = len(supervised.begun())
    supervised.send(signal.SIGTERM)
    assert supervised.wait() == 0
    assert len(supervised.begun()) == begun


def test_worker_that_does_not_end(supervise: Supervise) -> None:
    """A worker that ignores SIGTERM is killed when the time for the drain is over, with a warning."""
    supervised = supervise(2, IGNORE, drain_seconds=0.2)
    supervised.wait_for("all serve")
    supervised.send(signal.SIGTERM)
    assert supervised.wait(5) == 0
    assert len(re.findall(r"WARNING worker \d+ did not end in time and is killed", supervised.log)) == 2


def test_frozen_worker(supervise: Supervise) -> None:
    """A worker that is frozen is killed when the time for the drain is over."""
    supervised = supervise(2, SERVE, drain_seconds=0.2)
    supervised.wait_for("all serve")
    os.kill(supervised.alive()[0], signal.SIGSTOP)
    supervised.send(signal.SIGTERM)
    assert supervised.wait(5) == 0


def test_signals_of_a_terminal(pair: Supervised) -> None:
    """Ctrl-C, which a terminal sends to all, reaches the workers through the supervisor alone."""
    for pid in pair.alive():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    pair.send(signal.SIGINT)
    assert pair.wait() == 0
    assert pair.log.count("drained") == 2


def test_parent_is_killed(pair: Supervised) -> None:
    """However the supervisor ends, its workers learn that they are alone."""
    workers = pair.alive()
    pair.process.kill()
    pair.process.wait(10)
    pair.wait_for("alone", 2)
    wait_until(lambda: not any(map(is_running, workers)))


def test_parent_is_killed_after_a_replacement(pair: Supervised) -> None:
    """Workers that came later hold nothing that would keep the others from learning it."""
    os.kill(pair.alive()[0], signal.SIGKILL)
    wait_until(lambda: len(pair.begun()) == 3 and pair.serving() == 2)
    pair.send(signal.SIGHUP)
    pair.wait_for("has ended", 2)
    wait_until(lambda: pair.serving() == 2)
    pair.process.kill()
    pair.process.wait(10)
    pair.wait_for("alone", 2)


# SIGHUP


def test_restart_one_by_one(supervise: Supervise) -> None:
    """SIGHUP replaces every worker, each told to end when its successor serves, one after the other."""
    supervised = supervise(3)
    supervised.wait_for("all serve")
    before = supervised.alive()
    supervised.send(signal.SIGHUP)
    supervised.wait_for("has ended", 3)
    wait_until(lambda: supervised.serving() == 3)
    assert not set(before) & set(supervised.alive())
    begun = supervised.begun()
    assert [slot for slot, _ in begun[3:]] == [0, 1, 2]
    told = re.findall(r"worker (\d+) (serves|has ended)", supervised.log)
    for (_, old), (_, new) in zip(sorted(begun[:3]), begun[3:], strict=True):
        place = told.index((str(new), "serves"))
        assert told[place + 1] == (str(old), "has ended")
    assert supervised.log.count("all serve") == 1
    supervised.send(signal.SIGTERM)
    assert supervised.wait() == 0


def test_two_restarts(pair: Supervised) -> None:
    """A SIGHUP in the middle of a restart has all replaced that are older than it."""
    before = pair.alive()
    for _ in range(3):
        pair.send(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(pair.alive()) and pair.serving() == 2)
    pair.send(signal.SIGTERM)
    assert pair.wait() == 0


def test_successor_that_is_not_ready(pair: Supervised) -> None:
    """As long as a successor does not serve, those who do are left alone, and SIGTERM ends all."""
    before = pair.alive()
    pair.let_workers(HANG)
    pair.send(signal.SIGHUP)
    wait_until(lambda: len(pair.begun()) == 3)
    pair.send(signal.SIGTERM)
    assert pair.wait() == 0
    drained = set(map(int, re.findall(r"drained (\d+)", pair.log)))
    assert set(before) <= drained
    assert "has ended" not in pair.log


@pytest.mark.parametrize("behaviour", ["end 1", "end 3", "raise no"])
def test_successor_that_dies(pair: Supervised, behaviour: str) -> None:
    """A successor that cannot start ends the restart, and those who serve go on; another SIGHUP works."""
    before = pair.alive()
    pair.let_workers(behaviour)
    pair.send(signal.SIGHUP)
    pair.wait_for("ended .* while it was to be replaced")
    assert pair.alive() == before
    pair.let_workers(SERVE)
    pair.send(signal.SIGHUP)
    pair.wait_for("has ended", 2)
    wait_until(lambda: pair.serving() == 2)
    assert not set(before) & set(pair.alive())


def test_successor_that_hangs(supervise: Supervise) -> None:
    """A successor that does not serve in time is killed; those who serve go on, and another SIGHUP works."""
    supervised = supervise(2, start_seconds=2.0)
    supervised.wait_for("all serve")
    before = supervised.alive()
    supervised.let_workers(HANG)
    supervised.send(signal.SIGHUP)
    supervised.wait_for("does not serve in time and is killed")
    supervised.wait_for("ended .* while it was to be replaced")
    assert supervised.alive() == before
    supervised.let_workers(SERVE)
    supervised.send(signal.SIGHUP)
    supervised.wait_for("has ended", 2)
    wait_until(lambda: supervised.serving() == 2)


def test_predecessor_that_dies(pair: Supervised) -> None:
    """A worker that dies while its successor starts is replaced by that one, and the restart goes on."""
    before = pair.alive()
    pair.let_workers(HANG)
    pair.send(signal.SIGHUP)
    wait_until(lambda: len(pair.begun()) == 3)
    os.kill(before[0], signal.SIGKILL)
    pair.wait_for(f"worker {before[0]} ended")
    assert pair.process.poll() is None
    pair.let_workers(SERVE)
    os.kill(pair.begun()[2][1], signal.SIGKILL)
    wait_until(lambda: pair.serving() == 2)


def test_predecessor_that_does_not_end(supervise: Supervise) -> None:
    """A worker that ignores its end at a restart is killed in time, so that the restart comes to its end."""
    supervised = supervise(2, IGNORE, drain_seconds=0.2)
    supervised.wait_for("all serve")
    before = supervised.alive()
    supervised.let_workers(SERVE)
    supervised.send(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(supervised.alive()) and supervised.serving() == 2, 3)


def test_restart_during_the_start(supervise: Supervise) -> None:
    """SIGHUP before all serve does no harm."""
    supervised = supervise(2, HANG)
    supervised.wait_for("began")
    supervised.send(signal.SIGHUP)
    supervised.let_workers(SERVE)
    os.kill(supervised.alive()[0], signal.SIGKILL)
    supervised.wait_for("all serve")


class Shaky:
    """A helper whose process the test ends."""

    pid: int | None = None

    def start(self) -> None:
        """Pretend to."""
        self.pid = 1

    def stop(self) -> None:
        """Pretend to."""


def test_waits_of_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that ends soon again and again is started later and later; after a long life at once again."""
    now = 1000.0
    monkeypatch.setattr(prefork.time, "monotonic", lambda: now)
    helper = Shaky()
    supervisor = Supervisor(1, lambda lifeline: 0, drain_seconds=1, start_seconds=60, helper=helper)

    def wait_after_a_life_of(seconds: float) -> float:
        nonlocal now
        supervisor._start_helper(helper)
        now += seconds
        supervisor._on_helper_end(helper, signal.SIGKILL)
        wait = supervisor._wait_seconds()
        assert wait is not None
        return round(wait, 3)

    assert [wait_after_a_life_of(1) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [wait_after_a_life_of(60), wait_after_a_life_of(1)] == [0.1, 0.2]


# What is left


def test_files_of_the_supervisor(pair: Supervised) -> None:
    """Workers that come and go leave no open files in the supervisor."""

    def open_files() -> int:
        return len(os.listdir(f"/proc/{pair.process.pid}/fd"))

    before = open_files()
    for number in range(3):
        pair.send(signal.SIGHUP)
        pair.wait_for("has ended", 2 * (number + 1))
        wait_until(lambda: pair.serving() == 2)
    wait_until(lambda: open_files() == before)
