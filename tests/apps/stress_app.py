"""
Namespaces that pass on what clients say, and write down all that happens in this process.

`tests.faults.stress` serves it. The journal is a file for each process in the folder that
STRESS_FOLDER names, one JSON array a line: what, the monotonic time, and the fields of the
event of this name in `tests.faults.stress.events`. It is written at once, so that it
survives kill -9. What the journal tells of bridge and hub it sees by standing before their
public methods.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from jpulse import App, Connection, NamespaceHandler
from jpulse.bridge.base import ALL, Kind, path_of
from jpulse.overview import memory_bytes

#: The loop looks at the clock so often; who comes later than LATE_SECONDS has been held up.
TICK_SECONDS = 0.05
LATE_SECONDS = 0.15
#: A handler that is clumsy is cancelled after this; all others have the default.
CLUMSY_SECONDS = 2.0


class Journal:
    """What happened in this process, in the order in which it happened."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}.jsonl"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        #: What this process has published in each namespace.
        self.published: Counter[str] = Counter()
        #: Looks at the clock; not among the handlers, for which a drain waits.
        self.watching: asyncio.Task[None] | None = None

    def write(self, what: str, *fields: Any, at: float | None = None) -> None:
        """Write one line."""
        line = json.dumps([what, monotonic() if at is None else at, *fields], separators=(",", ":"))
        os.write(self._fd, line.encode() + b"\n")


class Talk(NamespaceHandler):
    """Passes on what clients say, in each way that there is of sending."""

    path = "/api/1/ws/square"
    journal: Journal

    def on_connect(self, conn: Connection) -> None:
        """Tell which connection of which process this is."""
        conn.send({"type": "here", "pid": os.getpid(), "serial": conn.serial})

    def on_message(self, conn: Connection) -> Any:
        """Send as the type says."""
        self.pass_on(conn, conn.message)

    def pass_on(self, conn: Connection, message: dict[str, Any]) -> None:
        """Send one message and write down what number the bridge gave it; None if it did not cross."""
        kind, target = message["type"], message.get("to", "")
        said = {"type": "said", "s": message["s"], "n": message["n"]}
        if message.get("pad"):
            said["pad"] = "x" * message["pad"]
        before = self.journal.published[self.path]
        match kind:
            case "all":
                self.broadcast(said, conn.ctx)
            case "others":
                target = conn.client_id
                self.broadcast(said, conn.ctx, exclude=target)
            case "echo":
                conn.send(said, conn.ctx)
            case "client":
                self.send_to_client(target, said, conn.ctx)
            case "user":
                self.send_to_user(target, said, conn.ctx)
        after = self.journal.published[self.path]
        sequence = after if after > before else None
        self.journal.write("did", conn.serial, self.path, message["s"], message["n"], kind, target, sequence)


class Direct(Talk):
    """For messages from one client to another."""

    path = "/api/1/ws/direct"


class Members(Talk):
    """For signed-in users, with a handler that takes its time."""

    path = "/api/1/ws/members"
    require_auth = True

    async def on_message(self, conn: Connection) -> None:
        """Wait, then send."""
        await asyncio.sleep(conn.message.get("wait", 0))
        self.pass_on(conn, conn.message)


class Admins(Talk):
    """For those who have a role that can be taken from them."""

    path = "/api/1/ws/admins"
    require_roles = ("admin",)


class Crowd(Talk):
    """For large messages and those who do not read them."""

    path = "/api/1/ws/crowd"
    max_outbox_bytes = 64 * 1024


class Clumsy(Talk):
    """Blocks the loop, never returns, or puts the clock wrong, as it is told; it is not in the statistics."""

    path = "/api/1/ws/clumsy"
    hidden = True
    #: By how much the time of day is wrong in this process.
    clock_error = 0.0

    def on_message(self, conn: Connection) -> Any:
        """Do what harms this process, then answer; or wait for what never comes."""
        match conn.message:
            case {"hang": True}:
                return asyncio.Event().wait()
            case {"clock": seconds}:
                self.clock_error = seconds
            case {"seconds": seconds}:
                time.sleep(seconds)
        return conn.send({"type": "done"})


NAMESPACES = (Talk, Direct, Members, Admins, Crowd, Clumsy)


def misguide(app: App, clumsy: Clumsy) -> None:
    """Let a namespace put the time of day wrong, and end its handlers soon."""
    real = time.time
    time.time = lambda: real() + clumsy.clock_error
    app.clock = lambda: time.time()
    clumsy.namespace.limits.handler_seconds = CLUMSY_SECONDS


