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
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tornado.httpserver import HTTPServer
from tornado.netutil import ssl_wrap_socket

from .app import HTTP_TIMEOUT_SECONDS, MAX_BODY_BYTES, App
from .auth import SignedIn
from .descriptors import SCARCE, Scarcity
from .handshake import (
    Asking,
    PlainRequest,
    agree,
    make_connection,
    read_plain,
    refuse_upgrade,
    refuse_user,
    refuse_visitor,
    switching_answer,
)
from .namespace import Namespace
from .store.base import StoreUnavailable
from .streams import MAX_HEADER_BYTES, HttpStream, Requests, SecureHttpStream
from .timers import Repeating
from .transport import adopt
from .web import client_address, log_answer

log = logging.getLogger("jpulse.door")

#: A request is looked at as far as this: a browser's is a third of it.
PEEK_BYTES = 4096
#: Connections accepted at once, so that those who are connected have their turn too.
ACCEPTS_A_TURN = 16
#: The same where several processes accept: a burst is not for the one that happens to wake first.
SHARED_ACCEPTS_A_TURN = 2
#: When descriptors are scarce, it is tried so often whether there are some again.
RETRY_SECONDS = 0.5


class Visitor:
    """A socket that was accepted and has asked for nothing yet."""

    __slots__ = ("address", "began", "deadline", "fd", "sock")

    def __init__(self, sock: socket.socket, address: Any, deadline: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        #: As accept() tells it.
        self.address = address
        #: Monotonic time at which it is shown out if its first headers are not complete.
        self.deadline = deadline
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
    Who has not sent the headers of a first request in `handshake_seconds` is shown out, and who
    takes nothing of an answer for a minute. When file descriptors are scarce nobody is accepted
    until some are free.
    """

    def __init__(
        self,
        app: App,
        context: ssl.SSLContext | None = None,
        *,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._clock = clock
        self._http = HTTPServer(
            Requests(app, self._on_headers),
            idle_connection_timeout=max(HTTP_TIMEOUT_SECONDS, app.config.handshake_seconds),
            body_timeout=HTTP_TIMEOUT_SECONDS,
            max_body_size=MAX_BODY_BYTES,
            max_header_size=MAX_HEADER_BYTES,
        )
        self._context = context
        self._accepts_a_turn = SHARED_ACCEPTS_A_TURN if shared else ACCEPTS_A_TURN
        self._listeners: list[socket.socket] = []
        #: Those whose first headers are not complete: until when they have time, and their addresses.
        self._awaited: dict[Visitor | HttpStream, tuple[float, str]] = {}
        #: Who has not taken an answer yet: since when nothing of it, how much before, and their addresses.
        self._waiting: dict[HttpStream, tuple[float, int, str]] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        tick = min(1.0, app.config.handshake_seconds / 4)
        self._sweeping = Repeating(self.sweep, tick)
        self._scarcity = Scarcity()
        self._retry: asyncio.TimerHandle | None = None

    def open(self, listeners: Iterable[socket.socket]) -> None:
        """Accept from now on; call it in the loop that serves."""
        self._loop = asyncio.get_running_loop()
        self._sweeping.start()
        for listener in listeners:
            listener.setblocking(False)
            self._listeners.append(listener)
        self._watch_listeners()

    def stop(self) -> None:
        """Accept no more; who is in already may still ask for something."""
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def end_keep_alive(self) -> None:
        """Let HTTP connections end after the answer that is due: whoever asks is told `Connection: close`."""
        self._http.conn_params.no_keep_alive = True

    def is_answering(self) -> bool:
        """Tell whether somebody has not taken an answer yet."""
        return any(stream.writing() for stream in self._waiting)

    async def close(self) -> None:
        """Show out everybody who is not connected."""
        self._sweeping.stop()
        for each in [each for each in self._awaited if isinstance(each, Visitor)]:
            self._show_out(each)
        self._awaited.clear()
        for lookup in self._lookups:
            lookup.cancel()
        await self._http.close_all_connections()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(self._accepts_a_turn):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in SCARCE:
                    # It was gone before it was accepted.
                    continue
                self._wait_for_descriptors()
                return
            sock.setblocking(False)
            self._receive(sock, address, self._clock() + self._app.config.handshake_seconds)
            if self._scarcity.is_near(sock.fileno()):
                self._wait_for_descriptors()
                return

    def _receive(self, sock: socket.socket, address: Any, deadline: float) -> None:
        if self._context is None:
            self._look_at(Visitor(sock, address, deadline))
        else:
            self._receive_secure(sock, address, deadline, self._context)

    def _receive_secure(
        self, sock: socket.socket, address: Any, deadline: float, context: ssl.SSLContext
    ) -> None:
        try:
            secure = ssl_wrap_socket(sock, context, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            log.debug("a client was gone before its TLS handshake: %s", error)
            sock.close()
            return
        self._serve(SecureHttpStream(secure), address, deadline)

    def _serve(self, stream: HttpStream, address: Any, deadline: float) -> None:
        """Let Tornado's server read requests."""
        stream.on_too_large = lambda: self._count("headers", address[0])
        stream.on_closed = self._forget
        stream.on_waiting = lambda waiting: self._on_waiting(waiting, address[0])
        self._awaited[stream] = (deadline, address[0])
        self._http.handle_stream(stream, address)

    def _on_headers(self, stream: HttpStream) -> None:
        stream.in_headers = False
        self._forget(stream)

    def _forget(self, stream: HttpStream) -> None:
        self._awaited.pop(stream, None)

    def _on_waiting(self, stream: HttpStream, address: str) -> None:
        self._waiting.setdefault(stream, (self._clock(), stream.taken, address))

    # Who takes too long, and too many

    def sweep(self) -> None:
        """Show out who has not asked for anything, or takes no answer."""
        now = self._clock()
        for each in [each for each, (deadline, _) in self._awaited.items() if deadline <= now]:
            _, address = self._awaited.pop(each)
            self._count("slow", address)
            if isinstance(each, Visitor):
                self._show_out(each)
            else:
                each.close()
        self._sweep_waiting(now)

    def _sweep_waiting(self, now: float) -> None:
        for stream, (since, taken, address) in list(self._waiting.items()):
            if stream.closed() or not stream.writing():
                del self._waiting[stream]
            elif stream.taken != taken:
                self._waiting[stream] = (now, stream.taken, address)
            elif now - since >= HTTP_TIMEOUT_SECONDS:
                del self._waiting[stream]
                self._count("unread", address)
                stream.close()

    def _count(self, reason: str, address: str) -> None:
        self._app.overview.refusals[reason] += 1
        log.debug("%s is shown out: %s", address, reason, extra={"address": address, "reason": reason})

    def _watch_listeners(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._listeners:
            self._loop.remove_reader(listener)

    # Descriptors

    def _wait_for_descriptors(self) -> None:
        """Accept again when descriptors are free; who comes meanwhile waits in the kernel's queue."""
        self._pause()
        self._scarcity.tell(time.monotonic())
        self._retry = self._loop.call_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        if self._scarcity.is_over(self._listeners[0].fileno()):
            self._watch_listeners()
        else:
            self._wait_for_descriptors()

    # What a visitor asks for

    def _look_at(self, visitor: Visitor) -> None:
        """Look at what has come, and do what is asked for; wait if it is nothing."""
        try:
            data = visitor.sock.recv(PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._awaited[visitor] = (visitor.deadline, visitor.address[0])
            self._loop.add_reader(visitor.fd, self._look_at, visitor)
            return
        except OSError:
            data = b""
        self._awaited.pop(visitor, None)
        if data:
            self._hear(visitor, data)
        else:
            self._show_out(visitor)

    def _hear(self, visitor: Visitor, data: bytes) -> None:
        visitor.began = time.perf_counter()
        try:
            self._answer(visitor, read_plain(data))
        except Exception:
            # A fault of ours. The bytes are still in the socket, which would wake the loop without end.
            log.exception("a visitor is shown out because answering failed")
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
        except Exception as error:  # noqa: BLE001 - the long way meets it again, logs it and answers 500
            log.debug("a session is looked up the long way: %r", error)
            self._hand_over(handshake.visitor)
        else:
            # All this may have taken its time: others may have come meanwhile.
            if found is None or refuse_visitor(self._app, handshake.asking):
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
            app.handshake_rate.take(asking.address, time.monotonic())
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
        self._serve(stream, visitor.address, visitor.deadline)

    def _show_out(self, visitor: Visitor) -> None:
        self._loop.remove_reader(visitor.fd)
        visitor.sock.close()
