"""
The wire, without any I/O: JSON envelopes and RFC 6455 frames.

Out: `frame(payload)` and `success(data, ctx)` make bytes. In: a `FrameParser`
is fed bytes as they come and hands out whole messages and control frames.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from . import deflate
from .errors import CloseCode, InvalidMessage, ProtocolError

#: Opcodes (RFC 6455 section 5.2).
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: Set in the first byte of a message that is compressed (RFC 7692 section 6).
RSV1 = 0x40
#: The most that a control frame carries (RFC 6455 section 5.5).
MAX_CONTROL_BYTES = 125
#: Fragments without payload cost the sender six bytes and bring a message no nearer to its end.
MAX_EMPTY_FRAGMENTS = 1000

#: The first byte of a text message that is not fragmented.
_WHOLE_TEXT = 0x80 | TEXT

#: Objects and lists of a client's message may be nested so deep, unless it is told otherwise.
MAX_DEPTH = 64

Context = Mapping[str, Any]
#: An opcode (TEXT, BINARY, CLOSE, PING or PONG) and the unmasked payload.
Message = tuple[int, bytes]
Unmask = Callable[[bytes, bytes], bytes]


# JSON


def _plain(value: Any) -> Any:
    """Give msgspec what it does not take itself: subclasses of str, int and float."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"cannot be sent as JSON: {type(value).__name__}")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_decode = msgspec.json.Decoder().decode

NO_CONTEXT: Context = {"username": "", "ip": "0.0.0.0"}
_NO_CONTEXT_JSON = _encode(NO_CONTEXT)
_HEAD = b'{"success":true,"data":'
#: The heads of short text frames, by length: a third of what making one costs.
_SHORT_HEADS = [bytes((_WHOLE_TEXT, length)) for length in range(126)]


def encode(value: Any) -> bytes:
    """
    Make JSON of what JSON has: dict, list, tuple, str, int, finite float, bool, None, and msgspec.Struct.

    Everything else raises TypeError, also NaN, infinities, lone surrogates and cycles:
    what only some receivers would understand is refused at the sender.
    """
    try:
        _check(value)
        return _encode(value)
    except RecursionError:
        raise TypeError("cannot be sent as JSON: nested too deeply, or a cycle") from None
    except ValueError as error:
        # A lone surrogate, or a number of more digits than Python writes.
        raise TypeError(f"cannot be sent as JSON: {error}") from None


