"""The long way of a handshake: from Tornado's HTTP request to a connection, or to a refusal that says why."""

from __future__ import annotations

import logging
import re
from time import monotonic
from typing import ClassVar, cast

from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from .deflate import Agreement
from .errors import ERROR_TEXTS
from .handshake import (
    Asking,
    Refusal,
    agree,
    make_connection,
    refuse_another,
    refuse_upgrade,
    refuse_user,
    refuse_visitor,
)
from .namespace import Namespace
from .store.base import StoreUnavailable
from .streams import take_trouble
from .transport import stay_open, take_over
from .web import BaseHandler, write_failure

log = logging.getLogger("jpulse.endpoint")


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
        self.current_user = None
        if self.request.method != "GET":
            refusal: Refusal | None = Refusal("method", 405, None, (("Allow", "GET"),))
        else:
            refusal = refuse_visitor(self.app, self._asking())
            if refusal is None:
                self.app.handshake_rate.take(self.client_address, monotonic())
                refusal = await self._refuse_user()
        if refusal is not None:
            self._refuse(refusal)

    async def _refuse_user(self) -> Refusal | None:
        """Read the session that the handshake brought, and find what stands against its user."""
        try:
            trouble = take_trouble(self.request.connection)
            if trouble is not None:
                raise trouble
            await self.load_session()
        except StoreUnavailable as error:
            log.warning("%s: handshake refused: %s", self.namespace.path, error)
            return Refusal("store", 503, None, (("Retry-After", "5"),))
        return refuse_user(self.namespace, self.current_user)

    async def get(self, *args: str, **kwargs: str) -> None:
        """Complete the handshake (RFC 6455 section 4.2) and hand the socket over."""
        refusal = refuse_upgrade(self._asking())
        if refusal is None:
            pending = self.app.hub.neighbours.attend(self.namespace.path)
            if pending is not None:
                await pending
            # All this may have taken its time: others may have come meanwhile.
            refusal = refuse_another(self.app, self.client_address)
        if refusal is None:
            self._upgrade()
        else:
            self._refuse(refusal)

    def _asking(self) -> Asking:
        headers = self.request.headers
        return Asking(
            address=self.client_address,
            host=self.request.host,
            origin=headers.get("Origin"),
            is_current=self.request.version == "HTTP/1.1",
            upgrade=headers.get("Upgrade", ""),
            connection=headers.get("Connection", ""),
            version=headers.get("Sec-WebSocket-Version", ""),
            key=headers.get("Sec-WebSocket-Key", ""),
        )

    def _refuse(self, refusal: Refusal) -> None:
        reason, status, error, headers = refusal
        self.app.overview.refusals[reason] += 1
        path, address = self.namespace.path, self.client_address
        about = {"namespace": path, "address": address, "status": status, "reason": reason}
        log.info("%s: handshake from %s refused with %d", path, address, status, extra=about)
        for name, value in headers:
            self.set_header(name, value)
        write_failure(self, status, error or ERROR_TEXTS[status])

    def _upgrade(self) -> None:
        agreement = agree(self.namespace, self.request.headers.get("Sec-WebSocket-Extensions"))
        stream = shake_hands(self, agreement)
        # A client that went away meanwhile never was a connection.
        if stream.closed():
            return
        name = self.request.query_arguments.get("uuid", [b""])[-1].decode("ascii", "replace")
        session_id = self.session.id_hash if self.session else ""
        connection = make_connection(
            self.app, self.namespace, self.client_address, name, session_id, self.current_user, agreement
        )
        take_over(stream, connection)
        connection.start()


def make_endpoint(namespace: Namespace) -> type[Endpoint]:
    """Generate the Tornado handler of a namespace."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", namespace.path).strip("_") + "_endpoint"
    return cast(type[Endpoint], type(name, (Endpoint,), {"namespace": namespace}))


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
    stay_open(handler.request.connection)
    # What `set_cookie` was told is not cleared: an extended session has its cookie in this answer.
    handler.finish()
    return handler.detach()
