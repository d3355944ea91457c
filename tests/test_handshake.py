"""What is read of an ordinary handshake, and what is left to Tornado's parser."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import parse_qs_bytes

from jpulse.handshake import PlainRequest, read_plain, switching_answer

BROWSER = (
    b"GET /api/1/ws/chat?uuid=0fd88ce9-7956-484e-9e0f-d40ce717e46c HTTP/1.1\r\n"
    b"Host: chat.example.com:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Origin: http://chat.example.com:8080\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Cookie: theme=dark; jpulse_session=abc-DEF_123\r\n"
    b"Upgrade: websocket\r\n\r\n"
)


def plain(data: bytes) -> PlainRequest:
    """The request, which must be an ordinary one."""
    request = read_plain(data)
    assert request is not None
    return request


def test_request_of_a_browser() -> None:
    """Of a browser's request the path, the client's name, the headers and the session are read."""
    request = plain(BROWSER)
    assert request.size == len(BROWSER)
    assert request.path == "/api/1/ws/chat"
    assert request.name == "0fd88ce9-7956-484e-9e0f-d40ce717e46c"
    assert request.cookie == "abc-DEF_123"
    assert request.headers["host"] == "chat.example.com:8080"
    assert request.headers["connection"] == "keep-alive, Upgrade"
    assert len(request.headers) == 10


def test_frames_behind_the_request() -> None:
    """What follows the request is not counted as part of it."""
    assert plain(BROWSER + b"\x81\x80\0\0\0\0").size == len(BROWSER)


@pytest.mark.parametrize(
    ("what", "by"),
    [
        (b"GET ", b"get "),
        (b"GET ", b"POST "),
        (b"GET ", b"\r\nGET "),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/2.0"),
        (b" HTTP/1.1", b""),
        (b"GET /api", b"GET http://chat.example.com/api"),
        (b"GET /api", b"GET  /api"),
        (b"/api/1/ws/chat", b"/api/1/websocket/stats"),
        (b"/api/1/ws/chat", b"/"),
        (b"/api/1/ws/chat", b"/api/1/ws/c%68at"),
        (b"?uuid=", b"?uuid=%30"),
        (b"?uuid=", b"?x=a+b&uuid="),
        (b"?uuid=", b"?" + b"a&" * 20 + b"uuid="),
        (b"?uuid=", b"?x=#"),
        (b"\r\nHost", b"\nHost"),
        (b"\r\nHost", b"\rHost"),
        (b"Host: ", b"Host : "),
        (b"Host: ", b" Host: "),
        (b"Host: chat.example.com:8080\r\n", b""),
        (b"Host: chat.example.com:8080", b"Host:"),
        (b"Host: chat.example.com:8080", b"Host: a,b"),
        (b"Host: chat.example.com:8080", b"Host: user@chat.example.com"),
        (b"Host: chat.example.com:8080", b"Host: chat.example.com/x"),
        (b"Accept-Language: en-US", b"Accept-Language: en-US\r\n folded"),
        (b"Accept-Language: en-US", b"Accept-Language: en-US\0"),
        (b"Accept-Language: en-US", b"Accept-Language: en-US\x7f"),
        (b"Accept-Language: en-US", "Accept-Language: ä".encode()),
        (b"Accept-Language: ", b"Accept-Language"),
        (b"Accept-Language: ", b"Accept Language: "),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nHost: other.example.com"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nupgrade: h2c"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nCookie: jpulse_session=other"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nOrigin: http://chat.example.com:8080"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nContent-Length: 0"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\ncontent-length: 5"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nTransfer-Encoding: chunked"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nExpect: 100-continue"),
        (b"abc-DEF_123", b"abc DEF"),
        (b"abc-DEF_123", b""),
        (b"abc-DEF_123", b"a" * 129),
        (b"websocket\r\n\r\n", b"websocket\r\n"),
        (b"websocket\r\n\r\n", b"websocket\n\n"),
        (b"websocket\r\n\r\n", b"websocket\r\n\n"),
    ],
    ids=lambda part: repr(part)[:40],
)
def test_unusual_requests(what: bytes, by: bytes) -> None:
    """Whatever takes interpretation, or has a body, is left to Tornado's parser."""
    assert BROWSER.count(what) >= 1
    assert read_plain(BROWSER.replace(what, by, 1)) is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"a=1; jpulse_session=x; b=2", "x"),
        (b"jpulse_session=x; jpulse_session=y", "y"),
        (b'jpulse_session="x"', "x"),
        (b"a=jpulse_session", None),
        (b"xjpulse_session=x", None),
        (b"theme=dark", None),
    ],
)
def test_session_cookie(header: bytes, found: str | None) -> None:
    """The session is the last cookie of its name, and no other cookie is taken for it."""
    request = plain(BROWSER.replace(b"theme=dark; jpulse_session=abc-DEF_123", header))
    assert request.cookie == found


@given(st.text("ud=&-a1.", max_size=24).map(lambda text: text.replace("a", "uuid")))
def test_name_in_the_query(query: str) -> None:
    """The client's name is found where a query parser finds it."""
    found = parse_qs_bytes(query, keep_blank_values=True).get("uuid", [b""])[-1].decode()
    request = read_plain(BROWSER.replace(b"uuid=0fd88ce9-7956-484e-9e0f-d40ce717e46c", query.encode()))
    assert request is None or request.name == found
    assert request is not None or query.count("&") >= 20


@given(st.binary(max_size=60), st.integers(0, len(BROWSER)))
def test_any_bytes(noise: bytes, position: int) -> None:
    """Bytes put anywhere into a request never make the reader fail, nor read what is not there."""
    data = BROWSER[:position] + noise + BROWSER[position:]
    request = read_plain(data)
    if request is not None:
        head = data[: request.size]
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
        assert b"\0" not in head


def test_answer_of_the_rfc() -> None:
    """The key of RFC 6455 section 1.3 gets the answer that the RFC shows."""
    answer = switching_answer("dGhlIHNhbXBsZSBub25jZQ==", None)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\n")


@given(st.binary(min_size=16, max_size=16))
def test_answer_of_any_key(nonce: bytes) -> None:
    """The answer is the SHA-1 of the key and the RFC's text, in base64."""
    key = base64.b64encode(nonce).decode()
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    assert b"Accept: " + base64.b64encode(digest) + b"\r\n" in switching_answer(key, None)
