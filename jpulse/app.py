"""The wiring: settings, hub, namespaces, routes and heartbeat become one application."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from .connection import Scheduler
from .endpoint import Endpoint, make_endpoint
from .errors import StartError
from .heartbeat import Heartbeat
from .hub import Hub
from .namespace import PREFIX, Namespace, NamespaceHandler, Registry
from .settings import Settings
from .web import NotFoundHandler

access_log = logging.getLogger("jpulse.access")

#: What is not a WebSocket and sends no headers or body is cut after so many seconds.
HTTP_TIMEOUT_SECONDS = 60
MAX_BODY_BYTES = 1024 * 1024


def find_folder(name: str) -> Path:
    """Find `templates` or `static`: at the top of a checkout, or inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "setup.py").exists() and checkout.is_dir() else package / name


class App(Application):
    """A Tornado application with namespaces: `app.websockets.register(Chat)`."""

    def __init__(self, config: Settings, routes: Iterable[Any]) -> None:
        self.config = config
        self.hub = Hub(Scheduler(config.close_seconds))
        self.websockets = Registry(self.hub, config)
        self.heartbeat = Heartbeat(self.hub, config.ping_interval, config.pong_timeout)
        #: True from the signal to stop on: nobody new is let in.
        self.draining = False
        self._timers: list[PeriodicCallback] = []
        super().__init__(
            [(PREFIX + ".*", NamespaceRouter(self)), *routes],
            default_handler_class=NotFoundHandler,
            template_path=str(find_folder("templates")),
            static_path=str(find_folder("static")),
            compress_response=True,
            log_function=log_request,
            websocket_max_message_size=config.max_message_bytes,
        )

    def start(self) -> None:
        """Begin what runs by itself; call it in the loop that serves."""
        tick = self.heartbeat.tick
        self._timers = [PeriodicCallback(lambda: self.heartbeat.sweep(time.monotonic()), tick * 1000)]
        for timer in self._timers:
            timer.start()

    def stop(self) -> None:
        """End what runs by itself."""
        for timer in self._timers:
            timer.stop()


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
) -> App:
    """
    Make an application of Tornado routes and namespace classes.

    The module that the setting `app` names has its `setup(app)` called last.
    """
    config = config or Settings()
    app = App(config, routes)
    for namespace in namespaces:
        app.websockets.register(namespace)
    if config.app:
        _set_up(app, config.app)
    return app


def _set_up(app: App, name: str) -> None:
    try:
        module = importlib.import_module(name)
    except (TypeError, ValueError):
        raise StartError(
            f"app: {name} is no name of a module; name it as in `import package.module`"
        ) from None
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise StartError(f"app: there is no module {name}; name it as in `import {name}`") from None
    if not callable(getattr(module, "setup", None)):
        raise StartError(f"app: the module {name} has no function setup(app)")
    module.setup(app)
