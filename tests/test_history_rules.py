"""The rules of the history checker find what they are there for in histories made by hand, no more."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import pytest

from .faults.stress.events import (
    ASKED,
    LOST,
    TOLD,
    WORKER_KILLED,
    Began,
    Bridge,
    Changed,
    Did,
    Ended,
    Event,
    Fault,
    Figures,
    Finished,
    Gap,
    Got,
    Joined,
    Late,
    Left,
    Memory,
    Opened,
    Refused,
    Sent,
    SignedIn,
    SignedOut,
    Slept,
    Stalled,
    ToldOthers,
    Tried,
)
from .faults.stress.history import History
from .faults.stress.rules import RULES, check
from .faults.stress.shrink import explained, shortest, told
from .faults.stress.violations import ADMINS, CLUMSY, CROWD, MEMBERS, SPOKEN, SQUARE
from .faults.stress.windows import LISTENERS_CUT, PUBLISHERS_CUT, REDIS_FROZEN, REDIS_KILLED, Windows

#: Two processes; ann and bob are guests in the first, cid in the second.
ONE, TWO = 1, 2
ANN, BOB, CID = 10, 11, 20


def come(visit: int, pid: int, at: float, path: str = SQUARE, **as_whom: str) -> list[Event]:
    """A client comes; its serial is the number of its visit."""
    user, session = as_whom.get("user", ""), as_whom.get("session", "")
    client_id = as_whom.get("client_id", f"id-{visit}")
    return [
        Tried(visit, at - 0.2, f"client {visit}", path, session, client_id),
        Joined(pid, at - 0.1, visit, path, client_id, user, session),
        Opened(visit, at, pid, visit, client_id, user),
    ]


def go(visit: int, pid: int, at: float, how: str = ASKED, code: int = 1000) -> list[Event]:
    """A client leaves."""
    return [Left(pid, at, visit, code), Ended(visit, at + 0.1, how, code)]


def say(visit: int, pid: int, at: float, number: int, **how: Any) -> list[Event]:
    """A client says something, which its process passes on."""
    path = how.pop("path", SQUARE)
    return [
        Sent(visit, at - 0.1, visit, number),
        Did(pid, at, visit, path, visit, number, **{"sequence": number + 1, **how}),
    ]


def get(at: float, message: tuple[int, int], *visits: int) -> list[Event]:
    """Clients get a message."""
    return [Got(visit, at, *message) for visit in visits]


def started(*pids: int) -> list[Event]:
    """Processes begin, and their bridges are up."""
    return [event for pid in pids for event in (Began(pid, 0.0, f"instance-{pid}"), Bridge(pid, 0.5, "up"))]


def three() -> list[Event]:
    """Ann and bob come to the first process, cid to the second."""
    return [*started(ONE, TWO), *come(ANN, ONE, 1), *come(BOB, ONE, 1.2), *come(CID, TWO, 1.4)]


def talk() -> list[Event]:
    """Ann says three things, which everybody gets."""
    events = three()
    for number in range(3):
        at = 2.0 + number
        events += [*say(ANN, ONE, at, number), *get(at + 0.1, (ANN, number), ANN, BOB, CID)]
    return events


def without(events: Iterable[Event], *left_out: Event) -> list[Event]:
    """A history without some events."""
    return [each for each in events if each not in left_out]


def found(events: Iterable[Event]) -> list[str]:
    """The names of the rules that a history breaks."""
    return [each.rule for each in check(History(events))]


def test_all_is_well() -> None:
    """A history in which everybody gets everything once, in order, breaks no rule."""
    goodbye = [event for visit, pid in ((ANN, ONE), (BOB, ONE), (CID, TWO)) for event in go(visit, pid, 9)]
    assert found([*talk(), *goodbye]) == []


# What arrives


def test_twice() -> None:
    """A message that arrives twice on one connection is found."""
    assert found([*talk(), *get(5, (ANN, 2), CID)]) == ["twice"]


def test_order() -> None:
    """Two messages of one process that arrive in the wrong order are found."""
    events = three()
    for number in range(2):
        events += say(ANN, ONE, 2.0 + number, number)
    events += [*get(4, (ANN, 0), ANN, BOB), *get(5, (ANN, 1), ANN, BOB)]
    assert found([*events, *get(6, (ANN, 0), CID), *get(7, (ANN, 1), CID)]) == []
    assert found([*events, *get(6, (ANN, 1), CID), *get(7, (ANN, 0), CID)]) == ["order"]


def test_order_of_two_processes() -> None:
    """Messages of two processes may arrive in any order."""
    events = [*three(), *say(ANN, ONE, 2, 0), *say(CID, TWO, 3, 0)]
    events += [*get(4, (CID, 0), ANN, BOB, CID), *get(5, (ANN, 0), ANN, BOB, CID)]
    assert found(events) == []


@pytest.mark.parametrize(
    ("how", "right"),
    [
        ({"kind": "others", "target": f"id-{BOB}"}, (ANN, CID)),
        ({"kind": "client", "target": f"id-{CID}"}, (CID,)),
        ({"kind": "echo", "sequence": None}, (ANN,)),
    ],
)
def test_stranger_to_a_message(how: dict[str, Any], right: tuple[int, ...]) -> None:
    """Who gets what was for others, left it out or was an echo is found; who should get it has to."""
    events = [*three(), *say(ANN, ONE, 4, 0, **how)]
    assert found([*events, *get(5, (ANN, 0), *right)]) == []
    for visit in {ANN, BOB, CID} - set(right):
        assert found([*events, *get(5, (ANN, 0), *right, visit)]) == ["stranger"]
    assert set(found(events)) <= {"missing"}
    assert found(events) or right == (CID,)


def test_stranger_to_a_user() -> None:
    """What was for a user is for the sockets of that user alone."""
    events = [*started(ONE), *come(ANN, ONE, 1, user="ann", session="s"), *come(BOB, ONE, 1)]
    events += [SignedIn("s", 0.1, "ann"), *say(BOB, ONE, 3, 0, kind="user", target="ann")]
    assert found([*events, *get(4, (BOB, 0), ANN)]) == []
    assert found([*events, *get(4, (BOB, 0), ANN, BOB)]) == ["stranger"]
    assert found(events) == ["missing"]


def test_message_to_who_is_not_known_yet() -> None:
    """What is sent to one client or user need not reach who has just come to another process."""
    how = {"kind": "client", "target": f"id-{CID}"}
    assert found([*three(), *say(ANN, ONE, 2.2, 0, **how)]) == []
    assert found([*three(), *say(ANN, ONE, 2.8, 0, **how), *go(CID, TWO, 9)]) == ["missing"]
    assert found([*three(), *say(ANN, ONE, 2.8, 0, **how), Late(TWO, 2.5, 1.5), *go(CID, TWO, 9)]) == []


def test_stranger_to_a_namespace() -> None:
    """Who gets what was said in another namespace is found."""
    events = [*started(ONE), *come(ANN, ONE, 1), *come(BOB, ONE, 1, CROWD)]
    events += [*say(ANN, ONE, 2, 0), *get(3, (ANN, 0), ANN)]
    assert found([*events, *get(3, (ANN, 0), BOB)]) == ["stranger"]


def test_stranger_after_the_end() -> None:
    """Who gets what was said before it came or after it left is found."""
    events = [*started(ONE, TWO), *come(ANN, ONE, 1), *say(ANN, ONE, 2, 0), *get(2, (ANN, 0), ANN)]
    late = [*events, *come(BOB, ONE, 3)]
    assert found(late) == []
    assert found([*late, *get(3, (ANN, 0), BOB)]) == ["stranger"]
    gone = [*events, *come(CID, TWO, 1), *go(CID, TWO, 1.5)]
    assert found(gone) == []
    assert found([*gone, *get(2, (ANN, 0), CID)]) == ["stranger"]


def test_last_straw() -> None:
    """The message over which a slow client is closed may reach it, and none after that."""
    events = [
        *started(ONE),
        *come(ANN, ONE, 1, CROWD),
        *come(BOB, ONE, 1, CROWD),
        *go(BOB, ONE, 3, TOLD, 1013),
    ]
    for number in range(2):
        events += [*say(ANN, ONE, 3.01 + number, number, path=CROWD), *get(5, (ANN, number), ANN)]
    assert found([*events, *get(5, (ANN, 0), BOB)]) == []
    assert found([*events, *get(5, (ANN, 1), BOB)]) == ["stranger"]


def test_message_of_nobody() -> None:
    """What arrives and was never sent is found."""
    assert found([*talk(), *get(6, (ANN, 77), CID)]) == ["stranger"]


def test_handled_twice() -> None:
    """A message that is handled twice is found."""
    assert found([*talk(), Did(TWO, 3.5, 99, SQUARE, ANN, 1)]).count("unhandled") == 1


def test_not_handled() -> None:
    """What an open connection sends and nobody handles is found, unless the connection broke."""
    events = [*three(), Sent(ANN, 2, ANN, 0)]
    assert found(events) == ["unhandled"]
    assert found([*events, *go(ANN, ONE, 3)]) == ["unhandled"]
    assert found([*events, *go(ANN, ONE, 3, LOST, 0)]) == []


def test_not_handled_in_a_short_drain() -> None:
    """A process that was held up while it ended may not have handled the last."""
    last = [*three(), Sent(ANN, 8, ANN, 0), *go(ANN, ONE, 8.5), Finished(ONE, 9)]
    rest = [event for visit in (BOB,) for event in go(visit, ONE, 8.6, TOLD, 1012)]
    assert found([*last, *rest]) == ["unhandled"]
    assert found([*last, *rest, Late(ONE, 8.4, 7.5)]) == []


def test_not_handled_before_a_kill() -> None:
    """A process that is killed leaves undone what its handlers were at, and nothing older."""
    last = [*three(), Sent(ANN, 8, ANN, 0), *go(ANN, ONE, 8.01)]
    assert found([*last, Fault(WORKER_KILLED, 8.02, 8.02, 9, ONE)]) == []
    assert found([*last, Fault(WORKER_KILLED, 9, 9, 10, ONE)]) == ["unhandled"]


def test_handled_out_of_turn() -> None:
    """A message that is handled before an earlier one of the same connection is found."""
    sent = [Sent(ANN, 2, ANN, 0), Sent(ANN, 2, ANN, 1), *get(4, (ANN, 1), ANN, BOB, CID)]
    assert found([*three(), *sent, Did(ONE, 3, ANN, SQUARE, ANN, 1, sequence=1)]) == ["unhandled"]


# What does not arrive


def test_missing_in_a_process() -> None:
    """What another client of the same process never gets is found, also when it has left properly."""
    events = without(talk(), Got(BOB, 3.1, ANN, 1))
    assert found(events) == ["missing"]
    assert found([*events, *go(BOB, ONE, 9)]) == ["missing"]
    assert found([*events, *go(BOB, ONE, 9, TOLD, 1012), Finished(ONE, 10)]) == ["missing"]


def test_missing_at_the_end() -> None:
    """Of a connection that broke, or whose client stopped reading, the last may be missing, and no other."""
    last, middle = Got(BOB, 4.1, ANN, 2), Got(BOB, 3.1, ANN, 1)
    for end in ([*go(BOB, ONE, 9, LOST, 0)], [Stalled(BOB, 3.5, inf), *go(BOB, ONE, 9, LOST, 0)]):
        assert found([*without(talk(), last), *end]) == []
        assert found([*without(talk(), middle), *end]) == ["missing"]
    assert found(without(talk(), last)) == ["missing"]


def test_missing_across() -> None:
    """What another process's clients never get is found, at the end too when it had time to cross."""
    assert found(without(talk(), Got(CID, 3.1, ANN, 1))) == ["missing"]
    short = without(talk(), Got(CID, 4.1, ANN, 2))
    assert found(short) == ["missing"]
    assert found([*short, *go(CID, TWO, 5)]) == [], "it may have been under way"
    assert found([*short, *go(CID, TWO, 9)]) == ["missing"]


