"""permessage-deflate: what is agreed on, one compression for many, and inflation that knows its limit."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jpulse import wire
from jpulse.deflate import FULL_WINDOW, MAX_FINAL_BLOCKS, MIN_BYTES, SMALL_WINDOW, Compressor, negotiate
from jpulse.errors import CloseCode, ProtocolError
from jpulse.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, FrameParser, Message

from .conftest import Server
from .fake_cluster import Net
from .fake_transport import Client, World
from .raw_client import RawClient, client_frame
from .support import ask, namespace_figures
from .visitor import Visitor

ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TAIL = b"\x00\x00\xff\xff"
LIMIT = 1000
WS = "/api/1/ws/"
#: What Chromium and Firefox offer.
BROWSER_OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
#: A header that comes twice.
TWO_OFFERS = "x-other\r\nSec-WebSocket-Extensions: permessage-deflate"
LONG = "a text of which there is much " * 40


# What is agreed on (RFC 7692 sections 5 and 7.1)


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        'permessage-deflate ; client_max_window_bits = "1\\0"',
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-bzip2, permessage-deflate",
        'x; a="b"; c, , permessage-deflate',
        "permessage-deflate; mode=fast, permessage-deflate; client_max_window_bits, permessage-deflate",
        " \tpermessage-deflate\t ",
        "permessage-deflate,",
    ],
)
def test_offer_that_is_accepted(offer: str) -> None:
    """An offer is accepted without context takeover on either side; what cannot be is passed over."""
    assert negotiate(offer) == (ANSWER, FULL_WINDOW)


@pytest.mark.parametrize(
    ("bits", "answered"), [(15, 15), (14, SMALL_WINDOW), (10, SMALL_WINDOW), (9, SMALL_WINDOW)]
)
def test_window_that_is_asked_for(bits: int, answered: int) -> None:
    """A client that bounds our window is answered with one as small (section 7.1.2.1)."""
    agreement = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    assert agreement == (f"{ANSWER}; server_max_window_bits={answered}", answered)


def test_first_acceptable_offer_wins() -> None:
    """Of several offers the first that can be accepted is (section 5.1)."""
    offers = [f"permessage-deflate; server_max_window_bits={bits}" for bits in (8, 9, 15)]
    assert negotiate(", ".join(offers)) == (f"{ANSWER}; server_max_window_bits=9", SMALL_WINDOW)


@pytest.mark.parametrize(
    "offer",
    [
        pytest.param("", id="nothing"),
        pytest.param("x-webkit-deflate-frame", id="another extension"),
        pytest.param("permessage-deflates", id="a longer name"),
        pytest.param("permessage-deflate; mode=fast", id="unknown parameter"),
        pytest.param("permessage-deflate; server_no_context_takeover=1", id="value that is not expected"),
        pytest.param("permessage-deflate; server_max_window_bits", id="no value"),
        pytest.param("permessage-deflate; server_max_window_bits=8", id="window that zlib has not"),
        pytest.param("permessage-deflate; server_max_window_bits=7", id="window too small"),
        pytest.param("permessage-deflate; server_max_window_bits=16", id="window too large"),
        pytest.param("permessage-deflate; server_max_window_bits=09", id="leading zero"),
        pytest.param("permessage-deflate; server_max_window_bits=+9", id="sign"),
        pytest.param("permessage-deflate; client_max_window_bits=99", id="client's window too large"),
        pytest.param("permessage-deflate; client_max_window_bits; client_max_window_bits=9", id="twice"),
        pytest.param("permessage-deflate; client_max_window_bits=", id="value that is missing"),
        pytest.param('permessage-deflate; client_max_window_bits="10', id="quote that is open"),
        pytest.param('permessage-deflate; client_max_window_bits=""', id="empty quotes"),
        pytest.param("permessage-deflate; =10", id="parameter without a name"),
        pytest.param("permessage-deflate;", id="semicolon at the end"),
        pytest.param("permessage-deflate junk", id="two words"),
        pytest.param("permessage-deflate, (", id="malformed afterwards (RFC 6455 section 9.1)"),
        pytest.param("permessage-deflate" + " " * 5000, id="very long"),
    ],
)
def test_offer_that_is_declined(offer: str) -> None:
    """What is malformed, unknown or cannot be kept is declined: the connection is not compressed."""
    assert negotiate(offer) is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='permessage-deflate;=",\\ \t109_window', max_size=80), st.text(max_size=20))
def test_any_offer(middle: str, end: str) -> None:
    """Whatever is offered, the answer is None or one that the RFC allows."""
    for header in (middle, f"permessage-deflate{middle}", f"permessage-deflate; {middle}{end}", end):
        agreement = negotiate(header)
        assert agreement is None or agreement.answer.startswith(ANSWER)


# Out


def inflate(packed: bytes, bits: int = FULL_WINDOW) -> bytes:
    """Inflate one message with nothing but its own bytes."""
    inflater = zlib.decompressobj(-bits)
    payload = inflater.decompress(packed + TAIL + b"\x01\x00\x00\xff\xff")
    assert inflater.eof, "the message does not end with a flush"
    return payload


@pytest.mark.parametrize("bits", [FULL_WINDOW, SMALL_WINDOW])
@settings(max_examples=50, deadline=None)
@given(payloads=st.lists(st.one_of(st.binary(max_size=3000), st.just(LONG.encode())), max_size=6))
def test_every_message_stands_alone(bits: int, payloads: list[bytes]) -> None:
    """Whatever was compressed before it, each message is inflated alone, in the window agreed on."""
    compressor = Compressor(bits)
    assert [inflate(compressor.compress(payload), bits) for payload in payloads] == payloads


def test_nothing_is_left_of_a_message_that_failed() -> None:
    """Half a message that stayed in the compressor goes to nobody."""

    class Failing:
        def compress(self, payload: bytes) -> bytes:
            raise MemoryError

    compressor = Compressor(FULL_WINDOW)
    compressor._zlib = Failing()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        compressor.compress(b"secret")
    assert inflate(compressor.compress(b"public")) == b"public"


@pytest.mark.parametrize("length", [200, 20_000, 70_000])
def test_compressed_frame(length: int) -> None:
    """A compressed frame has RSV1 on its first byte, whatever the length of its length (section 6.1)."""
    payload = (os.urandom(length // 10).hex() * 5)[:length].encode()
    frame = wire.compressed(wire.frame(payload), FULL_WINDOW)
    assert frame[0] == 0x80 | RSV1 | TEXT
    begin = 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10
    assert wire.frame(frame[begin:], TEXT | RSV1) == frame
    assert inflate(frame[begin:]) == payload


def test_what_compression_would_make_larger() -> None:
    """A message that deflate cannot make smaller is sent as it is."""
    frame = wire.frame(os.urandom(5000), BINARY)
    assert wire.compressed(frame, FULL_WINDOW) is frame


# In


def packed(payload: bytes) -> bytes:
    """Compress as a client does."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def final_block(payload: bytes, window: bytes = b"") -> bytes:
    """Compress so that the last block has BFINAL."""
    compressor = zlib.compressobj(wbits=-15, zdict=window) if window else zlib.compressobj(wbits=-15)
    return compressor.compress(payload) + compressor.flush()


