"""What the stress run breaks: a Redis, a store with users, a server with workers and one without."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jpulse.app import make_store
from jpulse.auth import Auth
from jpulse.settings import Settings
from jpulse.store.base import Store
from jpulse.users import NoEvents

from ...conftest import ROOT, Server, wait_until
from ...servers import MongoServer, RedisServer, find_mongod, find_redis
from ..processes import children_of, is_alive

WORKERS = 2
FLAGS = (
    *("--processes", "1", "--ping-interval", "5", "--pong-timeout", "2"),
    *("--drain-seconds", "2", "--close-seconds", "2", "--max-loop-lag-seconds", "0.5"),
)
#: What may be logged at ERROR.
EXPECTED_ERRORS = (
    r"worker \d+ ended \(killed by SIGKILL\)",
    # A handler that never returns, cancelled.
    r"jpulse\.connection: /api/1/ws/clumsy: ",
)


class Site:
    """Everything that runs; `folder` gets logs, journals and data."""

    def __init__(self, folder: Path, *, mongo: bool) -> None:
        self.folder = folder
        self.journals = folder / "journals"
        self.journals.mkdir(parents=True)
        self.data_dir = folder / "data"
        self.redis = RedisServer(find_redis(), folder / "redis")
        self.mongo = MongoServer(find_mongod(), folder / "mongo") if mongo else None
        self.servers: list[Server] = []
        self._ports: dict[int, int] = {}

    @property
    def config(self) -> Settings:
        """What the servers are told of their store."""
        url = f"{self.mongo.url}/stress" if self.mongo else None
        return Settings(data_dir=self.data_dir, mongo_url=url)

    def make_store(self) -> Store:
        """A store of our own on the same data, as the command line has one."""
        return make_store(self.config)

    def start_servers(self, app: str) -> None:
        """Start one server with workers, and one without."""
        flags = [*FLAGS, "--app", app, "--redis-url", self.redis.url, "--data-dir", str(self.data_dir)]
        if self.config.mongo_url:
            flags += ["--mongo-url", self.config.mongo_url]
        environ = {"STRESS_FOLDER": str(self.journals)}
        for count in (WORKERS, 1):
            flags[flags.index("--processes") + 1] = str(count)
            log = self.folder / f"server-{len(self.servers)}.log"
            self.servers.append(Server(log, tuple(flags), environ, ROOT))
        wait_until(lambda: len(self.pids()) == WORKERS + 1, 20, "all processes")

    @property
    def ports(self) -> list[int]:
        """Where clients connect."""
        return [each.port for each in self.servers]

    @property
    def database(self) -> Path:
        """The file of the embedded store."""
        return self.data_dir / "jpulse.db"

    def workers(self) -> list[int]:
        """The workers of the first server."""
        return children_of(self.servers[0].pid)

    def pids(self) -> list[int]:
        """The processes that serve."""
        single = [self.servers[1].pid] if is_alive(self.servers[1].pid) else []
        return [pid for pid in [*self.workers(), *single] if self.port_of(pid)]

    def port_of(self, pid: int) -> int:
        """The port on which a process tells its figures; 0 as long as it has none."""
        if pid not in self._ports:
            with suppress(OSError, StopIteration):
                lines = (self.journals / f"{pid}.jsonl").read_text(encoding="utf-8").splitlines()
                began = next(line for line in map(json.loads, lines) if line[0] == "began")
                self._ports[pid] = began[3]
        return self._ports.get(pid, 0)

    def ask(self, pid: int, what: str, seconds: float) -> dict[str, Any] | None:
        """What a process tells of itself; None if it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port_of(pid), timeout=seconds)
        try:
            connection.request("GET", what)
            told = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        assert isinstance(told, dict)
        return told

    def bad_lines(self) -> Iterator[str]:
        """What servers logged that no fault explains, with the traceback."""
        for server in self.servers:
            for found in re.finditer(
                r"^.*(?: ERROR | CRITICAL |Traceback).*(?:\n(?!\S*\d{4}-).*){0,40}", server.log, re.M
            ):
                if not any(re.search(each, found[0]) for each in EXPECTED_ERRORS):
                    yield found[0]

    def stop(self) -> list[int]:
        """End everything; returns the exit statuses of the servers."""
        statuses = []
        for server in self.servers:
            try:
                statuses.append(server.stop())
            except Exception:  # noqa: BLE001 - whatever it is, the others are to be ended too
                server.process.kill()
                statuses.append(server.wait())
        self.redis.kill()
        if self.mongo is not None:
            self.mongo.kill()
        return statuses


async def add_users(store: Store, names: Sequence[tuple[str, tuple[str, ...]]], password: str) -> None:
    """Make users, at the least cost of bcrypt, so that signing in costs a millisecond."""
    auth = Auth(store, 1, NoEvents(), cost=4)
    try:
        for name, roles in names:
            await auth.add_user(name, password, roles)
    finally:
        auth.close()


@contextmanager
def site_in(folder: Path, *, mongo: bool) -> Iterator[Site]:
    """A site that is ended whatever happens."""
    os.makedirs(folder, exist_ok=True)
    site = Site(folder, mongo=mongo)
    try:
        yield site
    finally:
        site.stop()


def settle(site: Site, seconds: float) -> bool:
    """Wait until every process knows every other, and their totals are the same and stay so."""
    deadline = time.monotonic() + seconds
    before: list[Any] = []
    while time.monotonic() < deadline:
        pids = site.pids()
        states = [site.ask(pid, "/state", 2) for pid in pids]
        totals = [state and (state["complete"], state["peers"], state["total"]) for state in states]
        if totals == before and set(totals) == {(True, len(pids) - 1, totals[0] and totals[0][2])}:
            return True
        before = totals
        time.sleep(1.5)
    return False
