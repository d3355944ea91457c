"""
What clients, servers and the injector of faults saw, each event with the monotonic time at which it was seen.

That clock is the same in all processes of a machine. A message is known by its sender and
the sender's number of it, which is used once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Message = tuple[int, int]

#: A kind of fault that the history itself knows.
WORKER_KILLED = "worker killed"


# What clients saw


class Tried(NamedTuple):
    """A client begins to connect; `session` is "" for a guest, `asked` the client id it wants."""

    visit: int
    at: float
    client: str
    path: str
    session: str = ""
    asked: str = ""


class Opened(NamedTuple):
    """A client was let in, and told by which process."""

    visit: int
    at: float
    pid: int
    serial: int
    client_id: str
    username: str = ""


class Refused(NamedTuple):
    """A handshake got another status than 101, or 0: no answer."""

    visit: int
    at: float
    status: int


class Sent(NamedTuple):
    """A client sent a message."""

    visit: int
    at: float
    sender: int
    number: int


class Got(NamedTuple):
    """A client received a message."""

    visit: int
    at: float
    sender: int
    number: int


class Stalled(NamedTuple):
    """A client reads nothing, and answers no ping, until some time; inf: never again."""

    visit: int
    at: float
    until: float


class Slept(NamedTuple):
    """The loop of the clients was held up from `since` to `at`, so that what they do came late."""

    at: float
    since: float


#: How a visit ended: we closed and the server answered; the server closed; the socket broke, or we broke it.
ASKED, TOLD, LOST = "asked", "told", "lost"


class Ended(NamedTuple):
    """A visit is over; `code` is the close code, 1006 for none."""

    visit: int
    at: float
    how: str
    code: int


class SignedIn(NamedTuple):
    """A session is there from `at` on."""

    session: str
    at: float
    user: str


class SignedOut(NamedTuple):
    """A session was to be ended at `at`; `done` is when the server said so, inf if it never did."""

    session: str
    at: float
    done: float


class Changed(NamedTuple):
    """A user was changed between `at` and `done`: disabled, enabled, demoted or promoted."""

    user: str
    at: float
    done: float
    what: str


# What servers wrote down


class Began(NamedTuple):
    """A process has started; `port` is its own, on which it tells its figures."""

    pid: int
    at: float
    instance: str
    port: int = 0


class Joined(NamedTuple):
    """A connection is in its namespace from now on."""

    pid: int
    at: float
    serial: int
    path: str
    client_id: str
    user: str = ""
    #: Of its session; "" for a guest.
    mark: str = ""


class Left(NamedTuple):
    """A connection is out of its namespace."""

    pid: int
    at: float
    serial: int
    code: int


class Did(NamedTuple):
    """
    A message was handled and sent on.

    `kind` is all, others, echo, client or user, `target` a client id or user; `sequence` counts
    what the process has published for the namespace, None if this did not cross.
    """

    pid: int
    at: float
    serial: int
    path: str
    sender: int
    number: int
    kind: str = "all"
    target: str = ""
    sequence: int | None = None

    @property
    def message(self) -> Message:
        """Which message it was."""
        return self.sender, self.number


class Bridge(NamedTuple):
    """The bridge of a process went up or down."""

    pid: int
    at: float
    state: str
    lost: int = 0


class Gap(NamedTuple):
    """A process noticed that `count` packets of another one did not arrive."""

    pid: int
    at: float
    path: str
    instance: str
    count: int


class ToldOthers(NamedTuple):
    """A process told the others its figures, if its bridge was up."""

    pid: int
    at: float
    state: str


class Late(NamedTuple):
    """The loop of a process was held up from `since` to `at`."""

    pid: int
    at: float
    since: float


class Finished(NamedTuple):
    """A process said goodbye."""

    pid: int
    at: float


class Fault(NamedTuple):
    """Something was broken from `at` to `lifted`, and all was well at `recovered`; `pid` 0: of no process."""

    kind: str
    at: float
    lifted: float
    recovered: float
    pid: int = 0


class Memory(NamedTuple):
    """How many bytes of a process are in RAM."""

    pid: int
    at: float
    size: int


class Figures(NamedTuple):
    """What a process says of itself: `idle` while there are no clients, else when they have fallen silent."""

    pid: int
    at: float
    idle: bool
    told: dict[str, Any]


ClientEvent = Tried | Opened | Refused | Sent | Got | Stalled | Ended
ServerEvent = Began | Joined | Left | Did | Bridge | Gap | ToldOthers | Late | Finished
Event = ClientEvent | ServerEvent | SignedIn | SignedOut | Changed | Fault | Slept | Memory | Figures

#: What the first word of a journal's line means.
JOURNAL = {
    "began": Began,
    "joined": Joined,
    "left": Left,
    "did": Did,
    "bridge": Bridge,
    "gap": Gap,
    "told": ToldOthers,
    "late": Late,
    "finished": Finished,
}