def _check(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str and not isinstance(key, str | int):
                raise TypeError(f"cannot be sent as JSON: a key of type {type(key).__name__}; use str")
            # The two commonest types here rather than in a call: 40 ns an item instead of 120.
            inner = type(item)
            if inner is not str and inner is not int:
                _check(item)
    elif kind is list or kind is tuple:
        for item in value:
            _check(item)
    elif kind is float:
        if value - value != 0.0:
            raise TypeError(f"cannot be sent as JSON: {value} is no JSON number")
    elif value is not None and kind is not bool:
        _check_rare(value)


def _check_rare(value: Any) -> None:
    if isinstance(value, msgspec.Struct):
        _check(msgspec.structs.asdict(value))
    elif isinstance(value, dict):
        _check(dict(value))
    elif isinstance(value, list | tuple):
        _check(list(value))
    elif isinstance(value, float):
        _check(float(value))
    elif not isinstance(value, str | int):
        raise TypeError(
            f"cannot be sent as JSON: {type(value).__name__}; use dict, list, str, int, float, bool or None"
        )


def decode(payload: bytes, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Read a client's message; InvalidMessage if it is not JSON (RFC 8259), no object, or too deep."""
    try:
        message = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(str(error)) from None
    if type(message) is not dict:
        raise InvalidMessage(f"a message is an object, not {type(message).__name__}")
    # A level takes two bytes at least: nearly all messages are too short to be too deep.
    if len(payload) > 2 * max_depth and _is_deeper(message, payload, max_depth):
        raise InvalidMessage(f"a message is nested more than {max_depth} levels deep")
    return message


def _is_deeper(message: dict[str, Any], payload: bytes, levels: int) -> bool:
    """Tell whether objects and lists are nested deeper; for the worst it takes as long as decoding."""
    if payload.count(b"{") + payload.count(b"[") <= levels:
        return False
    containers: list[Any] = [message]
    for _ in range(levels):
        containers = [
            item
            for each in containers
            for item in (each.values() if type(each) is dict else each)
            if type(item) is dict or type(item) is list
        ]
        if not containers:
            return False
    return True


def success(data: Mapping[str, Any], ctx: Context | None) -> bytes:
    """
    Make the envelope `{"success": true, "data": {...data, "ctx": ctx}}`.

    The framework's `ctx` wins over a key of that name in `data`; None becomes a guest
    without an address. TypeError if `data` is no mapping or holds what JSON cannot carry.
    """
    if type(data) is not dict:
        data = _as_dict(data)
    if "ctx" in data:
        data = {key: value for key, value in data.items() if key != "ctx"}
    body = encode(data)
    context = _NO_CONTEXT_JSON if ctx is None else _encode_context(ctx)
    # join() takes half as long as formatting with %b.
    return b"".join((_HEAD, body[:-1], b',"ctx":' if data else b'"ctx":', context, b"}}"))


def data_start(frame: bytes) -> int:
    """Where `data` begins in a frame of a success envelope."""
    return _payload_start(frame) + len(_HEAD)


def _encode_context(ctx: Context) -> bytes:
    if type(ctx) is dict and len(ctx) == 2 and type(ctx.get("username")) is type(ctx.get("ip")) is str:
        # What `conn.ctx` is: there is nothing to add.
        return _encode_two_texts(ctx)
    if not isinstance(ctx, Mapping):
        raise TypeError(f'ctx is an object such as {{"username": "ann", "ip": "10.0.0.7"}}, not {ctx!r}')
    return encode({**NO_CONTEXT, **ctx})


def _encode_two_texts(ctx: Context) -> bytes:
    try:
        return _encode(ctx)
    except ValueError:
        # A lone surrogate, which the other encode() tells of.
        return encode(ctx)


def _as_dict(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return dict(data)
    if isinstance(data, msgspec.Struct):
        return dict(_decode(encode(data)))
    raise TypeError(f'data is an object such as {{"type": "news"}}, not {type(data).__name__}')


def plain_success(data: Mapping[str, Any]) -> bytes:
    """Make a success envelope without a context: `connected`, `pong`, REST answers."""
    return encode({"success": True, "data": data})


def failure(error: str, code: int, **fields: Any) -> bytes:
    """Make the envelope `{"success": false, "error": …, "code": …}`."""
    return encode({"success": False, "error": error, "code": code, **fields})


# Frames out


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Make one unmasked, unfragmented frame (RFC 6455 section 5.2), as servers send them."""
    length = len(payload)
    if length < 126:
        head = _SHORT_HEADS[length] if opcode == TEXT else bytes((0x80 | opcode, length))
        return head + payload
    if length < 65536:
        return bytes((0x80 | opcode, 126, length >> 8, length & 0xFF)) + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


def _payload_start(frame: bytes) -> int:
    return 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10


def compressed(plain: bytes, window_bits: int) -> bytes:
    """Make the compressed frame of a message (RFC 7692 section 6.1); the same frame if that is no smaller."""
    packed = deflate.compressor(window_bits).compress(plain[_payload_start(plain) :])
    smaller = frame(packed, plain[0] & 0x0F | RSV1)
    return smaller if len(smaller) < len(plain) else plain


def close_frame(code: int, reason: str = "") -> bytes:
    """
    Make a close frame (RFC 6455 section 5.5.1).

    A reason of more than 123 bytes is cut between characters; a code that may not be
    sent (section 7.4) raises ValueError. NO_STATUS makes an empty close frame.
    """
    if code == CloseCode.NO_STATUS:
        return frame(b"", CLOSE)
    if not valid_close_code(code):
        raise ValueError(f"close code {code} may not be sent; use 1000 or one from 3000 to 4999")
    text = reason.encode("utf-8", "replace")[: MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore")
    return frame(int(code).to_bytes(2, "big") + text.encode(), CLOSE)


def valid_close_code(code: int) -> bool:
    """Tell whether a code may stand in a close frame (RFC 6455 sections 7.4.1 and 7.4.2, IANA registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def parse_close(payload: bytes) -> tuple[int, str]:
    """Read a close frame's payload into code and reason (RFC 6455 section 5.5.1)."""
    if not payload:
        return CloseCode.NO_STATUS, ""
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a close frame's code has two bytes")
    code = int.from_bytes(payload[:2], "big")
    if not valid_close_code(code):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"close code {code} is not allowed")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.INVALID_PAYLOAD, "the close reason is not UTF-8") from None


# Frames in


def xor_unmask(mask: bytes, data: bytes) -> bytes:
    """Unmask a payload (RFC 6455 section 5.3); for short ones, since it costs 3 µs a KiB."""
    length = len(data)
    repeated = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(length, "little")


_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class FrameParser:
    """
    Reads a client's bytes into messages and control frames (RFC 6455 section 5).

    `feed` takes bytes as they come and `next` hands out what is whole, so that the
    reader can stop between two messages. Fragments are joined, payloads unmasked, text
    is checked to be UTF-8. Where permessage-deflate was agreed on (`inflates`), messages
    are inflated. The first broken rule raises ProtocolError, as early as the bytes show
    it, and from then on every `next` raises it again.

    A frame whose payload is still arriving is unmasked, inflated and checked piece by
    piece, so the parser holds at most `max_message_bytes` and what the last `feed` brought.
    """

    __slots__ = (
        "_buffer",
        "_control",
        "_decoder",
        "_empty_fragments",
        "_failure",
        "_final",
        "_inflater",
        "_inflates",
        "_mask",
        "_message",
        "_message_opcode",
        "_opcode",
        "_position",
        "_remaining",
        "_unmask",
        "fragments",
        "max_message_bytes",
        "taken",
    )

    def __init__(
        self, max_message_bytes: int, unmask: Unmask = xor_unmask, *, inflates: bool = False
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._inflates = inflates
        #: Inside a compressed message.
        self._inflater: deflate.Inflater | None = None
        self._unmask = unmask
        self._buffer = b""
        self._position = 0
        self._failure: ProtocolError | None = None
        #: Payload bytes of the current frame that have not come yet; -1 between frames.
        self._remaining = -1
        self._mask = b""
        self._opcode = 0
        self._final = False
        #: The payload so far of a control frame that is still arriving.
        self._control = b""
        #: The payload so far of a message that is fragmented or still arriving.
        self._message: bytearray | None = None
        #: TEXT or BINARY inside a fragmented message, else 0.
        self._message_opcode = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._empty_fragments = 0
        #: Frames that brought a part of a message and not its end; the reader may set it back.
        self.fragments = 0
        #: Counts what comes whole; messages that are taken by the short way need not be counted.
        self.taken = 0

    @property
    def unfinished(self) -> bool:
        """Tell whether the end of something is missing: of a head, a frame or a message in fragments."""
        return self._remaining >= 0 or self._message is not None or self._position < len(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not yet looked at."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Take bytes from the socket; after a failure they are dropped."""
        if self._failure is not None:
            return
        if self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + data
        else:
            self._buffer = data
        self._position = 0

    def take_only(self, data: bytes) -> bytes | None:
        """
        Take a short ASCII text that is one frame and all that came, in place of `feed`; else None.

        Most reads bring just that, for which `feed` and `next` cost three times as much.
        """
        length = len(data) - 6
        if not 0 < length < 126 or data[0] != _WHOLE_TEXT or data[1] != length + 0x80:
            return None
        if self._buffer or self._remaining >= 0 or self._message is not None or self._failure is not None:
            return None
        if length > self.max_message_bytes:
            return None
        payload = self._unmask(data[2:6], data[6:])
        return payload if payload.isascii() else None

    def next(self) -> Message | None:
        """Hand out the next whole message or control frame; None when more bytes are needed."""
        if self._failure is not None:
            raise self._failure
        whole = self._take_whole()
        if whole is not None:
            return whole
        try:
            message = self._next()
        except ProtocolError as failure:
            self._failure = failure
            self._buffer, self._message, self._position = b"", None, 0
            self._inflater = None
            raise
        if message is not None and self._message is None:
            self.taken += 1
        if message is None and self._position == len(self._buffer):
            # An idle connection does not keep the last 64 KiB it read.
            self._buffer, self._position = b"", 0
        return message

    def _take_whole(self) -> Message | None:
        """Take a short ASCII text that is one frame and all there, at a third of the cost; else None."""
        buffer, start = self._buffer, self._position
        if len(buffer) - start < 6 or buffer[start] != _WHOLE_TEXT:
            return None
        length = buffer[start + 1] - 0x80
        end = start + 6 + length
        if not 0 < length < 126 or end > len(buffer) or length > self.max_message_bytes:
            return None
        if self._remaining >= 0 or self._message is not None:
            return None
        payload = self._unmask(buffer[start + 2 : start + 6], buffer[start + 6 : end])
        if not payload.isascii():
            return None
        self._position = end
        if end == len(buffer):
            # As in `next`.
            self._buffer, self._position = b"", 0
        self.taken += 1
        return TEXT, payload

    def _next(self) -> Message | None:
        while True:
            if self._remaining < 0 and not self._read_header():
                return None
            message = self._read_payload()
            if message is not None:
                return message
            if self._remaining >= 0:
                return None

    def _read_header(self) -> bool:
        """Read a frame's head (section 5.2) and check all that it tells; False if it is not all there."""
        buffer, start = self._buffer, self._position
        available = len(buffer) - start
        if available < 2:
            # One byte tells enough to refuse a frame, and a peer may stop there.
            if available:
                self._check_first_byte(buffer[start])
            return False
        first, length = buffer[start], buffer[start + 1]
        self._check_first_byte(first)
        if length < 128:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a client's frame is not masked")
        length &= 0x7F
        opcode = first & 0x0F
        if opcode >= CLOSE and length > MAX_CONTROL_BYTES:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a control frame is larger than 125 bytes")
        position = start + 2
        if length >= 126:
            wide = 2 if length == 126 else 8
            if available < 2 + wide:
                return False
            length = self._read_length(buffer[position : position + wide])
            position += wide
        if opcode < CLOSE:
            self._check_size(length, compressed=first & RSV1 != 0 or self._inflater is not None)
        if len(buffer) - position < 4:
            return False
        self._mask = buffer[position : position + 4]
        self._position = position + 4
        self._opcode, self._final, self._remaining = opcode, first >= 0x80, length
        if first & RSV1:
            self._inflater = deflate.Inflater(self.max_message_bytes)
        return True

    def _check_first_byte(self, first: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 and (first & 0x70 != RSV1 or not self._inflates or opcode not in (TEXT, BINARY)):
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
            if first < 0x80:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented")
        elif opcode > BINARY:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
        elif opcode == CONTINUATION:
            if not self._message_opcode:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a continuation without a message to continue")
        elif self._message_opcode:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a new message inside a fragmented one")

    @staticmethod
    def _read_length(digits: bytes) -> int:
        if digits[0] > 127 and len(digits) == 8:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length's highest bit is set")
        length = int.from_bytes(digits, "big")
        if length < (126 if len(digits) == 2 else 65536):
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length is written with more bytes than it needs")
        return length

    def _check_size(self, length: int, *, compressed: bool) -> None:
        if compressed:
            so_far = 0 if self._inflater is None else self._inflater.received
            limit = deflate.most_packed(self.max_message_bytes)
        else:
            so_far = 0 if self._message is None else len(self._message)
            limit = self.max_message_bytes
        if so_far + length > limit:
            raise deflate.too_big(self.max_message_bytes)

    def _read_payload(self) -> Message | None:
        """Take what has come of the current frame's payload; a message if that completes one."""
        start, wanted = self._position, self._remaining
        end = start + wanted
        buffer = self._buffer
        if end > len(buffer):
            end = len(buffer)
            wanted -= end - start
        else:
            wanted = -1
        payload = buffer[start:end]
        if payload:
            payload = self._unmask(self._mask, payload)
        self._position = end
        self._remaining = wanted
        opcode = self._opcode
        if opcode >= CLOSE:
            return self._control_part(opcode, payload)
        if wanted < 0 and self._message is None and self._final and self._inflater is None:
            # Nine in ten messages: one frame, all there. No copies, no decoder.
            if opcode == TEXT and not payload.isascii():
                self._check_text(payload)
            return opcode, payload
        return self._message_part(opcode, payload)

    def _control_part(self, opcode: int, payload: bytes) -> Message | None:
        if self._remaining >= 0:
            self._turn_mask(len(payload))
            self._control += payload
            return None
        payload, self._control = self._control + payload, b""
        return opcode, payload

    def _message_part(self, opcode: int, payload: bytes) -> Message | None:
        if self._message is None:
            self._message = bytearray()
        if opcode != CONTINUATION and not self._message_opcode:
            self._message_opcode = opcode
            self._decoder = _new_utf8_decoder() if opcode == TEXT else None
        arriving = self._remaining >= 0
        last = self._final and not arriving
        if self._inflater is None:
            self._message += payload
            part = payload
        else:
            part = self._inflater.inflate(payload, self._message, last=last)
        if self._decoder is not None:
            self._check_text_part(part, final=last)
        if arriving:
            # The rest of the frame is unmasked on its own, from here on.
            self._turn_mask(len(payload))
            return None
        if not self._final:
            self.fragments += 1
            self._count_empty(payload)
            return None
        return self._finish_message()

    def _finish_message(self) -> Message:
        assert self._message is not None
        message = (self._message_opcode, bytes(self._message))
        self._message, self._message_opcode, self._decoder, self._empty_fragments = None, 0, None, 0
        self._inflater = None
        return message

    def _turn_mask(self, taken: int) -> None:
        turn = taken & 3
        self._mask = self._mask[turn:] + self._mask[:turn]

    def _count_empty(self, payload: bytes) -> None:
        if payload:
            return
        self._empty_fragments += 1
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many empty fragments")

    @staticmethod
    def _check_text(payload: bytes) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise ProtocolError(CloseCode.INVALID_PAYLOAD, "a text message is not UTF-8") from None

    def _check_text_part(self, payload: bytes, *, final: bool) -> None:
        """Fail at the first byte that cannot belong to UTF-8 (section 8.1), even inside a fragment."""
        assert self._decoder is not None
        try:
            self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise ProtocolError(CloseCode.INVALID_PAYLOAD, "a text message is not UTF-8") from None
        pending = self._decoder.getstate()[0]
        # Python waits for a surrogate's third byte, though its second cannot be in UTF-8.
        if len(pending) == 2 and pending[0] == 0xED and pending[1] > 0x9F:
            raise ProtocolError(CloseCode.INVALID_PAYLOAD, "a text message is not UTF-8")
