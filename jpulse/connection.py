"""
One client's socket: what it sends comes up in order, what it is sent waits in an outbox.

`BaseConnection` speaks RFC 6455 and nothing else. `Connection` adds what a namespace
needs: identity, JSON, one message at a time, the message rate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from time import monotonic
from typing import Any, Protocol

from . import wire
from .errors import ERROR_TEXTS, ClientError, CloseCode, InvalidMessage, ProtocolError

log = logging.getLogger("jpulse.connection")

Handler = Callable[["Connection"], Any]

#: OPEN: both sides may send. CLOSING: our close frame is out, the peer's is awaited.
#: ENDING: nothing more is sent or heard, the peer's FIN is awaited. CLOSED: there is no socket.
OPEN, CLOSING, ENDING, CLOSED = "open", "closing", "ending", "closed"

PING_FRAME = wire.frame(b"", wire.PING)
PONG_ENVELOPE = wire.frame(wire.plain_success({"type": "pong"}))
TOO_MANY_MESSAGES = wire.frame(wire.failure("Too many messages; slow down", 429))
#: Only messages up to this size are looked into before their turn, for pings.
MAX_PING_BYTES = 128
#: A client that stays above its rate is closed after so many seconds, or so many seconds' worth of drops.
MAX_SECONDS_OVER_RATE = 5.0
MAX_DROPPED_SECONDS = 20
#: So long without a dropped message, and what was dropped before is forgiven.
FORGIVEN_AFTER_SECONDS = 2.0


class Transport(Protocol):
    """What a connection needs of the socket beneath it."""

    #: True while the kernel's buffer is full and bytes wait in the transport.
    blocked: bool

    def send(self, data: bytes) -> int:
        """Send what the kernel takes now and keep the rest; returns the number of bytes kept."""

    def half_close(self) -> None:
        """Send FIN; what comes in is still read."""

    def abort(self) -> None:
        """Close the socket at once, whatever waits; may be called again."""

    def pause_reading(self) -> None:
        """Stop reading the socket; may be called again."""

    def resume_reading(self) -> None:
        """Read the socket again; may be called again."""


class NoTransport:
    """Stands in before a connection has its socket and after it has lost it."""

    blocked = False

    def send(self, data: bytes) -> int:
        """Drop the bytes."""
        return 0

    def half_close(self) -> None:
        """Do nothing."""

    abort = pause_reading = resume_reading = half_close


NO_TRANSPORT = NoTransport()


def _call_soon(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


class Scheduler:
    """
    What all connections of a process share: the flush of a turn, closing deadlines, running handlers.

    What a connection is sent within one turn of the loop is joined and leaves in one
    `send()`: with 16 broadcasts in flight that is a tenth of the cost of one each.
    """

    __slots__ = ("call_soon", "close_seconds", "ending", "tasks", "waiting")

    def __init__(
        self,
        close_seconds: float = 5.0,
        call_soon: Callable[[Callable[[], None]], object] = _call_soon,
    ) -> None:
        self.close_seconds = close_seconds
        self.call_soon = call_soon
        #: Connections whose outbox got its first frame in this turn.
        self.waiting: list[BaseConnection] = []
        #: Connections between their close frame and the end of their socket.
        self.ending: set[BaseConnection] = set()
        #: Handlers at work.
        self.tasks: set[asyncio.Task[None]] = set()

    def plan_flush(self) -> None:
        """Flush at the end of this turn; call it before the first connection is put in `waiting`."""
        self.call_soon(self.flush)

    def flush(self) -> None:
        """Send the outboxes of all that wait."""
        connections, self.waiting = self.waiting, []
        for connection in connections:
            connection.flush()

    def cut_overdue(self, now: float) -> None:
        """End the sockets of those who did not finish closing in time."""
        for connection in [each for each in self.ending if each.close_deadline <= now]:
            connection.connection_lost()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a handler in a task that a drain waits for."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class BaseConnection:
    """
    A WebSocket after the handshake: frames in, frames out, the closing handshake (RFC 6455 section 7).

    Subclasses take what comes in `on_payload`, hear of the end in `on_end`, once, when
    the first close frame is sent or received or the socket breaks, and in `on_closed`
    when the socket is gone.
    """

    __slots__ = (
        "_reading_paused",
        "close_code",
        "close_deadline",
        "last_heard",
        "max_outbox_bytes",
        "outbox",
        "parser",
        "queued_bytes",
        "scheduler",
        "state",
        "transport",
    )

    def __init__(self, scheduler: Scheduler, parser: wire.FrameParser, max_outbox_bytes: int) -> None:
        self.scheduler = scheduler
        self.parser = parser
        self.max_outbox_bytes = max_outbox_bytes
        #: Given by the transport itself, before anything is sent or received.
        self.transport: Transport = NO_TRANSPORT
        self.state = OPEN
        #: Frames that were sent in this turn of the loop, or wait for a blocked transport.
        self.outbox: list[bytes] = []
        #: Bytes in the outbox and in the transport.
        self.queued_bytes = 0
        #: Monotonic time of the last bytes from the peer.
        self.last_heard = monotonic()
        #: Monotonic time at which the socket is cut; only meaningful after OPEN.
        self.close_deadline = 0.0
        #: Why the connection ended, a code of RFC 6455 section 7.4; 0 while it is open.
        self.close_code = 0
        self._reading_paused = False

    # For subclasses

    def on_payload(self, opcode: int, payload: bytes) -> None:
        """Take a whole message; `opcode` is TEXT or BINARY."""
        raise NotImplementedError

    def on_end(self, *, by_peer: bool) -> None:
        """Learn that nothing more can be sent or received; `by_peer` if it was not our doing."""

    def on_closed(self) -> None:
        """Learn that the socket is gone."""

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self.last_heard = monotonic()
        if self.state is OPEN or self.state is CLOSING:
            self.parser.feed(data)
            self.read_frames()

    def bytes_sent(self, count: int) -> None:
        """Learn that `count` of the bytes that the transport had kept are gone."""
        self.queued_bytes -= count
        if self.state is ENDING:
            self._end_output()
        else:
            self.flush()

    def connection_lost(self) -> None:
        """Learn that the socket broke or the peer sent FIN; also cuts a socket that still lives."""
        if self.state is CLOSED:
            return
        was_open, self.state = self.state is OPEN, CLOSED
        self.transport.abort()
        self.transport = NO_TRANSPORT
        self.outbox.clear()
        self.queued_bytes = 0
        self.scheduler.ending.discard(self)
        if was_open:
            self.close_code = CloseCode.ABNORMAL
            self.on_end(by_peer=True)
        self.on_closed()

    # Frames in

    def read_frames(self) -> None:
        """Handle what the parser has whole, until the connection ends or pauses reading."""
        parser = self.parser
        try:
            while not self._reading_paused:
                message = parser.next()
                if message is None or self.state is ENDING or self.state is CLOSED:
                    return
                opcode, payload = message
                if opcode >= wire.CLOSE:
                    self._on_control(opcode, payload)
                elif self.state is OPEN:
                    self.on_payload(opcode, payload)
        except ProtocolError as error:
            self._fail(error)

    def pause_reading(self) -> None:
        """Leave what comes in the socket, so that TCP holds the sender back."""
        self._reading_paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Handle what was left in the parser, then read the socket again."""
        if self._reading_paused:
            self._reading_paused = False
            # What waited in the socket meanwhile is not the peer's silence.
            self.last_heard = monotonic()
            self.read_frames()
            if not self._reading_paused:
                self.transport.resume_reading()

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.PING:
            if self.state is OPEN:
                self.send_frame(wire.frame(payload, wire.PONG))
        elif opcode == wire.CLOSE:
            code, _ = wire.parse_close(payload)
            self._on_close_frame(code)

    def _on_close_frame(self, code: int) -> None:
        if self.state is OPEN:
            # RFC 6455 section 5.5.1: the answer usually carries the same code.
            self._end(ENDING, code, wire.close_frame(code))
            self.on_end(by_peer=True)
        else:
            self.state = ENDING
        self._end_output()

    def _fail(self, error: ProtocolError) -> None:
        """Fail the connection (RFC 6455 section 7.1.7): say why, and hear nothing more."""
        if self.state is CLOSED:
            return
        if self.state is OPEN:
            self._end(ENDING, error.code, wire.close_frame(error.code, error.reason))
            self.on_end(by_peer=False)
        self.state = ENDING
        self._end_output()

    # Frames out

    def send_frame(self, frame: bytes) -> None:
        """Put a frame in the outbox; it leaves at the end of this turn of the loop."""
        if self.state is not OPEN:
            return
        if not self.outbox:
            self._join_flush()
        self.outbox.append(frame)
        self.queued_bytes += len(frame)
        if self.queued_bytes > self.max_outbox_bytes:
            self.relieve_outbox()

    def relieve_outbox(self) -> None:
        """Send now what was meant for the end of the turn; if it is still too much, close with 1013."""
        self.flush()
        if self.state is OPEN and self.queued_bytes > self.max_outbox_bytes:
            self.outbox.clear()
            self.close(CloseCode.TRY_AGAIN_LATER, "Too slow: too much waits to be sent")

    def flush(self) -> None:
        """Send what waits, joined, unless the transport still has older bytes."""
        outbox = self.outbox
        if outbox and not self.transport.blocked:
            data = outbox[0] if len(outbox) == 1 else b"".join(outbox)
            outbox.clear()
            self.queued_bytes = self.transport.send(data)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """
        Begin the closing handshake (RFC 6455 section 7.1.2); without effect if it has begun.

        The peer has `close_seconds` to answer. A code that may not be sent raises ValueError.
        """
        farewell = wire.close_frame(code, reason)
        if self.state is OPEN:
            self._end(CLOSING, code, farewell)
            self.resume_reading()
            self.on_end(by_peer=False)

    def _end(self, state: str, code: int, farewell: bytes) -> None:
        self.close_code = code
        self.close_deadline = monotonic() + self.scheduler.close_seconds
        self.scheduler.ending.add(self)
        self._join_flush()
        self.outbox.append(farewell)
        self.queued_bytes += len(farewell)
        self.state = state

    def _join_flush(self) -> None:
        scheduler = self.scheduler
        if not scheduler.waiting:
            scheduler.plan_flush()
        scheduler.waiting.append(self)

    def _end_output(self) -> None:
        self.flush()
        if not self.transport.blocked:
            self.transport.half_close()


