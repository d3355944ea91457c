"""The wire: every rule of RFC 6455 that a client can break, and JSON that is strict in both directions."""

from __future__ import annotations

import datetime
import enum
import json
import random
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jpulse import wire
from jpulse.errors import CloseCode, InvalidMessage, ProtocolError
from jpulse.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameParser, Message

from .raw_client import client_frame

LIMIT = 1000
FIN = 0x80
MASKED = 0x80
MASK = b"\x11\x22\x33\x44"

#: A text, and the index of the first byte that no UTF-8 text could have there.
IMPOSSIBLE = [
    pytest.param(b"\x80", 0, id="continuation byte without a start"),
    pytest.param(b"\xc0\xaf", 0, id="overlong slash"),
    pytest.param(b"\xc1", 0, id="start byte of overlong forms"),
    pytest.param(b"\xf5", 0, id="start byte beyond U+10FFFF"),
    pytest.param(b"\xff", 0, id="byte that never occurs"),
    pytest.param(b"\xc3\x28", 1, id="second of two"),
    pytest.param(b"\xe0\x9f\xbf", 1, id="overlong form of three bytes"),
    pytest.param(b"\xed\xa0\x80", 1, id="surrogate"),
    pytest.param(b"\xf0\x8f\xbf\xbf", 1, id="overlong form of four bytes"),
    pytest.param(b"\xf4\x90\x80\x80", 1, id="beyond U+10FFFF"),
    pytest.param(b"\xe2\x82\x28", 2, id="third of three"),
    pytest.param(b"\xf0\x9f\x98\x28", 3, id="fourth of four"),
]
TRUNCATED = [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x98"]


def head(length: int, opcode: int = TEXT, *, fin: bool = True, wide: int | None = None) -> bytes:
    """A masked frame's head; `wide` bytes for the length, by default as few as will do."""
    first = opcode | (FIN if fin else 0)
    if wide is None:
        wide = 0 if length < 126 else 2 if length < 65536 else 8
    if wide == 0:
        return bytes((first, MASKED | length)) + MASK
    return bytes((first, MASKED | (126 if wide == 2 else 127))) + length.to_bytes(wide, "big") + MASK


def drain(parser: FrameParser) -> list[Message]:
    """All that a parser has whole."""
    return list(iter(parser.next, None))


def read(*chunks: bytes, limit: int = LIMIT) -> list[Message]:
    """What comes out when these bytes go in."""
    parser = FrameParser(limit)
    messages = []
    for chunk in chunks:
        parser.feed(chunk)
        messages += drain(parser)
    return messages


def refusal(*chunks: bytes, limit: int = LIMIT) -> CloseCode:
    """The close code with which these bytes are refused."""
    with pytest.raises(ProtocolError) as caught:
        read(*chunks, limit=limit)
    assert caught.value.reason
    return caught.value.code


def one_by_one(data: bytes) -> list[bytes]:
    """Every byte as a chunk of its own."""
    return [data[index : index + 1] for index in range(len(data))]


# Masking (RFC 6455 sections 5.1 and 5.3)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_unmasked_frame(opcode: int) -> None:
    """A frame that is not masked is refused with 1002, before its payload comes (section 5.1)."""
    assert refusal(bytes((FIN | opcode, 5))) == 1002


@pytest.mark.parametrize("length", range(10))
def test_unmasking(length: int) -> None:
    """Byte i of a payload is masked with byte i mod 4 of the mask (section 5.3)."""
    payload = b"0123456789"[:length]
    assert read(client_frame(payload, mask=MASK)) == [(TEXT, payload)]


@pytest.mark.parametrize("cut", range(1, 9))
def test_unmasking_in_pieces(cut: int) -> None:
    """A payload that comes in two pieces is unmasked as if it came in one (section 5.3)."""
    data = client_frame(b"01234567", mask=MASK)
    assert read(data[: 6 + cut], data[6 + cut :]) == [(TEXT, b"01234567")]


def test_mask_of_its_own() -> None:
    """Every frame has a mask of its own, also every fragment (section 5.3)."""
    first = client_frame(b"one ", fin=False, mask=MASK)
    second = client_frame(b"two", CONTINUATION, mask=b"\xff\x00\x80\x01")
    assert read(first + second) == [(TEXT, b"one two")]


def test_given_unmask_is_used() -> None:
    """A parser unmasks with the function that it is given."""
    parser = FrameParser(LIMIT, unmask=lambda mask, data: data.upper())
    parser.feed(head(5) + b"hello")
    assert parser.next() == (TEXT, b"HELLO")


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=300))
def test_xor_unmask(mask: bytes, data: bytes) -> None:
    """The fast way to unmask equals the byte loop that section 5.3 writes down."""
    assert wire.xor_unmask(mask, data) == bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


# The head of a frame (RFC 6455 section 5.2)


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits(bit: int, opcode: int) -> None:
    """A reserved bit is refused with 1002 since no extension is spoken, at its first byte (section 5.2)."""
    assert refusal(bytes((FIN | bit | opcode,))) == 1002


def test_reserved_bit_of_a_continuation() -> None:
    """A reserved bit is refused in a fragment as well (section 5.2)."""
    assert refusal(client_frame(b"a", fin=False), bytes((FIN | 0x40 | CONTINUATION,))) == 1002


@pytest.mark.parametrize("opcode", [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_unknown_opcode(opcode: int) -> None:
    """An opcode that is kept for later is refused with 1002, at its first byte (section 5.2)."""
    assert refusal(bytes((FIN | opcode,))) == 1002


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 65537])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_form_of_length(length: int, opcode: int) -> None:
    """A length is read in all of its three forms (section 5.2)."""
    payload = bytes(index & 0x7F for index in range(length))
    assert read(head(length, opcode) + wire.xor_unmask(MASK, payload), limit=100_000) == [(opcode, payload)]


