"""
The door: every socket is accepted here.

An ordinary handshake is completed at once from its bytes, which are looked at without being
taken from the socket. Everything else is left there and handed to Tornado's HTTP server:
pages, REST, TLS, what is incomplete or unusual, and every handshake that is refused, so that
a refusal has one implementation (`endpoint`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from tornado.httpserver import HTTPServer
from tornado.netutil import ssl_wrap_socket

from .app import HTTP_TIMEOUT_SECONDS, MAX_BODY_BYTES, App
from .auth import SignedIn
from .handshake import (
    Asking,
    PlainRequest,
    agree,
    make_connection,
    read_plain,
    refuse_another,
    refuse_upgrade,
    refuse_user,
    refuse_visitor,
    switching_answer,
)
from .namespace import Namespace
from .store.base import StoreUnavailable
from .streams import HttpStream, SecureHttpStream
from .transport import adopt
from .web import client_address, log_answer

log = logging.getLogger("jpulse.door")

#: A request is looked at as far as this: a browser's is a third of it.
PEEK_BYTES = 4096
#: Connections accepted at once, so that those who are connected have their turn too.
ACCEPTS_A_TURN = 16
#: The same where several processes accept: a burst is not for the one that happens to wake first.
SHARED_ACCEPTS_A_TURN = 2


class Visitor:
    """A socket that was accepted and has asked for nothing yet."""

    __slots__ = ("address", "began", "fd", "sock")

    def __init__(self, sock: socket.socket, address: Any) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        #: As accept() tells it.
        self.address = address
        #: When its request was read, by `perf_counter`.
        self.began = 0.0


class Handshake(NamedTuple):
    """An ordinary handshake against which nothing stood when it came."""

    visitor: Visitor
    request: PlainRequest
    namespace: Namespace
    asking: Asking


class Door:
    """
    Accepts for an application, with Tornado's HTTP server behind it.

    With a TLS context everything goes to that one: what TLS costs, the door would not save.
    """

    def __init__(self, app: App, context: ssl.SSLContext | None = None, *, shared: bool = False) -> None:
        self._app = app
        self._http = HTTPServer(
            app,
            idle_connection_timeout=HTTP_TIMEOUT_SECONDS,
            body_timeout=HTTP_TIMEOUT_SECONDS,
            max_body_size=MAX_BODY_BYTES,
        )
        self._context = context
        self._accepts_a_turn = SHARED_ACCEPTS_A_TURN if shared else ACCEPTS_A_TURN
        self._listeners: list[socket.socket] = []
        #: Those from whom nothing has come, by file descriptor.
        self._visitors: dict[int, Visitor] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def open(self, listeners: Iterable[socket.socket]) -> None:
        """Accept from now on; call it in the loop that serves."""
        self._loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            self._listeners.append(listener)
            self._loop.add_reader(listener, self._accept, listener)

    def stop(self) -> None:
        """Accept no more; who is in already may still ask for something."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def end_keep_alive(self) -> None:
        """Let HTTP connections end after the answer that is due: whoever asks is told `Connection: close`."""
        self._http.conn_params.no_keep_alive = True

    async def close(self) -> None:
        """Show out everybody who is not connected."""
        for visitor in list(self._visitors.values()):
            self._show_out(visitor)
        for lookup in self._lookups:
            lookup.cancel()
        await self._http.close_all_connections()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(self._accepts_a_turn):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            sock.setblocking(False)
            if self._context is None:
                self._look_at(Visitor(sock, address))
            else:
                self._receive_secure(sock, address, self._context)

    def _receive_secure(self, sock: socket.socket, address: Any, context: ssl.SSLContext) -> None:
        try:
            secure = ssl_wrap_socket(sock, context, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            log.debug("a client was gone before its TLS handshake: %s", error)
            sock.close()
            return
        self._http.handle_stream(SecureHttpStream(secure), address)

    # What a visitor asks for

    def _look_at(self, visitor: Visitor) -> None:
        """Look at what has come, and do what is asked for; wait if it is nothing."""
        try:
            data = visitor.sock.recv(PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._visitors[visitor.fd] = visitor
            self._loop.add_reader(visitor.fd, self._look_at, visitor)
            return
        except OSError:
            data = b""
        self._visitors.pop(visitor.fd, None)
        if data:
            visitor.began = time.perf_counter()
            self._answer(visitor, read_plain(data))
        else:
            self._show_out(visitor)

    def _answer(self, visitor: Visitor, request: PlainRequest | None) -> None:
        """Begin what an ordinary handshake asks for, if nothing stands against it yet."""
        namespace = None if request is None else self._app.websockets.find(request.path)
        if request is None or namespace is None:
            self._hand_over(visitor)
            return
        asking = self._asking(visitor, request)
        if refuse_visitor(self._app, asking) or refuse_upgrade(asking):
            self._hand_over(visitor)
        elif request.cookie is not None:
            self._look_up(Handshake(visitor, request, namespace, asking))
        else:
            self._complete(Handshake(visitor, request, namespace, asking), None)

    def _asking(self, visitor: Visitor, request: PlainRequest) -> Asking:
        headers = request.headers
        address, forwarded = visitor.address[0], headers.get("x-forwarded-for")
        if forwarded is not None:
            address = client_address(address, [forwarded], self._app.config.trusted_proxies)
        return Asking(
            address,
            headers["host"],
            headers.get("origin"),
            True,
            headers.get("upgrade", ""),
            headers.get("connection", ""),
            headers.get("sec-websocket-version", ""),
            headers.get("sec-websocket-key", ""),
        )

    # Sessions

    def _look_up(self, handshake: Handshake) -> None:
        # What comes meanwhile does not wake the loop.
        self._loop.remove_reader(handshake.visitor.fd)
        lookup = self._loop.create_task(self._find_session(handshake))
        self._lookups.add(lookup)
        lookup.add_done_callback(self._lookups.discard)

    async def _find_session(self, handshake: Handshake) -> None:
        try:
            found = await self._app.auth.authenticate(handshake.request.cookie)
        except StoreUnavailable as error:
            self._hand_over(handshake.visitor, error)
        except asyncio.CancelledError:
            handshake.visitor.sock.close()
            raise
        else:
            # All this may have taken its time: others may have come meanwhile.
            if found is None or refuse_another(self._app, handshake.asking.address):
                self._hand_over(handshake.visitor)
            else:
                self._complete(handshake, found)

    # Ways on

    def _complete(self, handshake: Handshake, found: SignedIn | None) -> None:
        """Make a connection of a visitor, unless that takes more: a refusal, a new cookie, a wait."""
        app, (visitor, request, namespace, asking) = self._app, handshake
        user = found.user if found else None
        if (
            refuse_user(namespace, user)
            or (found is not None and app.auth.is_extension_due(found.session))
            or not app.hub.neighbours.hears(namespace.path)
        ):
            self._hand_over(visitor)
        elif self._take(visitor, request.size):
            log_answer("GET", request.path, 101, time.perf_counter() - visitor.began, asking.address, user)
            session_id = found.session.id_hash if found else ""
            agreement = agree(namespace, request.headers.get("sec-websocket-extensions"))
            connection = make_connection(
                app, namespace, asking.address, request.name, session_id, user, agreement
            )
            adopt(visitor.sock, connection)
            # In the outbox it leaves together with `connected`.
            connection.send_frame(switching_answer(asking.key, agreement))
            connection.transport.resume_reading()
            connection.start()

    def _take(self, visitor: Visitor, size: int) -> bool:
        """Take the request from the socket; False if the client went away meanwhile."""
        try:
            visitor.sock.recv(size)
        except OSError:
            self._show_out(visitor)
            return False
        return True

    def _hand_over(self, visitor: Visitor, trouble: StoreUnavailable | None = None) -> None:
        """Let Tornado's server read the request."""
        self._loop.remove_reader(visitor.fd)
        stream = HttpStream(visitor.sock)
        stream.trouble = trouble
        self._http.handle_stream(stream, visitor.address)

    def _show_out(self, visitor: Visitor) -> None:
        self._loop.remove_reader(visitor.fd)
        visitor.sock.close()
