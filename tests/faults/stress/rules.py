"""
What must hold of every history; each rule is a pure function that finds what does not.

A rule that has nothing to say of a part of the history, since it cannot be known what was
right there, says nothing; `windows` says where that is.
"""

from __future__ import annotations

from collections.abc import Callable

from .access import expelled, forbidden, identity, undead
from .deliveries import missing, order, stranger, twice, uncounted, unhandled
from .figures import growth, leak, outage, statistics, unmended
from .history import History
from .violations import Found, Violation

RULES: tuple[Callable[[History], Found], ...] = (
    *(twice, order, stranger, unhandled, missing, uncounted),
    *(forbidden, expelled, undead, identity),
    *(statistics, leak, growth, outage, unmended),
)


def check(history: History) -> list[Violation]:
    """Everything that any rule finds, the earliest first."""
    return sorted((each for rule in RULES for each in rule(history)), key=lambda each: each.at)