@pytest.mark.parametrize(("length", "wide"), [(0, 2), (125, 2), (0, 8), (126, 8), (65535, 8)])
def test_length_that_is_not_minimal(length: int, wide: int) -> None:
    """A length in more bytes than it needs is refused with 1002 (section 5.2)."""
    assert refusal(head(length, wide=wide), limit=100_000) == 1002


@pytest.mark.parametrize("length", [2**63, 2**64 - 1])
def test_top_bit_of_a_length(length: int) -> None:
    """A 64-bit length whose highest bit is set is refused with 1002 (section 5.2)."""
    assert refusal(head(length, wide=8)) == 1002


def test_head_in_pieces() -> None:
    """A head that comes byte by byte is waited for, in each form of length (section 5.2)."""
    for length in (5, 126, 65536):
        parser = FrameParser(65536)
        for byte in one_by_one(head(length, BINARY)):
            parser.feed(byte)
            assert parser.next() is None
        parser.feed(wire.xor_unmask(MASK, b"x" * length))
        assert parser.next() == (BINARY, b"x" * length)


# Fragments (RFC 6455 section 5.4)


def test_fragments_are_joined() -> None:
    """A message in fragments comes out whole, once the last one is there (section 5.4)."""
    first, second = client_frame(b"a", fin=False), client_frame(b"b", CONTINUATION, fin=False)
    assert read(first, second) == []
    assert read(first, second, client_frame(b"c", CONTINUATION)) == [(TEXT, b"abc")]


def test_opcode_of_the_first_fragment() -> None:
    """The first fragment's opcode is the message's (section 5.4)."""
    assert read(client_frame(b"\xff", BINARY, fin=False), client_frame(b"\xfe", CONTINUATION)) == [
        (BINARY, b"\xff\xfe")
    ]


@pytest.mark.parametrize("fin", [False, True])
def test_continuation_of_nothing(fin: bool) -> None:
    """A continuation frame without a message to continue is refused with 1002 (section 5.4)."""
    assert refusal(client_frame(b"a", CONTINUATION, fin=fin)) == 1002


@pytest.mark.parametrize("fin", [False, True])
def test_continuation_after_the_last_fragment(fin: bool) -> None:
    """A continuation frame after a message's last fragment is refused with 1002 (section 5.4)."""
    message = client_frame(b"a", fin=False) + client_frame(b"b", CONTINUATION)
    assert refusal(message, client_frame(b"c", CONTINUATION, fin=fin)) == 1002


def test_continuation_after_a_whole_message() -> None:
    """A continuation frame after a message in one frame is refused with 1002 (section 5.4)."""
    assert refusal(client_frame(b"a"), client_frame(b"b", CONTINUATION)) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("payload", [b"", b"a"])
def test_message_inside_a_message(opcode: int, payload: bytes) -> None:
    """A new message before the last fragment of another is refused with 1002 (section 5.4)."""
    assert refusal(client_frame(payload, fin=False), client_frame(b"b", opcode)) == 1002


def test_message_whose_fragments_are_empty() -> None:
    """Fragments may be empty, all of them (section 5.4)."""
    empty = client_frame(b"", fin=False) + client_frame(b"", CONTINUATION)
    assert read(empty + client_frame(b"next")) == [(TEXT, b""), (TEXT, b"next")]


def test_too_many_empty_fragments() -> None:
    """Empty fragments cost the server and bring nothing: too many are refused with 1008."""
    parser = FrameParser(LIMIT)
    parser.feed(client_frame(b"", fin=False, mask=MASK))
    assert parser.next() is None
    parser.feed(client_frame(b"", CONTINUATION, fin=False, mask=MASK) * (wire.MAX_EMPTY_FRAGMENTS - 1))
    assert parser.next() is None
    parser.feed(client_frame(b"", CONTINUATION, fin=False, mask=MASK))
    with pytest.raises(ProtocolError) as caught:
        parser.next()
    assert caught.value.code == 1008


def test_empty_fragments_are_counted_for_one_message() -> None:
    """A connection may send any number of empty fragments, if they are of many messages."""
    message = client_frame(b"", fin=False, mask=MASK) + client_frame(b"", CONTINUATION, mask=MASK)
    assert len(read(message * (wire.MAX_EMPTY_FRAGMENTS + 10))) == wire.MAX_EMPTY_FRAGMENTS + 10


# Control frames (RFC 6455 section 5.5)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [0, 1, 125])
def test_control_frame(opcode: int, length: int) -> None:
    """A control frame carries up to 125 bytes, which need not be text (section 5.5)."""
    payload = b"\xff" * length
    assert read(client_frame(payload, opcode)) == [(opcode, payload)]
    assert read(*one_by_one(client_frame(payload, opcode))) == [(opcode, payload)]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("wide", [2, 8])
def test_control_frame_too_large(opcode: int, wide: int) -> None:
    """A control frame of more than 125 bytes is refused with 1002, at its second byte (section 5.5)."""
    assert refusal(head(126, opcode, wide=wide)[:2]) == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frame_in_fragments(opcode: int) -> None:
    """A control frame that is a fragment is refused with 1002, at its first byte (section 5.5)."""
    assert refusal(bytes((opcode,))) == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frame_between_fragments(opcode: int) -> None:
    """A control frame between fragments comes out at once and leaves the message whole (section 5.4)."""
    parser = FrameParser(LIMIT)
    parser.feed(client_frame("né".encode()[:2], fin=False) + client_frame(b"now", opcode))
    assert parser.next() == (opcode, b"now")
    parser.feed(client_frame("né".encode()[2:], CONTINUATION))
    assert parser.next() == (TEXT, "né".encode())


def test_control_frame_is_no_part_of_the_limit() -> None:
    """A control frame's bytes do not count for the message around it."""
    fragment = client_frame(b"x" * 10, fin=False) + client_frame(b"y" * 125, PING)
    assert read(fragment, client_frame(b"", CONTINUATION), limit=10) == [
        (PING, b"y" * 125),
        (TEXT, b"x" * 10),
    ]