def test_missing_in_a_window() -> None:
    """What crossed while Redis was away may be missing, if it was counted, and nothing within a process."""
    out = [
        Fault(REDIS_KILLED, 2.9, 3.2, 3.5),
        *(Bridge(pid, at, state) for pid in (ONE, TWO) for at, state in ((2.95, "down"), (3.4, "up"))),
    ]
    crossed = without(talk(), Got(CID, 3.1, ANN, 1))
    gap = Gap(TWO, 4.1, SQUARE, "instance-1", 1)
    assert found([*crossed, *out, gap]) == []
    assert found([*crossed, *out]) == ["uncounted"]
    assert found([*without(talk(), Got(BOB, 3.1, ANN, 1)), *out]) == ["missing"]
    assert found([*without(talk(), Got(CID, 2.1, ANN, 0)), *out, gap]) == ["missing"], "before the window"


def test_missing_after_a_window() -> None:
    """A process that says that its bridge is up hears everything from then on."""
    out = [Fault(LISTENERS_CUT, 2.4, 2.4, 2.6), Bridge(TWO, 2.45, "down"), Bridge(TWO, 2.6, "up")]
    crossed = without(talk(), Got(CID, 3.1, ANN, 1))
    assert found([*crossed, *out, Gap(TWO, 4.1, SQUARE, "instance-1", 1)]) == ["missing"]


