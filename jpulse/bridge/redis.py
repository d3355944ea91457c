"""
The bridge over Redis publish and subscribe.

Two connections: one hears, one publishes. Each is made again, with backoff and jitter,
whenever it ends. That both work is proven by a canary, a packet to this process itself
that has to come back every few seconds; a listener that is deaf does not know it.

Redis tells a publisher that a packet arrived. What was under way when a connection broke
is sent again, and the receivers leave out what they had already, by its sequence number.
So packets arrive once and in order, or are counted as lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, RedisError

from ..errors import StartError
from ..redis_url import options_of, wrong_url
from ..timers import Repeating, backoff_seconds
from .base import (
    ALL,
    DOWN,
    FLEETING,
    UP,
    Bridge,
    BridgeEvents,
    Damaged,
    Kind,
    NewerVersion,
    Packet,
    decode,
    encode,
    own_topic,
    sender_of,
)
from .link import Link, command, publish_command

log = logging.getLogger("jpulse.bridge")

#: A canary is sent this often, and its predecessor has to be back by then.
CANARY_SECONDS = 2.0
#: After so many that did not come back, both connections are made anew.
MAX_MISSED = 2
#: What may pass until Redis accepts a connection and answers its first commands.
CONNECT_SECONDS = 3.0
#: How long a starting server waits for the bridge.
START_SECONDS = 3.0
#: How long a namespace's first client waits for the namespace to be heard.
ATTEND_SECONDS = 1.0
#: How long what has waited during an outage waits for the other processes to be back too.
GATHER_SECONDS = 3.0
STOP_SECONDS = 1.0
#: Between two attempts: doubled from the first to the last, and then up to half of it taken off at random.
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 2.0
#: Sent before their answers are awaited.
BATCH_PACKETS, BATCH_BYTES = 500, 256 * 1024

#: What a connection that does not work raises.
TROUBLE = (RedisError, OSError, EOFError, TimeoutError)


class _Item(NamedTuple):
    """A packet that waits to go out."""

    command: bytes
    since: float


class RedisBridge(Bridge):
    """
    Speaks to one Redis or Valkey server.

    While it is down, up to `max_queue_bytes` wait, none longer than `max_queue_seconds`;
    the rest is counted as lost. Whoever can write to that Redis can speak to all clients.
    """

    state = DOWN

    def __init__(
        self,
        url: str,
        prefix: str = "jpulse",
        *,
        max_queue_bytes: int = 8 * 1024 * 1024,
        max_queue_seconds: float = 30.0,
    ) -> None:
        super().__init__()
        self._prefix = f"{prefix}:"
        self._max_queue_bytes = max_queue_bytes
        self._max_queue_seconds = max_queue_seconds
        self._pool = _make_pool(url)
        #: Set by `start`.
        self._events: BridgeEvents | None = None
        self._own_topic = own_topic(self.instance)
        self._listener = _Line("listener", self._pool, self._listen, self._on_heard, self._on_line_ended)
        self._publisher = _Line(
            "publisher", self._pool, self._begin_publishing, self._on_acknowledged, self._on_line_ended
        )
        self._checks = Repeating(self._check, CANARY_SECONDS)
        # Out
        self._queue: deque[_Item] = deque()
        self._queued_bytes = 0
        #: So many at the head of the queue have been sent and are not acknowledged.
        self._under_way = 0
        #: True while a flush is planned for the end of this turn of the loop.
        self._flush_planned = False
        #: True while the publisher may send: it is connected, and the others are back.
        self._publishing = False
        self._sequences: dict[str, int] = {}
        # In
        self._topics: dict[bytes, str] = {}
        self._wanted: set[str] = set()
        self._heard: set[str] = set()
        self._attending: dict[str, asyncio.Future[None]] = {}
        #: What Redis has been asked for on the present connection.
        self._asked: set[str] = set()
        self._ask_planned = False
        #: Set while this process hears what is meant for all.
        self._listening = asyncio.Event()
        #: The last sequence number in each topic of each sender.
        self._seen: dict[str, dict[bytes, int]] = {}
        # Proof
        #: Monotonic time of the canary that is under way.
        self._canary_at: float | None = None
        self._missed = 0
        self._was_up = False
        #: Why a connection has ended last.
        self._trouble: BaseException | None = None
        self._proven = asyncio.Event()
        self._down_since = monotonic()
        #: What had been lost when the bridge went down.
        self._lost_before = 0
        #: Processes that heard before the bridge went down, this one among them.
        self._audience = 1
        for topic in (self._own_topic, ALL):
            self.subscribe(topic)

    # Beginning and end

    async def start(self, events: BridgeEvents) -> None:
        """Begin; StartError if Redis refuses who we are, which waiting does not mend."""
        self._events = events
        self._listener.start()
        self._publisher.start()
        self._checks.start()
        if await self._first_of(self._proven, self._listener.refused, self._publisher.refused) is None:
            why = _why(self._trouble)
            log.warning("Redis does not answer (%s); this process serves its own clients until it does", why)
            events.on_bridge(DOWN)
        elif not self._proven.is_set():
            await self._end()
            raise StartError("redis_url: Redis refuses the user or the password, or what they may do")

    async def _first_of(self, *events: asyncio.Event) -> object:
        waiting = [asyncio.ensure_future(each.wait()) for each in events]
        done, _ = await asyncio.wait(waiting, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        return next(iter(done), None)

    async def stop(self) -> None:
        """Send what waits, for a second at most, and end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while self._queue and self.state == UP:
                    await asyncio.sleep(0.005)
        await self._end()

    async def _end(self) -> None:
        self._checks.stop()
        await self._publisher.stop()
        await self._listener.stop()
        await self._pool.aclose()

    # Out

    def publish(self, topic: str, kind: Kind, payload: bytes, target: str = "") -> None:
        """Queue a packet; what cannot wait or does not fit is lost, and counted."""
        if self.state == DOWN and kind in FLEETING:
            return
        sequence = self._sequences[topic] = self._sequences.get(topic, 0) + 1
        item = self._item(topic, kind, sequence, payload, target)
        if self._queued_bytes + len(item.command) > self._max_queue_bytes:
            self.figures.lost += 1
            return
        self._queue.append(item)
        self._queued_bytes += len(item.command)
        if not self._flush_planned and not self._under_way and self._publishing:
            self._plan_flush()

    def _item(self, topic: str, kind: Kind, sequence: int, payload: bytes, target: str = "") -> _Item:
        data = encode(Packet(topic, kind, self.instance, sequence, target, payload))
        channel = (self._prefix + topic).encode()
        return _Item(publish_command(channel, data), monotonic())

    @property
    def queued(self) -> int:
        """Packets that wait to go out, those under way among them."""
        return len(self._queue)

    async def _begin_publishing(self, link: Link) -> None:
        """Send what is queued; what was under way when the last connection broke goes again."""
        self._under_way = 0
        await self._listening.wait()
        await self._gather(link)
        self._drop_old(monotonic())
        self._publishing = True
        self._send_canary()

    def _plan_flush(self) -> None:
        """Send at the end of this turn of the loop, all that it brings in one write."""
        self._flush_planned = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """
        Send the head of the queue, unless the last batch is not acknowledged yet.

        Meanwhile others queue up: the busier the bridge, the larger the batches.
        """
        self._flush_planned = False
        link = self._publisher.link
        if link is None or self._under_way or not self._publishing or not self._queue:
            return
        commands, size = [], 0
        for item in self._queue:
            commands.append(item.command)
            size += len(item.command)
            if len(commands) == BATCH_PACKETS or size > BATCH_BYTES:
                break
        self._under_way = len(commands)
        link.write(b"".join(commands))

    def _on_acknowledged(self, reply: Any) -> None:
        """Take off what Redis has published."""
        if not self._under_way:
            raise _damaged(reply)
        item = self._queue.popleft()
        self._queued_bytes -= len(item.command)
        self._under_way -= 1
        self.figures.published += 1
        if not self._under_way and self._queue:
            self._flush()

    async def _gather(self, link: Link) -> None:
        """
        Wait until as many processes hear as did before the outage.

        All of them lost their connections when Redis was restarted. What is published before
        they have come back is lost for them.
        """
        deadline = monotonic() + GATHER_SECONDS
        while self._queue and self._audience > 1 and monotonic() < deadline:
            if _listeners(await link.ask("PUBSUB", "NUMSUB", self._prefix + ALL)) >= self._audience:
                return
            await asyncio.sleep(0.05)

    def _drop_old(self, now: float) -> None:
        """Give up what has waited too long to mean anything."""
        while self._queue and now - self._queue[0].since > self._max_queue_seconds:
            self._queued_bytes -= len(self._queue.popleft().command)
            self.figures.lost += 1

    # In

    def subscribe(self, topic: str) -> None:
        """Hear a topic from soon on, whatever its sequence numbers were before."""
        if topic not in self._wanted:
            self._wanted.add(topic)
            self._topics[(self._prefix + topic).encode()] = topic
            self._seen[topic] = {}
            self._plan_asking()

    def unsubscribe(self, topic: str) -> None:
        """Hear a topic no more."""
        if topic in self._wanted:
            self._wanted.discard(topic)
            self._heard.discard(topic)
            self._seen.pop(topic, None)
            self._plan_asking()

    def forget(self, sender: bytes) -> None:
        """Let go of what is kept of a process that will not send again."""
        for seen in self._seen.values():
            seen.pop(sender, None)

    def hears(self, topic: str) -> bool:
        """Tell whether Redis has confirmed that we hear a topic."""
        return topic in self._heard

    async def attend(self, topic: str) -> None:
        """Hear a topic, and return when Redis has confirmed it, or in a second if it does not."""
        self.subscribe(topic)
        if self.state == DOWN or topic in self._heard:
            return
        if topic not in self._attending:
            self._attending[topic] = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._attending[topic]], timeout=ATTEND_SECONDS)

    async def _listen(self, link: Link) -> None:
        """Subscribe to what is wanted."""
        self._asked = set()
        self._heard.clear()
        self._ask()

    def _plan_asking(self) -> None:
        """Tell Redis of what has changed at the end of this turn of the loop."""
        if self._listener.link is not None and not self._ask_planned:
            self._ask_planned = True
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        """Tell Redis what is wanted and what is not any more."""
        self._ask_planned = False
        link = self._listener.link
        if link is None:
            return
        # ALL comes last: who counts those who hear it wants to know that they hear the rest too.
        new = sorted(self._wanted - self._asked, key=lambda topic: topic == ALL)
        old = sorted(self._asked - self._wanted)
        self._asked = set(self._wanted)
        for word, topics in (("SUBSCRIBE", new), ("UNSUBSCRIBE", old)):
            if topics:
                link.write(command(word, *(self._prefix + topic for topic in topics)))

    def _on_heard(self, reply: Any) -> None:
        try:
            word, channel, rest = reply
            topic = "" if word == b"unsubscribe" else self._topics[channel]
        except (KeyError, TypeError, ValueError):
            raise _damaged(reply) from None
        if word == b"message":
            if not isinstance(rest, bytes):
                raise _damaged(reply)
            self._on_message(topic, rest)
        elif word == b"subscribe":
            self._on_subscribed(topic)

    def _on_subscribed(self, topic: str) -> None:
        if topic in self._wanted:
            self._heard.add(topic)
        waiting = self._attending.pop(topic, None)
        if waiting is not None:
            waiting.set_result(None)
        if topic == ALL:
            self._listening.set()
            if self._publishing:
                self._send_canary()

    def _on_message(self, topic: str, data: bytes) -> None:
        if sender_of(data) == self.instance:
            if topic == self._own_topic:
                self._on_canary(data)
            return
        seen = self._seen.get(topic)
        packet = self._read(topic, data)
        if packet is None or seen is None:
            return
        last = seen.get(packet.sender, packet.sequence - 1)
        if packet.sequence <= last:
            self.figures.duplicates += 1
            return
        seen[packet.sender] = packet.sequence
        self.figures.received += 1
        self._deliver(packet, gap=packet.sequence - last - 1)

    def _read(self, topic: str, data: bytes) -> Packet | None:
        try:
            return decode(topic, data)
        except NewerVersion as error:
            if not self.figures.newer:
                log.warning("a packet of a newer jPulse was left out, as others will be: %s", error)
            self.figures.newer += 1
        except Damaged as error:
            if not self.figures.damaged:
                log.warning("a packet on %s is damaged and was left out: %s", topic, error)
            self.figures.damaged += 1
        return None

    def _deliver(self, packet: Packet, gap: int) -> None:
        assert self._events is not None
        try:
            if gap:
                self.figures.gaps += gap
                self._events.on_gap(packet.topic, packet.sender)
            self._events.on_packet(packet)
        except Exception:
            # One packet that cannot be handled must not make this process deaf.
            log.exception("a packet of kind %s could not be handled", packet.kind.name)

    # Proof

    def _send_canary(self) -> None:
        """Send a packet to this process, before all that waits."""
        now = self._canary_at = monotonic()
        item = self._item(self._own_topic, Kind.CANARY, 0, repr(now).encode())
        self._queue.insert(self._under_way, item)
        self._queued_bytes += len(item.command)
        self._flush()

    def _on_canary(self, data: bytes) -> None:
        packet = self._read(self._own_topic, data)
        if packet is None or packet.payload != repr(self._canary_at).encode():
            return
        assert self._canary_at is not None
        self.figures.lag_seconds = monotonic() - self._canary_at
        self._canary_at = None
        self._missed = 0
        self._go_up()

    def _check(self) -> None:
        """Look whether the last canary has come back, and send the next."""
        if not (self._publishing and self._listening.is_set()):
            return
        if self._canary_at is None:
            self._send_canary()
            return
        self._missed += 1
        if self._missed >= MAX_MISSED:
            log.warning("nothing comes back from Redis; the connections are made anew")
            self._listener.restart()
            self._publisher.restart()

    def _on_line_ended(self, name: str, error: BaseException | None) -> None:
        self._trouble = error
        if name == "listener":
            self._listening.clear()
            self._heard.clear()
        else:
            self._publishing = False
        self._canary_at = None
        self._missed = 0
        self._proven.clear()
        if self.state == DOWN:
            return
        assert self._events is not None
        self.state = DOWN
        self._down_since = monotonic()
        self._lost_before = self.figures.lost
        self._audience = 1 + self._events.others()
        log.warning("Redis is lost (%s: %s); each process serves its own clients", name, _why(error))
        self._events.on_bridge(DOWN)

    def _go_up(self) -> None:
        self._proven.set()
        if self.state == UP:
            return
        assert self._events is not None
        self.state = UP
        if self._was_up:
            self.figures.reconnects += 1
            lost = self.figures.lost - self._lost_before
            seconds = monotonic() - self._down_since
            log.info("Redis is back after %.1f s; %d packets were lost", seconds, lost)
        self._was_up = True
        self._events.on_bridge(UP)

    def down_seconds(self) -> float:
        """How long the bridge has been down; 0 if it is up."""
        return 0.0 if self.state == UP else monotonic() - self._down_since