# Close frames (RFC 6455 sections 5.5.1 and 7.4)


def test_close_without_a_code() -> None:
    """An empty close frame means 1005, no status (section 7.1.5)."""
    assert wire.parse_close(b"") == (1005, "")


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_close_code(code: int) -> None:
    """A code of the RFC, of the registry, or from 3000 to 4999 is read, with its reason (section 7.4)."""
    assert wire.parse_close(code.to_bytes(2, "big") + "adiós".encode()) == (code, "adiós")


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_invalid_close_code(code: int) -> None:
    """A code that must not be in a close frame is refused with 1002 (section 7.4)."""
    with pytest.raises(ProtocolError) as caught:
        wire.parse_close(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


def test_close_with_half_a_code() -> None:
    """A close frame of one byte is refused with 1002 (section 5.5.1)."""
    with pytest.raises(ProtocolError) as caught:
        wire.parse_close(b"\x03")
    assert caught.value.code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"ok\xed\xa0\x80"])
def test_close_reason_that_is_not_utf8(reason: bytes) -> None:
    """A reason that is not UTF-8 is refused with 1007 (sections 5.5.1 and 8.1)."""
    with pytest.raises(ProtocolError) as caught:
        wire.parse_close(b"\x03\xe8" + reason)
    assert caught.value.code == 1007


@given(st.binary(max_size=125))
def test_any_close_payload(payload: bytes) -> None:
    """Whatever a close frame carries is read, or refused as a broken rule."""
    try:
        code, reason = wire.parse_close(payload)
    except ProtocolError:
        return
    assert wire.close_frame(code, reason)[2:] == payload


# Text is UTF-8 (RFC 6455 section 8.1)


@pytest.mark.parametrize("text", ["", "\0", "ascii", "né", "漢字", "🙂", "\ufeff", "\uffff", "\U0010ffff"])
def test_text(text: str) -> None:
    """Every character of Unicode passes (section 8.1)."""
    assert read(client_frame(text.encode())) == [(TEXT, text.encode())]


@pytest.mark.parametrize(("bad", "index"), IMPOSSIBLE)
def test_invalid_utf8(bad: bytes, index: int) -> None:
    """A text message that is not UTF-8 is refused with 1007 (section 8.1)."""
    assert refusal(client_frame(b"ok " + bad + b" ok")) == 1007


@pytest.mark.parametrize(("bad", "index"), IMPOSSIBLE)
def test_invalid_utf8_over_fragments(bad: bytes, index: int) -> None:
    """Bytes that are not UTF-8 are found wherever a fragment ends (section 8.1)."""
    text = b"ok" + bad
    for cut in range(len(text) + 1):
        first = client_frame(text[:cut], fin=False)
        assert refusal(first, client_frame(text[cut:], CONTINUATION)) == 1007


@pytest.mark.parametrize(("bad", "index"), IMPOSSIBLE)
def test_invalid_utf8_is_told_at_once(bad: bytes, index: int) -> None:
    """The first impossible byte ends the connection, though the frame has only begun (section 8.1)."""
    parser = FrameParser(LIMIT)
    text = "né🙂".encode() + bad
    frame = head(900) + wire.xor_unmask(MASK, text)
    first_impossible = len(frame) - len(bad) + index
    for byte in one_by_one(frame[:first_impossible]):
        parser.feed(byte)
        assert parser.next() is None
    parser.feed(frame[first_impossible : first_impossible + 1])
    with pytest.raises(ProtocolError) as caught:
        parser.next()
    assert caught.value.code == 1007


def test_invalid_utf8_in_an_early_fragment() -> None:
    """An impossible byte is told in its fragment, before the message is whole (section 8.1)."""
    assert refusal(client_frame(b"ok", fin=False), client_frame(b"\xff", CONTINUATION, fin=False)) == 1007


@pytest.mark.parametrize("end", TRUNCATED)
def test_truncated_utf8(end: bytes) -> None:
    """A message that ends inside a character is refused with 1007, however it came (section 8.1)."""
    whole = client_frame(b"ok" + end)
    fragments = client_frame(b"ok" + end[:1], fin=False) + client_frame(end[1:], CONTINUATION)
    last_is_empty = client_frame(b"ok" + end, fin=False) + client_frame(b"", CONTINUATION)
    for data in (whole, fragments, last_is_empty):
        assert refusal(data) == 1007
        assert refusal(*one_by_one(data)) == 1007


@pytest.mark.parametrize("end", TRUNCATED)
def test_character_over_fragments(end: bytes) -> None:
    """A character may begin in one fragment and end in the next (section 5.6)."""
    whole = {0xC3: "é", 0xE2: "€", 0xF0: "🙂"}[end[0]].encode()
    first = client_frame(whole[: len(end)], fin=False)
    assert read(first, client_frame(whole[len(end) :], CONTINUATION)) == [(TEXT, whole)]


def test_binary_is_not_text() -> None:
    """A binary message carries any bytes, in any number of fragments (section 5.6)."""
    payload = bytes(range(256))
    fragments = [client_frame(payload[:200], BINARY, fin=False), client_frame(payload[200:], CONTINUATION)]
    assert read(client_frame(payload, BINARY), *fragments) == [(BINARY, payload), (BINARY, payload)]


# The limit (RFC 6455 sections 7.4.1 and 10.4)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT])
def test_message_within_the_limit(opcode: int, length: int) -> None:
    """A message as large as the limit passes."""
    assert read(client_frame(b"x" * length, opcode)) == [(opcode, b"x" * length)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [LIMIT + 1, 65536, 2**40, 2**63 - 1])