def compressed_frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """Make a client's compressed frame of a whole message or its first fragment."""
    return client_frame(payload, opcode | RSV1, fin=fin)


def read(*chunks: bytes, limit: int = LIMIT) -> list[Message]:
    """What comes out of a parser that inflates."""
    parser, messages = FrameParser(limit, inflates=True), []
    for chunk in chunks:
        parser.feed(chunk)
        messages += list(iter(parser.next, None))
    return messages


def refusal(*chunks: bytes, limit: int = LIMIT) -> int:
    """The close code with which these bytes are refused."""
    with pytest.raises(ProtocolError) as caught:
        read(*chunks, limit=limit)
    assert caught.value.reason
    return caught.value.code


def one_by_one(data: bytes) -> list[bytes]:
    """Every byte as a chunk of its own."""
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("payload", [b"", b"Hello", b"x" * LIMIT, "grüße 🙂".encode()])
def test_compressed_message(opcode: int, payload: bytes) -> None:
    """A compressed message comes out inflated, however its bytes arrive."""
    data = compressed_frame(packed(payload), opcode)
    assert read(data) == [(opcode, payload)]
    assert read(*one_by_one(data)) == [(opcode, payload)]


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("f2 48 cd c9 c9 07 00", id="one block"),
        pytest.param("00 05 00 fa ff 48 65 6c 6c 6f 00", id="no compression"),
        pytest.param("f3 48 cd c9 c9 07 00 00", id="BFINAL"),
        pytest.param("f3 48 cd c9 c9 07 00", id="BFINAL without the empty block behind it"),
        pytest.param("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", id="two blocks"),
    ],
)
def test_examples_of_the_rfc(octets: str) -> None:
    """The examples of section 7.2.3 all say Hello."""
    assert read(compressed_frame(bytes.fromhex(octets))) == [(TEXT, b"Hello")]


