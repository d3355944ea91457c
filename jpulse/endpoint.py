"""The handshake: from an HTTP request to a connection of a namespace, or a refusal that says why."""

from __future__ import annotations

import binascii
import logging
import re
import uuid
from base64 import b64decode
from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from . import wire
from .auth import CurrentUser, SignedIn
from .connection import Connection
from .deflate import Agreement, negotiate
from .errors import ERROR_TEXTS
from .namespace import Namespace
from .store.base import StoreUnavailable
from .transport import take_over, unmask
from .web import (
    SESSION_COOKIE,
    BaseHandler,
    access_log,
    client_address,
    log_answer,
    origin_allowed,
    write_failure,
)

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger("jpulse.endpoint")

#: The answer of RFC 6455 section 4.2.2.
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Endpoint(BaseHandler, WebSocketHandler):
    """
    Answers one namespace's address; `make_endpoint` makes a subclass for each.

    The checks come in the order of the contract, each refused with plain HTTP and JSON,
    so that a browser's client, which learns nothing from a failed handshake, can ask
    with a plain GET.
    """

    namespace: ClassVar[Namespace]

    def initialize(self, unavailable: StoreUnavailable | None = None) -> None:
        """Take what is known of the store already: it is not asked twice."""
        self._unavailable = unavailable

    def set_default_headers(self) -> None:
        """Answer with few headers: nothing here is shown as a page."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def prepare(self) -> None:
        """Refuse who may not connect: origin 403, too many 429 or 503, not signed in 401, no role 403."""
        if self.request.method != "GET":
            self.set_header("Allow", "GET")
            self._refuse("method", 405)
        elif not origin_allowed(
            self.request.headers.get("Origin"), self.request.host, self.app.config.allowed_origins
        ):
            self._refuse(
                "origin", 403, "This origin may not connect; the setting allowed_origins lists those that may"
            )
        elif not self._has_room():
            pass
        else:
            await self._check_user()

    async def _check_user(self) -> None:
        """Read the session that the handshake brought; refuse with 401 or 403 who may not come in."""
        self.current_user = None
        try:
            if self._unavailable is not None:
                raise self._unavailable
            await self.load_session()
        except StoreUnavailable as error:
            log.warning("%s: handshake refused: %s", self.namespace.path, error)
            self.set_header("Retry-After", "5")
            self._refuse("store", 503)
            return
        if self.namespace.require_auth and self.current_user is None:
            self._refuse("signed out", 401)
        elif self.current_user is not None and not self.current_user.has_any(self.namespace.require_roles):
            self._refuse("role", 403, "A role is needed: " + ", ".join(self.namespace.require_roles))

    async def get(self, *args: str, **kwargs: str) -> None:
        """Complete the handshake (RFC 6455 section 4.2) and hand the socket over."""
        if not asks_for_websocket(self.request):
            self.set_header("Upgrade", "websocket")
            self.set_header("Connection", "Upgrade")
            self._refuse("no upgrade", 426)
        elif self.request.headers.get("Sec-WebSocket-Version") != "13":
            self.set_header("Sec-WebSocket-Version", "13")
            self._refuse("version", 426, "Only version 13 of the WebSocket protocol is spoken here")
        elif not valid_key(self.request.headers.get("Sec-WebSocket-Key", "")):
            self._refuse("key", 400, "Sec-WebSocket-Key is not 16 bytes in base64")
        else:
            pending = self.app.hub.neighbours.attend(self.namespace.path)
            if pending is not None:
                await pending
            # All this may have taken its time: others may have come meanwhile.
            if self._has_room():
                self._upgrade()

    def _refuse(self, reason: str, status: int, error: str | None = None) -> None:
        self.app.overview.refusals[reason] += 1
        path, address = self.namespace.path, self.client_address
        about = {"namespace": path, "address": address, "status": status, "reason": reason}
        log.info("%s: handshake from %s refused with %d", path, address, status, extra=about)
        write_failure(self, status, error or ERROR_TEXTS[status])

    def _has_room(self) -> bool:
        """Refuse with 429 who has too many connections, with 503 when all places are taken."""
        hub, config = self.app.hub, self.app.config
        limit = config.max_connections_per_address
        if limit and hub.sockets_by_address.get(self.client_address, 0) >= limit:
            self.set_header("Retry-After", "5")
            self._refuse("address", 429, f"More than {limit} connections from one address")
            return False
        if self.app.draining or hub.sockets >= config.max_connections:
            self.set_header("Retry-After", "5")
            if self.app.draining:
                self._refuse("draining", 503, "The server is stopping")
            else:
                self._refuse("full", 503, "All connections are taken")
            return False
        return True

    def _upgrade(self) -> None:
        agreement = agree(self.namespace, self.request)
        stream = shake_hands(self, agreement)
        # A client that went away meanwhile never was a connection.
        if not stream.closed():
            session_id = self.session.id_hash if self.session else ""
            begin(
                self.app,
                self.namespace,
                self.request,
                stream,
                self.client_address,
                session_id,
                self.current_user,
                agreement,
            )


class QuickHandshake(HTTPMessageDelegate):
    """
    Completes the handshake of who asks for nothing unusual, for a third less than an Endpoint.

    No RequestHandler is made, and the answer leaves as bytes. Whatever could be refused
    goes the long way: it is handed to an Endpoint, which checks all again.
    """

    def __init__(
        self, app: App, endpoint: type[Endpoint], request: HTTPServerRequest, cookie: str | None
    ) -> None:
        self._app = app
        self._endpoint = endpoint
        self._namespace = endpoint.namespace
        self._request = request
        self._cookie = cookie
        #: The Endpoint, for those who need one.
        self._long_way: HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Answer 101 and take the socket over, at once or when the session is found."""
        if self._cookie is None:
            self._complete("", None)
            return None
        return self._find_session(self._cookie, start_line, headers)

    async def _find_session(
        self, cookie: str, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        found, known = None, {}
        try:
            found = await self._app.auth.authenticate(cookie)
        except StoreUnavailable as error:
            known["unavailable"] = error
        if found is not None and self._may_enter(found):
            self._complete(found.session.id_hash, found.user)
            return
        self._long_way = self._app.get_handler_delegate(self._request, self._endpoint, known)
        pending = self._long_way.headers_received(start_line, headers)
        if pending is not None:
            await pending

    def _may_enter(self, found: SignedIn) -> bool:
        """Check what may have changed meanwhile too; a session that is to be extended needs a cookie."""
        app, path = self._app, self._namespace.path
        return (
            found.user.has_any(self._namespace.require_roles)
            and not app.auth.is_extension_due(found.session)
            and has_places(app)
            and app.hub.neighbours.hears(path)
        )

    def _complete(self, session_id: str, user: CurrentUser | None) -> None:
        request = self._request
        stream = cast(HTTP1Connection, request.connection).detach()
        if stream.closed():
            return
        key = request.headers["Sec-WebSocket-Key"]
        agreement = agree(self._namespace, request)
        extension = f"Sec-WebSocket-Extensions: {agreement.answer}\r\n" if agreement else ""
        answer = _SWITCHING % (WebSocketProtocol13.compute_accept_value(key).encode(), extension.encode())
        address = client_address(request.remote_ip, request.headers, self._app.config.trusted_proxies)
        if access_log.isEnabledFor(logging.INFO):
            log_answer(request, 101, address, user)
        begin(self._app, self._namespace, request, stream, address, session_id, user, agreement, answer)

    # For those who go the long way

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass it on."""
        return self._long_way.data_received(chunk) if self._long_way else None

    def finish(self) -> None:
        """Pass it on."""
        if self._long_way:
            self._long_way.finish()

    def on_connection_close(self) -> None:
        """Pass it on."""
        if self._long_way:
            self._long_way.on_connection_close()


def quick_handshake(app: App, endpoint: type[Endpoint], request: HTTPServerRequest) -> QuickHandshake | None:
    """Find out whether a request can have the quick handshake; None if it has to go the long way."""
    headers, namespace = request.headers, endpoint.namespace
    has_session = SESSION_COOKIE in headers.get("Cookie", "")
    is_plain = (
        request.method == "GET"
        and (has_session or not namespace.require_auth)
        and has_places(app)
        and "Content-Length" not in headers
        and "Transfer-Encoding" not in headers
        and headers.get("Sec-WebSocket-Version") == "13"
        and asks_for_websocket(request)
        and valid_key(headers.get("Sec-WebSocket-Key", ""))
        and origin_allowed(headers.get("Origin"), request.host, app.config.allowed_origins)
        and app.hub.neighbours.hears(namespace.path)
    )
    if not is_plain:
        return None
    morsel = request.cookies.get(SESSION_COOKIE) if has_session else None
    if has_session and morsel is None:
        return None
    return QuickHandshake(app, endpoint, request, morsel.value if morsel else None)


def has_places(app: App) -> bool:
    """Tell whether anybody is let in; limits per address are looked at on the long way."""
    config = app.config
    return (
        not app.draining
        and not config.max_connections_per_address
        and app.hub.sockets < config.max_connections
    )


def begin(
    app: App,
    namespace: Namespace,
    request: HTTPServerRequest,
    stream: IOStream,
    address: str,
    session_id: str,
    user: CurrentUser | None,
    agreement: Agreement | None,
    answer: bytes = b"",
) -> None:
    """Make a connection of a stream whose handshake is complete, once `answer` is sent."""
    client_id = uuid_asked_for(request.query_arguments.get("uuid", [b""])[-1])
    if client_id is None or not app.hub.may_use(client_id, session_id):
        client_id = str(uuid.uuid4())
    connection = Connection(
        namespace,
        app.hub.scheduler,
        wire.FrameParser(namespace.limits.max_message_bytes, unmask, inflates=agreement is not None),
        client_id=client_id,
        user=user,
        session_id=session_id,
        ip=address,
    )
    if agreement is not None:
        connection.window_bits = agreement.window_bits
    app.hub.take_place(address)
    take_over(stream, connection)
    if answer:
        # In the outbox it leaves together with `connected`.
        connection.send_frame(answer)
    connection.start()


def asks_for_websocket(request: HTTPServerRequest) -> bool:
    """Tell whether a request has what RFC 6455 section 4.2.1 asks for in Upgrade and Connection."""
    headers = request.headers
    return (
        request.version == "HTTP/1.1"
        and _has_word(headers.get("Upgrade", ""), "websocket")
        and _has_word(headers.get("Connection", ""), "upgrade")
    )


def _has_word(value: str, word: str) -> bool:
    value = value.lower()
    return value == word or word in [each.strip() for each in value.split(",")]


def make_endpoint(namespace: Namespace) -> type[Endpoint]:
    """Generate the Tornado handler of a namespace."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", namespace.path).strip("_") + "_endpoint"
    return cast(type[Endpoint], type(name, (Endpoint,), {"namespace": namespace}))