def test_message_over_the_limit(opcode: int, length: int) -> None:
    """A length over the limit is refused with 1009 before any of the payload is read (section 7.4.1)."""
    assert refusal(head(length, opcode)) == 1009


@pytest.mark.parametrize("sizes", [(LIMIT, 0), (1, LIMIT - 1), (0, LIMIT), (400, 300, 300)])
def test_fragments_within_the_limit(sizes: tuple[int, ...]) -> None:
    """Fragments that are together as large as the limit pass."""
    *firsts, last = sizes
    frames = [
        client_frame(b"x" * size, CONTINUATION if number else TEXT, fin=False)
        for number, size in enumerate(firsts)
    ]
    assert read(*frames, client_frame(b"x" * last, CONTINUATION)) == [(TEXT, b"x" * LIMIT)]


@pytest.mark.parametrize(("first", "second"), [(LIMIT, 1), (1, LIMIT), (600, 401), (0, LIMIT + 1)])
def test_fragments_over_the_limit(first: int, second: int) -> None:
    """The fragment that makes a message too large is refused with 1009 by its head (section 7.4.1)."""
    assert refusal(client_frame(b"x" * first, fin=False), head(second, CONTINUATION, fin=False)) == 1009


def test_limit_is_for_one_message() -> None:
    """The limit counts anew for every message."""
    message = client_frame(b"x" * 600, fin=False) + client_frame(b"x" * 400, CONTINUATION)
    assert read(message * 3) == [(TEXT, b"x" * LIMIT)] * 3


# Reading


def test_nothing_to_read() -> None:
    """A parser without bytes has nothing to hand out."""
    assert FrameParser(LIMIT).next() is None


def test_one_at_a_time() -> None:
    """Messages that came together are handed out one by one, so that the reader can stop between two."""
    parser = FrameParser(LIMIT)
    parser.feed(client_frame(b"one") + client_frame(b"two"))
    assert parser.next() == (TEXT, b"one")
    assert parser.buffered == len(client_frame(b"two"))
    assert parser.next() == (TEXT, b"two")
    assert parser.next() is None


def test_messages_before_a_failure() -> None:
    """What came whole before a broken rule is handed out before the failure."""
    parser = FrameParser(LIMIT)
    parser.feed(client_frame(b"good") + b"\xff\xff")
    assert parser.next() == (TEXT, b"good")
    with pytest.raises(ProtocolError):
        parser.next()


def test_failure_stays() -> None:
    """After a failure every next() raises it again, whatever good frames follow (section 7.1.7)."""
    parser = FrameParser(LIMIT)
    parser.feed(bytes((FIN | TEXT, 0)))
    for _ in range(3):
        with pytest.raises(ProtocolError) as caught:
            parser.next()
        assert caught.value.code == 1002
        parser.feed(client_frame(b"good"))


def test_nothing_is_kept_after_a_failure() -> None:
    """A parser that has failed keeps no more than what it was fed last."""
    parser = FrameParser(LIMIT)
    parser.feed(b"\xff" * 10)
    for _ in range(5):
        with pytest.raises(ProtocolError):
            parser.next()
        parser.feed(b"x" * 10)
    assert parser.buffered <= 10


@pytest.mark.parametrize("taken", [6, 7, 100, 505])
def test_nothing_is_buffered_inside_a_frame(taken: int) -> None:
    """A payload that is still arriving is looked at as it comes."""
    parser = FrameParser(LIMIT)
    parser.feed(client_frame(b"x" * 125, mask=MASK)[: min(taken, 130)])
    assert parser.next() is None
    assert parser.buffered == 0


def test_messages_do_not_share_memory_with_what_was_fed() -> None:
    """A message is a bytes object of its own, and no view that keeps a whole segment alive."""
    message = read(client_frame(b"small", BINARY), client_frame(b"x" * 900))[0]
    assert type(message[1]) is bytes


# Any bytes in any order