def test_plain_message_where_compressed_ones_may_come() -> None:
    """A client may send any message as it is (section 6)."""
    data = client_frame(b"one") + compressed_frame(packed(b"two")) + client_frame(b"three")
    assert read(data) == [(TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three")]


def test_ping_between_compressed_fragments() -> None:
    """Control frames come between the fragments of a compressed message (RFC 6455 section 5.4)."""
    body = packed(LONG.encode()[:LIMIT])
    first = compressed_frame(body[:10], fin=False)
    rest = client_frame(body[10:], CONTINUATION)
    data = first + client_frame(b"alive?", PING) + client_frame(b"", CONTINUATION, fin=False) + rest
    assert read(data) == [(PING, b"alive?"), (TEXT, LONG.encode()[:LIMIT])]
    assert read(*one_by_one(data)) == [(PING, b"alive?"), (TEXT, LONG.encode()[:LIMIT])]


def test_several_final_blocks() -> None:
    """A message may go on behind a block with BFINAL, with the same window (section 7.2.3.5)."""
    body = final_block(b"to be, or not ") + final_block(b"to be, or not ", b"to be, or not ") + b"\x00"
    assert read(compressed_frame(body)) == [(TEXT, b"to be, or not to be, or not ")]
    assert read(*one_by_one(compressed_frame(body))) == [(TEXT, b"to be, or not to be, or not ")]


def test_too_many_final_blocks() -> None:
    """So many final blocks that they serve to waste time are refused with 1008."""
    block = final_block(b"")
    assert read(compressed_frame(block * MAX_FINAL_BLOCKS + b"\x00")) == [(TEXT, b"")]
    assert refusal(compressed_frame(block * (MAX_FINAL_BLOCKS + 2))) == CloseCode.POLICY_VIOLATION


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_compressed_control_frame(opcode: int) -> None:
    """Control frames are never compressed: 1002 (section 6.1)."""
    assert refusal(client_frame(b"", opcode | RSV1)[:1]) == 1002


@pytest.mark.parametrize("bits", [0x10, 0x20, 0x30, 0x50, 0x60, 0x70])
def test_other_reserved_bits(bits: int) -> None:
    """The other reserved bits have no meaning: 1002."""
    assert refusal(client_frame(packed(b"x"), TEXT | bits)) == 1002


def test_compressed_continuation() -> None:
    """RSV1 on any fragment but the first is refused with 1002 (section 6.1)."""
    body = packed(b"Hello")
    assert refusal(compressed_frame(body[:2], fin=False) + compressed_frame(body[2:], CONTINUATION)) == 1002
    assert refusal(client_frame(b"x", fin=False) + compressed_frame(body, CONTINUATION)) == 1002


def test_compression_that_was_not_agreed_on() -> None:
    """A compressed message is refused with 1002 where nobody agreed to it."""
    parser = FrameParser(LIMIT)
    parser.feed(compressed_frame(packed(b"x")))
    with pytest.raises(ProtocolError) as caught:
        parser.next()
    assert caught.value.code == 1002


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xff\xff", id="no deflate"),
        pytest.param(packed(LONG.encode())[:-3], id="cut short"),
        pytest.param(b"\x00\x05\x00\xfa\xffHel", id="cut short inside a block without compression"),
        pytest.param(packed(b"Hello") + TAIL, id="end that was to be left out"),
        pytest.param(final_block(b"Hello") + b"\xff\xff", id="rubbish behind a final block"),
    ],
)
def test_what_cannot_be_inflated(body: bytes) -> None:
    """Data that is no whole deflate stream is refused with 1007."""
    assert refusal(compressed_frame(body), limit=10_000) == 1007
    assert refusal(*one_by_one(compressed_frame(body)), limit=10_000) == 1007


