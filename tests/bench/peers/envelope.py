"""What every peer in Python answers: the bytes that jPulse answers, made by the same JSON library."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_CTX = {"username": "", "ip": "127.0.0.1"}


def answer_to(message: Any) -> dict[str, Any]:
    """The envelope around a message, as an object."""
    return {"success": True, "data": {**message, "username": "", "ctx": _CTX}}


def answer_bytes(payload: str | bytes) -> bytes:
    """Read a message and write the answer, as JSON both."""
    return _encode(answer_to(_decode(payload)))


def answer_text(payload: str | bytes) -> str:
    """The answer for those who send text."""
    return answer_bytes(payload).decode()


def port() -> int:
    """The port that the command line names."""
    return int(sys.argv[1])