PAYLOADS = st.one_of(
    st.text(max_size=40).map(lambda text: (TEXT, text.encode())),
    st.text(alphabet="aé€🙂\U0010ffff", max_size=100).map(lambda text: (TEXT, text.encode())),
    st.binary(max_size=200).map(lambda data: (BINARY, data)),
    st.sampled_from([(TEXT, b""), (BINARY, b""), (TEXT, "🙂".encode() * 40), (BINARY, b"\xff" * 65536)]),
)
CONTROLS = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2)
MASKS = st.binary(min_size=4, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Messages in any fragmentation with control frames between the fragments: bytes, and what they mean."""
    stream, expected = bytearray(), []
    for opcode, payload in draw(st.lists(PAYLOADS, max_size=4)):
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        ends = list(pairwise([0, *cuts, len(payload)]))
        for number, (begin, end) in enumerate(ends):
            for control in draw(CONTROLS):
                stream += client_frame(control[1], control[0], mask=draw(MASKS))
                expected.append(control)
            final = number == len(ends) - 1
            kind = CONTINUATION if number else opcode
            stream += client_frame(payload[begin:end], kind, fin=final, mask=draw(MASKS))
        expected.append((opcode, payload))
    return bytes(stream), expected


def chunks_of(data: bytes, seed: int) -> Iterable[bytes]:
    """Cut bytes at random, into many pieces or few; empty pieces too."""
    dice = random.Random(seed)
    largest = dice.choice([1, 2, 7, 130, 5000])
    position = 0
    while position < len(data):
        size = dice.randint(0, largest) if largest > 1 else 1
        if len(data) > 60_000:
            size += 300
        yield data[position : position + size]
        position += size


@settings(max_examples=250, deadline=None)
@given(conversations(), st.integers(0, 2**32))
def test_any_conversation(conversation: tuple[bytes, list[Message]], seed: int) -> None:
    """Any messages, in any fragments, with control frames between, in any chunks, come out the same."""
    stream, expected = conversation
    parser = FrameParser(100_000)
    messages = []
    for chunk in chunks_of(stream, seed):
        parser.feed(chunk)
        messages += drain(parser)
    assert messages == expected
    assert parser.buffered == 0


@settings(max_examples=100, deadline=None)
@given(conversations(), st.data())
def test_any_prefix(conversation: tuple[bytes, list[Message]], data: st.DataObject) -> None:
    """The beginning of a valid stream is no failure, and brings the messages that it has whole."""
    stream, expected = conversation
    for length in data.draw(st.lists(st.integers(0, len(stream)), min_size=1, max_size=20)):
        messages = read(stream[:length], limit=100_000)
        assert messages == expected[: len(messages)]


def outcome(chunks: Iterable[bytes]) -> tuple[list[Message], int]:
    """What came out, and the code of the failure that followed (0: none)."""
    parser = FrameParser(LIMIT)
    messages = []
    for chunk in chunks:
        parser.feed(chunk)
        try:
            while (message := parser.next()) is not None:
                messages.append(message)
        except ProtocolError as failure:
            return messages, failure.code
    return messages, 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_random_bytes(chunks: list[bytes]) -> None:
    """Random bytes end in ProtocolError and nothing else."""
    _, code = outcome(chunks)
    assert code in (0, 1002, 1007, 1008, 1009)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(
            client_frame,
            st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=20)),
            st.sampled_from([CONTINUATION, TEXT, TEXT, BINARY, CLOSE, PING, PONG, 3]),
            fin=st.booleans(),
            mask=MASKS,
        ),
        max_size=5,
    ).map(b"".join),
    st.integers(0, 2**32),
)
@example(client_frame(b"\xed\xa0", mask=MASK), 0)
def test_chunks_change_nothing(stream: bytes, seed: int) -> None:
    """What comes out, and how it fails, does not depend on how the bytes were cut."""
    whole = outcome([stream])
    assert outcome(one_by_one(stream)) == whole
    assert outcome(chunks_of(stream, seed)) == whole


@pytest.mark.parametrize(
    "chunk",
    [
        client_frame(b"\xc3\xa9"),
        client_frame(b"x" * 126),
        client_frame(b""),
        client_frame(b"one", fin=False),
        client_frame(b"one", BINARY),
        client_frame(b"one", PING),
        client_frame(b"one") + client_frame(b"two"),
        client_frame(b"one")[:-1],
        b"\x81",
        b"",
        b"\x81\x03" + MASK + b"one",
    ],
    ids=[
        *("not ASCII", "126 bytes", "empty", "fragment", "binary", "ping", "two", "cut short"),
        *("one byte", "nothing", "unmasked"),
    ],
)
def test_the_short_way_is_for_one_short_text(chunk: bytes) -> None:
    """What is not one short ASCII text and nothing else is left to the parser as it is."""
    parser = FrameParser(LIMIT)
    assert parser.take_only(chunk) is None
    assert parser.take_only(client_frame(b"next")) == b"next"


def test_the_short_way_keeps_the_limit() -> None:
    """A text over the limit is not taken by the short way, one at the limit is."""
    assert FrameParser(5).take_only(client_frame(b"12345")) == b"12345"
    assert FrameParser(4).take_only(client_frame(b"12345")) is None


@pytest.mark.parametrize(
    "begun",
    [client_frame(b"one", fin=False), client_frame(b"one")[:-1], b"\x81", b"\xff"],
    ids=["fragment", "cut short", "one byte", "reserved"],
)
def test_the_short_way_only_between_messages(begun: bytes) -> None:
    """Inside a message, a frame or a head, and after a failure, nothing is taken by the short way."""
    parser = FrameParser(LIMIT)
    parser.feed(begun)
    with suppress(ProtocolError):
        parser.next()
    assert parser.take_only(client_frame(b"two")) is None


@settings(max_examples=200, deadline=None)
@given(conversations(), st.integers(0, 2**32))
def test_the_short_way_changes_nothing(conversation: tuple[bytes, list[Message]], seed: int) -> None:
    """Messages come out the same, whichever of them go the short way."""
    stream, expected = conversation
    parser, messages = FrameParser(100_000), []
    for chunk in [*chunks_of(stream, seed), client_frame(b"last")]:
        payload = parser.take_only(chunk)
        if payload is not None:
            messages.append((TEXT, payload))
        else:
            parser.feed(chunk)
            messages += drain(parser)
    assert messages == [*expected, (TEXT, b"last")]


# Frames out (RFC 6455 sections 5.2 and 5.5.1)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame(length: int, expected: bytes) -> None:
    """A frame is final, unmasked, and writes its length in as few bytes as it can (section 5.2)."""
    assert wire.frame(b"x" * length) == expected + b"x" * length


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_frame_opcode(opcode: int) -> None:
    """A frame carries its opcode (section 5.2)."""
    assert wire.frame(b"hi", opcode) == bytes((FIN | opcode, 2)) + b"hi"


def test_close_frame() -> None:
    """A close frame carries code and reason (section 5.5.1)."""
    assert wire.close_frame(1000) == b"\x88\x02\x03\xe8"
    assert wire.close_frame(4408, "no sign of life") == b"\x88\x11\x11\x38no sign of life"
    assert wire.close_frame(CloseCode.RESTART, "adiós") == b"\x88\x08\x03\xf4adi\xc3\xb3s"


def test_close_frame_without_a_code() -> None:
    """NO_STATUS, which is never on the wire, makes an empty close frame (section 7.4.1)."""
    assert wire.close_frame(1005) == b"\x88\x00"
    assert wire.close_frame(1005, "a reason needs a code") == b"\x88\x00"


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65536, 70000])
def test_close_frame_with_an_illegal_code(code: int) -> None:
    """A code that may not be sent raises ValueError, which names it (section 7.4)."""
    with pytest.raises(ValueError, match=str(code)):
        wire.close_frame(code)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("é" * 62, "é" * 61),
        ("xx" + "🙂" * 31, "xx" + "🙂" * 30),
        ("€" * 41, "€" * 41),
    ],
)
def test_long_close_reason(reason: str, kept: str) -> None:
    """A reason of more than 123 bytes is cut, between two characters (section 5.5)."""
    frame = wire.close_frame(1000, reason)
    assert frame[2:4] == b"\x03\xe8"
    assert frame[4:].decode() == kept
    assert frame[1] == len(frame) - 2 <= 125


@given(st.text(alphabet=st.characters(), max_size=200))
@example("\ud800")
def test_any_close_reason(reason: str) -> None:
    """Whatever the reason, the peer can read the close frame (section 5.5.1)."""
    frame = wire.close_frame(1000, reason)
    assert len(frame) <= 127
    code, text = wire.parse_close(frame[2:])
    assert code == 1000
    assert reason.encode("utf-8", "replace").decode().startswith(text)


# JSON out (RFC 8259)


class Name(str):
    """A subclass of str."""


class Weight(float):
    """A subclass of float."""


class Mood(enum.StrEnum):
    """An enumeration of texts."""

    HAPPY = "happy"


class OldMood(str, enum.Enum):  # noqa: UP042 - what applications have from before Python 3.11
    """An enumeration of texts, as it was written before."""

    SAD = "sad"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    HIGH = 3


class Plain(enum.Enum):
    """An enumeration of anything."""

    ONE = 1


class Point(msgspec.Struct):
    """A typed message."""

    x: Any
    y: Any = 0


class UserJoined(msgspec.Struct, tag="user-joined", tag_field="type", rename="camel"):
    """A typed message that carries its type."""

    user_name: str


def cycle_of_lists() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append([value])
    return value


def cycle_of_dicts() -> dict[str, Any]:
    """A dict that holds itself."""
    value: dict[str, Any] = {}
    value["self"] = {"inner": value}
    return value


def nested(depth: int) -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CARRIED = [
    pytest.param({}, b"{}", id="empty"),
    pytest.param(
        {"a": [1, -1, 2.5, "x", True, False, None]}, b'{"a":[1,-1,2.5,"x",true,false,null]}', id="all"
    ),
    pytest.param((1, (2,)), b"[1,[2]]", id="tuple"),
    pytest.param({"a": {"b": {"c": []}}}, b'{"a":{"b":{"c":[]}}}', id="nested"),
    pytest.param("né🙂", '"né🙂"'.encode(), id="not ASCII"),
    pytest.param('"\\\n\0\u2028', '"\\"\\\\\\n\\u0000\u2028"'.encode(), id="escapes"),
    pytest.param({"a": 2**63, "b": -(2**63)}, b'{"a":9223372036854775808,"b":-9223372036854775808}', id="64"),
    pytest.param({"a": 2**70}, b'{"a":1180591620717411303424}', id="2**70"),
    pytest.param([-(2**70)], b"[-1180591620717411303424]", id="-2**70"),
    pytest.param({"a": Name("né")}, '{"a":"né"}'.encode(), id="str subclass"),
    pytest.param({Name("a"): 1}, b'{"a":1}', id="str subclass as key"),
    pytest.param({"a": Mood.HAPPY}, b'{"a":"happy"}', id="StrEnum"),
    pytest.param({"a": OldMood.SAD}, b'{"a":"sad"}', id="str Enum"),
    pytest.param({"a": Level.HIGH}, b'{"a":3}', id="IntEnum"),
    pytest.param({"a": Weight(1.5)}, b'{"a":1.5}', id="float subclass"),
    pytest.param({"a": OrderedDict(x=1)}, b'{"a":{"x":1}}', id="dict subclass"),
    pytest.param(Point(1, [2]), b'{"x":1,"y":[2]}', id="Struct"),
    pytest.param({"a": [Point(1)]}, b'{"a":[{"x":1,"y":0}]}', id="Struct inside"),
    pytest.param(
        {"a": UserJoined("ann")}, b'{"a":{"type":"user-joined","userName":"ann"}}', id="tagged Struct"
    ),
    pytest.param(
        {"a": Point(1), "b": 2**70}, b'{"a":{"x":1,"y":0},"b":1180591620717411303424}', id="S+2**70"
    ),
    pytest.param({"a": Point(Name("né"))}, '{"a":{"x":"né","y":0}}'.encode(), id="str subclass in a Struct"),
]

REFUSED = [
    pytest.param(float("nan"), id="NaN"),
    pytest.param(float("inf"), id="Infinity"),
    pytest.param(float("-inf"), id="-Infinity"),
    pytest.param(Weight("nan"), id="NaN of a subclass"),
    pytest.param({1, 2}, id="set"),
    pytest.param(frozenset(), id="frozenset"),
    pytest.param(b"bytes", id="bytes"),
    pytest.param(bytearray(b"bytes"), id="bytearray"),
    pytest.param(object(), id="object"),
    pytest.param(object, id="class"),
    pytest.param(1j, id="complex"),
    pytest.param(Plain.ONE, id="Enum"),
    pytest.param(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC), id="datetime"),
    pytest.param(types.MappingProxyType({}), id="mapping that is no dict"),
    pytest.param(range(3), id="range"),
    pytest.param(iter(()), id="iterator"),
    pytest.param(msgspec.Raw(b"{"), id="Raw"),
    pytest.param(msgspec.UNSET, id="UNSET"),
    pytest.param("\ud800", id="lone surrogate"),
    pytest.param("a\udfffb", id="lone low surrogate"),
    pytest.param(Name("\ud800"), id="lone surrogate of a subclass"),
    pytest.param({"\ud800": 1}, id="lone surrogate as key"),
    pytest.param({None: 1}, id="None as key"),
    pytest.param({1.5: 1}, id="float as key"),
    pytest.param({float("nan"): 1}, id="NaN as key"),
    pytest.param({(1, 2): 1}, id="tuple as key"),
    pytest.param({b"a": 1}, id="bytes as key"),
    pytest.param({Plain.ONE: 1}, id="Enum as key"),
    pytest.param(Point(float("nan")), id="NaN in a Struct"),
    pytest.param(Point({1}), id="set in a Struct"),
    pytest.param(cycle_of_lists(), id="cycle of lists"),
    pytest.param(cycle_of_dicts(), id="cycle of dicts"),
    pytest.param(nested(100_000), id="100,000 lists deep"),
    pytest.param(10**5000, id="number of 5,000 digits"),
]

WRAPPINGS: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: {"key": value},
    lambda value: [0, value],
    lambda value: (value,),
    lambda value: {"a": [{"b": (value,)}]},
    lambda value: Point(0, value),
    lambda value: OrderedDict(key=value),
    # What only the slow way takes must not open a way around the checks.
    lambda value: {"name": Name("x"), "number": 2**70, "key": value},
]


@pytest.mark.parametrize(("value", "expected"), CARRIED)
def test_encode(value: Any, expected: bytes) -> None:
    """What JSON has is written without spaces, as UTF-8 (RFC 8259 section 8.1)."""
    assert wire.encode(value) == expected


@pytest.mark.parametrize("value", REFUSED)
def test_encode_refuses(value: Any) -> None:
    """What JSON cannot carry raises TypeError at the sender, wherever it hides (RFC 8259 section 3)."""
    for wrap in WRAPPINGS:
        with pytest.raises(TypeError):
            wire.encode(wrap(value))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_any_json(message: dict[str, Any]) -> None:
    """Any JSON object is the same after it was written and read."""
    payload = wire.encode(message)
    assert wire.decode(payload) == message
    assert json.loads(payload) == message


# JSON in (RFC 8259)


NO_MESSAGES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b" ", id="a space"),
    pytest.param(b"{", id="half an object"),
    pytest.param(b"hello", id="a word"),
    pytest.param(b"{'a':1}", id="single quotes"),
    pytest.param(b"{a:1}", id="key without quotes"),
    pytest.param(b'{"a":1,}', id="trailing comma"),
    pytest.param(b'{"a":01}', id="leading zero"),
    pytest.param(b'{"a":.5}', id="no digit before the point"),
    pytest.param(b'{"a":+5}', id="plus sign"),
    pytest.param(b'{"a":"\n"}', id="newline in a text"),
    pytest.param(b'{"a":"\\x41"}', id="unknown escape"),
    pytest.param(b"{} // comment", id="comment"),
    pytest.param(b"[]", id="array"),
    pytest.param(b'["type","ping"]', id="array of texts"),
    pytest.param(b'"text"', id="text"),
    pytest.param(b"5", id="number"),
    pytest.param(b"null", id="null"),
    pytest.param(b"true", id="true"),
    pytest.param(b'{"a":NaN}', id="NaN"),
    pytest.param(b'{"a":nan}', id="nan"),
    pytest.param(b'{"a":Infinity}', id="Infinity"),
    pytest.param(b'{"a":-Infinity}', id="-Infinity"),
    pytest.param(b'{"a":1e999}', id="1e999"),
    pytest.param(b'{"a":-1e999}', id="-1e999"),
    pytest.param(b'{"a":' + b"9" * 5000 + b"}", id="number of 5,000 digits"),
    pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="100,000 arrays deep"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 objects deep"),
    pytest.param(b'{"a":' + b"[" * 100_000, id="100,000 arrays that do not end"),
    pytest.param(rb'{"a":"\ud800"}', id="lone surrogate"),
    pytest.param(rb'{"a":"\ud800 and more text"}', id="lone surrogate before text"),
    pytest.param(rb'{"a":"\ud800\n\n\n"}', id="lone surrogate before escapes"),
    pytest.param(rb'{"a":"\udc00"}', id="lone low surrogate"),
    pytest.param(rb'{"a":"\udc00\ud800"}', id="surrogates in the wrong order"),
    pytest.param(rb'{"\ud800":1}', id="lone surrogate as key"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param("{}".encode("utf-16"), id="UTF-16"),
    pytest.param(b"{} x", id="trailing data"),
    pytest.param(b"{}{}", id="two objects"),
    pytest.param(b"{}\0", id="trailing zero byte"),
    pytest.param(b'{"a":"\xff"}', id="no UTF-8 in a text"),
    pytest.param(b'{"\xff":1}', id="no UTF-8 in a key"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', id="surrogate as UTF-8"),
    pytest.param(b'{"a":"\xc3"}', id="half a character"),
]


@pytest.mark.parametrize("payload", NO_MESSAGES)
def test_decode_refuses(payload: bytes) -> None:
    """What is not one JSON object is no message (RFC 8259 section 2)."""
    with pytest.raises(InvalidMessage):
        wire.decode(payload)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"{}", {}),
        (b' \r\n\t{ "a" : 1 } \n', {"a": 1}),
        (rb'{"a":"\ud83d\ude42"}', {"a": "🙂"}),
        ('{"é":"🙂"}'.encode(), {"é": "🙂"}),
        (b'{"a":1180591620717411303424}', {"a": 2**70}),
        (b'{"a":-0.5e-3,"b":[true,false,null]}', {"a": -0.0005, "b": [True, False, None]}),
        (rb'{"a":"\u0000"}', {"a": "\0"}),
    ],
)
def test_decode(payload: bytes, message: dict[str, Any]) -> None:
    """A JSON object becomes a dict (RFC 8259 section 4)."""
    assert wire.decode(payload) == message


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='{}[]":,\\ud8c0n1e9.-+ ', max_size=40).map(str.encode),
        st.text(alphabet='\\ud8c0a"n', max_size=30).map(lambda text: b'{"a":"' + text.encode() + b'"}'),
    )
)
def test_decode_any_bytes(payload: bytes) -> None:
    """Whatever a client sends is a message that can be sent on, or is refused as none."""
    try:
        message = wire.decode(payload)
    except InvalidMessage:
        return
    assert wire.decode(wire.encode(message)) == message


# Envelopes


def test_success() -> None:
    """An answer has the data with the context inside, as the contract writes it."""
    context = {"username": "ann", "ip": "10.0.0.7"}
    assert wire.success({"type": "news", "n": 1}, context) == (
        b'{"success":true,"data":{"type":"news","n":1,"ctx":{"username":"ann","ip":"10.0.0.7"}}}'
    )


def test_success_without_a_context() -> None:
    """None becomes a guest without an address."""
    assert json.loads(wire.success({"a": 1}, None)) == {
        "success": True,
        "data": {"a": 1, "ctx": {"username": "", "ip": "0.0.0.0"}},
    }


@pytest.mark.parametrize("context", [None, {"username": "ann", "ip": "10.0.0.7"}])
@pytest.mark.parametrize(
    "data", [{"ctx": "mine"}, {"a": 1, "ctx": {"username": "root"}}, {"ctx": {1}, "b": 2}]
)
def test_context_wins(data: dict[str, Any], context: dict[str, str] | None) -> None:
    """The framework's context wins over a key of that name, which stands there once."""
    before = dict(data)
    payload = wire.success(data, context)
    assert payload.count(b'"ctx"') == 1
    assert json.loads(payload)["data"] == {
        **data,
        "ctx": context or {"username": "", "ip": "0.0.0.0"},
    }
    assert data == before


def test_success_of_nothing() -> None:
    """Empty data is an object that holds the context alone."""
    assert json.loads(wire.success({}, None))["data"] == {"ctx": {"username": "", "ip": "0.0.0.0"}}


@pytest.mark.parametrize(
    "data",
    [types.MappingProxyType({"a": 1}), OrderedDict(a=1), {"a": Level(3) - 2}],
    ids=lambda data: type(data),
)
def test_success_of_any_mapping(data: Mapping[str, Any]) -> None:
    """Data may be any mapping."""
    assert json.loads(wire.success(data, types.MappingProxyType({"username": "ann"})))["data"] == {
        "a": 1,
        "ctx": {"username": "ann", "ip": "0.0.0.0"},
    }


def test_success_of_a_struct() -> None:
    """A typed message is sent as JSON writes it, with its tag and its fields' names on the wire."""
    data = json.loads(wire.success(UserJoined("ann"), None))["data"]  # type: ignore[arg-type]
    del data["ctx"]
    assert data == json.loads(wire.encode(UserJoined("ann")))


@pytest.mark.parametrize("data", [None, [], "text", 5, [("a", 1)], {1, 2}, object()])
def test_success_of_no_object(data: Any) -> None:
    """Data that is no object raises TypeError, since the context would have no place."""
    with pytest.raises(TypeError, match="data is an object"):
        wire.success(data, None)


@pytest.mark.parametrize(("data", "context"), [({"a": {1}}, None), ({"a": 1}, {"username": {1}})])
def test_success_of_what_json_cannot_carry(data: dict[str, Any], context: dict[str, Any] | None) -> None:
    """What JSON cannot carry raises TypeError, in the data and in the context."""
    with pytest.raises(TypeError):
        wire.success(data, context)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_success_of_any_json(data: dict[str, Any]) -> None:
    """Whatever the data, the envelope is JSON and carries it."""
    expected = {**data, "ctx": {"username": "", "ip": "0.0.0.0"}}
    assert json.loads(wire.success(data, None)) == {"success": True, "data": expected}


def test_plain_success() -> None:
    """A plain answer has no context."""
    assert wire.plain_success({"type": "pong"}) == b'{"success":true,"data":{"type":"pong"}}'


def test_failure() -> None:
    """A refusal tells error and code, and what more is known."""
    assert wire.failure("Not found", 404) == b'{"success":false,"error":"Not found","code":404}'
    assert json.loads(wire.failure("Invalid message format", 400, username="")) == {
        "success": False,
        "error": "Invalid message format",
        "code": 400,
        "username": "",
    }


@pytest.mark.parametrize("ctx", ["ann", 5, ["username"], object()], ids=lambda ctx: type(ctx).__name__)
def test_context_that_is_none(ctx: Any) -> None:
    """A context that is no mapping is a TypeError that says what a context is."""
    with pytest.raises(TypeError, match="ctx is an object"):
        wire.success({}, ctx)


@pytest.mark.parametrize("size", [0, 50, 60, 1000, 65_000, 70_000])
def test_data_start(size: int) -> None:
    """The place where `data` begins is known for every form of a frame's length."""
    frame = wire.frame(wire.success({"pad": "x" * size}, None))
    assert frame[wire.data_start(frame) :].startswith(b'{"pad":"x' if size else b'{"pad":""')


def nested(levels: int, width: int = 1) -> bytes:
    """A message of so many levels, the outermost an object; each list has `width` items."""
    inner: Any = 1
    for _ in range(levels - 1):
        inner = [*([0] * (width - 1)), inner]
    return wire.encode({"inner": inner})


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("levels", [1, 2, 7])
def test_depth_within_the_limit(levels: int, width: int) -> None:
    """A message may be nested as deep as the limit says, and no level deeper."""
    assert wire.decode(nested(levels, width), levels)
    with pytest.raises(InvalidMessage, match="nested"):
        wire.decode(nested(levels + 1, width), levels)


def test_brackets_in_texts_are_no_depth() -> None:
    """Brackets inside texts, and many side by side, nest nothing."""
    assert wire.decode(b'{"text":"' + b"[{" * 1000 + b'"}', 2)
    assert wire.decode(b'{"flat":[' + b",".join([b"[]"] * 1000) + b"]}", 3)
