"""
A minute of the seeded stress run; `python -m tests.faults --minutes 6` is the long one.

Run with `-rP` to see its table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from .. import conftest
from ..conftest import ROOT, Server, wait_until
from .__main__ import options
from .processes import processes_about
from .stress.crowd import Identity, Town
from .stress.history import History
from .stress.plan import HARD, HARD_PAUSE, SQLITE, Planned, hard_faults, soft_faults
from .stress.run import Options

SECONDS = 30


def seed_of_sources() -> int:
    """Another seed for each state of the framework, the same for the same."""
    sources = sorted((ROOT / "jpulse").rglob("*.py"))
    return zlib.crc32(b"".join(each.read_bytes() for each in sources)) % 9_000 + 1_000


class Run:
    """A run in a process of its own."""

    def __init__(self, folder: Path, seed: int, seconds: int, *flags: str) -> None:
        self.seed = seed
        self._path = folder / f"{seed}.txt"
        self._seconds = seconds
        command = [sys.executable, "-m", "tests.faults", "--seed", str(seed), "--seconds", str(seconds)]
        environ = {**os.environ, "TMPDIR": str(folder)}
        with self._path.open("wb") as out:
            self._process = subprocess.Popen(
                [*command, *flags], cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT
            )

    def wait(self) -> tuple[int, str]:
        """The exit status, and what it told."""
        status = self._process.wait(self._seconds + 180)
        told = self._path.read_text(encoding="utf-8")
        print(told)
        return status, told

    def stop(self) -> None:
        """End it with its servers, if it has not ended."""
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Two runs and one of a sabotaged server, all at the same time: they wait more than they work."""
    folder = tmp_path_factory.mktemp("stress")
    begun = {
        "fixed": Run(folder, 7, SECONDS, "--clients", "80"),
        "of the sources": Run(folder, seed_of_sources(), SECONDS, "--clients", "80"),
        "sabotaged": Run(folder, 5, 12, "--clients", "60", "--calm", "--app", "tests.apps.sabotaged_app"),
    }
    yield begun
    for run in begun.values():
        run.stop()
    wait_until(lambda: not processes_about(folder), 30, "the end of all processes")


@pytest.mark.parametrize("name", ["fixed", "of the sources"])
def test_stress(runs: dict[str, Run], name: str) -> None:
    """While everything is broken in turn, nothing comes twice, late or to the wrong, or is lost uncounted."""
    status, told = runs[name].wait()
    assert status == 0, told
    assert figure(told, "violations") == 0
    assert figure(told, "deliveries checked") > 1000
    assert len(re.findall(rf"^  ({'|'.join(HARD)}) +\d+ ×", told, re.MULTILINE)) >= 2


def test_sabotage_is_found(runs: dict[str, Run]) -> None:
    """A server that does everything wrong now and then is caught at all of it, in short histories."""
    status, told = runs["sabotaged"].wait()
    assert status == 1, told
    (kinds,) = re.findall(r"^  violations +\d+ \((.*)\)$", told, re.MULTILINE)
    found = {each.split()[1] for each in kinds.split(", ")}
    assert found >= {"twice", "missing", "order", "stranger", "unhandled", "statistics", "leak"}
    assert f"--seed {runs['sabotaged'].seed} " in told
    assert " shown by:\n" in told


def figure(text: str, name: str) -> int:
    """The first number of a line of the table."""
    found = re.search(rf"^  {name} +(\d+)", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


def test_plan_comes_from_the_seed() -> None:
    """The same seed brings the same faults and the same clients, another one others."""
    plans = [list(islice(plan(seed), 30)) for seed in (7, 7, 8) for plan in (soft_faults, _hard)]
    assert plans[0] == plans[2] != plans[4]
    assert plans[1] == plans[3] != plans[5]
    first, again, other = (ids_of(seed) for seed in (7, 7, 8))
    assert first == again
    assert not set(first) & set(other)


def _hard(seed: int) -> Iterator[Planned]:
    return hard_faults(seed)


def ids_of(seed: int) -> list[str]:
    """The client ids of a town."""
    town = Town(History(), seed, [1], ["member0", "admin0"])
    town.populate(30)
    assert all(isinstance(each.identity, Identity) for each in town.people)
    return sorted({each.identity.asked for each in town.people})


def test_every_fault_comes_in_turn() -> None:
    """Each kind of fault comes before any comes again, and lasts as long as it may."""
    kinds = {**HARD, **SQLITE}
    planned = list(islice(hard_faults(3), 3 * len(kinds)))
    for begin in range(0, len(planned), len(kinds)):
        assert {each.kind for each in planned[begin : begin + len(kinds)]} == set(kinds)
    for each in planned:
        low, high = kinds[each.kind]
        assert low <= each.seconds <= high
        assert HARD_PAUSE[0] <= each.wait <= HARD_PAUSE[1]


def test_command_line() -> None:
    """Minutes and seconds are added; without both it is a minute."""
    assert options(["--seed", "7", "--minutes", "6"]) == Options(7, 360.0, 100, False)
    assert options(["--minutes", "1", "--seconds", "5", "--clients", "9", "--mongo"]) == Options(
        1, 65.0, 9, True
    )
    assert options([]).seconds == 60.0


def test_server_that_does_not_start_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there in time is ended, since nobody else knows of it."""
    monkeypatch.setattr(conftest, "START_SECONDS", 0.01)
    with pytest.raises(AssertionError, match="did not start"):
        Server(tmp_path / "log", ("--data-dir", str(tmp_path)), {}, ROOT)
    assert processes_about(tmp_path) == []
