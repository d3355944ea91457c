"""Breaks what the plan names, mends it, waits until all is well, and writes down when."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from math import inf
from time import monotonic

import redis

from jpulse.auth import Auth
from jpulse.store.base import Store, StoreUnavailable
from jpulse.users import NoEvents

from ..processes import is_alive
from .client import Client, Door, connect, post
from .crowd import LOGIN, LOGOUT, PASSWORD
from .events import WORKER_KILLED, Changed, Fault
from .history import History
from .plan import USER_DEMOTED, USER_DISABLED, Planned
from .site import WORKERS, Site
from .violations import CLUMSY
from .windows import (
    CLOCK_JUMPS,
    HANDLER_BLOCKS,
    HANDLER_HANGS,
    LISTENERS_CUT,
    MONGO_FROZEN,
    MONGO_KILLED,
    PUBLISHERS_CUT,
    RECOVERY_SECONDS,
    REDIS_AND_WORKER_KILLED,
    REDIS_AWAY,
    REDIS_FROZEN,
    REDIS_KILLED,
    ROLLING,
    SERVER_RESTARTED,
    STORE_FAULTS,
    STORE_LOCKED,
    WORKER_FROZEN,
)

PROBER = "prober"
#: A clock that jumps goes wrong by so much, either way: less than a session lasts.
JUMP_SECONDS = 7200


class Injector:
    """Does what a plan says, until told to stop."""

    def __init__(self, site: Site, history: History, store: Store, users: list[str]) -> None:
        self._site = site
        self._history = history
        self._auth = Auth(store, 1, NoEvents())
        self._users = users
        self.stopping = asyncio.Event()
        #: The client whose handler does not return.
        self._hanging: Client | None = None
        self._ways: dict[str, Callable[[Planned], Awaitable[int]]] = {
            REDIS_KILLED: self._kill_redis,
            REDIS_AWAY: self._kill_redis,
            REDIS_AND_WORKER_KILLED: self._kill_both,
            REDIS_FROZEN: self._freeze_redis,
            LISTENERS_CUT: self._cut,
            PUBLISHERS_CUT: self._cut,
            WORKER_KILLED: self._kill_worker,
            ROLLING: self._roll,
            SERVER_RESTARTED: self._restart,
            STORE_LOCKED: self._lock_store,
            MONGO_FROZEN: self._freeze_mongo,
            MONGO_KILLED: self._kill_mongo,
            HANDLER_BLOCKS: self._block,
            HANDLER_HANGS: self._hang,
            CLOCK_JUMPS: self._jump,
            WORKER_FROZEN: self._freeze_worker,
            USER_DISABLED: self._disable,
            USER_DEMOTED: self._demote,
        }

    async def follow(self, plan: Iterator[Planned]) -> None:
        """Inject one fault after the other, each when all is well after the one before."""
        while not self.stopping.is_set():
            planned = next(plan)
            await self._wait(planned.wait)
            if not self.stopping.is_set():
                await self._inject(planned)

    async def _wait(self, seconds: float) -> None:
        """Wait, unless it is to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def _inject(self, planned: Planned) -> None:
        begun = monotonic()
        pid = await self._ways[planned.kind](planned)
        lifted = monotonic()
        mended = await self._mended(lambda: self._is_well(planned.kind, pid))
        self._history.add(Fault(planned.kind, begun, lifted, monotonic() if mended else inf, pid))

    async def _is_well(self, kind: str, pid: int) -> bool:
        """Tell whether what a fault of some kind broke works again."""
        if kind in (USER_DISABLED, USER_DEMOTED, CLOCK_JUMPS):
            return True
        if kind == HANDLER_HANGS:
            return await self._has_been_cut()
        if kind in STORE_FAULTS:
            return await self._store_works()
        if kind in (HANDLER_BLOCKS, WORKER_FROZEN):
            return (
                not is_alive(pid) or await asyncio.to_thread(self._site.ask, pid, "/state", 1.0) is not None
            )
        return await self._all_serve()

    async def _mended(self, is_well: Callable[[], Awaitable[bool]]) -> bool:
        deadline = monotonic() + RECOVERY_SECONDS
        while not await is_well():
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _all_serve(self) -> bool:
        """Tell whether every process is there, and its bridge is up."""
        pids = self._site.pids()
        if len(pids) != WORKERS + 1:
            return False
        states = await asyncio.gather(
            *(asyncio.to_thread(self._site.ask, pid, "/state", 1.0) for pid in pids)
        )
        return all(each is not None and each["bridge"] == "up" and not each["draining"] for each in states)

    async def _store_works(self) -> bool:
        """Tell whether somebody can sign in, at every server."""
        for port in self._site.ports:
            reply = await post(port, LOGIN, {"username": PROBER, "password": PASSWORD})
            if reply.status != 200:
                return False
            await post(port, LOGOUT, {}, reply.cookie)
        return True

    # Redis

    async def _kill_redis(self, planned: Planned) -> int:
        await asyncio.to_thread(self._site.redis.kill)
        await asyncio.sleep(planned.seconds)
        await asyncio.to_thread(self._site.redis.start)
        return 0

    async def _kill_both(self, planned: Planned) -> int:
        """Kill Redis, and then a worker with all that waits in it."""
        await asyncio.to_thread(self._site.redis.kill)
        await asyncio.sleep(planned.seconds / 2)
        begun = monotonic()
        pid = await self._kill_worker(planned)
        self._history.add(Fault(WORKER_KILLED, begun, begun, monotonic(), pid))
        await asyncio.sleep(planned.seconds / 2)
        await asyncio.to_thread(self._site.redis.start)
        return 0

    async def _freeze_redis(self, planned: Planned) -> int:
        self._site.redis.pause()
        await asyncio.sleep(planned.seconds)
        self._site.redis.resume()
        return 0

    async def _cut(self, planned: Planned) -> int:
        """Let Redis close the connections on which processes hear, or those on which they publish."""
        kind = "pubsub" if planned.kind == LISTENERS_CUT else "normal"

        def cut() -> None:
            with self._site.redis.client() as client, suppress(redis.RedisError):
                client.client_kill_filter(_type=kind, skipme=True)

        await asyncio.to_thread(cut)
        await asyncio.sleep(0.3)
        return 0

    # Processes

    def _chosen(self, pids: list[int], planned: Planned) -> int:
        return sorted(pids)[int(planned.which * len(pids))] if pids else 0

    async def _kill_worker(self, planned: Planned) -> int:
        pid = self._chosen(self._site.workers(), planned)
        if pid:
            os.kill(pid, signal.SIGKILL)
            await self._gone([pid])
        return pid

    async def _roll(self, planned: Planned) -> int:
        """Replace all workers one after the other."""
        before = self._site.workers()
        os.kill(self._site.servers[0].pid, signal.SIGHUP)
        await self._gone(before)
        return 0

    async def _gone(self, pids: list[int]) -> None:
        deadline = monotonic() + RECOVERY_SECONDS
        while set(pids) & set(self._site.workers()) and monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def _restart(self, planned: Planned) -> int:
        server = self._site.servers[1]
        pid = server.pid
        await asyncio.to_thread(server.restart)
        return pid

    async def _freeze_worker(self, planned: Planned) -> int:
        pid = self._chosen(self._site.pids(), planned)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(planned.seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
        return pid

    # Handlers and the clock

    async def _come(self, name: str, planned: Planned) -> Client:
        """Connect to the namespace that does what it should not."""
        port = self._site.ports[int(planned.which * len(self._site.ports))]
        return await connect(self._history, name, Door(port, CLUMSY))

    async def _go(self, client: Client) -> None:
        client.close()
        await asyncio.wait([client.over], timeout=5)
        client.break_off(reset=True)

    async def _block(self, planned: Planned) -> int:
        """Let a handler hold up its process."""
        number = len(self._history.visits)
        client = await self._come("blocker", planned)
        client.order({"seconds": planned.seconds})
        await asyncio.sleep(planned.seconds)
        await self._go(client)
        opened = self._history.visits[number].opened
        return opened.pid if opened else 0

    async def _hang(self, planned: Planned) -> int:
        """Let a handler never return, and another message wait behind it; nobody else may notice."""
        self._hanging = await self._come("hanger", planned)
        self._hanging.order({"hang": True})
        self._hanging.order({"seconds": 0})
        return 0

    async def _has_been_cut(self) -> bool:
        """Tell whether the handler has failed and the next one has answered, if the connection lives."""
        client = self._hanging
        assert client is not None
        if not client.over.done() and client.answers != [500, 0]:
            return False
        await self._go(client)
        return True

    async def _jump(self, planned: Planned) -> int:
        """Put the time of day of a process wrong for a while; nobody may notice."""
        client = await self._come("meddler", planned)
        ahead = int(planned.which * 100) % 2
        client.order({"clock": JUMP_SECONDS if ahead else -JUMP_SECONDS})
        await self._wait(planned.seconds)
        client.order({"clock": 0})
        await self._go(client)
        return 0

    # The store and its users

    async def _lock_store(self, planned: Planned) -> int:
        """Hold the write lock of the database, as a long transaction of another program would."""
        connection = sqlite3.connect(self._site.database, timeout=5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(planned.seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        return 0

    async def _freeze_mongo(self, planned: Planned) -> int:
        assert self._site.mongo is not None
        self._site.mongo.pause()
        await asyncio.sleep(planned.seconds)
        self._site.mongo.resume()
        return 0

    async def _kill_mongo(self, planned: Planned) -> int:
        assert self._site.mongo is not None
        await asyncio.to_thread(self._site.mongo.kill)
        await asyncio.sleep(planned.seconds)
        await asyncio.to_thread(self._site.mongo.start)
        return 0

    async def _disable(self, planned: Planned) -> int:
        user = self._users[int(planned.which * len(self._users))]
        await self._change(user, "disabled", lambda: self._auth.set_active(user, False))
        await self._wait(planned.seconds)
        await self._change(user, "enabled", lambda: self._auth.set_active(user, True))
        return 0

    async def _demote(self, planned: Planned) -> int:
        admins = [each for each in self._users if each.startswith("admin")]
        user = admins[int(planned.which * len(admins))]
        await self._change(user, "demoted", lambda: self._auth.set_roles(user, ("user",)))
        # Not shorter: a connection may stay whose user has the role again before anybody looked.
        await asyncio.sleep(planned.seconds)
        await self._change(user, "promoted", lambda: self._auth.set_roles(user, ("user", "admin")))
        return 0

    async def _change(self, user: str, what: str, change: Callable[[], Awaitable[None]]) -> None:
        """Change a user past the servers, as the command line does, however long the store is away."""
        begun = monotonic()
        while True:
            try:
                await change()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.2)
        self._history.add(Changed(user, begun, monotonic(), what))

    def close(self) -> None:
        """Let go of what was opened."""
        self._auth.close()


@asynccontextmanager
async def following(injector: Injector, *plans: Iterator[Planned]) -> AsyncIterator[None]:
    """Inject while the body runs; at its end wait until the last fault is mended."""
    followers = [asyncio.create_task(injector.follow(each)) for each in plans]
    try:
        yield
    finally:
        injector.stopping.set()
        await asyncio.gather(*followers)
        injector.close()
