"""What a rule finds, and the namespaces that rules speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .events import Message
from .history import Visit

#: Open ones, the last of them with clients that do not read, and those that not everybody may enter.
SQUARE, DIRECT, CROWD = "/api/1/ws/square", "/api/1/ws/direct", "/api/1/ws/crowd"
MEMBERS, ADMINS = "/api/1/ws/members", "/api/1/ws/admins"
SPOKEN = (SQUARE, DIRECT, CROWD, MEMBERS, ADMINS)
#: Has a handler that blocks, and is in no statistics.
CLUMSY = "/api/1/ws/clumsy"


@dataclass(frozen=True)
class Violation:
    """Something that must not be, and what it is about."""

    rule: str
    text: str
    at: float = 0.0
    visits: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    pids: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, tuple[int, ...], tuple[Message, ...]]:
        """The same for the same violation in a shorter history."""
        return self.rule, self.visits, self.messages


Found = Iterator[Violation]


def name_of(visit: Visit) -> str:
    """What a visit is called in a violation."""
    return f"{visit.tried.client} (visit {visit.number})"
