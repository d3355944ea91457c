"""Log lines in both formats: what they have, and that nothing a client sends can forge or break one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from jpulse.activity import iso_time
from jpulse.logs import JsonFormatter, TextFormatter

from .conftest import Server
from .raw_client import RawClient
from .visitor import Visitor

#: What ends or begins a line somewhere: in terminals, in Python, in editors.
LINE_BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
FORMATTERS = [TextFormatter, JsonFormatter]
EXTRA = {"namespace": "/api/1/ws/chat", "client_id": "c-1", "user": "ann", "address": "10.0.0.7"}


def record(text: Any, *args: Any, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    """An event as `log.info` makes it."""
    exc_info = (type(error), error, error.__traceback__) if error else None
    logger = logging.Logger("jpulse.test")
    return logger.makeRecord(
        "jpulse.test", logging.INFO, "test.py", 1, text, args, exc_info, extra=extra or None
    )


def event(text: Any, *args: Any, error: BaseException | None = None, **extra: Any) -> dict[str, Any]:
    """An event as the JSON format writes it."""
    line = JsonFormatter().format(record(text, *args, error=error, **extra))
    assert len(line.splitlines()) == 1
    written = json.loads(line)
    assert isinstance(written, dict)
    return written


def raised(text: str) -> BaseException:
    """An exception with a traceback."""
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return error


# JSON


def test_fields() -> None:
    """An event has its time, level, logger and text, and beside them what it is about."""
    each = record("%s closed", "ann", **EXTRA)
    written = json.loads(JsonFormatter().format(each))
    assert written == {
        "timestamp": iso_time(each.created),
        "level": "info",
        "logger": "jpulse.test",
        "pid": each.process,
        "event": "ann closed",
        **EXTRA,
    }
    moment = datetime.fromisoformat(written["timestamp"])
    assert moment.tzinfo == UTC
    assert abs(moment.timestamp() - each.created) < 0.01


def test_fields_of_an_exception() -> None:
    """A traceback is one field, whatever is in it."""
    written = event("failed", error=raised("first\nsecond"), **EXTRA)
    assert "RuntimeError: first\nsecond" in written["exception"]
    assert written["user"] == "ann"
    assert "exc_info" not in written


def test_stack() -> None:
    """Where an event was logged is one field."""
    each = record("here")
    each.stack_info = "Stack (most recent call last):\n  here"
    assert json.loads(JsonFormatter().format(each))["stack"].endswith("\n  here")


def test_fields_cannot_be_forged() -> None:
    """A text of a client that looks like JSON stays a text."""
    text = '","level":"critical","user":"root","x":"'
    written = event("refused: %s", text, user=text)
    assert (written["level"], written["user"], written["event"]) == ("info", text, f"refused: {text}")


class Odd:
    """An object that cannot even say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def cycle() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({1, 2}, id="set"),
        pytest.param(b"\xff", id="bytes"),
        pytest.param(object(), id="object"),
        pytest.param(Odd(), id="object without a repr"),
        pytest.param("\ud800", id="lone surrogate"),
        pytest.param({("a", 1): 1}, id="tuple as key"),
        pytest.param(10**5000, id="number of 5,000 digits"),
        pytest.param(cycle(), id="cycle"),
        pytest.param(deep(), id="100,000 lists deep"),
        pytest.param(RuntimeError("x"), id="exception"),
        pytest.param(sys, id="module"),
    ],
)
def test_odd_extras(value: Any) -> None:
    """What an application adds to an event never keeps the event from being written."""
    written = event("hello", odd=value)
    assert (written["event"], written["level"]) == ("hello", "info")
    assert "odd" in written or "not_shown" in written


def test_text_that_is_none() -> None:
    """An object in place of a text is logged as it shows itself; a dict adds its items."""
    assert event(["a", 1])["event"] == "['a', 1]"
    written = event({"what": "this", "user": "ann"})
    assert (written["what"], written["user"]) == ("this", "ann")


