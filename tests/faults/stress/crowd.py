"""The clients: guests, members and administrators, who come and go, talk and misbehave, all by the seed."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import NamedTuple

from .client import Client, Door, connect, post
from .events import Changed, SignedIn, SignedOut
from .history import History
from .violations import ADMINS, CROWD, DIRECT, MEMBERS, SQUARE

PASSWORD = "correct horse"
LOGIN, LOGOUT = "/api/1/auth/login", "/api/1/auth/logout"
#: A client that never reads again is given up after so long; the server has ended it long before.
DEAD_SECONDS = 14.0


class Habits(NamedTuple):
    """How a kind of clients behaves; paths and kinds of messages with their weights."""

    paths: dict[str, float]
    talk_seconds: float = 2.0
    stay_seconds: float = 15.0
    #: How probable it is, whenever it could talk, to stall or to go silent for ever instead.
    stalls: float = 0.0
    dies: float = 0.0
    #: And to sign out.
    signs_out: float = 0.0
    #: Asks for somebody else's client id.
    steals: float = 0.0


GUEST = Habits({SQUARE: 6, DIRECT: 3, MEMBERS: 0.3, ADMINS: 0.2}, stalls=0.01, dies=0.004)
MEMBER = Habits({MEMBERS: 5, SQUARE: 2, DIRECT: 2, ADMINS: 1}, signs_out=0.03, steals=0.05)
ADMIN = Habits({ADMINS: 6, MEMBERS: 2, SQUARE: 2}, talk_seconds=1.5, signs_out=0.02)
SLEEPER = Habits({CROWD: 1}, talk_seconds=2.5, stay_seconds=30, stalls=0.15, dies=0.01)
FLIGHTY = Habits({SQUARE: 1, DIRECT: 1, CROWD: 0.2}, talk_seconds=0.4, stay_seconds=1.0, steals=0.03)

SPOKEN = {
    SQUARE: {"all": 5, "others": 3, "echo": 2},
    DIRECT: {"client": 8, "echo": 2},
    MEMBERS: {"all": 5, "user": 4, "others": 1},
    ADMINS: {"all": 7, "user": 3},
    CROWD: {"all": 1},
}
#: Of a hundred clients so many are of each kind.
SHARES = ((GUEST, 45), (MEMBER, 25), (ADMIN, 10), (SLEEPER, 8), (FLIGHTY, 12))


def drawn(chance: random.Random, weights: dict[str, float]) -> str:
    """One of several, by their weights."""
    return chance.choices(list(weights), list(weights.values()))[0]


class Town:
    """Where the clients live, and what they have in common."""

    def __init__(self, history: History, seed: int, ports: Sequence[int], users: Sequence[str]) -> None:
        self.history = history
        self.seed = seed
        self.ports = ports
        self.users = users
        #: True from the moment at which nobody comes, goes or talks any more.
        self.quiet = False
        #: Client ids that were seen lately in the namespace for direct messages, and everywhere.
        self.direct_ids: deque[str] = deque(maxlen=60)
        self.ids: deque[str] = deque(maxlen=60)
        self.sign_ins = 0
        self.people: list[Person] = []

    def populate(self, count: int) -> None:
        """Make the clients; every seventh is the second tab of the one before."""
        for number in range(count):
            place = number * 37 % 100
            habits = next(each for each, upto in _up_to() if place < upto)
            tab = number % 7 == 6 and self.people[-1].habits is habits
            identity = self.people[-1].identity if tab else Identity(self, number, habits)
            self.people.append(Person(self, number, habits, identity))

    async def live(self) -> None:
        """Let all live until it is quiet."""
        async with asyncio.TaskGroup() as group:
            for person in self.people:
                group.create_task(person.live())

    async def leave(self) -> None:
        """Let all that are there say goodbye."""
        there = [
            each.client for each in self.people if each.client is not None and not each.client.over.done()
        ]
        for client in there:
            client.close()
        if there:
            await asyncio.wait([each.over for each in there], timeout=10)


def _up_to() -> list[tuple[Habits, int]]:
    found, upto = [], 0
    for habits, share in SHARES:
        upto += share
        found.append((habits, upto))
    return found


class Identity:
    """Who a client is, shared by its tabs: a client id, and the user and session if it has any."""

    def __init__(self, town: Town, number: int, habits: Habits) -> None:
        self._town = town
        chance = random.Random(f"{town.seed} identity {number}")
        self.asked = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        kind = "admin" if habits is ADMIN else "member"
        of_kind = [each for each in town.users if each.startswith(kind)]
        self.user = chance.choice(of_kind) if habits in (MEMBER, ADMIN) else ""
        self.session = self.cookie = ""
        self._signing = asyncio.Lock()

    async def sign_in(self, port: int) -> bool:
        """Begin a session if there is none and a user to be; False if that did not work."""
        if not self.user:
            return True
        async with self._signing:
            if self.session:
                return True
            reply = await post(port, LOGIN, {"username": self.user, "password": PASSWORD})
            if reply.status != 200 or not reply.cookie:
                return False
            self._town.sign_ins += 1
            self.session, self.cookie = f"session {self._town.sign_ins}", reply.cookie
            self._town.history.add(SignedIn(self.session, monotonic(), self.user))
            return True

    async def sign_out(self, port: int) -> None:
        """End the session; who gets no answer does not know whether it has ended, and forgets it."""
        session, cookie = self.session, self.cookie
        if not session:
            return
        self.session = self.cookie = ""
        begun = monotonic()
        self._town.history.add(SignedOut(session, begun, inf))
        reply = await post(port, LOGOUT, {}, cookie)
        if reply.status == 200:
            self._town.history.add(SignedOut(session, begun, monotonic()))

    def forget(self, session: str) -> None:
        """Know that a session is no more."""
        if self.session == session:
            self.session = self.cookie = ""


class Person:
    """One client, which is connected once at a time."""

    def __init__(self, town: Town, number: int, habits: Habits, identity: Identity) -> None:
        self._town = town
        self.number = number
        self.habits = habits
        self.identity = identity
        self.name = f"client {number}"
        self._chance = random.Random(f"{town.seed} person {number}")
        self._said = 0
        self.client: Client | None = None

    async def live(self) -> None:
        """Come and go until it is quiet."""
        await asyncio.sleep(self._chance.uniform(0, 2))
        while not self._town.quiet:
            await self._visit()
            if self.client is None or self.client.over.done():
                await asyncio.sleep(self._chance.uniform(0.05, 1.5))

    async def _visit(self) -> None:
        port = self._chance.choice(list(self._town.ports))
        path = drawn(self._chance, self.habits.paths)
        identity = self.identity
        if not await identity.sign_in(port):
            return
        session, asked = identity.session, identity.asked
        if self._town.ids and self._chance.random() < self.habits.steals:
            asked = self._chance.choice(self._town.ids)
        door = Door(port, path, session, asked, identity.cookie)
        buffer_bytes = 4096 if path == CROWD else 0
        client = self.client = await connect(self._town.history, self.name, door, buffer_bytes=buffer_bytes)
        if not client.over.done():
            self._note_id(path, client.client_id)
            await self._stay(client, path, port)
        if client.over.done() and client.code in (401, 4401):
            identity.forget(session)

    def _note_id(self, path: str, client_id: str) -> None:
        self._town.ids.append(client_id)
        if path == DIRECT:
            self._town.direct_ids.append(client_id)

    async def _stay(self, client: Client, path: str, port: int) -> None:
        leave_at = monotonic() + min(90.0, self._chance.expovariate(1 / self.habits.stay_seconds))
        while not client.over.done() and not self._town.quiet:
            if monotonic() >= leave_at:
                await self._leave(client)
                return
            wait = min(5.0, self._chance.expovariate(1 / self.habits.talk_seconds))
            await asyncio.wait([client.over], timeout=wait)
            await self._act(client, path, port)

    async def _act(self, client: Client, path: str, port: int) -> None:
        """Talk, or do one of the other things that clients do."""
        if self._town.quiet:
            return
        draw = self._chance.random()
        habits = self.habits
        if draw < habits.stalls:
            client.stall(self._chance.uniform(0.5, 6))
        elif draw < habits.stalls + habits.dies:
            await self._die(client)
        elif draw < habits.stalls + habits.dies + habits.signs_out:
            await self.identity.sign_out(port)
        else:
            self._talk(client, path)

    async def _die(self, client: Client) -> None:
        client.stall(inf)
        await asyncio.wait([client.over], timeout=DEAD_SECONDS)
        client.break_off(reset=True)

    def _talk(self, client: Client, path: str) -> None:
        kind, chance = drawn(self._chance, SPOKEN[path]), self._chance
        fields: dict[str, object] = {}
        if kind == "client":
            fields["to"] = chance.choice(self._town.direct_ids)
        elif kind == "user":
            fields["to"] = chance.choice(list(self._town.users))
        if path == MEMBERS:
            fields["wait"] = round(chance.choice((0, 0, 0.001, chance.uniform(0, 0.05))), 4)
        if path == CROWD:
            fields["pad"] = chance.choice((500, 5_000, 50_000, 100_000))
        client.say(kind, self.number, self._said, **fields)
        self._said += 1

    async def _leave(self, client: Client) -> None:
        """Close as one should, or just vanish."""
        draw = self._chance.random()
        if draw < 0.6:
            client.close()
            await asyncio.wait([client.over], timeout=10)
        else:
            client.break_off(reset=draw < 0.8)


def promoted_at_first(users: Sequence[tuple[str, tuple[str, ...]]]) -> list[Changed]:
    """The roles that users have when they are made, as events."""
    return [Changed(name, -inf, -inf, "promoted") for name, roles in users if "admin" in roles]
