"""
permessage-deflate (RFC 7692), without any I/O: what is agreed on, compression, bounded inflation.

Neither side keeps anything from one message to the next (`no_context_takeover`, both ways):
so a broadcast is compressed once for all who take it, and an idle connection holds no window.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import NamedTuple

from .errors import CloseCode, ProtocolError

NAME = "permessage-deflate"
#: Shorter frames are not compressed: it would save less than 80 bytes, about what TCP and IP add to each.
MIN_BYTES = 256
#: What level 6 saves beyond level 1 is a tenth, and takes twice (10 kB) to six times (60 kB) as long.
LEVEL = 1
#: Windows are 2 to this many bytes: what everybody gets, and what all get who ask for a smaller one.
#: With one size for them, nobody can have a broadcast compressed more than twice.
FULL_WINDOW, SMALL_WINDOW = 15, 9
#: The end of what a flush writes, left out on the wire (section 7.2.1).
TAIL = b"\x00\x00\xff\xff"
#: An empty last block: only a stream that is whole gets here and ends with it.
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"
#: Blocks with BFINAL that are legal (section 7.2.3.5); each begins a new stream, which costs 10 µs.
MAX_FINAL_BLOCKS = 16
#: A longer header is no offer that anybody needs.
MAX_OFFER_BYTES = 4096


# What is agreed on


class Agreement(NamedTuple):
    """What the two sides of a connection have agreed on."""

    #: The value of the answer's Sec-WebSocket-Extensions.
    answer: str
    #: The binary logarithm of the window with which we compress.
    window_bits: int


_BITS = frozenset(str(bits) for bits in range(8, 16))
#: The parameters of an offer and the values that each may have (section 7.1); None is no value.
_VALUES: dict[str, frozenset[str | None]] = {
    "server_no_context_takeover": frozenset([None]),
    "client_no_context_takeover": frozenset([None]),
    "server_max_window_bits": frozenset(_BITS),
    "client_max_window_bits": frozenset([None, *_BITS]),
}

# RFC 6455 section 9.1, with possessive quantifiers: no header takes longer than its length.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = r'"(?:\\?[!#$%&\'*+\-.^_`|~0-9A-Za-z])++"'
_PARAMETER = rf"[ \t]*+;[ \t]*+({_TOKEN})(?:[ \t]*+=[ \t]*+({_TOKEN}|{_QUOTED}))?+"
_next_parameter = re.compile(_PARAMETER)
_next_offer = re.compile(rf"[ \t,]*+({_TOKEN})((?:{_PARAMETER})*+)[ \t]*+(?:,|\Z)")

Parameters = list[tuple[str, str | None]]


def negotiate(header: str) -> Agreement | None:
    """
    Accept the first offer in a Sec-WebSocket-Extensions header that can be (RFC 7692 section 5).

    Several headers of that name are given joined by commas. None declines: there is no
    such offer, it has parameters that are wrong or cannot be kept, or the header is malformed.
    """
    if NAME not in header or len(header) > MAX_OFFER_BYTES:
        return None
    for name, parameters in _offers(header):
        bits = _window_for(parameters) if name == NAME else None
        if bits is not None:
            asked = any(each == "server_max_window_bits" for each, _ in parameters)
            return Agreement(_ANSWER + (f"; server_max_window_bits={bits}" if asked else ""), bits)
    return None


_ANSWER = f"{NAME}; server_no_context_takeover; client_no_context_takeover"


def _offers(header: str) -> list[tuple[str, Parameters]]:
    """Read the extensions that a header lists; none at all if anything in it is malformed."""
    found, position = [], 0
    header = header.rstrip(" \t,")
    while position < len(header):
        offer = _next_offer.match(header, position)
        if offer is None:
            return []
        found.append((offer[1], _parameters(offer[2])))
        position = offer.end()
    return found


def _parameters(text: str) -> Parameters:
    pairs = (match.groups() for match in _next_parameter.finditer(text))
    return [(name, value and value.strip('"').replace("\\", "")) for name, value in pairs]


def _window_for(parameters: Parameters) -> int | None:
    """The window that an offer leaves us; None if the offer cannot be accepted (section 7.1)."""
    values = dict(parameters)
    if len(values) < len(parameters) or any(value not in _VALUES.get(name, ()) for name, value in parameters):
        return None
    bits = int(values.get("server_max_window_bits") or FULL_WINDOW)
    if bits < SMALL_WINDOW:
        # zlib cannot keep to a window of 256 bytes.
        return None
    return FULL_WINDOW if bits == FULL_WINDOW else SMALL_WINDOW


# Out


class Compressor:
    """
    Compresses messages, each so that it is inflated without any other.

    A full flush makes it forget what came before, which takes 3 µs; a compressor for each
    message would take 80 µs where its 256 KiB have to be mapped.
    """

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._renew()

    def _renew(self) -> None:
        self._zlib = zlib.compressobj(LEVEL, zlib.DEFLATED, -self._window_bits)

    def compress(self, payload: bytes) -> bytes:
        """Compress a whole message (section 7.2.1)."""
        try:
            packed = self._zlib.compress(payload) + self._zlib.flush(zlib.Z_FULL_FLUSH)
        except BaseException:
            # Part of this message may be left in it, and would go to whoever gets the next one.
            self._renew()
            raise
        return packed[: -len(TAIL)]


@cache
def compressor(window_bits: int) -> Compressor:
    """The process's compressor for a window, made when first asked for."""
    return Compressor(window_bits)


