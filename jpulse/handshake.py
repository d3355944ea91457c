"""
What a handshake asks for, and who is refused: the one list of checks, however the request was parsed.

An ordinary request is read here, from its bytes (`read_plain`); every other one, and every
one that is refused, by Tornado, and then `endpoint` answers it by the same list.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import re
import uuid
from collections.abc import Collection
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from tornado.httputil import parse_cookie

from . import wire
from .auth import CurrentUser
from .connection import Connection
from .deflate import Agreement, negotiate
from .namespace import PREFIX, Namespace
from .transport import unmask
from .web import SESSION_COOKIE, origin_allowed

if TYPE_CHECKING:
    from .app import App

#: What RFC 6455 section 1.3 has both sides add to the key.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
#: 16 bytes in base64.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_SOON = (("Retry-After", "5"),)


class Asking(NamedTuple):
    """What a request for a namespace brings that is checked; headers as they were written."""

    #: The client's IP address.
    address: str
    host: str
    origin: str | None
    #: False for HTTP/1.0, which has no upgrades.
    is_current: bool
    upgrade: str
    connection: str
    version: str
    key: str


class Refusal(NamedTuple):
    """Why somebody is not let in, as it is counted, answered and logged."""

    reason: str
    status: int
    #: What the client is told; None for the usual text of the status.
    error: str | None = None
    headers: Collection[tuple[str, str]] = ()


# The checks, in the order of the contract


def refuse_visitor(app: App, asking: Asking) -> Refusal | None:
    """Find what stands against anybody's coming: a foreign origin, too many handshakes or connections."""
    if not origin_allowed(asking.origin, asking.host, app.config.allowed_origins):
        error = "This origin may not connect; the setting allowed_origins lists those that may"
        return Refusal("origin", 403, error)
    wait = app.handshake_rate.wait(asking.address, monotonic())
    if wait:
        error = "Too many handshakes from one address"
        return Refusal("rate", 429, error, (("Retry-After", str(math.ceil(wait))),))
    return refuse_another(app, asking.address)


def refuse_another(app: App, address: str) -> Refusal | None:
    """Find what stands against one more connection from an address."""
    hub, config = app.hub, app.config
    limit = config.max_connections_per_address
    if limit and hub.sockets_of(address) >= limit:
        return Refusal("address", 429, f"More than {limit} connections from one address", _SOON)
    if app.draining:
        return Refusal("draining", 503, "The server is stopping", _SOON)
    if hub.sockets >= config.max_connections:
        return Refusal("full", 503, "All connections are taken", _SOON)
    if app.load.is_too_high:
        return Refusal("overload", 503, "The server is overloaded", _SOON)
    return None


def refuse_user(namespace: Namespace, user: CurrentUser | None) -> Refusal | None:
    """Find what stands against a user, or a guest, in a namespace."""
    if user is None:
        return Refusal("signed out", 401) if namespace.require_auth else None
    if user.has_any(namespace.require_roles):
        return None
    return Refusal("role", 403, "A role is needed: " + ", ".join(namespace.require_roles))