def test_cut_publisher() -> None:
    """What waits while a publisher has no connection is not lost: nothing is excused."""
    out = [Fault(PUBLISHERS_CUT, 2.9, 2.9, 3.2), Bridge(ONE, 2.95, "down"), Bridge(ONE, 3.2, "up")]
    crossed = without(talk(), Got(CID, 3.1, ANN, 1))
    assert found([*crossed, *out, Gap(TWO, 4.1, SQUARE, "instance-1", 1)]) == ["missing"]


def test_short_freeze() -> None:
    """A Redis that is frozen for so short a time that no bridge goes down loses nothing."""
    crossed = without(talk(), Got(CID, 3.1, ANN, 1))
    assert found([*crossed, Fault(REDIS_FROZEN, 2.9, 3.2, 3.2)]) == ["missing"]


def test_killed_process() -> None:
    """What a process sent in its last half second may be lost with it, and nothing before."""
    end = [*go(ANN, ONE, 4.15, LOST, 1006), *go(BOB, ONE, 4.15, LOST, 1006)]
    killed = [Fault(WORKER_KILLED, 4.1, 4.1, 5, ONE), *end]
    assert found([*without(talk(), Got(CID, 4.1, ANN, 2)), *killed]) == []
    assert found([*without(talk(), Got(CID, 3.1, ANN, 1)), *killed]) == ["missing"]