def agree(namespace: Namespace, request: HTTPServerRequest) -> Agreement | None:
    """Find out whether a connection is going to be compressed."""
    offer = request.headers.get("Sec-WebSocket-Extensions") if namespace.compress else None
    return negotiate(offer) if offer else None


def shake_hands(handler: WebSocketHandler, agreement: Agreement | None = None) -> IOStream:
    """Answer 101 (RFC 6455 section 4.2.2) and return the stream, which may be closed by now."""
    handler.clear()
    handler.set_status(101)
    handler.clear_header("Content-Type")
    handler.set_header("Upgrade", "websocket")
    handler.set_header("Connection", "Upgrade")
    key = handler.request.headers.get("Sec-WebSocket-Key", "")
    handler.set_header("Sec-WebSocket-Accept", WebSocketProtocol13.compute_accept_value(key))
    if agreement is not None:
        handler.set_header("Sec-WebSocket-Extensions", agreement.answer)
    handler.finish()
    return handler.detach()


def uuid_asked_for(value: bytes) -> str | None:
    """The UUID that a client keeps, in its canonical form; None if it has none."""
    return value.decode().lower() if _UUID.fullmatch(value) else None


def valid_key(key: str) -> bool:
    """Tell whether a Sec-WebSocket-Key is what RFC 6455 section 4.2.1 asks for: 16 bytes in base64."""
    try:
        return len(b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
