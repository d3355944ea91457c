"""The sockets that Tornado's HTTP server reads, and what the door knows of them."""

from __future__ import annotations

from tornado.httputil import HTTPConnection
from tornado.iostream import IOStream, SSLIOStream

from .store.base import StoreUnavailable


class HttpStream(IOStream):
    """A socket that the door has handed over."""

    #: Why the session of the first request could not be looked up: the store is not asked twice.
    trouble: StoreUnavailable | None = None


class SecureHttpStream(SSLIOStream, HttpStream):
    """The same under TLS."""


def take_trouble(connection: HTTPConnection | None) -> StoreUnavailable | None:
    """What is known of the store already for the request at hand, once."""
    stream = getattr(connection, "stream", None)
    if not isinstance(stream, HttpStream):
        return None
    trouble, stream.trouble = stream.trouble, None
    return trouble