def test_pause_delays_what_is_under_way() -> None:
    """Who was held up may have left before the last arrived."""
    short = without(talk(), Got(CID, 4.1, ANN, 2))
    assert found([*short, *go(CID, TWO, 9), Late(TWO, 8.9, 3.5)]) == []


# Who may be where


def member(at: float = 1.0, path: str = MEMBERS) -> list[Event]:
    """Ann is signed in, has the role, and is in a namespace that asks for it."""
    return [
        *started(ONE),
        Changed("ann", -inf, -inf, "promoted"),
        SignedIn("s", 0.5, "ann"),
        *come(ANN, ONE, at, path, user="ann", session="s"),
    ]


def test_signed_out_and_still_there() -> None:
    """Who is still there more than a second after its session ended is found, unless the process slept."""
    out = SignedOut("s", 4.9, 5.0)
    assert found([*member(), out, *go(ANN, ONE, 5.9, TOLD, 4401)]) == []
    assert found([*member(), out]) == ["forbidden"]
    late = [*member(), out, *go(ANN, ONE, 8, TOLD, 4401)]
    assert found(late) == ["forbidden"]
    assert found([*late, Late(ONE, 7.9, 5.2)]) == []


def test_unanswered_sign_out() -> None:
    """Who got no answer to its sign-out may be there, or not."""
    out = SignedOut("s", 4.9, inf)
    assert found([*member(), out]) == []
    assert found([*member(), out, *go(ANN, ONE, 5, TOLD, 4401)]) == []