@dataclass(slots=True)
class Limits:
    """What one connection of a namespace may cost; see the settings of these names."""

    max_message_bytes: int
    max_messages_per_second: int
    max_outbox_bytes: int
    max_inbox_messages: int


class Owner(Protocol):
    """What a connection tells the namespace that it belongs to, and reads of it."""

    path: str
    limits: Limits
    #: Any one of them is enough to stay connected.
    require_roles: tuple[str, ...]
    #: Tell clients what exceptions say.
    debug: bool
    connect_handler: Handler
    message_handler: Handler
    disconnect_handler: Handler

    def join(self, connection: Connection) -> None:
        """Let a connection get broadcasts."""

    def leave(self, connection: Connection) -> None:
        """Let go of a connection that ended."""

    def on_socket_closed(self, connection: Connection) -> None:
        """Free the place of a socket that is gone."""

    def on_received(self, connection: Connection, message: dict[str, Any], payload: bytes) -> None:
        """Count a message that is going to be handled."""

    def on_dropped(self, connection: Connection) -> None:
        """Count a message over the rate."""

    def on_invalid(self, connection: Connection) -> None:
        """Count what was no message."""

    def count_sent(self, data: Mapping[str, Any], ctx: wire.Context | None, frame: bytes) -> None:
        """Count a message that goes out."""


