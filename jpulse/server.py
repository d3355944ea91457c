"""Sockets, signals and the drain: how an application becomes a process that serves and ends well."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets

from .app import App, database_path, make_bridge
from .bridge.base import Bridge
from .descriptors import raise_limit
from .door import Door
from .errors import CloseCode, SettingsError, StartError
from .logs import set_up_logging
from .prefork import HURRY, RETIRE, Lifeline, Supervisor
from .private_redis import PrivateRedis
from .service import READY, tell_systemd
from .settings import Settings
from .store.sqlite import fold_log
from .websocket import OPEN

log = logging.getLogger("jpulse.server")

#: The part of drain_seconds in which the port is still open and /readyz says that it will not be for long.
NOTICE = 0.15
#: The part of drain_seconds over which closes are spread; the rest is for the answers.
SPREAD = 0.7
#: Who asked for /readyz so lately is a load balancer that will ask again.
WATCHED_SECONDS = 60.0
#: With few connections a drain does not last longer than it needs.
MAX_PACE_SECONDS = 0.25
#: What was accepted from a shared socket has so long to send its request.
LATECOMER_SECONDS = 1.0
#: Connections that may wait to be accepted; the kernel's net.core.somaxconn bounds it too. Of what does not
#: fit nothing is refused, but it comes a second later: everybody, after a restart.
BACKLOG = 4096
RESTARTS = "The server restarts"
#: What a cancelled handler gets to end.
LAST_SECONDS = 1.0


def bind(config: Settings) -> list[socket.socket]:
    """Listen; StartError with one line if that cannot be."""
    try:
        return bind_sockets(config.port, config.address, backlog=BACKLOG)
    except UnicodeError:
        raise SettingsError(f"address: {config.address} is no address") from None
    except OSError as error:
        where = f"{config.address}:{config.port}"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"address: {config.address} is no address of this machine") from None
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {config.port} is in use on {config.address}; choose another with --port"
            ) from None
        raise StartError(f"cannot listen on {where}: {error.strerror}") from None


def tls_context(config: Settings) -> ssl.SSLContext | None:
    """What serves HTTPS, if a certificate is set."""
    if config.tls_certificate is None:
        if config.tls_key is not None:
            raise SettingsError("tls_certificate: tls_key needs it; name the file with the certificate chain")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in ("tls_certificate", "tls_key"):
        _need_file(name, getattr(config, name))
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"tls_certificate: cannot use {config.tls_certificate}: {error}") from None
    return context


def _need_file(name: str, path: Path | None) -> None:
    """Say which of two files cannot be read, as OpenSSL does not."""
    try:
        if path is not None:
            path.open("rb").close()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read {path}: {error.strerror}") from None


def serve(config: Settings, make_app: Callable[[Bridge], App], admin_password: str | None = None) -> int:
    """
    Listen, make the application, serve until SIGTERM or SIGINT, drain; returns the exit status.

    StartError if it cannot start. With several processes each makes its own application,
    with a bridge to the others.
    """
    set_up_logging(config)
    raise_limit(config.max_connections)
    count = config.processes or len(os.sched_getaffinity(0))
    context = tls_context(config)
    sockets = bind(config)
    try:
        if count > 1:
            return _serve_with_workers(config, make_app, admin_password, sockets, context, count)
        app = make_app(make_bridge(config, config.redis_url))
        app.overview.name += f":{sockets[0].getsockname()[1]}"
        _run(_serve(app, sockets, context, admin_password, lambda: _tell_address(sockets, context)))
    finally:
        _close_all(sockets)
    return 0


def _serve_with_workers(
    config: Settings,
    make_app: Callable[[Bridge], App],
    admin_password: str | None,
    sockets: list[socket.socket],
    context: ssl.SSLContext | None,
    count: int,
) -> int:
    """Fork the workers, with a Redis of their own if the settings name none."""
    helper = None if config.redis_url else PrivateRedis(config.data_dir)
    url = config.redis_url if helper is None else helper.url

    parent, started = os.getpid(), time.monotonic()

    def work(lifeline: Lifeline) -> int:
        # Made anew, so that SIGHUP brings a renewed certificate into use.
        context = tls_context(config)
        app = make_app(make_bridge(config, url))
        app.websockets.started = started
        app.overview.name += f":{sockets[0].getsockname()[1]}/{lifeline.slot}"
        _run(_serve(app, sockets, context, admin_password, lifeline.tell_ready, lifeline.parent_gone))
        if os.getppid() != parent:
            if helper is not None:
                helper.remove_socket()
            if not config.mongo_url:
                fold_log(database_path(config))
        return 0

    supervisor = Supervisor(
        count,
        lambda lifeline: told(lambda: work(lifeline)),
        drain_seconds=config.drain_seconds,
        start_seconds=config.start_seconds,
        helper=helper,
        on_ready=lambda: _tell_address(sockets, context, f" with {count} workers"),
        on_end=lambda: _close_all(sockets),
    )
    status = supervisor.run()
    if not config.mongo_url:
        fold_log(database_path(config))
    return status


def _close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def told(work: Callable[[], int]) -> int:
    """Do something and return its exit status: 1 if it cannot start, 2 for a setting, told in one line."""
    try:
        return work()
    except (SettingsError, StartError) as error:
        print(f"jpulse: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1


def _tell_address(sockets: list[socket.socket], context: ssl.SSLContext | None, how: str = "") -> None:
    host, port = sockets[0].getsockname()[:2]
    scheme = "https" if context else "http"
    log.info("jPulse serves %s://%s:%d/%s", scheme, f"[{host}]" if ":" in host else host, port, how)
    tell_systemd(READY, os.environ)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run the loop, and end even if a handler refuses to be cancelled, for which asyncio.run() waits."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        _end_tasks(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left and loop.run_until_complete(asyncio.wait(left, timeout=LAST_SECONDS))[1]:
        log.warning("a handler cannot be cancelled; the process ends without it")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    loop.run_until_complete(loop.shutdown_asyncgens())


async def _serve(
    app: App,
    sockets: list[socket.socket],
    context: ssl.SSLContext | None,
    admin_password: str | None,
    on_ready: Callable[[], None],
    parent_gone: int | None = None,
) -> None:
    door = Door(app, context, shared=parent_gone is not None)
    end = Ending(app)
    if parent_gone is None:
        end.watch_signals()
    else:
        end.watch_parent(parent_gone)
    await app.start(admin_password)
    door.open(sockets)
    on_ready()
    await end.ordered.wait()
    await drain(app, door, end.hurry, has_successor=end.has_successor)
    await app.stop()
    log.info("stopped")


class Ending:
    """Learns from signals, or from the end of the parent, that this process is to end, and how."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self.ordered = asyncio.Event()
        #: Set when the drain is to end at once.
        self.hurry = asyncio.Event()
        #: True if another process serves the port after this one.
        self.has_successor = False

    def watch_signals(self) -> None:
        """Let the first signal drain and the second hurry: this process is the whole server."""
        numbers = [signal.SIGTERM, signal.SIGINT]
        # A terminal that is closed; nohup has it ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, self._on_signal)

    def watch_parent(self, parent_gone: int) -> None:
        """
        Obey the parent, and end when it is gone, however it ended.

        SIGTERM may come twice, from the parent and from who ends a whole group of processes,
        as systemd does; so it does not hurry.
        """
        self._app.admin.drain_signal = RETIRE
        self._loop.add_signal_handler(signal.SIGTERM, self.ordered.set)
        self._loop.add_signal_handler(RETIRE, self._retire)
        self._loop.add_signal_handler(HURRY, self.hurry.set)
        self._loop.add_reader(parent_gone, self._on_parent_gone, parent_gone)

    def _on_signal(self) -> None:
        if self.ordered.is_set():
            self.hurry.set()
        self.ordered.set()

    def _retire(self) -> None:
        self.has_successor = not self.ordered.is_set()
        self.ordered.set()

    def _on_parent_gone(self, parent_gone: int) -> None:
        self._loop.remove_reader(parent_gone)
        log.error("the parent process is gone; this worker stops")
        self.ordered.set()