def test_role_lost_and_still_there() -> None:
    """Who lost the role has a second to be gone, from the namespace that needs it and from no other."""
    lost = Changed("ann", 4.9, 5.0, "demoted")
    assert found([*member(path=ADMINS), lost, *go(ANN, ONE, 5.9, TOLD, 4403)]) == []
    assert found([*member(path=ADMINS), lost]) == ["forbidden"]
    assert found([*member(), lost]) == []


def test_disabled_and_still_there() -> None:
    """Who is disabled has a second to be gone."""
    assert found([*member(), Changed("ann", 4.9, 5.0, "disabled")]) == ["forbidden"]


def test_let_in_without_a_right() -> None:
    """Who is let in as a guest, with an ended session or without the role is found."""
    assert found([*started(ONE), *come(ANN, ONE, 1, MEMBERS)]) == ["forbidden"]
    assert found([*member(at=6), SignedOut("s", 4, 5)]) == ["forbidden"]
    assert found([*member(at=6, path=ADMINS), Changed("ann", 4, 5, "demoted")]) == ["forbidden"]
    events = [*member(at=6, path=ADMINS), Changed("ann", 4, 5.9, "demoted")]
    assert found([*events, *go(ANN, ONE, 6.5, TOLD, 4403)]) == []


def test_refused_for_no_reason() -> None:
    """Who is refused although nothing speaks against it is found."""
    tried = Tried(ANN, 2, "ann", ADMINS, "s")
    allowed = [*started(ONE), Changed("ann", -inf, -inf, "promoted"), SignedIn("s", 0.5, "ann"), tried]
    for status in (0, 401, 403, 429, 503):
        assert found([*allowed, Refused(ANN, 2.1, status)]) == ["expelled"]
    assert found([*allowed, Refused(ANN, 2.1, 403), Changed("ann", 1.9, 2.2, "demoted")]) == []
    assert found([*allowed, Refused(ANN, 2.1, 401), SignedOut("s", 1.9, 2.2)]) == []
    assert found([*allowed, Refused(ANN, 2.1, 503), Late(ONE, 1.9, 0.6)]) == []
    assert found([*allowed, Refused(ANN, 2.1, 0), Fault(WORKER_KILLED, 2, 2, 3, TWO)]) == []
    late = [*allowed, Refused(ANN, 4, 0), Slept(3.5, 2.1)]
    assert found(late) == ["expelled"]
    assert found([*late, Began(TWO, 0, "instance-2"), Finished(TWO, 3.2)]) == []


@pytest.mark.parametrize("code", [1000, 1006, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4429])
def test_closed_for_no_reason(code: int) -> None:
    """Who is closed with a code whose reason is not in the history is found."""
    assert found([*talk(), *go(CID, TWO, 9, LOST if code == 1006 else TOLD, code)]) == ["expelled"]


def test_closed_for_a_reason() -> None:
    """A process that ends, and a client that does not read, are reasons."""
    assert found([*talk(), *go(CID, TWO, 9, TOLD, 1012), Finished(TWO, 9.5)]) == []
    assert found([*talk(), Stalled(CID, 5, 8), *go(CID, TWO, 9, TOLD, 1013)]) == []


def test_held_up_for_too_long_to_answer_a_ping() -> None:
    """Clients or a process that were held up just before are a reason for 4408, long before they are none."""
    silent = [*talk(), *go(CID, TWO, 19, TOLD, 4408)]
    for when, rules in ((16.0, []), (9.0, ["expelled"])):
        assert found([*silent, Slept(when + 0.6, when)]) == rules
        assert found([*silent, Late(TWO, when + 0.6, when)]) == rules
    assert found([*silent, Late(ONE, 16.6, 16), Slept(16.3, 16)]) == ["expelled"]