class _Line:
    """A connection to Redis that is made again, with backoff and jitter, whenever it ends."""

    def __init__(
        self,
        name: str,
        pool: ConnectionPool,
        begin: Callable[[Link], Coroutine[Any, Any, None]],
        on_reply: Callable[[Any], None],
        on_end: Callable[[str, BaseException | None], None],
    ) -> None:
        self._name = name
        self._pool = pool
        self._begin = begin
        self._on_reply = on_reply
        self._on_end = on_end
        self._runner: asyncio.Task[None] | None = None
        #: The work on the present connection.
        self._work: asyncio.Task[None] | None = None
        #: The present connection, from the moment on at which Redis has let us in.
        self.link: Link | None = None
        #: Set when Redis has said that it will not have us.
        self.refused = asyncio.Event()

    def start(self) -> None:
        """Connect from now on."""
        self._runner = asyncio.get_running_loop().create_task(self._run())

    def restart(self) -> None:
        """Cut the present connection, which may be dead without knowing it."""
        if self._work is not None:
            self._work.cancel()

    async def stop(self) -> None:
        """Disconnect for good."""
        for task in (self._runner, self._work):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _run(self) -> None:
        attempts = 0
        while True:
            began = monotonic()
            self._work = asyncio.ensure_future(self._connect_and_use())
            await asyncio.wait([self._work])
            error = None if self._work.cancelled() else self._work.exception()
            if error is not None and not isinstance(error, TROUBLE):
                log.error("the %s failed and begins anew", self._name, exc_info=error)
            if isinstance(error, AuthenticationError | NoPermissionError):
                self.refused.set()
            self._on_end(self._name, error)
            attempts = 0 if monotonic() - began > LAST_RETRY_SECONDS else attempts + 1
            await asyncio.sleep(retry_seconds(attempts, random.random()))

    async def _connect_and_use(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
            self.link = Link(connection, self._on_reply)
            await self._begin(self.link)
            await self.link.lost
        finally:
            if self.link is not None:
                self.link.close()
                self.link = None
            await connection.disconnect(nowait=True)


def _listeners(reply: Any) -> int:
    """How many listen to the one topic that PUBSUB NUMSUB was asked for."""
    try:
        return int(reply[1])
    except (IndexError, TypeError, ValueError):
        raise _damaged(reply) from None


def _damaged(reply: Any) -> InvalidResponse:
    """What to raise for an answer to nothing that was asked: bytes were lost on its way."""
    return InvalidResponse(f"not an answer to what was asked: {reply!r:.100}")


def retry_seconds(attempts: int, chance: float) -> float:
    """How long to wait before an attempt; `chance` (0 to 1) takes up to half of it off."""
    return backoff_seconds(attempts, FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS) * (1 - chance / 2)


def _make_pool(url: str) -> ConnectionPool:
    # What is TCP's own option is none for a unix socket.
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = ConnectionPool(
        **{
            **options_of(url),
            # Version 2: what is heard comes as plain answers.
            "protocol": 2,
            # A listener waits without end; the canary finds out who is dead.
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
            **keepalive,
        }
    )
    try:
        # Nothing is opened yet, but options that do not exist show.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise wrong_url(url, error) from None
    return pool


def _why(error: BaseException | None) -> str:
    """One line of what went wrong; without an error the connection was given up."""
    return "no sign of life" if error is None else str(error) or type(error).__name__