def test_context_takeover_that_was_ruled_out() -> None:
    """A message that needs the one before it is refused with 1007 (section 7.1.1.2)."""
    compressor = zlib.compressobj(wbits=-15)
    both = []
    for _ in range(2):
        body = compressor.compress(b"the same text, the same text") + compressor.flush(zlib.Z_SYNC_FLUSH)
        both.append(compressed_frame(body.removesuffix(TAIL)))
    assert read(both[0]) == [(TEXT, b"the same text, the same text")]
    assert refusal(b"".join(both)) == 1007


@pytest.mark.parametrize("text", [b"\x80", b"abc\xff", b"\xed\xa0\x80", b"end \xe2\x82"])
def test_text_is_checked_when_it_is_inflated(text: bytes) -> None:
    """A compressed text that is not UTF-8 is refused with 1007; binary is not text."""
    assert refusal(compressed_frame(packed(text))) == 1007
    assert read(compressed_frame(packed(text), BINARY)) == [(BINARY, text)]


def test_character_over_compressed_fragments() -> None:
    """A character may be split where a compressed message is."""
    body = packed("🙂🙂".encode())
    data = compressed_frame(body[:3], fin=False) + client_frame(body[3:], CONTINUATION)
    assert read(data) == [(TEXT, "🙂🙂".encode())]


@pytest.mark.parametrize("over", [-1, 0, 1, 2, 100_000])
def test_limit_of_an_inflated_message(over: int) -> None:
    """A message may be inflated to the limit; one byte more is refused with 1009."""
    data = compressed_frame(packed(b"x" * (LIMIT + over)))
    if over <= 0:
        assert read(data) == [(TEXT, b"x" * (LIMIT + over))]
    else:
        assert refusal(data) == CloseCode.MESSAGE_TOO_BIG
        assert refusal(*one_by_one(data)) == CloseCode.MESSAGE_TOO_BIG


def test_limit_over_fragments() -> None:
    """The limit is for the whole message, however many fragments inflate to it."""
    body = packed(b"x" * (LIMIT + 1))
    pieces = [compressed_frame(body[:4], fin=False), client_frame(body[4:], CONTINUATION)]
    assert refusal(*pieces) == CloseCode.MESSAGE_TOO_BIG


def test_bomb_takes_no_more_memory_than_the_limit() -> None:
    """A hundred megabytes in a hundred kilobytes are refused at little more than the limit."""
    limit = 1 << 20
    bomb = compressed_frame(packed(bytes(100 << 20)), BINARY)
    assert len(bomb) < 110_000
    tracemalloc.start()
    try:
        assert refusal(bomb, limit=limit) == CloseCode.MESSAGE_TOO_BIG
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * limit


def test_length_that_no_message_can_need() -> None:
    """A compressed frame too long for any message within the limit is refused before it comes."""
    head = bytes((0x80 | RSV1 | TEXT, 0x80 | 126)) + (2 * LIMIT).to_bytes(2, "big")
    assert refusal(head) == CloseCode.MESSAGE_TOO_BIG


