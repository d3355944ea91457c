"""The targets: what is done with the bytes, and what must hold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from jpulse import wire
from jpulse.activity import ActivityLog, to_keep
from jpulse.deflate import FULL_WINDOW, MAX_OFFER_BYTES, NAME, SMALL_WINDOW, Compressor, negotiate
from jpulse.errors import InvalidMessage, ProtocolError
from jpulse.wire import BINARY, CLOSE, RSV1, TEXT, FrameParser, Message

from ..raw_client import client_frame
from .served import serving_handshakes, serving_messages, serving_rest

Check = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """Something that takes bytes."""

    name: str
    #: Prepares what the check needs, and tidies up after it.
    open: Callable[[], AbstractContextManager[Check]]
    #: Words of the language that is spoken here.
    dictionary: tuple[bytes, ...]
    max_bytes: int = 2048


def pure(check: Check) -> Callable[[], AbstractContextManager[Check]]:
    """What a target opens that needs nothing."""

    @contextmanager
    def open_() -> Iterator[Check]:
        yield check

    return open_


# Frames


def outcome(parser: FrameParser, chunks: Iterable[bytes]) -> tuple[list[Message], int]:
    """What comes out of a parser, and the code of the failure that follows (0: none)."""
    messages = []
    for chunk in chunks:
        parser.feed(chunk)
        try:
            while (message := parser.next()) is not None:
                messages.append(message)
        except ProtocolError as error:
            failure = error
            break
    else:
        return messages, 0
    assert failure.code in (1002, 1007, 1008, 1009), failure.code
    assert failure.reason
    assert _failure_of(parser) is failure
    return messages, failure.code


def _failure_of(parser: FrameParser) -> ProtocolError | None:
    """What a parser raises when more comes."""
    parser.feed(b"\x81\x80\0\0\0\0")
    try:
        parser.next()
    except ProtocolError as failure:
        return failure
    return None


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into pieces of a size."""
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def check_frames(data: bytes) -> None:
    """
    Read a client's bytes, whole and in pieces.

    The first byte says how large the pieces are and whether compression was agreed on, the
    second how large a message may be.
    """
    if len(data) < 2:
        return
    size, inflates, limit, stream = (data[0] >> 1) + 1, bool(data[0] & 1), data[1] * 8, data[2:]
    messages, code = outcome(FrameParser(limit, inflates=inflates), [stream])
    for opcode, payload in messages:
        _check_message(opcode, payload, limit)
    cut = outcome(FrameParser(limit, inflates=inflates), pieces(stream, size))
    assert cut[0] == messages
    assert cut[1] == code or (inflates and are_alike(cut[1], code))


def are_alike(code: int, other: int) -> bool:
    """
    Tell whether both codes refuse, as they should.

    A compressed message that is wrong in two ways, too long and no text or no deflate, is
    refused for what is met first, which depends on how much is looked at together.
    """
    return bool(code) and bool(other)


def _check_message(opcode: int, payload: bytes, limit: int) -> None:
    if opcode >= CLOSE:
        assert len(payload) <= wire.MAX_CONTROL_BYTES
    else:
        assert len(payload) <= limit
    if opcode == TEXT:
        payload.decode()
    if opcode == CLOSE:
        try:
            code, reason = wire.parse_close(payload)
        except ProtocolError:
            return
        if code != 1005:
            assert wire.parse_close(wire.close_frame(code, reason)[2:]) == (code, reason)


def check_inflating(data: bytes) -> None:
    """Read bytes as a compressed message, and compress them as a message."""
    limit = 1000
    stream = client_frame(data, BINARY | RSV1, mask=b"\0\0\0\0")
    whole = outcome(FrameParser(limit, inflates=True), [stream])
    for size in (1, 7):
        cut = outcome(FrameParser(limit, inflates=True), pieces(stream, size))
        assert cut == whole or (cut[0] == whole[0] and are_alike(cut[1], whole[1]))
    if whole[1] == 0:
        _compare_with_zlib(data, whole[0][0][1])
    for bits in (FULL_WINDOW, SMALL_WINDOW):
        packed = Compressor(bits).compress(data)
        ours = outcome(
            FrameParser(len(data), inflates=True), [client_frame(packed, BINARY | RSV1, mask=b"abcd")]
        )
        assert ours == ([(BINARY, data)], 0)


def _compare_with_zlib(data: bytes, payload: bytes) -> None:
    inflater = zlib.decompressobj(-15)
    expected = inflater.decompress(data + b"\x00\x00\xff\xff")
    assert payload.startswith(expected)
    assert payload == expected or inflater.eof, "something was made of nothing"