# Line breaks, in both formats


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("line_break", LINE_BREAKS, ids=ascii)
def test_one_line_per_event(formatter: type[logging.Formatter], line_break: str) -> None:
    """An event is one line, whatever a client's text ends lines with."""
    text = f"x{line_break}FORGED INFO jpulse: all is well"
    each = record("%s said %s", text, text, namespace=text, user=text)
    assert len(formatter().format(each).splitlines()) == 1


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("line_break", LINE_BREAKS, ids=ascii)
def test_tracebacks_forge_nothing(formatter: type[logging.Formatter], line_break: str) -> None:
    """In the text of an exception no line begins with what a client sent."""
    each = record("failed", error=raised(f"x{line_break}FORGED INFO jpulse: all is well"))
    lines = formatter().format(each).splitlines()
    assert not [line for line in lines if line.startswith("FORGED")]
    assert all(line.startswith("    ") for line in lines[1:])


def test_colours() -> None:
    """What would colour or move a terminal's cursor is shown as what it is."""
    text = TextFormatter().format(record("%s", "\x1b[31mred\x9b0m\x00\x07"))
    assert text.endswith(r"\x1b[31mred\x9b0m\x00\x07")


def test_text_format() -> None:
    """The text format has time, level, logger and text, and not what stands beside it."""
    line = TextFormatter().format(record("%d users", 3, **EXTRA))
    assert line.endswith(" INFO    jpulse.test: 3 users")


# A server


def events(server: Server) -> list[dict[str, Any]]:
    """What a server has logged, each line an object."""
    return [json.loads(line) for line in server.log.splitlines()]


def test_server(serve: Callable[..., Server]) -> None:
    """With `--log-format json` all that a server logs is one object a line, whatever clients send."""
    server = serve("--log-format", "json", "--log-level", "debug", app="tests.apps.behaviours")
    with RawClient(server.port, "/api/1/ws/echo", headers={"User-Agent": "x\u2028{}"}) as client:
        client.send_json({"type": "x\r\nFORGED", "text": "\n{}\n"})
        client.read_data("echo")
        client.send_json(["\n"])
        client.read_json()
    Visitor(server.port).get(f"/{quote('x')}%0A%0DFORGED?a=%0A")
    assert server.stop() == 0
    assert all({"timestamp", "level", "logger", "event"} <= each.keys() for each in events(server))
    assert not [line for line in server.log.splitlines() if line.startswith("FORGED")]


def test_no_secrets(serve: Callable[..., Server]) -> None:
    """Cookies, passwords, query strings and what clients say are in no line, in neither format."""
    for flags in ((), ("--log-format", "json")):
        server = serve(*flags, app="tests.apps.behaviours")
        visitor = Visitor(server.port)
        visitor.sign_in()
        visitor.post("/api/1/auth/login", {"username": "admin", "password": "wrong-password"})
        visitor.get("/?token=secret-token&next=/secret-target")
        with visitor.connect("/api/1/ws/echo?token=secret-token") as client:
            client.send_json({"type": "secret-type", "text": "secret-text"})
            client.read_data("echo")
        secrets = [*visitor.jar.values(), "wrong-password", "secret-"]
        assert server.stop() == 0
        assert not [secret for secret in secrets if secret in server.log]


def test_what_an_event_is_about(serve: Callable[..., Server]) -> None:
    """Events of connections, handshakes and requests say whose they are and what was asked."""
    server = serve("--log-format", "json", app="tests.apps.behaviours")
    visitor = Visitor(server.port)
    visitor.sign_in()
    path = "/api/1/ws/strict"
    with visitor.connect(path) as client:
        name = client.read_data("connected")["clientId"]
        client.send_json({"type": "x" * 100_000})
        assert client.read_close()[0] == 1009
    assert Visitor(server.port).get("/api/1/ws/members").status == 401
    visitor.get("/?token=secret")
    assert server.stop() == 0
    logged = events(server)
    about = {"namespace": path, "client_id": name, "user": "admin", "address": "127.0.0.1"}
    assert [each for each in logged if about.items() <= each.items() and "1009" in each["event"]]
    assert [each for each in logged if each.get("reason") == "signed out" and each["status"] == 401]
    [asked] = [each for each in logged if each.get("path") == "/"]
    assert (asked["method"], asked["status"], asked["user"]) == ("GET", 200, "admin")
    assert 0 < asked["seconds"] < 10