def test_blocks_that_bring_nothing() -> None:
    """Empty blocks without end are refused with 1009 too, by what they take on the wire."""
    empty = b"\x00\x00\x00\xff\xff"
    pieces = [compressed_frame(empty, fin=False)]
    pieces += [client_frame(empty, CONTINUATION, fin=False)] * LIMIT
    assert refusal(*pieces) == CloseCode.MESSAGE_TOO_BIG


def test_nothing_is_kept_after_a_compressed_failure() -> None:
    """A parser that failed inside a compressed message keeps neither its bytes nor its window."""
    parser = FrameParser(LIMIT, inflates=True)
    parser.feed(compressed_frame(b"\xff\xff\xff"))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parser.next()
    assert (parser._inflater, parser._message, parser.buffered) == (None, None, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([TEXT, BINARY]),
            st.text(alphabet="aé🙂", max_size=300).map(str.encode),
            st.booleans(),
            st.integers(0, 400),
        ),
        max_size=4,
    ),
    st.integers(1, 50),
)
def test_any_mixture(messages: list[tuple[int, bytes, bool, int]], size: int) -> None:
    """Any messages, compressed or not, whole or in two fragments, in any chunks, come out the same."""
    stream = bytearray()
    for opcode, payload, compress, cut in messages:
        body, first = (packed(payload), opcode | RSV1) if compress else (payload, opcode)
        stream += client_frame(body[:cut], first, fin=cut >= len(body))
        if cut < len(body):
            stream += client_frame(b"", PONG) + client_frame(body[cut:], CONTINUATION)
    chunks = [bytes(stream[begin : begin + size]) for begin in range(0, len(stream), size)]
    got = [message for message in read(*chunks, limit=5000) if message[0] != PONG]
    assert got == [(opcode, payload) for opcode, payload, _, _ in messages]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 20))
@example(b"\x03\x00" * 50, 1)
@example(bytes.fromhex("4a4c1c05a321301a020300a32140cdfe10f505a7620000ffff"), 1)
def test_any_compressed_bytes(body: bytes, size: int) -> None:
    """Whatever a compressed frame holds, it is inflated or refused, the same in any chunks."""

    def outcome(*chunks: bytes) -> list[Message] | int:
        try:
            return read(*chunks)
        except ProtocolError as failure:
            return failure.code

    data = compressed_frame(body, BINARY)
    whole = outcome(data)
    assert whole in (1007, 1008, 1009) or isinstance(whole, list)
    cut = outcome(*(data[begin : begin + size] for begin in range(0, len(data), size)))
    # What is too long as well as no deflate is refused for what is met first.
    assert cut == whole or isinstance(cut, int) == isinstance(whole, int) is True