def check_offer(data: bytes) -> None:
    """Read bytes as what a client offers in Sec-WebSocket-Extensions."""
    offer = data.decode("latin-1")
    agreement = negotiate(offer)
    if agreement is not None:
        assert NAME in offer
        assert agreement.window_bits in (FULL_WINDOW, SMALL_WINDOW)
        assert agreement.answer.startswith(f"{NAME}; server_no_context_takeover; client_no_context_takeover")
        asked = f"server_max_window_bits={agreement.window_bits}" in agreement.answer
        assert asked or agreement.window_bits == FULL_WINDOW
    if len(offer) < MAX_OFFER_BYTES - 10:
        # What stands beside offers is no matter.
        assert negotiate(f"x-other,{offer}") == agreement
        assert negotiate(f"{offer} ,") == agreement


# JSON


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check_envelope(data: bytes) -> None:
    """Read bytes as a client's message, and send what they hold to others."""
    try:
        message = wire.decode(data)
    except InvalidMessage:
        return
    # Python's own reader is an independent one.
    assert json.loads(data.decode(), parse_constant=_no_constant) == message
    log = ActivityLog()
    log.add(0.0, "/api/1/ws/a", "in", "ann", to_keep(message, data))
    assert all(isinstance(text, str) and text.encode() is not None for text in log.entries(0.0)[0].values())
    try:
        envelope = wire.success(message, {"username": "ann", "ip": "10.0.0.7"})
    except TypeError:
        return
    told = json.loads(envelope, parse_constant=_no_constant)
    assert told.pop("success") is True
    assert told["data"].pop("ctx") == {"username": "ann", "ip": "10.0.0.7"}
    message.pop("ctx", None)
    assert told == {"data": message}
    assert wire.decode(envelope)["data"].keys() - {"ctx"} == message.keys()


#: Heads of frames whose mask is zero, and text that is not UTF-8.
FRAME_WORDS = (
    *(
        bytes((first, 0x80 | size)) + bytes(4)
        for first in (0, 1, 0x41, 0x80, 0x81, 0x89, 0xC1)
        for size in (0, 4)
    ),
    *(b"\x81\xfe\x00\x7e", b"\x82\xff", b"\x88\x82\0\0\0\0\x03\xe8", b"\xed\xa0\x80", b"\xf0\x9f\x99\x82"),
)
#: Empty blocks, stored and compressed, the last of a stream and others.
DEFLATE_WORDS = (
    b"\0\0\0\xff\xff",
    b"\x01\0\0\xff\xff",
    b"\x02\0",
    b"\x03\0",
    b"\xaa\x03\0",
    b"\0\x01\0\xfe\xffa",
)
HTTP_WORDS = (
    *(b"GET ", b"POST ", b"PUT ", b"HEAD ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n\r\n", b"\r\n", b"\n"),
    *(b"/api/1/ws/hello-emoji", b"?uuid=", b"00000000-0000-4000-8000-000000000000", b"%00", b"%2F"),
    *(
        b"Host: a\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Connection: keep-alive, Upgrade",
    ),
    *(b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyA6KQ==\r\n"),
    *(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"Origin: http://a\r\n", b"Origin: null\r\n"),
    *(b"Cookie: jpulse_session=", b"X-Forwarded-For: ", b"X-Forwarded-Proto: https\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b": ", b"\0"),
)
JSON_WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"false", b"1e999", b"-0", b"0.1", b"NaN"),
    *(
        b"\\ud800",
        b"\\u0000",
        b'"type":',
        b'"ctx":',
        b'"title":',
        b'"completed":',
        b'"username":',
        b'"password":',
    ),
    *(
        b'"emoji":',
        b'"x":',
        b'"y":',
        b'"text":',
        b'"color":',
        b'"#a0b1c2"',
        b'"id":',
        b"99999999999999999999",
    ),
    *(b'"note-create"', b'"note-update"', b'"note-delete"', b'"emoji-select"', b'"cursor-move"', b'"ping"'),
)
OFFER_WORDS = (
    *(b"permessage-deflate", b"server_no_context_takeover", b"client_no_context_takeover"),
    *(
        b"server_max_window_bits",
        b"client_max_window_bits",
        b"; ",
        b", ",
        b"=",
        b'"',
        b"\\",
        b"15",
        b"9",
        b"\t",
    ),
)

TARGETS = {
    target.name: target
    for target in (
        Target("frames", pure(check_frames), FRAME_WORDS),
        Target("inflating", pure(check_inflating), DEFLATE_WORDS),
        Target("offers", pure(check_offer), OFFER_WORDS, max_bytes=400),
        Target("envelopes", pure(check_envelope), JSON_WORDS),
        Target("handshakes", serving_handshakes, HTTP_WORDS),
        Target("rest", serving_rest, JSON_WORDS),
        Target("messages", serving_messages, JSON_WORDS),
    )
}
