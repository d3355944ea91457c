"""The test helper that applications get: a real server in the loop of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jpulse import ApiHandler, App, ClientError, CloseCode, Connection, NamespaceHandler, PageHandler
from jpulse.testing import PASSWORD, Closed, Refused, Server, serving


class Echo(NamespaceHandler):
    """Answers, refuses, tells all, and closes."""

    path = "/api/1/ws/echo"

    def on_message(self, conn: Connection) -> None:
        """Do what the message asks for."""
        match conn.message["type"]:
            case "all":
                self.broadcast({"type": "told"}, conn.ctx)
            case "leave":
                conn.close(CloseCode.SESSION_ENDED)
            case "refuse":
                raise ClientError("type: not that one", 422)
            case _:
                conn.send(conn.message)


class Members(NamespaceHandler):
    """For administrators."""

    path = "/api/1/ws/members"
    require_roles = ("admin",)


class Page(PageHandler):
    """Shows who asks."""

    def get(self) -> None:
        """Answer with a name."""
        self.finish(self.current_user.username if self.current_user else "guest")


class Body(ApiHandler):
    """Tells what it was sent."""

    def post(self) -> None:
        """Answer with the body."""
        self.write_success(self.request.body.decode())


def setup(app: App) -> None:
    """Add all of it."""
    app.websockets.register(Echo)
    app.websockets.register(Members)
    app.add_handlers(".*", [(r"/page", Page), (r"/api/1/body", Body)])


def run(scenario: Callable[[Server], Awaitable[None]], **settings: Any) -> None:
    """Play a scenario on a server of its own."""

    async def main() -> None:
        async with serving(setup, **settings) as server:
            await scenario(server)

    asyncio.run(main())


def test_messages_both_ways() -> None:
    """A client knows its id, gets what it is sent in order, and can wait for one type."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as client:
            assert len(client.client_id) == 36
            assert client.username == ""
            for number in range(3):
                await client.send({"type": "n", "number": number})
            assert [(await client.receive())["number"] for _ in range(3)] == [0, 1, 2]
            await client.send({"type": "before"})
            await client.send({"type": "wanted"})
            assert (await client.receive("wanted"))["type"] == "wanted"

    run(scenario)


def test_nothing_more() -> None:
    """`receive_all` has everything that was sent by now, and shows that nothing else was."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as ann, server.connect(Echo.path) as bob:
            await ann.send({"type": "all"})
            await ann.receive("told")
            assert [data["type"] for data in await bob.receive_all()] == ["told"]
            assert await bob.receive_all() == []

    run(scenario)


def test_refusals() -> None:
    """What the server refuses is an exception with its code and text: messages and handshakes."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as client:
            await client.send({"type": "refuse"})
            with pytest.raises(Refused, match="422: type: not that one") as refused:
                await client.receive()
            assert (refused.value.code, refused.value.error) == (422, "type: not that one")
            await client.send_text("no json")
            with pytest.raises(Refused, match="400: Invalid message format"):
                await client.receive()
        for path, code in ((Members.path, 401), ("/api/1/ws/nowhere", 404)):
            with pytest.raises(Refused) as refused:
                async with server.connect(path):
                    raise AssertionError("it was let in")
            assert refused.value.code == code

    run(scenario)


def test_end_of_a_connection() -> None:
    """The close code can be awaited, and reading or sending after it says that it is closed."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as client:
            await client.send({"type": "leave"})
            assert await client.closed() == 4401
            assert await client.closed() == 4401
            with pytest.raises(Closed, match="4401"):
                await client.receive()
            with pytest.raises(Closed, match="4401"):
                await client.send({"type": "more"})

    run(scenario)


def test_patience() -> None:
    """What does not come is waited for no longer than one says."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as client:
            with pytest.raises(TimeoutError):
                await client.receive("never", seconds=0.05)

    run(scenario)