# One compression for many


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A hub at a time of a test's own."""
    return World(monkeypatch)


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was compressed, each time that it was."""
    seen: list[bytes] = []
    compress = Compressor.compress

    def counted(self: Compressor, payload: bytes) -> bytes:
        seen.append(payload)
        return compress(self, payload)

    monkeypatch.setattr(Compressor, "compress", counted)
    return seen


def received(client: Client) -> list[tuple[bool, dict[str, Any]]]:
    """What a client got: whether it was compressed, and its data."""
    client.connection.scheduler.flush()
    found = []
    for opcode, payload in client.frames():
        text = inflate(payload) if opcode & RSV1 else payload
        found.append((bool(opcode & RSV1), json.loads(text)["data"]))
    client.transport.sent = b""
    return found


def test_broadcast_is_compressed_once(world: World, compressions: list[bytes]) -> None:
    """However many agreed to it, a broadcast is compressed once; the others get it as it is."""
    able = [world.connect(f"able-{number}", window_bits=FULL_WINDOW) for number in range(5)]
    plain = [world.connect(f"plain-{number}") for number in range(3)]
    world.namespace.broadcast({"type": "said", "text": LONG[:500]})
    assert len(compressions) == 1
    expected = {"type": "said", "text": LONG[:500], "ctx": {"username": "", "ip": "0.0.0.0"}}
    assert [received(client) for client in able] == [[(True, expected)]] * 5
    assert [received(client) for client in plain] == [[(False, expected)]] * 3


def test_one_compression_for_each_window(world: World, compressions: list[bytes]) -> None:
    """Those who asked for a smaller window cost one more compression, all together."""
    clients = [world.connect(str(n), window_bits=(FULL_WINDOW, SMALL_WINDOW)[n % 2]) for n in range(6)]
    world.namespace.broadcast({"type": "said", "text": LONG[:500]})
    assert len(compressions) == 2
    assert all(received(client)[0][0] for client in clients)


def test_short_messages_are_sent_as_they_are(world: World, compressions: list[bytes]) -> None:
    """A frame below MIN_BYTES is not compressed; one of that size is."""
    client = world.connect(window_bits=FULL_WINDOW)
    short = MIN_BYTES - 1 - len(wire.frame(wire.success({"text": "x" * 99}, None))) + 99
    for size, compressed in ((short, False), (short + 1, True)):
        world.namespace.broadcast({"text": "x" * size})
        assert [was for was, _ in received(client)] == [compressed]
        client.connection.send({"text": "x" * size})
        assert [was for was, _ in received(client)] == [compressed]
    assert len(compressions) == 2


def test_nobody_agreed(world: World, compressions: list[bytes]) -> None:
    """Nothing is compressed while nobody is there who agreed to it, nor after the last one left."""
    world.connect("plain")
    able = world.connect("able", window_bits=FULL_WINDOW)
    able.connection.connection_lost()
    world.namespace.members.remove(able.connection)
    world.namespace.broadcast({"type": "said", "text": LONG[:500]})
    assert compressions == []
    assert world.namespace.members.inflating == 0


def test_one_client_of_many(world: World, compressions: list[bytes]) -> None:
    """send_to_client and conn.send compress for who agreed, and only for those."""
    able, plain = world.connect("able", window_bits=FULL_WINDOW), world.connect("plain")
    world.namespace.send_to_client("plain", {"text": LONG[:500]})
    plain.connection.send({"text": LONG[:500]})
    assert compressions == []
    world.namespace.send_to_client("able", {"text": LONG[:500]})
    able.connection.send({"text": LONG[:500]})
    assert [was for was, _ in received(able)] == [True, True]
    assert [was for was, _ in received(plain)] == [False, False]


def test_bytes_saved_are_counted(world: World) -> None:
    """Statistics tell the bytes that were sent, and how many more it would have been."""
    stats = world.namespace.stats
    able, plain = world.connect("able", window_bits=FULL_WINDOW), world.connect("plain")
    world.namespace.broadcast({"text": LONG[:500]})
    able.connection.send({"text": LONG[:500]})
    world.end_turn()
    sent = len(able.transport.sent) + len(plain.transport.sent)
    assert stats.deliveries == 3
    assert stats.bytes_out == sent
    assert stats.bytes_saved == 3 * len(plain.transport.sent) - sent > 0
    figures = stats.figures(0.0)
    assert figures.bytes_saved == stats.bytes_saved


def test_broadcast_of_another_process_is_compressed_once(
    monkeypatch: pytest.MonkeyPatch, compressions: list[bytes]
) -> None:
    """The bridge carries a message as it is; each process compresses it once for its own clients."""
    net = Net(monkeypatch)
    processes = net.settled(2)
    clients = [
        process.connect(f"{number}-{name}", window_bits=FULL_WINDOW)
        for number, process in enumerate(processes)
        for name in ("ann", "bob", "cid")
    ]
    net.settle()
    for client in clients:
        client.transport.sent = b""
    processes[0].chat.broadcast({"type": "said", "text": LONG[:500]})
    net.settle()
    assert len(compressions) == 2
    assert all(opcode == TEXT | RSV1 for client in clients for opcode, _ in client.frames())
    assert [len(client.frames()) for client in clients] == [1] * 6


# On a real server


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module(app="tests.apps.behaviours")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def connect(server: Server, path: str = "packed", headers: dict[str, str] | None = None) -> RawClient:
    """A client that agrees to compression and got `connected`."""
    client = RawClient(server.port, WS + path, headers={**BROWSER_OFFER, **(headers or {})})
    client.inflates = True
    assert client.read_json()["data"]["type"] == "connected"
    return client


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="short way"),
        # Nothing that a browser would send with a handshake.
        pytest.param({"Content-Length": "0"}, id="long way"),
        pytest.param({"Sec-WebSocket-Extensions": TWO_OFFERS}, id="two headers"),
    ],
)
def test_handshake(server: Server, extra: dict[str, str]) -> None:
    """A browser's offer is accepted from guests and users, whichever way the handshake goes."""
    ann = Visitor(server.port)
    ann.sign_in()
    for path, cookie in (("packed", {}), ("packed-members", ann.cookie_header())):
        asked = {**BROWSER_OFFER, **extra, **cookie}
        status, headers, _ = ask(server.port, WS + path, asked, upgrade=True)
        assert (status, headers["sec-websocket-extensions"]) == (101, ANSWER)