def refuse_upgrade(asking: Asking) -> Refusal | None:
    """Find what of RFC 6455 section 4.2.1 a request lacks."""
    if not (
        asking.is_current
        and _has_word(asking.upgrade, "websocket")
        and _has_word(asking.connection, "upgrade")
    ):
        return Refusal("no upgrade", 426, None, (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    if asking.version != "13":
        error = "Only version 13 of the WebSocket protocol is spoken here"
        return Refusal("version", 426, error, (("Sec-WebSocket-Version", "13"),))
    if not _KEY.fullmatch(asking.key):
        return Refusal("key", 400, "Sec-WebSocket-Key is not 16 bytes in base64")
    return None


def _has_word(value: str, word: str) -> bool:
    value = value.lower()
    return value == word or word in [each.strip() for each in value.split(",")]


# The end of the handshake


def agree(namespace: Namespace, offer: str | None) -> Agreement | None:
    """Find out whether a connection is going to be compressed; `offer` is its Sec-WebSocket-Extensions."""
    return negotiate(offer) if offer and namespace.compress else None


def switching_answer(key: str, agreement: Agreement | None) -> bytes:
    """The answer of RFC 6455 section 4.2.2."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    extensions = f"Sec-WebSocket-Extensions: {agreement.answer}\r\n".encode() if agreement else b""
    return _SWITCHING % (binascii.b2a_base64(digest, newline=False), extensions)


def make_connection(
    app: App,
    namespace: Namespace,
    address: str,
    name: str,
    session_id: str,
    user: CurrentUser | None,
    agreement: Agreement | None,
) -> Connection:
    """
    Make the connection of a completed handshake, which takes a place from now on.

    `name` is what the client calls itself: a UUID that is free or its own becomes the
    client id, anything else is replaced.
    """
    client_id = name.lower() if _UUID.fullmatch(name) else ""
    if not client_id or not app.hub.may_use(client_id, session_id):
        client_id = str(uuid.uuid4())
    connection = Connection(
        namespace,
        app.hub.scheduler,
        wire.FrameParser(namespace.limits.max_message_bytes, unmask, inflates=agreement is not None),
        client_id=client_id,
        user=user,
        session_id=session_id,
        ip=address,
    )
    if agreement is not None:
        connection.window_bits = agreement.window_bits
    app.hub.take_place(address)
    return connection


# Reading an ordinary request

#: Strictly what RFC 9112 allows, and of that only what needs no interpretation: no empty values, no folded
#: lines, no escapes in the address.
_PLAIN = re.compile(
    rb"GET (" + re.escape(PREFIX).encode() + rb"[A-Za-z0-9._~/-]+)(?:\?([A-Za-z0-9._~=&-]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+:[ \t]*[!-~][ -~\t]*\r\n)+)\r\n"
)
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: Headers that speak of a body, or of an answer before the answer.
_UNUSUAL = frozenset({"content-length", "transfer-encoding", "expect"})
_MAX_PARAMETERS = 20


class PlainRequest(NamedTuple):
    """An ordinary request for a WebSocket."""

    #: Bytes that it has.
    size: int
    path: str
    #: What the client calls itself; "" if it does not.
    name: str
    headers: dict[str, str]
    #: The session cookie's value; None if there is none.
    cookie: str | None


def read_plain(data: bytes) -> PlainRequest | None:
    """
    Read a request that stands at the beginning of `data`; None if there is anything unusual about it.

    A header that comes twice is unusual, whatever it says.
    """
    match = _PLAIN.match(data)
    if match is None:
        return None
    path, query, lines = match.groups()
    headers: dict[str, str] = {}
    fields = lines.decode().split("\r\n")[:-1]
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip(" \t")
    is_usual = len(headers) == len(fields) and headers.keys().isdisjoint(_UNUSUAL)
    if not is_usual or not _HOST.fullmatch(headers.get("host", "")):
        return None
    cookie = session_cookie(headers.get("cookie", ""))
    name = _name_in(query.decode()) if query else ""
    if (cookie is not None and not _COOKIE.fullmatch(cookie)) or name is None:
        return None
    return PlainRequest(match.end(), path.decode(), name, headers, cookie)


def session_cookie(header: str) -> str | None:
    """The session that a Cookie header names; None if there is none."""
    return parse_cookie(header).get(SESSION_COOKIE) if SESSION_COOKIE in header else None


def _name_in(query: str) -> str | None:
    """The last value of `uuid`, as parse_qs finds it where nothing is escaped; None if it is long."""
    parameters = query.split("&")
    name = ""
    for each in parameters:
        key, _, value = each.partition("=")
        if key == "uuid":
            name = value
    return name if len(parameters) <= _MAX_PARAMETERS else None