def test_users() -> None:
    """Whoever is signed in is known to pages and namespaces, with the roles that were asked for."""

    async def scenario(server: Server) -> None:
        ann = await server.sign_in("ann", roles=("admin",))
        bob = await server.sign_in("bob")
        async with ann.connect(Members.path) as client:
            assert client.username == "ann"
        with pytest.raises(Refused, match="403"):
            async with bob.connect(Members.path):
                raise AssertionError("it was let in")
        assert [(await who.fetch("/page")).text for who in (ann, bob, server)] == ["ann", "bob", "guest"]
        again = await server.sign_in("ann")
        assert again.headers != ann.headers
        admin, _ = await server.app.auth.sign_in("admin", PASSWORD, "127.0.0.1")
        assert admin.roles == ("user", "admin")

    run(scenario)


def test_rest() -> None:
    """REST gets JSON, and every status is an answer."""

    async def scenario(server: Server) -> None:
        answer = await server.fetch("/api/1/body", "POST", json={"a": 1})
        assert (answer.status, answer.json()) == (200, {"success": True, "data": '{"a": 1}'})
        assert answer.headers["Content-Type"].startswith("application/json")
        assert (await server.fetch("/api/1/body", "DELETE")).status == 405
        assert (await server.fetch("/nowhere")).status == 404

    run(scenario)


def test_settings() -> None:
    """Settings hold, and one that does not exist is an error."""

    async def scenario(server: Server) -> None:
        async with server.connect(Echo.path) as client:
            for _ in range(20):
                await client.send({"type": "n"})
            with pytest.raises(Refused, match="429"):
                await client.receive("never")

    run(scenario, max_messages_per_second=1)
    with pytest.raises(TypeError, match="max_mesages"):
        run(scenario, max_mesages=1)


def test_async_setup_and_classes() -> None:
    """A setup may be async, and classes and routes can be given without one."""

    async def later(app: App) -> None:
        await asyncio.sleep(0)
        app.websockets.register(Echo)

    async def scenario() -> None:
        async with serving(later) as server, server.connect(Echo.path):
            pass
        async with serving(namespaces=[Echo], routes=[(r"/page", Page)]) as server, server.connect(Echo.path):
            assert (await server.fetch("/page")).text == "guest"

    asyncio.run(scenario())


def test_setup_that_fails() -> None:
    """What a setup raises comes out, and nothing is left of the server that did not come to be."""
    folders = []

    async def fail(app: App) -> None:
        folders.append(app.config.data_dir)
        raise LookupError

    async def scenario() -> None:
        async with serving(fail):
            pass

    before = set(threading.enumerate())
    with pytest.raises(LookupError):
        asyncio.run(scenario())
    assert set(threading.enumerate()) <= before
    assert [folder.exists() for folder in folders] == [False]


def test_end_of_a_server() -> None:
    """At the end open connections are told that the server restarts, and its data are gone."""

    async def scenario() -> Path:
        async with serving(setup) as server:
            connecting = server.connect(Echo.path)
            client = await connecting.__aenter__()
            folder = server.app.config.data_dir
        assert await client.closed() == CloseCode.RESTART
        await connecting.__aexit__(None, None, None)
        return folder

    assert not asyncio.run(scenario()).exists()


def test_two_processes(redis_url: str) -> None:
    """Two servers with one Redis are one system."""

    async def scenario() -> None:
        options = {"redis_url": redis_url, "redis_prefix": "testing"}
        async with (
            serving(setup, **options) as one,
            serving(setup, **options) as two,
            one.connect(Echo.path) as ann,
            two.connect(Echo.path) as bob,
        ):
            await ann.send({"type": "all"})
            assert (await bob.receive("told"))["ctx"]["ip"] == "127.0.0.1"

    asyncio.run(scenario())


def test_sessions_expire_by_the_clock_of_the_application() -> None:
    """When `app.clock` is put a day ahead a session is over, for pages and for sockets that are open."""

    async def scenario(server: Server) -> None:
        boss = await server.sign_in("boss", roles=["admin"])
        async with boss.connect(Members.path) as client:
            assert (await boss.fetch("/page")).text == "boss"
            now = server.app.clock()
            server.app.clock = lambda: now + 86_401
            assert await client.closed() == CloseCode.SESSION_ENDED
            assert (await boss.fetch("/page")).text == "guest"

    run(scenario, session_seconds=86_400)
