"""The wiring: settings, hub, namespaces, routes and heartbeat become one application."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from .auth import Auth, ensure_admin
from .endpoint import Endpoint, make_endpoint
from .errors import ClientError, SettingsError
from .heartbeat import Heartbeat
from .hub import Hub
from .namespace import PREFIX, Namespace, NamespaceHandler, Registry
from .settings import Settings
from .store.base import Store, StoreUnavailable
from .timers import Repeating
from .web import NotFoundHandler, StaticHandler, TooLargeHandler
from .websocket import Scheduler

log = logging.getLogger("jpulse.app")
access_log = logging.getLogger("jpulse.access")

#: What is not a WebSocket and sends no headers or body is cut after so many seconds.
HTTP_TIMEOUT_SECONDS = 60
MAX_BODY_BYTES = 1024 * 1024


def find_folder(name: str) -> Path:
    """Find `templates` or `static`: at the top of a checkout, or inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "setup.py").exists() and checkout.is_dir() else package / name


#: Open sockets' sessions are looked up again this often.
SESSION_SWEEP_SECONDS = 0.5
FORGET_SESSIONS_SECONDS = 600


def make_store(config: Settings) -> Store:
    """The store that the settings name; nothing is opened yet."""
    if config.mongo_url:
        from .store.mongo import MongoStore

        return MongoStore(config.mongo_url)
    from .store.sqlite import SqliteStore

    return SqliteStore(config.data_dir / "jpulse.db")


class App(Application):
    """A Tornado application with namespaces: `app.websockets.register(Chat)`."""

    def __init__(self, config: Settings, routes: Iterable[Any], store: Store) -> None:
        self.store = store
        #: What an async setup(app) has to be awaited for; `start` does.
        self.setting_up: Awaitable[object] | None = None
        #: Seconds since 1970, as everything that is kept is dated.
        self.clock = time.time
        self.config = config
        self.hub = Hub(Scheduler(config.close_seconds))
        self.auth = Auth(store, config.session_seconds, self.hub)
        self.websockets = Registry(self.hub, config)
        self.heartbeat = Heartbeat(self.hub, config.ping_interval, config.pong_timeout)
        #: True from the signal to stop on: nobody new is let in.
        self.draining = False
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
            return self.get_handler_delegate(request, TooLargeHandler)
        return super().find_handler(request, **kwargs)

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
        self._timers = [
            Repeating(lambda: self.heartbeat.sweep(time.monotonic()), self.heartbeat.tick),
            Repeating(lambda: self._patiently(self.auth.sweep), SESSION_SWEEP_SECONDS),
            Repeating(lambda: self._patiently(self.auth.forget_expired), FORGET_SESSIONS_SECONDS),
        ]
        for timer in self._timers:
            timer.start()

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what the store is needed for, next time if it does not answer now."""
        try:
            await work()
        except StoreUnavailable as error:
            log.warning("the store does not answer: %s", error)

    async def stop(self) -> None:
        """End what runs by itself, and close the store."""
        for timer in self._timers:
            timer.stop()
        self.auth.close()
        await self.store.close()


def log_request(handler: RequestHandler) -> None:
    """Log an answered request: a fault of ours as an error, what clients get wrong as information."""
    status, request = handler.get_status(), handler.request
    access_log.log(
        logging.ERROR if status >= 500 and status != 503 else logging.INFO,
        "%d %s %s %s %.1f ms",
        status,
        request.method,
        request.path,
        request.remote_ip,
        1000 * request.request_time(),
    )


class NamespaceRouter(Router):
    """Finds the endpoint of an address under /api/1/ws/, also of namespaces that come later."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._endpoints: dict[Namespace, type[Endpoint]] = {}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """The delegate that answers a request; None becomes 404."""
        namespace = self._app.websockets.find(request.path)
        if namespace is None:
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
) -> App:
    """
    Make an application of Tornado routes and namespace classes.

    The store is the one that the settings name unless another is given. The module
    that the setting `app` names has its `setup(app)` called last.
    """
    config = config or Settings()
    app = App(config, routes, store or make_store(config))
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