def watch_hub(app: App, journal: Journal) -> None:
    """Write down who joins and who leaves, the moment they do."""
    joined, left = app.hub.joined, app.hub.left

    def on_joined(connection: Connection) -> None:
        joined(connection)
        path, user = connection.namespace.path, connection.user_key
        mark = connection.session_id[:16]
        journal.write("joined", connection.serial, path, connection.client_id, user, mark)

    def on_left(connection: Connection) -> None:
        journal.write("left", connection.serial, connection.close_code)
        left(connection)

    app.hub.joined, app.hub.left = on_joined, on_left  # type: ignore[method-assign]


def watch_publishing(app: App, journal: Journal) -> None:
    """Write down what goes out, and the goodbye."""
    publish, say_goodbye = app.bridge.publish, app.cluster.say_goodbye

    def on_publish(topic: str, kind: Kind, payload: bytes, target: str = "") -> None:
        path = path_of(topic)
        if path is not None:
            journal.published[path] += 1
        elif topic == ALL and kind == Kind.SNAPSHOT:
            journal.write("told", app.bridge.state)
        publish(topic, kind, payload, target)

    def on_end() -> None:
        say_goodbye()
        journal.write("finished")

    app.bridge.publish, app.cluster.say_goodbye = on_publish, on_end  # type: ignore[method-assign]


def watch_bridge(app: App, journal: Journal) -> None:
    """Write down when the bridge is up or down, and what it misses of others."""
    on_bridge, on_gap, figures = app.cluster.on_bridge, app.cluster.on_gap, app.bridge.figures
    gaps = 0

    def on_state(state: str) -> None:
        journal.write("bridge", state, figures.lost)
        on_bridge(state)

    def on_missed(topic: str, sender: bytes) -> None:
        nonlocal gaps
        journal.write("gap", path_of(topic) or topic, sender.hex(), figures.gaps - gaps)
        gaps = figures.gaps
        on_gap(topic, sender)

    app.cluster.on_bridge, app.cluster.on_gap = on_state, on_missed  # type: ignore[method-assign]


async def watch_loop(journal: Journal) -> None:
    """Write down when the loop was held up, and for how long."""
    while True:
        before = monotonic()
        await asyncio.sleep(TICK_SECONDS)
        if monotonic() - before > TICK_SECONDS + LATE_SECONDS:
            journal.write("late", before)


def figures(app: App) -> dict[str, Any]:
    """What this process has and counts, once garbage is collected."""
    gc.collect()
    stats = app.websockets.get_stats()
    return {
        "pid": os.getpid(),
        "at": monotonic(),
        "namespaces": {each["path"]: each for each in stats["namespaces"]},
        "total_messages": stats["totalMessages"],
        "sockets": app.hub.sockets,
        "sessions": len(app.hub.open_sessions()),
        "connections": sum(isinstance(each, Connection) for each in gc.get_objects()),
        "tasks": sorted(_name_of(task) for task in asyncio.all_tasks()),
        "handlers": len(app.hub.scheduler.tasks),
        "files": sorted(_open_files()),
        "memory_bytes": memory_bytes(),
        "peers": len(app.cluster.peers),
        "complete": app.cluster.complete,
        "bridge": app.cluster.bridge_figures(),
    }


def _name_of(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _open_files() -> list[str]:
    """What each open file is, without what tells it from others of its kind."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue
        found.append(re.sub(r"\d+", "", target.partition(":[")[0].rpartition("/")[2]))
    return found


def state(app: App) -> dict[str, Any]:
    """How this process is, at little cost."""
    return {
        "pid": os.getpid(),
        "bridge": app.bridge.state,
        "peers": len(app.cluster.peers),
        "complete": app.cluster.complete,
        "draining": app.draining,
        "total": app.websockets.get_stats()["totalMessages"],
    }


class Told(RequestHandler):
    """Answers GET, on a port of this process alone."""

    def initialize(self, tell: Callable[[], dict[str, Any]]) -> None:
        """Take what makes the answer."""
        self._tell = tell

    def get(self) -> None:
        """Tell."""
        self.write(self._tell())


async def setup(app: App) -> None:
    """Register all, and begin to write."""
    journal = Journal(Path(os.environ["STRESS_FOLDER"]))
    for handler in NAMESPACES:
        namespace = app.websockets.register(handler)
        assert isinstance(namespace, Talk)
        namespace.journal = journal
        if isinstance(namespace, Clumsy):
            misguide(app, namespace)
    watch_hub(app, journal)
    watch_publishing(app, journal)
    watch_bridge(app, journal)
    sockets = bind_sockets(0, "127.0.0.1")
    routes: list[Any] = [
        ("/figures", Told, {"tell": lambda: figures(app)}),
        ("/state", Told, {"tell": lambda: state(app)}),
    ]
    HTTPServer(Application(routes, log_function=_no_log)).add_sockets(sockets)
    journal.write("began", app.bridge.instance.hex(), sockets[0].getsockname()[1])
    journal.watching = asyncio.ensure_future(watch_loop(journal))


def _no_log(handler: RequestHandler) -> None:
    """Leave these requests out of the server's log."""
