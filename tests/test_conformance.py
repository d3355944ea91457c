"""The server that RFC 6455 test suites are pointed at."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .conftest import ROOT
from .raw_client import BINARY, CLOSE, TEXT, RawClient, client_frame

#: The first frame byte's bit that says "compressed" (RFC 7692 section 6), beside the opcode.
RSV1 = 0x40
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@contextmanager
def echo_server(*flags: str) -> Iterator[int]:
    """The command on a free port, which it tells; ended by SIGTERM, with exit status 0."""
    command = [sys.executable, "-m", "tests.conformance", "--port", "0", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = re.fullmatch(r"echo at ws://127\.0\.0\.1:(\d+)/echo\n", process.stdout.readline())
            assert told is not None
            yield int(told[1])
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    """The port of a server that was told nothing."""
    with echo_server() as port:
        yield port


@pytest.fixture(scope="module")
def deflating() -> Iterator[int]:
    """The port of one that may compress."""
    with echo_server("--deflate") as port:
        yield port


def test_what_comes_goes_back(plain: int, deflating: int) -> None:
    """Text and binary come back as the same bytes, without envelopes, and a close is answered."""
    for port in (plain, deflating):
        with RawClient(port, "/echo") as client:
            for opcode, payload in ((TEXT, "héllo".encode()), (BINARY, bytes(range(256)) * 300), (TEXT, b"")):
                client.send(client_frame(payload, opcode))
                assert client.read_frame() == (opcode, payload)
            client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
            assert client.read_close()[0] == 1000


def test_deflate_is_agreed_on(deflating: int) -> None:
    """With `--deflate` an offer is accepted without context takeover, and short messages are compressed."""
    with RawClient(deflating, shake_hands=False) as client:
        client.send(client.handshake_request("/echo", OFFER))
        status, headers = client.read_head()
        agreed = {each.strip() for each in headers["sec-websocket-extensions"].split(";")}
        assert status == 101
        assert agreed >= {"permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"}
        client.inflates = True
        deflater = zlib.compressobj(wbits=-15)
        packed = deflater.compress(b"hello" * 5) + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]
        client.send(client_frame(packed, TEXT | RSV1))
        assert client.read_frame() == (TEXT, b"hello" * 5)
        assert client.compressed_messages == 1


def test_no_deflate_unless_asked_for(plain: int) -> None:
    """Without `--deflate` an offer is declined, and the connection is a plain one."""
    with RawClient(plain, shake_hands=False) as client:
        client.send(client.handshake_request("/echo", OFFER))
        status, headers = client.read_head()
        assert (status, "sec-websocket-extensions" in headers) == (101, False)