@pytest.mark.parametrize(
    ("path", "offer"),
    [
        ("echo", "permessage-deflate"),
        ("packed", "permessage-deflate; server_max_window_bits=8"),
        ("packed", "permessage-deflate; mode=fast"),
        ("packed", '"'),
        ("packed", "é" * 3000),
    ],
)
def test_declined(server: Server, path: str, offer: str) -> None:
    """A namespace without compression and a bad offer are answered 101 without an extension."""
    status, headers, _ = ask(server.port, WS + path, {"Sec-WebSocket-Extensions": offer}, upgrade=True)
    assert status == 101
    assert "sec-websocket-extensions" not in headers


def test_both_kinds_of_clients(server: Server) -> None:
    """Compressed and plain clients talk to each other, also in fragments with pings between."""
    with connect(server) as able, RawClient(server.port, WS + "packed") as plain:
        plain.read_json()
        body = packed(json.dumps({"type": "say", "text": LONG}).encode())
        able.send(compressed_frame(body[:20], fin=False) + client_frame(b"?", PING))
        assert able.read_frame() == (PONG, b"?")
        able.send(client_frame(body[20:], CONTINUATION))
        assert able.read_data("yours")["message"]["text"] == LONG
        assert able.read_data("said")["message"]["text"] == LONG
        assert plain.read_data("said")["message"]["text"] == LONG
        assert able.compressed_messages == 2
        assert able.compressed_bytes < len(LONG)
        plain.send_json({"type": "say", "text": LONG + "!"})
        assert plain.read_data("said")["message"]["text"] == able.read_data("said")["message"]["text"]
        able.send(compressed_frame(packed(b'{"type":"ping"}')))
        assert able.read_json()["data"] == {"type": "pong"}


def test_log_and_figures(server: Server) -> None:
    """The activity log has the text of compressed messages, statistics their bytes on the wire."""
    visitor = Visitor(server.port)
    visitor.sign_in()
    with connect(server) as client:
        client.send(compressed_frame(packed(json.dumps({"type": "log me", "text": LONG}).encode())))
        client.read_data("said")
    figures = visitor.get("/api/1/websocket/stats").data
    entry = next(each for each in figures["activityLog"] if each["type"] == "log me")
    assert entry["message"].startswith('{"type": "log me", "text": "a text of which there is much')
    assert namespace_figures(server.port, WS + "packed")["totalMessages"] >= 3
    metrics = visitor.get("/metrics").text
    saved = next(
        line for line in metrics.splitlines() if "saved_bytes" in line and '"/api/1/ws/packed"' in line
    )
    assert float(saved.split()[-1]) > len(LONG)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(packed(b" " * 10_000_000), 1009, id="bomb"),
        pytest.param(b"\xff\xff\xff", 1007, id="no deflate"),
        pytest.param(packed(b'"\xff"'), 1007, id="no UTF-8"),
    ],
)
def test_hostile_messages(server: Server, body: bytes, code: int) -> None:
    """A bomb is closed with 1009, what cannot be inflated or is no text with 1007."""
    with connect(server) as client:
        client.send(compressed_frame(body))
        assert client.read_close()[0] == code
