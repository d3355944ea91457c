"""
One client's connection to a namespace: identity, JSON, one message at a time, the message rate.

What RFC 6455 asks for beneath that is in `websocket`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Protocol

from . import wire
from .deflate import MIN_BYTES
from .errors import ERROR_TEXTS, ClientError, CloseCode, InvalidMessage
from .names import name_key
from .stats import NamespaceStats
from .steps import Steps
from .websocket import BaseConnection, Scheduler

log = logging.getLogger("jpulse.connection")

Handler = Callable[["Connection"], Any]

_serials = count(1)

PONG_ENVELOPE = wire.frame(wire.plain_success({"type": "pong"}))
TOO_MANY_MESSAGES = wire.frame(wire.failure("Too many messages; slow down", 429))
RESERVED_TYPES = ("ping", "pong")
#: Only messages up to this size are looked into before their turn, for pings.
MAX_PING_BYTES = 128
#: Pings, pongs and fragments that a client may send a second, twice that at once; 1 % of a core.
MAX_FRAMES_PER_SECOND = 1000
#: A client that stays above its rate is closed after so many seconds, or so many seconds' worth of drops.
MAX_SECONDS_OVER_RATE = 5.0
MAX_DROPPED_SECONDS = 20
#: So long without a dropped message, and what was dropped before is forgiven.
FORGIVEN_AFTER_SECONDS = 2.0


@dataclass(slots=True)
class Limits:
    """What one connection of a namespace may cost; see the settings of these names."""

    max_message_bytes: int
    max_messages_per_second: int
    max_outbox_bytes: int
    max_inbox_messages: int
    max_json_depth: int
    message_seconds: float
    handler_seconds: float
    blocking_seconds: float


class Owner(Protocol):
    """What a connection tells the namespace that it belongs to, and reads of it."""

    path: str
    limits: Limits
    stats: NamespaceStats
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

    def on_dropped(self, reason: str) -> None:
        """Count a message that was dropped; the reasons are stats.DROP_REASONS."""

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
        "_began_at",
        "_busy",
        "_cut_at",
        "_cuts",
        "_dropped",
        "_dropped_at",
        "_dropping_since",
        "_ended",
        "_frame_tokens",
        "_frame_tokens_at",
        "_handler",
        "_inbox",
        "_inbox_bytes",
        "_task",
        "_tokens",
        "_tokens_at",
        "address",
        "client_id",
        "ctx",
        "message",
        "namespace",
        "next_ping_at",
        "received_messages",
        "serial",
        "session_id",
        "since",
        "user",
        "user_key",
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
        #: The same for every spelling of the name; "" for a guest.
        self.user_key = name_key(self.username) if self.username else ""
        #: The client's IP address.
        self.address = ip
        self.ctx: dict[str, Any] = {"username": self.username, "ip": ip}
        #: The message that `on_message` is called for.
        self.message: dict[str, Any] = {}
        #: Tells this connection from every other one of the process, past ones too.
        self.serial = next(_serials)
        #: Monotonic time of the handshake.
        self.since = self.last_heard
        self.received_messages = 0
        #: The handler at work, and the monotonic time at which it was called.
        self._handler: Handler = namespace.connect_handler
        self._began_at = 0.0
        #: The task of an async handler, and the monotonic time at which it has worked too long.
        self._task: asyncio.Task[None] | None = None
        self._cut_at = inf
        #: How often it was cancelled for that, and has gone on.
        self._cuts = 0
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
        #: The same for frames that are no messages.
        self._frame_tokens = 2.0 * MAX_FRAMES_PER_SECOND
        self._frame_tokens_at = self.last_heard
        #: Messages dropped since the client last kept to its rate.
        self._dropped = 0
        self._dropped_at = self._dropping_since = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether a handler of this connection is at work, so that its silence may be ours."""
        return self._busy

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line about this connection has beside its text; see `logs`."""
        return {
            "namespace": self.namespace.path,
            "client_id": self.client_id,
            "user": self.username,
            "address": self.address,
        }

    def send(self, data: Mapping[str, Any], ctx: wire.Context | None = None) -> None:
        """
        Send to this one socket, unlike `send_to_client`, which reaches all sockets of a client id.

        Never blocks; TypeError if JSON cannot carry `data`.
        """
        frame = wire.frame(wire.success(data, ctx))
        self.namespace.count_sent(data, ctx, frame)
        plain_bytes = len(frame)
        if self.window_bits and plain_bytes >= MIN_BYTES:
            frame = wire.compressed(frame, self.window_bits)
        self.namespace.stats.delivered(1, len(frame), plain_bytes - len(frame))
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
        # Looked for first, so that no other message is decoded twice.
        named = len(payload) <= MAX_PING_BYTES and (b'"ping"' in payload or b'"pong"' in payload)
        if named and opcode == wire.TEXT and self._is_reserved(payload):
            return
        if self.namespace.limits.max_messages_per_second and not self._within_rate():
            return
        if self._busy:
            self._keep(opcode, payload)
        else:
            pending = self._handle(opcode, payload)
            if pending is not None:
                self._work_on(pending)

    def _is_reserved(self, payload: bytes) -> bool:
        """Take care of `{"type": "ping"}` and `{"type": "pong"}`, which reach no handler."""
        try:
            return self._took_reserved(wire.decode(payload))
        except InvalidMessage:
            return False

    def _took_reserved(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind not in RESERVED_TYPES:
            return False
        if self.within_frame_rate() and kind == "ping":
            self.send_frame(PONG_ENVELOPE)
        return True

    def within_frame_rate(self, count: int = 1) -> bool:
        """Count pings, pongs and fragments; who sends them without end is closed with 4429."""
        if not self.namespace.limits.max_messages_per_second:
            return True
        now, rate = self.last_heard, MAX_FRAMES_PER_SECOND
        tokens = _refilled(self._frame_tokens, now - self._frame_tokens_at, rate) - count
        self._frame_tokens, self._frame_tokens_at = tokens, now
        if tokens >= 0:
            return True
        self.namespace.on_dropped("frames")
        self.close(CloseCode.TOO_MANY_MESSAGES, f"More than {rate} pings or fragments a second")
        return False

    def _within_rate(self) -> bool:
        """Take a token from the bucket: `max_messages_per_second`, twice that at once."""
        rate = self.namespace.limits.max_messages_per_second
        now = self.last_heard
        tokens = _refilled(self._tokens, now - self._tokens_at, rate)
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
        self.namespace.on_dropped("rate")
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
            self.namespace.stats.pauses += 1
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
            message = wire.decode(payload, self.namespace.limits.max_json_depth)
        except InvalidMessage as error:
            log.debug(
                "%s: client %s sent no message: %s",
                self.namespace.path,
                self.client_id,
                error,
                extra=self.log_fields,
            )
            self.namespace.on_dropped("invalid")
            answer = wire.failure("Invalid message format", 400, username=self.username)
            self.send_frame(wire.frame(answer))
            return None
        if message.get("type") in RESERVED_TYPES and self._took_reserved(message):
            return None
        message["username"] = self.username
        self.message = message
        self.received_messages += 1
        self.namespace.on_received(self, message, payload)
        return self._call(self.namespace.message_handler, answered=True)

    def _call(self, handler: Handler, *, answered: bool = False) -> Awaitable[Any] | None:
        self._handler, self._answered = handler, answered
        self._began_at = began = monotonic()
        try:
            result = handler(self)
        except BaseException as error:  # noqa: BLE001 - whatever an application raises, even SystemExit
            self._on_handler_error(error)
            result = None
        seconds = monotonic() - began
        if seconds >= self.namespace.limits.blocking_seconds:
            self._on_blocked(seconds)
        if result is not None and isawaitable(result):
            return Steps(result, self.namespace.limits.blocking_seconds, self._on_blocked)
        if answered:
            self.namespace.stats.handled(seconds)
        return None

    def _on_blocked(self, seconds: float) -> None:
        log.warning(
            "%s: %s kept the whole process waiting for %.1f s; work that blocks belongs in a thread",
            self.namespace.path,
            _name_of(self._handler),
            seconds,
            extra=self.log_fields,
        )

    def _work_on(self, pending: Awaitable[Any] | None) -> None:
        if pending is not None:
            self._busy = True
            self.scheduler.working.add(self)
            self._task = self.scheduler.spawn(self._work(pending))

    async def _work(self, pending: Awaitable[Any] | None) -> None:
        """Await a handler, then those of the messages that came meanwhile: one task for all of them."""
        limit = self.namespace.limits.handler_seconds
        while pending is not None:
            self._cut_at = self._began_at + limit if limit else inf
            try:
                await pending
            except asyncio.CancelledError as error:
                overdue = self._take_cut()
                if _is_cancelled():
                    self._give_up()
                    raise
                self._on_handler_error(overdue or error)
            except BaseException as error:
                if not _in_task():
                    # The loop is gone and Python closes what is left.
                    raise
                self._on_handler_error(error)
            self._take_cut()
            if self._answered:
                self.namespace.stats.handled(monotonic() - self._began_at)
            pending = self._next_in_turn()
        self._stop_working()
        if self._reading_paused:
            self.resume_reading()

    def _stop_working(self) -> None:
        self._busy, self._task, self._cut_at = False, None, inf
        self.scheduler.working.discard(self)

    def cut_long_handler(self, now: float) -> None:
        """Cancel a handler that has worked too long; one that refuses is told again after as long."""
        if now < self._cut_at or self._task is None:
            return
        limit = self.namespace.limits.handler_seconds
        self._cut_at = now + limit
        log.error(
            "%s: %s is cancelled after %.1f s at work for client %s; the setting is handler_seconds",
            self.namespace.path,
            _name_of(self._handler),
            now - self._began_at,
            self.client_id,
            extra=self.log_fields,
        )
        if not self._cuts:
            self.namespace.on_dropped("overdue")
        self._cuts += 1
        self._task.cancel()

    def _take_cut(self) -> TimeoutError | None:
        """Let the task go on after its handler was cancelled for working too long; None if it was not."""
        if not self._cuts or self._task is None:
            return None
        while self._cuts:
            # Whoever else cancels the task, as the end of a drain does, is still heard.
            self._cuts -= 1
            self._task.uncancel()
        return TimeoutError("worked longer than the setting handler_seconds allows")

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
        self._stop_working()
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
            # Not at info: the text may quote what the client sent, and comes with each of its messages.
            log.debug("%s: refused client %s: %s", path, self.client_id, text, extra=self.log_fields)
        else:
            log.error(
                "%s: a handler failed for client %s",
                path,
                self.client_id,
                exc_info=error,
                extra=self.log_fields,
            )
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
            path, client_id = self.namespace.path, self.client_id
            log.info("%s: client %s closed with %d", path, client_id, self.close_code, extra=self.log_fields)
        if self.close_code == CloseCode.MESSAGE_TOO_BIG:
            self.namespace.on_dropped("size")
        elif self.close_code == CloseCode.TRY_AGAIN_LATER:
            self.namespace.on_dropped("slow")
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


def _name_of(handler: Handler) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)


def _refilled(tokens: float, seconds: float, rate: int) -> float:
    """What a bucket of twice the rate holds after so many seconds."""
    return min(2.0 * rate, tokens + seconds * rate)


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
