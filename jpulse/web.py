"""Pages and REST: what every HTTP answer of a jPulse server has in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http.client import responses
from typing import TYPE_CHECKING, Any, cast

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, RequestHandler

from . import __version__, wire
from .errors import ERROR_TEXTS, ClientError

if TYPE_CHECKING:
    from .app import App

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

API_PREFIX = "/api/"


class BaseHandler(RequestHandler):
    """What pages and REST share: the application, security headers, one way to answer errors."""

    @property
    def app(self) -> App:
        """The application that serves this request."""
        return cast("App", self.application)

    def set_default_headers(self) -> None:
        """Set the headers of every answer, also of error pages."""
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error as a page, or as an envelope under /api/."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if self.request.path.startswith(API_PREFIX):
            write_failure(self, status_code, _message_of(error, status_code))
        else:
            self._write_error_page(status_code)

    def _write_error_page(self, status: int) -> None:
        page = f"errors/{status}.html" if status in (404, 500) else "errors/error.html"
        reason = responses.get(status, "Error")
        message = ERROR_TEXTS.get(status, "The server cannot answer this request")
        self.finish(self.render_string(page, status=status, reason=reason, message=message))

    def get_template_namespace(self) -> dict[str, Any]:
        """Give every template the version besides Tornado's own names."""
        return {**super().get_template_namespace(), "version": __version__}

    @property
    def client_address(self) -> str:
        """The client's IP address; see `client_address`."""
        return client_address(self.request.remote_ip, self.request.headers, self.app.config.trusted_proxies)


class PageHandler(BaseHandler):
    """A page rendered from a template, under a strict Content-Security-Policy."""


class ApiHandler(BaseHandler):
    """REST: answers are `{"success": true, "data": …}` or `{"success": false, "error": …, "code": …}`."""

    def write_success(self, data: Any, status: int = 200) -> None:
        """Answer with the data."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(wire.plain_success(data))


class NotFoundHandler(BaseHandler):
    """Answers what no route matches."""

    def prepare(self) -> None:
        """Refuse whatever the method."""
        raise HTTPError(404)


def write_failure(handler: RequestHandler, status: int, error: str) -> None:
    """Finish a request with the failure envelope."""
    handler.set_status(status)
    handler.set_header("Content-Type", "application/json; charset=UTF-8")
    handler.set_header("Cache-Control", "no-store")
    handler.finish(wire.failure(error, status))


def _message_of(error: BaseException | None, status: int) -> str:
    if isinstance(error, ClientError):
        return error.message
    return ERROR_TEXTS.get(status, responses.get(status, "Error"))


@lru_cache(maxsize=8)
def _networks(trusted: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in trusted)


def _is_trusted(address: str, trusted: Sequence[str]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _networks(trusted))


def client_address(remote: str | None, headers: HTTPHeaders, trusted: Sequence[str]) -> str:
    """
    Tell whose request it is: the socket's address, or what trusted proxies say.

    X-Forwarded-For is read from right to left as long as the one who wrote it is a
    trusted proxy; what stands left of the first stranger anybody could have written.
    """
    address = remote or "0.0.0.0"
    for hop in reversed(list(_forwarded(headers))):
        if not _is_trusted(address, trusted):
            break
        try:
            address = str(ipaddress.ip_address(hop))
        except ValueError:
            break
    return address


def _forwarded(headers: HTTPHeaders) -> Iterable[str]:
    for line in headers.get_list("X-Forwarded-For"):
        yield from (part.strip() for part in line.split(","))
