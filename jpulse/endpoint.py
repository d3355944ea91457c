"""The handshake: from an HTTP request to a connection of a namespace, or a refusal that says why."""

from __future__ import annotations

import binascii
import logging
import re
import uuid
from base64 import b64decode
from typing import ClassVar, cast

from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from . import wire
from .connection import Connection
from .errors import ERROR_TEXTS
from .namespace import Namespace
from .store.base import StoreUnavailable
from .transport import take_over, unmask
from .web import BaseHandler, origin_allowed, write_failure

log = logging.getLogger("jpulse.endpoint")

_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Endpoint(BaseHandler, WebSocketHandler):
    """
    Answers one namespace's address; `make_endpoint` makes a subclass for each.

    The checks come in the order of the contract, each refused with plain HTTP and JSON,
    so that a browser's client, which learns nothing from a failed handshake, can ask
    with a plain GET.
    """

    namespace: ClassVar[Namespace]

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
        if not self._asks_for_websocket():
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
        log.info("%s: handshake from %s refused with %d", self.namespace.path, self.client_address, status)
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

    def _asks_for_websocket(self) -> bool:
        headers = self.request.headers
        upgrade = [word.strip().lower() for word in headers.get("Upgrade", "").split(",")]
        connection = [word.strip().lower() for word in headers.get("Connection", "").split(",")]
        return "websocket" in upgrade and "upgrade" in connection and self.request.version == "HTTP/1.1"

    def _upgrade(self) -> None:
        namespace, address = self.namespace, self.client_address
        stream = shake_hands(self)
        if stream.closed():
            # The client went away meanwhile; it never was a connection.
            return
        session_id = self.session.id_hash if self.session else ""
        client_id = uuid_asked_for(self.request.query_arguments.get("uuid", [b""])[-1])
        if client_id is None or not self.app.hub.may_use(client_id, session_id):
            client_id = str(uuid.uuid4())
        connection = Connection(
            namespace,
            self.app.hub.scheduler,
            wire.FrameParser(namespace.limits.max_message_bytes, unmask),
            client_id=client_id,
            user=self.current_user,
            session_id=session_id,
            ip=address,
        )
        self.app.hub.take_place(address)
        take_over(stream, connection)
        connection.start()


def make_endpoint(namespace: Namespace) -> type[Endpoint]:
    """Generate the Tornado handler of a namespace."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", namespace.path).strip("_") + "_endpoint"
    return cast(type[Endpoint], type(name, (Endpoint,), {"namespace": namespace}))


def shake_hands(handler: WebSocketHandler) -> IOStream:
    """Answer 101 (RFC 6455 section 4.2.2) and return the stream, which may be closed by now."""
    handler.clear()
    handler.set_status(101)
    handler.clear_header("Content-Type")
    handler.set_header("Upgrade", "websocket")
    handler.set_header("Connection", "Upgrade")
    key = handler.request.headers.get("Sec-WebSocket-Key", "")
    handler.set_header("Sec-WebSocket-Accept", WebSocketProtocol13.compute_accept_value(key))
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
