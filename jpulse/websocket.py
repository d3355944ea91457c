"""
A WebSocket after the handshake, as RFC 6455 has it: frames in, frames out, the closing handshake.

It knows no namespaces and no JSON; `Connection` adds those. It does no I/O either: a
`Transport` brings bytes and takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Protocol

from . import wire
from .errors import CloseCode, ProtocolError

#: OPEN: both sides may send. CLOSING: our close frame is out, the peer's is awaited.
#: ENDING: nothing more is sent or heard, the peer's FIN is awaited. CLOSED: there is no socket.
OPEN, CLOSING, ENDING, CLOSED = "open", "closing", "ending", "closed"

PING_FRAME = wire.frame(b"", wire.PING)


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

    def discard_output(self) -> None:
        """Let the kernel throw away, when the socket is closed, what the peer has not taken."""

    def pause_reading(self) -> None:
        """Stop reading the socket; may be called again."""

    def resume_reading(self) -> None:
        """Read the socket again; may be called again."""


class Worker(Protocol):
    """Who has a handler at work."""

    def cut_long_handler(self, now: float) -> None:
        """Cancel the handler if it has worked too long at the monotonic time `now`."""


class NoTransport:
    """Stands in before a connection has its socket and after it has lost it."""

    blocked = False

    def send(self, data: bytes) -> int:
        """Drop the bytes."""
        return 0

    def half_close(self) -> None:
        """Do nothing."""

    abort = discard_output = pause_reading = resume_reading = half_close


NO_TRANSPORT = NoTransport()


def _call_soon(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


class Scheduler:
    """
    What all connections of a process share: the flush of a turn, closing deadlines, running handlers.

    What a connection is sent within one turn of the loop is joined and leaves in one
    `send()`: with 16 broadcasts in flight that is a tenth of the cost of one each.
    """

    __slots__ = ("call_soon", "close_seconds", "ending", "tasks", "waiting", "working")

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
        #: Who has one of them, and may have it only so long.
        self.working: set[Worker] = set()

    def plan_flush(self) -> None:
        """Flush at the end of this turn; call it before the first connection is put in `waiting`."""
        self.call_soon(self.flush)

    def flush(self) -> None:
        """Send the outboxes of all that wait."""
        connections, self.waiting = self.waiting, []
        for connection in connections:
            connection.flush()

    def cut_overdue(self, now: float) -> None:
        """End the sockets of those who did not finish closing in time, and handlers that work too long."""
        for connection in [each for each in self.ending if each.close_deadline <= now]:
            connection.cut()
        for worker in self.working:
            worker.cut_long_handler(now)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a handler in a task that a drain waits for."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class BaseConnection:
    """
    A WebSocket after the handshake: frames in, frames out, the closing handshake (RFC 6455 section 7).

    Subclasses take what comes in `on_payload`, hear of the end in `on_end`, once, when
    the first close frame is sent or received or the socket breaks, and in `on_closed`
    when the socket is gone.
    """

    __slots__ = (
        "_reading_paused",
        "_taken",
        "begun_at",
        "close_code",
        "close_deadline",
        "last_heard",
        "max_outbox_bytes",
        "outbox",
        "parser",
        "queued_bytes",
        "scheduler",
        "sent_frames",
        "state",
        "transport",
        "window_bits",
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
        #: Frames that have left the outbox, counted by the flush and not one by one.
        self.sent_frames = 0
        #: Monotonic time of the last bytes from the peer.
        self.last_heard = monotonic()
        #: Monotonic time at which the socket is cut; only meaningful after OPEN.
        self.close_deadline = 0.0
        #: Why the connection ended, a code of RFC 6455 section 7.4; 0 while it is open.
        self.close_code = 0
        #: Set by the handshake: the window for what it is sent compressed (see `deflate`); 0: nothing is.
        self.window_bits = 0
        self._reading_paused = False
        #: Monotonic time at which something began to come whose end is missing; 0 if nothing is.
        self.begun_at = 0.0
        #: What the parser had taken then.
        self._taken = 0

    # For subclasses

    def on_payload(self, opcode: int, payload: bytes) -> None:
        """Take a whole message; `opcode` is TEXT or BINARY."""
        raise NotImplementedError

    def within_frame_rate(self, count: int = 1) -> bool:
        """Tell whether so many frames that are no messages may come: pings, pongs and fragments."""
        return True

    def on_end(self, *, by_peer: bool) -> None:
        """Learn that nothing more can be sent or received; `by_peer` if it was not our doing."""

    def on_closed(self) -> None:
        """Learn that the socket is gone."""

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self.last_heard = monotonic()
        if self.state is OPEN and not self._reading_paused:
            payload = self.parser.take_only(data)
            if payload is not None:
                self.on_payload(wire.TEXT, payload)
                return
        if self.state is OPEN or self.state is CLOSING:
            self.parser.feed(data)
            self.read_frames()
            self._note_progress()

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

    def cut(self) -> None:
        """
        End a socket whose peer did not finish closing in time.

        Else the kernel would keep megabytes for a peer that does not read, for as long as the
        peer likes, and for each of its connections.
        """
        self.transport.discard_output()
        self.connection_lost()

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

    def _note_progress(self) -> None:
        """Note what is left unfinished, and since when; what comes by the short way leaves nothing."""
        parser = self.parser
        if not parser.unfinished:
            self.begun_at = 0.0
        elif not self.begun_at or self._taken != parser.taken:
            self.begun_at, self._taken = self.last_heard, parser.taken
        if parser.fragments and self.state is OPEN:
            count, parser.fragments = parser.fragments, 0
            self.within_frame_rate(count)

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
            self._note_progress()
            if not self._reading_paused:
                self.transport.resume_reading()

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.CLOSE:
            code, _ = wire.parse_close(payload)
            self._on_close_frame(code)
        elif self.state is OPEN and self.within_frame_rate() and opcode == wire.PING:
            self.send_frame(wire.frame(payload, wire.PONG))

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
            self.sent_frames += len(outbox)
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