# In


class Inflater:
    """
    Inflates one message as it arrives, to `max_bytes` and one more at most.

    What cannot be inflated raises ProtocolError with 1007, what would be too large with 1009.
    """

    __slots__ = ("_final_blocks", "_max_bytes", "_zlib", "received")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._zlib = zlib.decompressobj(-FULL_WINDOW)
        self._final_blocks = 0
        #: Compressed bytes so far.
        self.received = 0

    def inflate(self, data: bytes, message: bytearray, *, last: bool) -> bytes:
        """
        Inflate the next bytes to the end of `message`, and return what came.

        With `last` the end that the sender has left out is added (section 7.2.2), and
        checked that nothing is missing.
        """
        begin = len(message)
        self.received += len(data)
        self._append(data, message)
        # An empty message may have been compressed to nothing, another have told its end itself.
        if last and self.received and not self._zlib.eof:
            self._append(TAIL + _LAST_BLOCK, message)
            if not self._zlib.eof:
                raise ProtocolError(CloseCode.INVALID_PAYLOAD, "a compressed message is cut short")
        return bytes(message[begin:])

    def _append(self, data: bytes, message: bytearray) -> None:
        while data:
            if self._zlib.eof:
                self._begin_again(message)
            room = self._max_bytes - len(message)
            try:
                message += self._zlib.decompress(data, room + 1)
            except zlib.error:
                reason = "a compressed message cannot be inflated"
                raise ProtocolError(CloseCode.INVALID_PAYLOAD, reason) from None
            if len(message) > self._max_bytes:
                raise too_big(self._max_bytes)
            data = self._zlib.unused_data

    def _begin_again(self, message: bytearray) -> None:
        """Go on after a block with BFINAL, with the same window (section 7.2.3.5)."""
        self._final_blocks += 1
        if self._final_blocks > MAX_FINAL_BLOCKS:
            raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many blocks that claim to be the last")
        window = bytes(message[-(1 << FULL_WINDOW) :])
        self._zlib = zlib.decompressobj(-FULL_WINDOW, window) if window else zlib.decompressobj(-FULL_WINDOW)


def too_big(max_bytes: int) -> ProtocolError:
    """Make the refusal of a message that is larger than the limit."""
    return ProtocolError(CloseCode.MESSAGE_TOO_BIG, f"a message is larger than {max_bytes} bytes")


def most_packed(max_bytes: int) -> int:
    """How many bytes a message of `max_bytes` takes at worst when it is compressed carelessly."""
    return max_bytes + max_bytes // 8 + 64