def test_cut_while_closing() -> None:
    """Who reads too slowly to come to the close frame is cut, in the namespace of such clients alone."""
    for path, rules in ((CROWD, []), (SQUARE, ["expelled"])):
        events = [*started(ONE), *come(ANN, ONE, 1, path), Left(ONE, 5, ANN, 1013)]
        assert found([*events, Ended(ANN, 7.1, LOST, 1006)]) == rules
        assert found([*events, Ended(ANN, 6.1, LOST, 1006)]) == ["expelled"]


def test_silent_and_still_there() -> None:
    """Who is silent for longer than the heartbeat allows is found if it is still there."""
    silent = [*talk(), Stalled(CID, 5, inf)]
    assert found([*silent, *go(CID, TWO, 12.5, LOST, 0)]) == []
    assert found([*silent, *go(CID, TWO, 20, LOST, 0)]) == ["undead"]
    assert found([*talk(), Stalled(CID, 5, 9), *go(CID, TWO, 20)]) == []


def test_stolen_id() -> None:
    """A client id that two sessions use at once is found, in one process and in two."""
    for other in (ONE, TWO):
        mine = [*started(ONE, TWO), SignedIn("s", 0.5, "ann"), SignedIn("t", 0.5, "bob")]
        mine += come(ANN, ONE, 1, user="ann", session="s", client_id="x")
        assert found([*mine, *come(BOB, other, 8, user="bob", session="t", client_id="x")]) == ["identity"]
        assert found([*mine, *come(BOB, other, 8, user="ann", session="s", client_id="x")]) == []
        freed = [*mine, *go(ANN, ONE, 5)]
        assert found([*freed, *come(BOB, other, 8, user="bob", session="t", client_id="x")]) == []


# Figures


def tell(pid: int, at: float, *, idle: bool = False, **told: Any) -> Figures:
    """What a process says of itself: figures of the square, and of the process."""
    square = {"totalMessages": 0, "clientCount": 0, "activeUsers": 0}
    square |= {name: told.pop(name) for name in list(told) if name in square}
    other = {"totalMessages": 0, "clientCount": 0, "activeUsers": 0}
    own = {"sockets": 0, "connections": 0, "sessions": 0, "handlers": 0, "tasks": [], "files": []}
    namespaces = {path: square if path == SQUARE else other for path in SPOKEN}
    return Figures(pid, at, idle, {"namespaces": namespaces, **own, **told})


def test_statistics() -> None:
    """Totals, clients and sockets that are not those of the history are found."""
    # Three come and are greeted, three messages come in and go out.
    right = {"totalMessages": 9, "clientCount": 3, "sockets": 2}
    assert found([*talk(), tell(ONE, 8, **right)]) == []
    for name in right:
        assert found([*talk(), tell(ONE, 8, **{**right, name: right[name] + 1})]) == ["statistics"]
        assert found([*talk(), tell(ONE, 8, **{**right, name: right[name] - 1})]) == ["statistics"]
    assert found([*talk(), tell(ONE, 8, **right, activeUsers=1)]) == ["statistics"]


def test_statistics_of_the_killed() -> None:
    """Of a killed process may be missing what it did after it last told the others, and no more."""
    events = talk()
    events.insert(events.index(Sent(ANN, 2.9, ANN, 1)), ToldOthers(ONE, 2.5, "up"))
    killed = Fault(WORKER_KILLED, 4.5, 4.5, 5, ONE)
    gone = [*go(ANN, ONE, 4.6, LOST, 1006), *go(BOB, ONE, 4.6, LOST, 1006)]
    for total, rules in ((4, ["statistics"]), (5, []), (9, []), (10, ["statistics"])):
        end = tell(TWO, 20, totalMessages=total, clientCount=1, sockets=1)
        assert found([*events, killed, *gone, end]) == rules