class Connection(BaseConnection):
    """
    One client's connection to a namespace, as handlers see it.

    Handlers read `client_id`, `user` (None for a guest), `username` (`""` for a guest),
    `ctx` and, in `on_message`, `message`. Whatever an async handler awaits, the next
    message of this connection waits for it.
    """

    __slots__ = (
        "_answered",
        "_busy",
        "_dropped",
        "_dropped_at",
        "_dropping_since",
        "_ended",
        "_inbox",
        "_inbox_bytes",
        "_tokens",
        "_tokens_at",
        "address",
        "client_id",
        "ctx",
        "message",
        "namespace",
        "next_ping_at",
        "session_id",
        "user",
        "username",
    )

    def __init__(
        self,
        namespace: Owner,
        scheduler: Scheduler,
        parser: wire.FrameParser,
        *,
        client_id: str,
        user: Any = None,
        session_id: str = "",
        ip: str = "0.0.0.0",
    ) -> None:
        super().__init__(scheduler, parser, namespace.limits.max_outbox_bytes)
        self.namespace = namespace
        self.client_id = client_id
        #: The session that the handshake brought; "" for a guest.
        self.session_id = session_id
        self.user = user
        self.username: str = user.username if user is not None else ""
        #: The client's IP address.
        self.address = ip
        self.ctx: dict[str, Any] = {"username": self.username, "ip": ip}
        #: The message that `on_message` is called for.
        self.message: dict[str, Any] = {}
        #: Monotonic time of the next ping; the heartbeat spreads the first ones.
        self.next_ping_at = 0.0
        #: Payloads that wait for a busy handler; None until the first one does.
        self._inbox: deque[tuple[int, bytes]] | None = None
        self._inbox_bytes = 0
        #: True while an async handler of this connection is at work.
        self._busy = False
        #: True if what the handler at work raises is told to the client.
        self._answered = False
        #: True from the end of the connection until `on_disconnect` is called.
        self._ended = False
        self._tokens = 2.0 * namespace.limits.max_messages_per_second
        self._tokens_at = self.last_heard
        #: Messages dropped since the client last kept to its rate.
        self._dropped = 0
        self._dropped_at = self._dropping_since = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether a handler of this connection is at work, so that its silence may be ours."""
        return self._busy

    def send(self, data: Mapping[str, Any], ctx: wire.Context | None = None) -> None:
        """
        Send to this one socket, unlike `send_to_client`, which reaches all sockets of a client id.

        Never blocks; TypeError if JSON cannot carry `data`.
        """
        frame = wire.frame(wire.success(data, ctx))
        self.namespace.count_sent(data, ctx, frame)
        self.send_frame(frame)

    def start(self) -> None:
        """Join the namespace, send `connected` as the first frame and call `on_connect`."""
        self.namespace.join(self)
        self.send_frame(
            wire.frame(
                wire.plain_success(
                    {
                        "type": "connected",
                        "clientId": self.client_id,
                        "namespace": self.namespace.path,
                        "username": self.username,
                    }
                )
            )
        )
        self._work_on(self._call(self.namespace.connect_handler))

    # What comes in

    def on_payload(self, opcode: int, payload: bytes) -> None:
        """Answer a ping at once; hand anything else to the handler, or let it wait for its turn."""
        if len(payload) <= MAX_PING_BYTES and b'"p' in payload and self._is_reserved(payload):
            return
        if not self._within_rate():
            return
        if self._busy:
            self._keep(opcode, payload)
        else:
            self._work_on(self._handle(opcode, payload))

    def _is_reserved(self, payload: bytes) -> bool:
        """Take care of `{"type": "ping"}` and `{"type": "pong"}`, which reach no handler."""
        try:
            return self._took_reserved(wire.decode(payload))
        except InvalidMessage:
            return False

    def _took_reserved(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind == "ping":
            self.send_frame(PONG_ENVELOPE)
        return kind == "ping" or kind == "pong"

    def _within_rate(self) -> bool:
        """Take a token from the bucket: `max_messages_per_second`, twice that at once."""
        rate = self.namespace.limits.max_messages_per_second
        if not rate:
            return True
        now = self.last_heard
        tokens = min(2.0 * rate, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return True
        self._tokens = tokens
        self._drop(now, rate)
        return False

    def _drop(self, now: float, rate: int) -> None:
        if now - self._dropped_at > FORGIVEN_AFTER_SECONDS:
            self._dropped, self._dropping_since = 0, now
        self._dropped += 1
        self._dropped_at = now
        self.namespace.on_dropped(self)
        over_time = now - self._dropping_since >= MAX_SECONDS_OVER_RATE
        if over_time or self._dropped > MAX_DROPPED_SECONDS * rate:
            self.close(CloseCode.TOO_MANY_MESSAGES, f"More than {rate} messages a second, again and again")
        else:
            self.send_frame(TOO_MANY_MESSAGES)

    def _keep(self, opcode: int, payload: bytes) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append((opcode, payload))
        self._inbox_bytes += len(payload)
        if self._inbox_is_full():
            self.pause_reading()

    def _inbox_is_full(self) -> bool:
        limits = self.namespace.limits
        return self._inbox is not None and (
            len(self._inbox) >= limits.max_inbox_messages or self._inbox_bytes >= limits.max_message_bytes
        )

    # Handlers, one at a time

    def _handle(self, opcode: int, payload: bytes) -> Awaitable[Any] | None:
        """Call `on_message`; what it returns if that is to be awaited."""
        try:
            if opcode != wire.TEXT:
                raise InvalidMessage("a binary message")
            message = wire.decode(payload)
        except InvalidMessage as error:
            log.debug("%s: client %s sent no message: %s", self.namespace.path, self.client_id, error)
            self.namespace.on_invalid(self)
            answer = wire.failure("Invalid message format", 400, username=self.username)
            self.send_frame(wire.frame(answer))
            return None
        if self._took_reserved(message):
            return None
        message["username"] = self.username
        self.message = message
        self.namespace.on_received(self, message, payload)
        return self._call(self.namespace.message_handler, answered=True)

    def _call(self, handler: Handler, *, answered: bool = False) -> Awaitable[Any] | None:
        self._answered = answered
        try:
            result = handler(self)
        except BaseException as error:  # noqa: BLE001 - whatever an application raises, even SystemExit
            self._on_handler_error(error)
            return None
        return result if result is not None and isawaitable(result) else None

    def _work_on(self, pending: Awaitable[Any] | None) -> None:
        if pending is not None:
            self._busy = True
            self.scheduler.spawn(self._work(pending))

    async def _work(self, pending: Awaitable[Any] | None) -> None:
        """Await a handler, then those of the messages that came meanwhile: one task for all of them."""
        while pending is not None:
            try:
                await pending
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    self._give_up()
                    raise
                self._on_handler_error(error)
            except BaseException as error:
                if not _in_task():
                    # The loop is gone and Python closes what is left.
                    raise
                self._on_handler_error(error)
            pending = self._next_in_turn()
        self._busy = False
        if self._reading_paused:
            self.resume_reading()

    def _next_in_turn(self) -> Awaitable[Any] | None:
        """Go through what waits until something is to be awaited, and say good-bye last."""
        while self._inbox:
            opcode, payload = self._inbox.popleft()
            self._inbox_bytes -= len(payload)
            pending = self._handle(opcode, payload)
            if self._reading_paused and not self._inbox_is_full():
                self.resume_reading()
            if pending is not None:
                return pending
        if self._ended:
            self._ended = False
            return self._call(self.namespace.disconnect_handler)
        return None

    def _give_up(self) -> None:
        """Say good-bye although a handler was cut short: a drain is over."""
        if self._inbox:
            self._inbox.clear()
        pending = self._next_in_turn()
        if pending is not None:
            # It gets the moment that the loop still has.
            self.scheduler.spawn(_await(pending))

    def _on_handler_error(self, error: BaseException) -> None:
        """Log what a handler raised; the client hears of it if it was `on_message`."""
        path = self.namespace.path
        if isinstance(error, ClientError):
            code, text = error.code, _text_of(error)
            log.info("%s: refused client %s: %s", path, self.client_id, text)
        else:
            log.error("%s: a handler failed for client %s", path, self.client_id, exc_info=error)
            code = 500
            text = f"{type(error).__name__}: {_text_of(error)}" if self.namespace.debug else ERROR_TEXTS[500]
        if self._answered:
            self.send_frame(wire.frame(wire.failure(text, code)))

    # The end

    def on_end(self, *, by_peer: bool) -> None:
        """Leave the namespace and call `on_disconnect`, after what the client sent before it went."""
        if self._inbox and not by_peer:
            self._inbox.clear()
            self._inbox_bytes = 0
        if not by_peer and self.close_code not in (CloseCode.NORMAL, CloseCode.RESTART):
            log.info("%s: client %s closed with %d", self.namespace.path, self.client_id, self.close_code)
        self.namespace.leave(self)
        self._ended = True
        # In a turn of its own: a good-bye that is broadcast may end others, whose good-byes end others...
        self.scheduler.call_soon(self._say_goodbye)

    def _say_goodbye(self) -> None:
        if not self._busy:
            self._work_on(self._next_in_turn())

    def on_closed(self) -> None:
        """Give the place back that the handshake took."""
        self.namespace.on_socket_closed(self)


def _text_of(error: BaseException) -> str:
    """What an exception says, in characters that can be sent, even if it cannot say it."""
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - an application's __str__ raises what it likes
        return "it cannot be shown"


def _is_cancelled() -> bool:
    """Tell a task that is being cancelled from a handler that raised CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _in_task() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


async def _await(pending: Awaitable[Any]) -> None:
    await pending
