"""Which faults there are, and when: drawn from the seed, and the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from .events import WORKER_KILLED
from .windows import (
    CLOCK_JUMPS,
    HANDLER_BLOCKS,
    HANDLER_HANGS,
    LISTENERS_CUT,
    MONGO_FROZEN,
    MONGO_KILLED,
    PUBLISHERS_CUT,
    REDIS_AND_WORKER_KILLED,
    REDIS_AWAY,
    REDIS_FROZEN,
    REDIS_KILLED,
    ROLLING,
    SERVER_RESTARTED,
    STORE_LOCKED,
    WORKER_FROZEN,
)

USER_DISABLED, USER_DEMOTED = "user disabled", "role taken"

#: Between what seconds each lasts; one after the other, the next when all is well again.
HARD = {
    REDIS_KILLED: (0.2, 3.0),
    REDIS_FROZEN: (0.5, 8.0),
    LISTENERS_CUT: (0.0, 0.0),
    PUBLISHERS_CUT: (0.0, 0.0),
    WORKER_KILLED: (0.0, 0.0),
    ROLLING: (0.0, 0.0),
    SERVER_RESTARTED: (0.0, 0.0),
}
#: For runs that have the time: longer than silent processes are remembered, and two at once.
LONG = {
    REDIS_AWAY: (11.0, 16.0),
    REDIS_AND_WORKER_KILLED: (0.5, 3.0),
}
SQLITE = {STORE_LOCKED: (0.5, 3.5)}
MONGO = {MONGO_FROZEN: (0.5, 4.0), MONGO_KILLED: (0.2, 2.0)}
#: These come at any time, also while one of the others lasts.
SOFT = {
    HANDLER_BLOCKS: (0.3, 2.5),
    HANDLER_HANGS: (0.0, 0.0),
    CLOCK_JUMPS: (0.5, 4.0),
    WORKER_FROZEN: (0.3, 1.5),
    USER_DISABLED: (4.0, 8.0),
    USER_DEMOTED: (4.0, 8.0),
}
#: Seconds between the end of one fault and the next, and between two of the soft ones.
HARD_PAUSE, SOFT_PAUSE = (1.0, 3.0), (0.5, 4.0)


class Planned(NamedTuple):
    """A fault to come, `wait` seconds after the one before it; `which` (0 to 1) says whom it hits."""

    wait: float
    kind: str
    seconds: float
    which: float

    def __str__(self) -> str:
        return (
            f"{self.kind} for {self.seconds:.1f} s, {self.wait:.1f} s after the one before ({self.which:.2f})"
        )


def plan(seed: int, kinds: dict[str, tuple[float, float]], pause: tuple[float, float]) -> Iterator[Planned]:
    """Faults without end: each kind once, in a random order, then all again."""
    chance = random.Random(f"{seed} {' '.join(kinds)}")
    while True:
        bag = list(kinds)
        chance.shuffle(bag)
        for kind in bag:
            yield Planned(chance.uniform(*pause), kind, chance.uniform(*kinds[kind]), chance.random())


def hard_faults(seed: int, *, mongo: bool = False, long: bool = False) -> Iterator[Planned]:
    """Faults of Redis, the store and the processes."""
    return plan(seed, {**HARD, **(LONG if long else {}), **(MONGO if mongo else SQLITE)}, HARD_PAUSE)


def soft_faults(seed: int) -> Iterator[Planned]:
    """Faults that hold a process up, and decisions of administrators."""
    return plan(seed, SOFT, SOFT_PAUSE)
