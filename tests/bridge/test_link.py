"""A connection to Redis whose transport was taken over from redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jpulse.bridge.link import Link, command, publish_command

from ..patience import LONG_SECONDS

Writer = asyncio.StreamWriter


class Answers:
    """A server that answers the first commands of redis-py, and after that as the test says."""

    def __init__(self) -> None:
        self.writer: Writer
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        """Answer each of the commands with which redis-py introduces itself, then keep what comes."""
        self.writer = writer
        while data := await reader.read(65536):
            introductions = data.count(b"SETINFO") + data.count(b"SETNAME")
            if introductions:
                writer.write(b"+OK\r\n" * introductions)
            else:
                self.received += data
        writer.close()


@asynccontextmanager
async def linked(chokes: bool) -> AsyncIterator[tuple[Link, Answers, list[Any]]]:
    """A link, the server at its other end, and the replies that were handed out."""
    answers = Answers()
    replies: list[Any] = []

    def take(reply: Any) -> None:
        replies.append(reply)
        if chokes:
            raise KeyError(reply)

    server = await asyncio.start_server(answers.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = ConnectionPool.from_url(f"redis://127.0.0.1:{port}", protocol=2)
    connection = pool.make_connection()
    await connection.connect()
    link = Link(connection, take)
    try:
        yield link, answers, replies
    finally:
        link.close()
        await connection.disconnect(nowait=True)
        await pool.aclose()
        server.close()
        await server.wait_closed()
        answers.writer.close()


Scenario = Callable[[Link, Answers, list[Any]], Awaitable[None]]


def run(scenario: Scenario, *, chokes: bool = False) -> None:
    """Run a test with a link, in a minute at most; `chokes` if replies cannot be taken."""

    async def main() -> None:
        async with asyncio.timeout(LONG_SECONDS), linked(chokes) as (link, answers, replies):
            await scenario(link, answers, replies)

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true; the scenario's time ends that."""
    while not condition():
        await asyncio.sleep(0.002)


def test_what_redis_py_keeps_to_itself() -> None:
    """The one private attribute of redis-py that a link takes is there, and None before it is connected."""
    connection = ConnectionPool.from_url("redis://127.0.0.1:1").make_connection()
    assert isinstance(connection, AbstractConnection)
    assert connection._writer is None
    with pytest.raises(RedisConnectionError):
        Link(connection, print)


def test_commands() -> None:
    """Commands are arrays of bulk strings, whose lengths count bytes."""
    assert command("PUBSUB", "NUMSUB", "ä") == b"*3\r\n$6\r\nPUBSUB\r\n$6\r\nNUMSUB\r\n$2\r\n\xc3\xa4\r\n"
    assert publish_command(b"a:b", b"\r\n\0") == b"*3\r\n$7\r\nPUBLISH\r\n$3\r\na:b\r\n$3\r\n\r\n\0\r\n"


def test_what_is_written_arrives() -> None:
    """Commands arrive in order, however large they are."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        data = [bytes((number,)) * 700_000 for number in range(5)]
        for each in data:
            link.write(each)
        await until(lambda: len(answers.received) == 3_500_000)
        assert answers.received == b"".join(data)

    run(scenario)


def test_replies_in_any_pieces() -> None:
    """Replies are handed out whole and in order, in whatever pieces they come."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        stream = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\n\r\n\0xy\r\n:17\r\n+OK\r\n$-1\r\n"
        for place in range(len(stream)):
            answers.writer.write(stream[place : place + 1])
            await answers.writer.drain()
            await asyncio.sleep(0)
        answers.writer.write(stream * 2)
        await until(lambda: len(replies) == 12)
        assert replies == [[b"message", b"a", b"\r\n\0xy"], 17, b"OK", None] * 3
        assert not link.lost.done()

    run(scenario)


def test_ask() -> None:
    """The answer to a question goes to who asked, what comes after it to the others."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        asked = asyncio.ensure_future(link.ask("PING", "x"))
        await until(lambda: answers.received == command("PING", "x"))
        answers.writer.write(b"$1\r\nx\r\n:2\r\n")
        assert await asked == b"x"
        await until(lambda: replies == [2])

    run(scenario)


@pytest.mark.parametrize("reply", [b"-ERR no\r\n", b"-NOPERM no\r\n", b"-LOADING no\r\n"])
def test_error(reply: bytes) -> None:
    """A command that Redis refuses ends the link, with what Redis said."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        answers.writer.write(b"+OK\r\n" + reply + b"+OK\r\n")
        with pytest.raises(ResponseError, match="no"):
            await link.lost
        assert replies == [b"OK"]

    run(scenario)


def test_garbage() -> None:
    """What is no reply ends the link."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        answers.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(RedisConnectionError):
            await link.lost
        assert replies == []

    run(scenario)


@pytest.mark.parametrize("way", ["close", "abort"])
def test_end_by_the_server(way: str) -> None:
    """A server that closes ends the link, and the question that waits for an answer."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        asked = asyncio.ensure_future(link.ask("PING"))
        await until(lambda: answers.received != b"")
        if way == "close":
            answers.writer.close()
        else:
            answers.writer.transport.abort()
        with pytest.raises(RedisConnectionError):
            await asked
        with pytest.raises((RedisConnectionError, OSError)):
            await link.lost

    run(scenario)


def test_reply_that_cannot_be_taken() -> None:
    """What whoever takes a reply raises ends the link, with that as the reason."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        answers.writer.write(b"+1\r\n+2\r\n")
        with pytest.raises(KeyError):
            await link.lost
        assert replies == [b"1"]

    run(scenario, chokes=True)


def test_end_that_nobody_awaits() -> None:
    """A link whose end nobody waits for ends without a word."""

    async def scenario(link: Link, answers: Answers, replies: list[Any]) -> None:
        answers.writer.close()
        await until(link.lost.done)
        link.close()
        link.write(b"into the void")

    run(scenario)
