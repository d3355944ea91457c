"""What was measured: one record for each figure, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

import msgspec


class Record(msgspec.Struct, frozen=True):
    """One figure of one round."""

    metric: str
    peer: str
    round: int
    value: float


class Failure(msgspec.Struct, frozen=True):
    """A peer that could not be measured in a case."""

    case: str
    peer: str
    why: str


class Spread(NamedTuple):
    """The figures of all rounds."""

    median: float
    least: float
    most: float


class Results:
    """Everything that a run has found so far."""

    def __init__(self, records: Iterable[Record] = (), failures: Iterable[Failure] = ()) -> None:
        self.records = list(records)
        self.failures = list(failures)

    def spread(self, metric: str, peer: str) -> Spread | None:
        """The figures of a peer; None if there are none."""
        values = [each.value for each in self.records if (each.metric, each.peer) == (metric, peer)]
        return Spread(median(values), min(values), max(values)) if values else None

    def median(self, metric: str, peer: str) -> float | None:
        """The figure to go by; None if there is none."""
        spread = self.spread(metric, peer)
        return None if spread is None else spread.median

    def peers(self, metric: str) -> list[str]:
        """Who has figures, in the order in which they were measured."""
        return list(dict.fromkeys(each.peer for each in self.records if each.metric == metric))
