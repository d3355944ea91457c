"""The goals that the project has set itself, checked against what a run has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .peers import FLOOR, JPULSE
from .results import Results

OURS, FLOOR_NAME = JPULSE.name, FLOOR.name


class Verdict(NamedTuple):
    """A goal, what was found, and whether it is met."""

    what: str
    goal: str
    found: str
    met: bool


@dataclass(frozen=True)
class Goal:
    """A figure of ours, or its ratio to another one, and the bound that it is to keep."""

    what: str
    metric: str
    bound: float
    unit: str = ""
    #: Compared with this peer's figure of the same metric, or with another metric of ours.
    against: str | None = None
    against_metric: str | None = None
    at_least: bool = False

    @property
    def text(self) -> str:
        """The goal as a reader has it."""
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:,g}{' ' if self.unit else ''}{self.unit}"

    def verdict(self, results: Results) -> Verdict | None:
        """Whether the goal is met; None if it was not measured."""
        found = self._figure(results)
        if found is None:
            return None
        met = found >= self.bound if self.at_least else found <= self.bound
        return Verdict(self.what, self.text, f"{found:,.4g}{' ' if self.unit else ''}{self.unit}", met)

    def _figure(self, results: Results) -> float | None:
        ours = results.median(self.metric, OURS)
        if self.against is None and self.against_metric is None:
            return ours
        other = results.median(self.against_metric or self.metric, self.against or OURS)
        return ours / other if ours is not None and other else None


def _growth(metric: str, base: str, what: str) -> Goal:
    return Goal(what, metric, 1.15, "×", against_metric=base)


GOALS = (
    Goal("broadcast, one under way, to the C loop", "broadcast", 1.4, "×", against=FLOOR_NAME),
    Goal("broadcast, one under way, to ws (node)", "broadcast", 0.7, "×", against="node-ws"),
    Goal("broadcast, 16 under way", "burst", 0.8, "µs"),
    Goal("broadcast, 16 under way, to socketify", "burst", 1.0, "×", against="socketify"),
    Goal("echo, to the C loop", "echo", 2.5, "×", against=FLOOR_NAME),
    Goal("echo, to ws (node)", "echo", 1.0, "×", against="node-ws"),
    Goal("memory per idle connection", "memory", 9, "kB"),
    Goal("idle clients", "idle-clients", 10_000, at_least=True),
    Goal("idle clients: lost", "idle-closes", 0),
    Goal("idle clients: CPU", "idle-cpu", 3, "%"),
    Goal("idle clients: longest pause", "idle-pause", 20, "ms"),
    Goal("handshakes per CPU second", "handshakes", 6000, at_least=True),
    Goal("handshakes per CPU second, with a session", "session", 3000, at_least=True),
    Goal("latency at half load, broadcast, p99", "broadcast-p99", 5, "ms"),
    Goal("latency at half load, echo, p99", "echo-p99", 5, "ms"),
    Goal(
        "one stalled client: p99 of the others, to p99 without it",
        *("stalled-p99-with", 1.15, "×"),
        against_metric="stalled-p99-without",
    ),
    Goal("one stalled client: memory", "stalled-growth-with", 2.0, "MB"),
    Goal("two processes over Redis, echo", "two-ratio", 1.7, "× one", at_least=True),
    _growth("growth-1000", "growth-100", "1,000 clients to 100"),
    _growth("growth-5000", "growth-100", "5,000 clients to 100"),
    _growth("growth-10000", "growth-100", "10,000 clients to 100"),
    _growth("namespaces-1000", "namespaces-1", "1,000 namespaces to one"),
)


def verdicts(results: Results) -> Iterator[Verdict]:
    """What was found for every goal that was measured."""
    for goal in GOALS:
        verdict = goal.verdict(results)
        if verdict is not None:
            yield verdict
