"""What administrators can do, over all processes: see connections, send, close, sign out, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec

from .auth import Auth
from .bridge.base import ALL, Bridge, Kind, Packet, own_topic
from .cluster import Cluster
from .connection import Connection
from .errors import ClientError
from .hub import Hub
from .namespace import Namespace, Registry

log = logging.getLogger("jpulse.admin")

#: How long the other processes have to answer.
ANSWER_SECONDS = 1.0
#: Connections of a namespace that one process tells of, the newest first.
MAX_TOLD = 2000


class Question(msgspec.Struct):
    """Asks all processes for the connections of a namespace."""

    id: str
    path: str


class Answer(msgspec.Struct):
    """What one process answers to a question or an order."""

    id: str
    connections: list[dict[str, Any]] = []
    #: False if there was nothing to do as told.
    done: bool = True


class Order(msgspec.Struct):
    """Tells one process to close a connection, or, without one, to drain."""

    id: str
    serial: int = 0
    code: int = 0


class Admin:
    """Acts for an administrator; whoever calls it has checked who that is, and writes it to the log."""

    def __init__(self, registry: Registry, hub: Hub, bridge: Bridge, cluster: Cluster, auth: Auth) -> None:
        self._registry = registry
        self._hub = hub
        self._bridge = bridge
        self._cluster = cluster
        self._auth = auth
        #: What this process sends itself when it is to drain.
        self.drain_signal = signal.SIGTERM
        #: Answers that are awaited, by the id of the question.
        self._asked: dict[str, asyncio.Queue[Answer]] = {}

    async def connections(self, path: str) -> list[dict[str, Any]]:
        """
        Tell of the connections of a namespace.

        Each has id, clientId, instance, user ("" for a guest), address, since and lastSeen
        (seconds since 1970), messagesIn, messagesOut and outboxBytes. A process that does
        not answer within a second is left out.
        """
        result = self._own_connections(path)
        others = self._cluster.others()
        if not others:
            return result
        question = Question(secrets.token_hex(8), path)
        for answer in await self._ask(ALL, Kind.QUESTION, question, others):
            result += answer.connections
        return result

    async def _ask(self, topic: str, kind: Kind, question: Question | Order, count: int) -> list[Answer]:
        """Send a question or an order, and wait for so many answers, a second at most."""
        answers = self._asked[question.id] = asyncio.Queue()
        own = own_topic(self._bridge.instance)
        self._bridge.publish(topic, kind, msgspec.json.encode(question), own)
        result: list[Answer] = []
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    while len(result) < count:
                        result.append(await answers.get())
        finally:
            del self._asked[question.id]
        return result

    def _own_connections(self, path: str) -> list[dict[str, Any]]:
        if self._registry.find(path) is None:
            return []
        newest = sorted(self._hub.members_of(path).connections, key=lambda each: -each.serial)[:MAX_TOLD]
        shift = time.time() - monotonic()
        return [self._describe(each, shift) for each in newest]

    def _describe(self, connection: Connection, shift: float) -> dict[str, Any]:
        instance = self._bridge.instance.hex()
        return {
            "id": f"{instance}-{connection.serial}",
            "instance": instance,
            "clientId": connection.client_id,
            "user": connection.username,
            "address": connection.address,
            "since": connection.since + shift,
            "lastSeen": connection.last_heard + shift,
            "messagesIn": connection.received_messages,
            "messagesOut": connection.sent_frames,
            "outboxBytes": connection.queued_bytes,
        }

    async def send(self, path: str, client_id: str | None, data: dict[str, Any]) -> None:
        """Send to one client, or with None to all of a namespace; ClientError 404 if there is none."""
        namespace = self._namespace(path)
        if client_id is None:
            namespace.broadcast(data)
        elif namespace.has_client(client_id):
            namespace.send_to_client(client_id, data)
        else:
            raise ClientError("There is no such client any more", 404)

    def _namespace(self, path: str) -> Namespace:
        namespace = self._registry.find(path)
        if namespace is None:
            raise ClientError("There is no such namespace", 404)
        return namespace

    async def close(self, connection_id: str, code: int) -> None:
        """Close one connection; ClientError 404 if it is gone."""
        instance, _, serial = connection_id.partition("-")
        if not serial.isdecimal() or not await self._order(instance, int(serial), code):
            raise ClientError("This connection is gone; it ended a moment ago", 404)

    async def sign_out(self, username: str) -> None:
        """End every session of a user, and close the sockets of all."""
        await self._auth.sign_out_user(username)

    async def drain(self, instance: str) -> None:
        """Let a process end as after SIGTERM; ClientError 404 if it is gone."""
        if not await self._order(instance):
            raise ClientError("This process is gone; another may have taken its place", 404)

    async def _order(self, instance: str, serial: int = 0, code: int = 0) -> bool:
        """Let a process do something; False if it is gone, or finds nothing to do."""
        order = Order(secrets.token_hex(8), serial, code)
        if instance == self._bridge.instance.hex():
            return self._obey(order)
        known = {peer.hex(): peer for peer in self._cluster.peers}
        if instance not in known:
            return False
        answers = await self._ask(own_topic(known[instance]), Kind.ORDER, order, 1)
        return any(answer.done for answer in answers)

    # From other processes

    def on_packet(self, packet: Packet) -> None:
        """Answer a question, take an answer, or do as told."""
        if packet.kind == Kind.QUESTION:
            question = msgspec.json.decode(packet.payload, type=Question)
            answer = Answer(question.id, self._own_connections(question.path))
            self._answer(packet, answer)
        elif packet.kind == Kind.ANSWER:
            given = msgspec.json.decode(packet.payload, type=Answer)
            if given.id in self._asked:
                self._asked[given.id].put_nowait(given)
        elif packet.kind == Kind.ORDER:
            order = msgspec.json.decode(packet.payload, type=Order)
            self._answer(packet, Answer(order.id, done=self._obey(order)))

    def _answer(self, packet: Packet, answer: Answer) -> None:
        self._bridge.publish(packet.target, Kind.ANSWER, msgspec.json.encode(answer))

    def _obey(self, order: Order) -> bool:
        if not order.serial:
            log.warning("an administrator lets this process drain")
            os.kill(os.getpid(), self.drain_signal)
            return True
        found = _with_serial(self._hub, order.serial)
        for connection in found:
            connection.close(order.code, "Closed by an administrator")
        return bool(found)


def _with_serial(hub: Hub, serial: int) -> Collection[Connection]:
    return [each for each in hub.connections() if each.serial == serial]
