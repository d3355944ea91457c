"""File descriptors: as many as are needed, a few in reserve, and a word when they are scarce."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from jpulse.descriptors import RESERVED, SPARE, TELL_SECONDS, Scarcity

from .conftest import ROOT

LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(("left", "near"), [(RESERVED + 1, False), (RESERVED, True), (1, True)])
def test_reserve(left: int, near: bool) -> None:
    """Descriptors are scarce as soon as no more are left than the reserve."""
    assert Scarcity().is_near(LIMIT - left) == near


def test_trying_again() -> None:
    """A copy of a descriptor shows that there are some, and is closed again."""
    before = len(os.listdir("/proc/self/fd"))
    assert Scarcity().is_over(0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not Scarcity().is_over(LIMIT - 1)


def test_telling(caplog: pytest.LogCaptureFixture) -> None:
    """It is told at once, then no more than once a minute."""
    scarcity = Scarcity()
    for now in (1000.0, 1000.5, 1000.0 + TELL_SECONDS - 0.1):
        scarcity.tell(now)
    assert len(caplog.records) == 1
    assert str(LIMIT) in caplog.text
    scarcity.tell(1000.0 + TELL_SECONDS)
    assert len(caplog.records) == 2


RAISE = """
import resource, sys
from jpulse.descriptors import raise_limit
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
raise_limit(connections)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (256, 2048, 1000, 1000 + SPARE),
        (256, 700, 1000, 700),
        (1800, 2048, 1000, 1800),
        (256, 2048, 2048 - SPARE, 2048),
    ],
    ids=["as needed", "as far as allowed", "enough already", "just enough"],
)
def test_raising_the_limit(soft: int, hard: int, connections: int, raised: int) -> None:
    """A process takes the descriptors that its connections need, as far as the system allows it."""
    command = [sys.executable, "-c", RAISE, *map(str, (soft, hard, connections))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(raised), str(hard)]