def test_leak() -> None:
    """What is left when all have gone is found: connections, tasks, files."""
    first = tell(ONE, 0.9, idle=True, tasks=["a", "b"], files=["socket"])
    busy = tell(ONE, 8, totalMessages=9, clientCount=3, sockets=2)
    gone = [event for visit, pid in ((ANN, ONE), (BOB, ONE), (CID, TWO)) for event in go(visit, pid, 9)]
    events = [*talk(), first, busy, *gone]
    usual = {"idle": True, "tasks": ["a", "b"], "files": ["socket"]}
    assert found([*events, tell(ONE, 12, **usual)]) == []
    for more in ({"tasks": ["a", "a"]}, {"files": ["socket", "pipe"]}, {"connections": 1}, {"sessions": 1}):
        assert found([*events, tell(ONE, 12, **{**usual, **more})]) == ["leak"]


def test_growth() -> None:
    """A process that grows while it serves is found, and one that grows when it is young is not."""
    young, old, later = Memory(ONE, 10, 40 << 20), Memory(ONE, 100, 60 << 20), Memory(ONE, 400, 70 << 20)
    assert found([*talk(), young, old, later]) == []
    assert found([*talk(), young, old, Memory(ONE, 400, 120 << 20)]) == ["growth"]


def test_outage_without_a_fault() -> None:
    """A bridge that goes down when nothing was broken is found."""
    down = [Bridge(TWO, 6, "down"), Bridge(TWO, 6.5, "up")]
    assert found([*talk(), *down]) == ["outage"]
    assert found([*talk(), *down, Fault(REDIS_FROZEN, 1.6, 5.9, 6.5)]) == []


def test_fault_that_is_never_mended() -> None:
    """A fault after which not all is well again is found."""
    assert found([*talk(), Fault(REDIS_KILLED, 5, 6, 7)]) == []
    assert found([*talk(), Fault(REDIS_KILLED, 5, 6, inf)]) == ["unmended"]


def test_blocking_namespace_is_not_counted() -> None:
    """Connections that make a handler block are in no statistics."""
    events = [*talk(), *come(30, ONE, 2, CLUMSY), *go(30, ONE, 3)]
    assert found([*events, tell(ONE, 8, totalMessages=9, clientCount=3, sockets=2)]) == []


# Windows and the shortest history


def test_window_of_a_pair() -> None:
    """A window reaches from half a second before the fault to the moment at which the bridge is up."""
    events = [*started(ONE, TWO), Fault(REDIS_KILLED, 10, 12, 14)]
    events += [Bridge(TWO, 10.1, "down"), Bridge(TWO, 13, "up")]
    windows = Windows(History(events))
    assert [windows.excuse(ONE, TWO, at) for at in (9.4, 9.6, 12.9, 13.1)] == [False, True, True, False]
    assert windows.excuse(TWO, ONE, 12.0)
    assert not windows.excuse(ONE, ONE, 12.0)


def test_shortest_history() -> None:
    """Of a long history with a hole in it what is left is who sent, who should have got, and no more."""
    events = three()
    for number in range(200):
        at = 2.0 + number / 100
        heard = (ANN, BOB) if number == 137 else (ANN, BOB, CID)
        events += [*say(ANN, ONE, at, number), *get(at + 0.1, (ANN, number), *heard)]
    history = History(events)
    (violation,) = check(history)
    kinds = {type(each).__name__ for each in shortest(history, violation)}
    assert kinds <= {"Began", "Tried", "Opened", "Joined", "Did", "Got"}
    assert len(shortest(history, violation)) < 10
    text = explained(history, violation, 0.0)
    assert f"({ANN}, 137)" in text
    assert "number 137" in text


def test_events_are_told_in_order() -> None:
    """Events are shown in order of time, seconds from the beginning of the run."""
    lines = list(told([Left(ONE, 103.5, 7, 1000), Sent(ANN, 101.25, ANN, 1)], 100.0))
    assert [line.split()[:2] for line in lines] == [["1.250", "sent"], ["3.500", "left"]]


def test_every_rule_has_been_broken_here() -> None:
    """No rule is without a history that breaks it."""
    names = {each.__name__ for each in RULES}
    with open(__file__, encoding="utf-8") as source:
        text = source.read()
    assert {name for name in names if f'"{name}"' in text} == names