async def drain(
    app: App, door: Door, hurry: asyncio.Event | None = None, *, has_successor: bool = False
) -> None:
    """
    End well within `drain_seconds`: no new connections, 1012 to the open ones, handlers and requests finish.

    First /readyz fails and handshakes get 503, while the port is still open for a moment: who
    shares out connections is to learn of it before anybody is refused. The closes are spread, so that
    the clients do not come back all at once. With a successor nobody is refused: who was accepted
    before is still let in, however late the request comes, and gets 1012 after the rest.
    """
    hurry = hurry or asyncio.Event()
    deadline = time.monotonic() + app.config.drain_seconds
    door.end_keep_alive()
    if has_successor:
        door.stop()
        await _sleep_unless(hurry, min(LATECOMER_SECONDS, SPREAD * app.config.drain_seconds / 2))
    else:
        await _give_notice(app, hurry)
        door.stop()
    log.info("draining %d connections", app.hub.sockets)
    await _close_spread(app, hurry)
    app.draining = True
    for latecomer in list(app.hub.connections()):
        latecomer.close(CloseCode.RESTART, RESTARTS)
    while (_is_busy(app) or door.is_answering()) and time.monotonic() < deadline and not hurry.is_set():
        await asyncio.sleep(0.02)
    await _cancel(app.hub.scheduler.tasks)
    await door.close()


async def _give_notice(app: App, hurry: asyncio.Event) -> None:
    """Be not ready for a moment before the port closes, unless there is nobody who would notice."""
    app.draining = True
    is_watched = time.monotonic() - app.readiness_asked_at < WATCHED_SECONDS
    if app.hub.sockets or is_watched:
        log.info("not ready any more; the port closes in a moment")
        await _sleep_unless(hurry, NOTICE * app.config.drain_seconds)


def _is_busy(app: App) -> bool:
    return bool(app.hub.sockets or app.hub.scheduler.tasks or app.requests)


async def _close_spread(app: App, hurry: asyncio.Event) -> None:
    connections = list(app.hub.connections())
    if not connections:
        return
    pace = min(MAX_PACE_SECONDS, SPREAD * app.config.drain_seconds / len(connections))
    started = time.monotonic()
    for number, connection in enumerate(connections):
        if connection.state is not OPEN:
            continue
        connection.close(CloseCode.RESTART, RESTARTS)
        ahead = started + (number + 1) * pace - time.monotonic()
        # Many connections are closed a few at a time: a sleep is not shorter than a turn of the loop.
        if ahead > 0.005 and not hurry.is_set() and number + 1 < len(connections):
            await _sleep_unless(hurry, ahead)


async def _sleep_unless(hurry: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(hurry.wait(), seconds)
    except TimeoutError:
        return


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """End the handlers that did not finish in time."""
    unfinished = list(tasks)
    if unfinished:
        log.warning("%d handlers did not finish in time and are cancelled", len(unfinished))
    for task in unfinished:
        task.cancel()
    if unfinished:
        await asyncio.wait(unfinished, timeout=LAST_SECONDS)
