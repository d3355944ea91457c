"""The wiring: settings, hub, namespaces, routes and heartbeat become one application."""

from __future__ import annotations

import importlib
import logging
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from .admin import Admin
from .auth import Auth, ensure_admin
from .bridge.base import RESYNCED, Bridge, Kind, Packet
from .bridge.local import LocalBridge
from .cluster import SNAPSHOT_SECONDS, Cluster
from .endpoint import Endpoint, make_endpoint
from .errors import ClientError, SettingsError
from .garbage import GarbageCare
from .heartbeat import Heartbeat
from .hub import Hub
from .namespace import PREFIX, Namespace, NamespaceHandler, Registry
from .overview import Overview
from .rates import HandshakeRate
from .settings import Settings
from .store.base import NoteStore, Store, StoreUnavailable
from .streams import BoundedBody, answer_early
from .timers import Load, LoopLag, Repeating
from .web import FolderHandler, NotFoundHandler, StaticHandler, TooLargeHandler, is_trusted, log_answer
from .websocket import Scheduler

log = logging.getLogger("jpulse.app")

#: What is not a WebSocket and sends no headers or body is cut after so many seconds.
HTTP_TIMEOUT_SECONDS = 60
MAX_BODY_BYTES = 1024 * 1024


def find_folder(name: str) -> Path:
    """Find `templates` or `static`: at the top of a checkout, or inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "setup.py").exists() and checkout.is_dir() else package / name


#: Some canaries of the bridge have not come back by then.
BRIDGE_PATIENCE_SECONDS = 3.0
#: The store is asked for a sign of life this often, to be shown.
STORE_SECONDS = 5.0
#: Open sockets' sessions are looked up again this often.
SESSION_SWEEP_SECONDS = 0.5
#: A store that does not answer is told in the log this often, however often it is asked.
COMPLAIN_SECONDS = 60.0
FORGET_SESSIONS_SECONDS = 600


def make_store(config: Settings) -> Store:
    """The store that the settings name; nothing is opened yet."""
    if config.mongo_url:
        from .store.mongo import MongoStore

        return MongoStore(config.mongo_url)
    from .store.sqlite import SqliteStore

    return SqliteStore(database_path(config))


def database_path(config: Settings) -> Path:
    """The file of the embedded store."""
    return config.data_dir / "jpulse.db"


def make_bridge(config: Settings, url: str | None) -> Bridge:
    """The way to the other processes, over the Redis at `url` if there is one; nothing is opened yet."""
    if not url:
        return LocalBridge()
    from .bridge.redis import RedisBridge

    return RedisBridge(
        url,
        config.redis_prefix,
        max_queue_bytes=config.max_bridge_bytes,
        max_queue_seconds=config.max_bridge_seconds,
    )


def make_notes(config: Settings, store: Store) -> NoteStore:
    """Where the notes of the demo are: in Redis if one is named, else in the store."""
    if not config.redis_url:
        return store
    from .store.redis_notes import RedisNotes

    return RedisNotes(config.redis_url, config.redis_prefix)


class App(Application):
    """A Tornado application with namespaces: `app.websockets.register(Chat)`."""

    def __init__(self, config: Settings, routes: Iterable[Any], store: Store, bridge: Bridge) -> None:
        self.store = store
        self.notes = make_notes(config, store)
        self.bridge = bridge
        #: What an async setup(app) has to be awaited for; `start` does.
        self.setting_up: Awaitable[object] | None = None
        #: Seconds since 1970, as everything that is kept is dated, sessions too; tests replace it.
        self.clock = time.time
        self.config = config
        self.hub = Hub(Scheduler(config.close_seconds), self.bridge)
        self.auth = Auth(store, config.session_seconds, self.hub, clock=lambda: self.clock())
        self.websockets = Registry(self.hub, config, self)
        self.lag = LoopLag()
        self.load = Load(self.lag, config.max_loop_lag_seconds)
        self.handshake_rate = HandshakeRate(
            config.max_handshakes_per_second_per_address,
            lambda address: is_trusted(address, config.trusted_proxies),
        )
        self.garbage = GarbageCare()
        self.overview = Overview(self.websockets, self.hub, bridge, self.lag)
        self.cluster = Cluster(self.hub, bridge, self.overview.report)
        self.admin = Admin(self.websockets, self.hub, bridge, self.cluster, self.auth)
        self.cluster.on_state = self.websockets.tell_bridge
        self.cluster.on_missed = self._on_missed
        self.cluster.on_other = self._on_packet
        if not isinstance(bridge, LocalBridge):
            self.hub.neighbours = self.cluster
        self.heartbeat = Heartbeat(self.hub, config.ping_interval, config.pong_timeout)
        #: "ok", or what was wrong with the store when it was last looked at.
        self.store_state = "ok"
        #: The monotonic time from which on the log is told again that the store does not answer.
        self._complain_at = 0.0
        #: The addresses of `serve_folder`, for a home page that leads to them.
        self.folders: list[str] = []
        #: True from the signal to stop on: nobody new is let in.
        self.draining = False
        #: The monotonic time at which somebody last asked whether this process is ready.
        self.readiness_asked_at = float("-inf")
        #: Pages and REST that are being answered; a drain waits for them.
        self.requests: set[RequestHandler] = set()
        self._timers: list[Repeating] = []
        super().__init__(
            [(PREFIX + ".*", NamespaceRouter(self)), *routes],
            default_handler_class=NotFoundHandler,
            template_path=str(find_folder("templates")),
            static_path=str(find_folder("static")),
            compress_response=True,
            log_function=log_request,
            static_handler_class=StaticHandler,
            xsrf_cookie_kwargs={"samesite": "Lax", "secure": config.tls_certificate is not None},
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find who answers; a body that is announced as too large is refused before it is read."""
        announced = request.headers.get("Content-Length", "")
        if announced.isdecimal() and len(announced) < 12 and int(announced) > MAX_BODY_BYTES:
            connection = cast(HTTP1Connection, request.connection)
            connection.set_max_body_size(int(announced))
            return self._refuse_body(request)
        found = super().find_handler(request, **kwargs)
        if "Transfer-Encoding" in request.headers:
            # No length is announced: it is counted while it comes.
            cast(HTTP1Connection, request.connection).set_max_body_size(sys.maxsize)
            return BoundedBody(found, MAX_BODY_BYTES, partial(self._refuse_body, request))
        return found

    def _refuse_body(self, request: HTTPServerRequest) -> HTTPMessageDelegate:
        answer_early(request.connection)
        return self.get_handler_delegate(request, TooLargeHandler)

    def serve_folder(self, address: str, folder: Path | str, index: str = "index.html") -> None:
        """
        Serve an application's own pages: at `/address/` the file `index`, below it what that refers to.

        Only files that browsers show are served (pages, scripts, styles, pictures), so Python files
        may lie beside them. The Content-Security-Policy of all pages holds: scripts and styles are
        files, too. ValueError if the address is not one of your own or the folder has no such page.
        """
        place = address.rstrip("/")
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", place) or place.split("/")[1] in ("api", "static"):
            raise ValueError(f"serve_folder: an address such as /chat/ is needed, not {address!r}")
        if not (Path(folder) / index).is_file():
            raise ValueError(f"serve_folder: there is no {index} in {folder}")
        files = {"path": str(Path(folder).resolve()), "default_filename": index}
        self.add_handlers(".*", [(re.escape(place) + "((?:/.*)?)", FolderHandler, files)])
        self.folders.append(place + "/")

    async def start(self, admin_password: str | None = None) -> None:
        """
        Open the store, make the first user if there is none, and begin what runs by itself.

        Call it in the loop that serves. A password made at random is printed, once.
        """
        await self.store.open()
        try:
            made = await ensure_admin(self.auth, self.store, admin_password)
        except ClientError as error:
            raise SettingsError(f"JPULSE_ADMIN_PASSWORD: {error.message}") from None
        if made:
            print(f"jpulse: first start: sign in as admin with the password {made}", flush=True)
        if self.setting_up is not None:
            await self.setting_up
        if self.notes is not self.store:
            await self.notes.open()
        await self.bridge.start(self.cluster)
        self._timers = [
            Repeating(self._every_second, SNAPSHOT_SECONDS),
            Repeating(self._look_at_store, STORE_SECONDS),
            Repeating(lambda: self.heartbeat.sweep(time.monotonic()), self.heartbeat.tick),
            Repeating(lambda: self._patiently(self.auth.sweep), SESSION_SWEEP_SECONDS),
            Repeating(lambda: self._patiently(self.auth.forget_expired), FORGET_SESSIONS_SECONDS),
        ]
        for timer in self._timers:
            timer.start()
        self.lag.start()
        self.garbage.start()

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what the store is needed for, next time if it does not answer now."""
        try:
            await work()
        except StoreUnavailable as error:
            now = time.monotonic()
            if now >= self._complain_at:
                self._complain_at = now + COMPLAIN_SECONDS
                log.warning("the store does not answer: %s", error)
        else:
            self._complain_at = 0.0

    async def stop(self) -> None:
        """End what runs by itself, say goodbye to the other processes, and close the store."""
        for timer in self._timers:
            timer.stop()
        self.lag.stop()
        self.auth.close()
        self.cluster.say_goodbye()
        await self.bridge.stop()
        if self.notes is not self.store:
            await self.notes.close()
        await self.store.close()

    # Other processes, and what is known of all

    def _every_second(self) -> None:
        self.overview.count_second()
        self.garbage.tick(self.hub.sockets)
        self.websockets.activity.prune(time.time())
        if self.hub.neighbours is self.cluster:
            self.cluster.tick()

    async def _look_at_store(self) -> None:
        self.store_state = await self._ask_store()

    async def _ask_store(self) -> str:
        try:
            await self.store.check()
        except StoreUnavailable as error:
            return str(error)
        return "ok"

    def get_details(self) -> dict[str, Any]:
        """Tell administrators all figures, over all processes; see `Overview.get_details`."""
        return self.overview.get_details(self.cluster, self.store_state)

    def _on_missed(self, path: str) -> None:
        namespace = self.websockets.find(path)
        if namespace is not None:
            namespace.tell_bridge(RESYNCED)

    def _on_packet(self, packet: Packet) -> None:
        """Do what other processes have decided about sessions and attempts to sign in."""
        if packet.kind == Kind.SESSIONS:
            ids = msgspec.json.decode(packet.payload, type=list[str] | None)
            look = self.auth.sweep_all() if ids is None else self.auth.check_sessions(ids)
            self.hub.scheduler.spawn(self._patiently(lambda: look))
        elif packet.kind == Kind.GUESS:
            name, address, failed = msgspec.json.decode(packet.payload, type=tuple[str, str, bool])
            self.auth.note_guess(name, address, failed=failed)
        else:
            self.admin.on_packet(packet)

    async def health(self) -> dict[str, str]:
        """
        Tell how the parts are that serving needs, "ok" each or what is wrong: store, bridge, drain, load.

        A bridge that has been lost for a moment only is well.
        """
        self.readiness_asked_at = time.monotonic()
        is_lost = self.bridge.down_seconds() > BRIDGE_PATIENCE_SECONDS
        return {
            "store": await self._ask_store(),
            "bridge": "Redis does not answer" if is_lost else "ok",
            "drain": "the server is stopping" if self.draining else "ok",
            "load": "the event loop is late" if self.load.is_too_high else "ok",
        }


def log_request(handler: RequestHandler) -> None:
    """Log an answered request."""
    request = handler.request
    address = getattr(handler, "client_address", request.remote_ip or "")
    user = getattr(handler, "current_user", None)
    seconds = request.request_time()
    log_answer(request.method or "", request.path, handler.get_status(), seconds, address, user)


class NamespaceRouter(Router):
    """Finds the endpoint of an address under /api/1/ws/, also of namespaces that come later."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._endpoints: dict[Namespace, type[Endpoint]] = {}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """The delegate that answers a request; None becomes 404."""
        namespace = self._app.websockets.find(request.path)
        if namespace is None:
            self._app.overview.refusals["unknown"] += 1
            return None
        endpoint = self._endpoints.get(namespace)
        if endpoint is None:
            endpoint = self._endpoints[namespace] = make_endpoint(namespace)
        return self._app.get_handler_delegate(request, endpoint)


def create_app(
    config: Settings | None = None,
    routes: Iterable[Any] = (),
    namespaces: Sequence[type[NamespaceHandler]] = (),
    store: Store | None = None,
    bridge: Bridge | None = None,
) -> App:
    """
    Make an application of Tornado routes and namespace classes.

    The store and the bridge are those that the settings name unless others are given. The module
    that the setting `app` names has its `setup(app)` called last.
    """
    config = config or Settings()
    app = App(config, routes, store or make_store(config), bridge or make_bridge(config, config.redis_url))
    for namespace in namespaces:
        app.websockets.register(namespace)
    if config.app:
        _set_up(app, config.app)
    return app


def _set_up(app: App, name: str) -> None:
    try:
        module = importlib.import_module(name)
    except (TypeError, ValueError):
        raise SettingsError(
            f"app: {name} is no name of a module; name it as in `import package.module`"
        ) from None
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise SettingsError(f"app: there is no module {name}; name it as in `import {name}`") from None
    if not callable(getattr(module, "setup", None)):
        raise SettingsError(f"app: the module {name} has no function setup(app)")
    result = module.setup(app)
    if isawaitable(result):
        app.setting_up = result
