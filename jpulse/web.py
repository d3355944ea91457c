"""Pages and REST: what every HTTP answer of a jPulse server has in common."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from asyncio import Future
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from http.client import responses
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from tornado.web import HTTPError, RequestHandler, StaticFileHandler, stream_request_body

from . import __version__, wire
from .auth import CurrentUser, TooManyAttempts
from .errors import ERROR_TEXTS, ClientError
from .settings import split_origin
from .store.base import Session, StoreUnavailable

if TYPE_CHECKING:
    from .app import App

access_log = logging.getLogger("jpulse.access")
log = logging.getLogger("jpulse.web")

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
SESSION_COOKIE = "jpulse_session"
METHODS = ("get", "post", "put", "patch", "delete", "options")
#: What `App.serve_folder` gives out of a folder.
WEB_SUFFIXES = frozenset(
    (
        *(".html", ".js", ".mjs", ".css", ".map"),
        *(".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".ico"),
        *(".woff2", ".mp3", ".mp4", ".webm"),
    )
)
#: A larger file gets no ETag: to hash it would hold up everybody.
MAX_HASHED_BYTES = 8 * 1024 * 1024
#: A name in the DNS has 253 characters; what is longer is no origin and is not kept for comparing either.
MAX_ORIGIN_LENGTH = 300
#: Methods that change nothing (RFC 9110 section 9.2.1).
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

T = TypeVar("T")


class BaseHandler(RequestHandler):
    """What pages and REST share: the application, the signed-in user, security headers, errors."""

    #: Whether errors are envelopes wherever this answers, and not under /api/ only.
    is_api = False
    #: The session of this request, once `prepare` has run; None for a guest.
    session: Session | None = None
    #: Who asks, once `prepare` has run; None for a guest.
    current_user: CurrentUser | None

    @property
    def app(self) -> App:
        """The application that serves this request."""
        return cast("App", self.application)

    @property
    def client_address(self) -> str:
        """The client's IP address; see `client_address`."""
        forwarded = self.request.headers.get_list("X-Forwarded-For")
        return client_address(self.request.remote_ip, forwarded, self.app.config.trusted_proxies)

    @property
    def is_secure(self) -> bool:
        """Tell whether the browser speaks TLS, with us or with a trusted proxy before us."""
        if self.request.protocol == "https":
            return True
        trusted = is_trusted(self.request.remote_ip or "", self.app.config.trusted_proxies)
        proto = self.request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2]
        return trusted and proto.strip().lower() == "https"

    @property
    def ctx(self) -> dict[str, str]:
        """Whose request it is, for broadcasts from REST: `{"username": …, "ip": …}`."""
        username = self.current_user.username if self.current_user else ""
        return {"username": username, "ip": self.client_address}

    def set_default_headers(self) -> None:
        """Set the headers of every answer, also of error pages."""
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Find out who asks, whom error pages show too, and refuse methods that are not answered."""
        self.current_user = None
        self.app.requests.add(self)
        await self.load_session()
        if self.request.method not in self._methods():
            raise HTTPError(405)

    def flush(self, include_footers: bool = False) -> Future[None]:
        """Tell who is answered during a drain to ask elsewhere next time."""
        if self.app.draining:
            self.set_header("Connection", "close")
        return super().flush(include_footers)

    def on_finish(self) -> None:
        """Let a drain go on."""
        self.app.requests.discard(self)

    def on_connection_close(self) -> None:
        """Let a drain go on: nobody waits for the answer any more."""
        self.app.requests.discard(self)
        super().on_connection_close()

    async def load_session(self) -> None:
        """Read the session cookie; a valid session slides."""
        cookie = self.get_cookie(SESSION_COOKIE)
        signed_in = await self.app.auth.authenticate(cookie)
        if signed_in is None or cookie is None:
            return
        self.session, self.current_user = signed_in.session, signed_in.user
        if await self.app.auth.extend(signed_in.session):
            self.set_session_cookie(cookie)

    def set_session_cookie(self, cookie: str) -> None:
        """Give the browser its session id, out of reach of scripts and of other sites' requests."""
        self.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=self.app.config.session_seconds,
            httponly=True,
            samesite="Lax",
            secure=self.is_secure,
        )

    async def sign_in(self, username: str, password: str) -> CurrentUser:
        """Sign in with a new session id, whatever id the browser brought; ClientError as Auth.sign_in."""
        user, cookie = await self.app.auth.sign_in(username, password, self.client_address)
        if self.session is not None:
            await self.app.auth.sign_out(self.session.id_hash)
        self.set_session_cookie(cookie)
        self.current_user = user
        return user

    async def sign_out(self) -> None:
        """End the session, close its sockets, and take the cookie back."""
        if self.session is not None:
            await self.app.auth.sign_out(self.session.id_hash)
        self.clear_cookie(SESSION_COOKIE, httponly=True, samesite="Lax", secure=self.is_secure)
        self.session = self.current_user = None

    def from_our_pages(self) -> bool | None:
        """
        Tell whether one of our own pages sent this request; None if nothing says where it came from.

        Browsers name the origin of every request that changes something; scripts do not.
        """
        site = self.request.headers.get("Sec-Fetch-Site")
        origin = self.request.headers.get("Origin")
        if site in ("same-origin", "none"):
            return True
        if origin is None:
            return None if site is None else False
        return origin_allowed(origin, self.request.host, self.app.config.allowed_origins)

    def set_error_status(self, error: ClientError) -> None:
        """Answer with the status of an error, on a page that shows it itself."""
        self.set_status(error.code)
        if isinstance(error, TooManyAttempts):
            self.set_header("Retry-After", str(error.retry_after))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer an exception: ours carry a status of their own."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ClientError):
            status_code = error.code if 400 <= error.code <= 599 else 400
        elif isinstance(error, StoreUnavailable):
            status_code = 503
        super().send_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what is a fault of ours; what we raise on purpose is in the answer."""
        if isinstance(value, StoreUnavailable):
            log.warning("%s %s: %s", self.request.method, self.request.path, value)
        elif not isinstance(value, ClientError | HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error as a page, or as an envelope from REST and under /api/."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._methods()))
        if status_code == 503:
            self.set_header("Retry-After", "5")
        if isinstance(error, TooManyAttempts):
            self.set_header("Retry-After", str(error.retry_after))
        if self.is_api or self.request.path.startswith(API_PREFIX):
            write_failure(self, status_code, _message_of(error, status_code))
        else:
            self._write_error_page(
                status_code, _message_of(error, status_code), is_told=isinstance(error, ClientError)
            )

    def _methods(self) -> list[str]:
        """The methods that this handler answers."""
        names = [name for name in METHODS if getattr(type(self), name) is not getattr(RequestHandler, name)]
        return [name.upper() for name in names] + (["HEAD"] if "get" in names else [])

    def head(self, *args: str, **kwargs: str) -> Any:
        """Answer as to GET; Tornado leaves the body out."""
        return self.get(*args, **kwargs)

    def _write_error_page(self, status: int, message: str, *, is_told: bool) -> None:
        """Show what went wrong; a handler that has said so knows more than the page of the status does."""
        page = f"errors/{status}.html" if status in (404, 500) and not is_told else "errors/error.html"
        reason = responses.get(status, "Error")
        about = {"status": status, "reason": reason, "message": message, "is_told": is_told}
        self.finish(self.render_string(page, **about))

    def get_template_namespace(self) -> dict[str, Any]:
        """Give every template the version besides Tornado's own names."""
        return {**super().get_template_namespace(), "version": __version__}


class PageHandler(BaseHandler):
    """
    A page rendered from a template, under a strict Content-Security-Policy.

    `current_user` is a CurrentUser or None. A POST must come from one of our own pages:
    its origin says so, or the form's `{% module xsrf_form_html() %}`.
    """

    async def prepare(self) -> None:
        """Find out who asks, and refuse forms from elsewhere."""
        await super().prepare()
        if self.request.method not in SAFE_METHODS:
            ours = self.from_our_pages()
            if ours is False:
                raise HTTPError(403)
            if ours is None:
                self.check_xsrf_cookie()

    def set_default_headers(self) -> None:
        """Keep pages, which show who is signed in, out of shared caches."""
        super().set_default_headers()
        self.set_header("Cache-Control", "private, no-cache")


class ApiHandler(BaseHandler):
    """
    REST: answers are `{"success": true, "data": …}` or `{"success": false, "error": …, "code": …}`.

    Raise ClientError("title: is empty", 400) to refuse. A request that changes something
    and comes from a page of another site gets 403; scripts, which send no Origin, need nothing.
    """

    is_api = True
    #: The largest body that is read as JSON.
    max_body_bytes = 65536

    async def prepare(self) -> None:
        """Find out who asks, and refuse what other sites' pages send."""
        self.set_header("Cache-Control", "no-store")
        await super().prepare()
        if self.request.method not in SAFE_METHODS and self.from_our_pages() is False:
            raise ClientError(
                "This comes from a page of another site; allowed_origins lists those that may", 403
            )

    def write_success(self, data: Any, status: int = 200) -> None:
        """Answer with the data."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(wire.plain_success(data))

    def read_body(self, kind: type[T]) -> T:
        """
        Read the JSON body as a msgspec.Struct.

        ClientError 415 if it is not called JSON, 413 if it is too large, 400 naming the
        field that is wrong.
        """
        if (
            self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            != "application/json"
        ):
            raise ClientError("Content-Type: application/json is needed", 415)
        if len(self.request.body) > self.max_body_bytes:
            raise ClientError(f"The body is larger than {self.max_body_bytes} bytes", 413)
        try:
            return msgspec.json.decode(self.request.body, type=kind)
        except msgspec.ValidationError as error:
            raise ClientError(_field_error(str(error))) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ClientError("The body is not JSON") from None


def _field_error(text: str) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.title`" into "title: Expected `str`, got `int`"."""
    problem, _, place = text.partition(" - at ")
    missing = re.search(r"missing required field `(\w+)`", problem)
    if missing:
        return f"{missing[1]}: is missing"
    unknown = re.search(r"contains unknown field `(.+)`", problem)
    if unknown:
        return f"{unknown[1]}: is not known here"
    field = place.strip("`").removeprefix("$").removeprefix(".")
    return f"{field}: {problem}" if field else problem


@lru_cache(maxsize=1024)
def _content_hash(path: str, modified_ns: int, size: int) -> str | None:
    """Hash a file's content, once for each state of the file; None if it is too large to read it for that."""
    return StaticFileHandler.get_content_version(path) if size <= MAX_HASHED_BYTES else None


def file_version(path: str) -> str | None:
    """The version of a file as it is now, the same on every machine; None if there is none."""
    try:
        state = os.stat(path)
        return _content_hash(path, state.st_mtime_ns, state.st_size)
    except OSError:
        return None


class StaticHandler(BaseHandler, StaticFileHandler):
    """
    Files of static/, with the headers and error pages of all others; nobody needs to sign in.

    Browsers ask each time whether a file has changed, unless its address names the version that
    they get. Another version than that, as during an upgrade of several servers, is not kept.
    """

    def set_default_headers(self) -> None:
        """Let nobody keep what may change."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-cache")

    @classmethod
    def get_version(cls, settings: dict[str, Any], path: str) -> str | None:
        """Tell the version that `static_url` writes into an address; Tornado's own is of its first look."""
        return file_version(cls.get_absolute_path(settings["static_path"], path))

    def compute_etag(self) -> str | None:
        """Name the version, also with a part of the file."""
        version = file_version(str(self.absolute_path))
        return f'"{version}"' if version else None

    def get_cache_time(self, path: str, modified: datetime | None, mime_type: str) -> int:
        """How many seconds an answer may be kept unasked."""
        asked = self.request.query_arguments.get("v", [b""])[-1].decode("latin-1")
        return self.CACHE_MAX_AGE if f'"{asked}"' == self.compute_etag() else 0

    async def prepare(self) -> None:
        """Ask nothing of the store."""
        self.current_user = None

    def head(self, *args: str, **kwargs: str) -> Any:
        """Answer without reading the file."""
        return StaticFileHandler.head(self, *args, **kwargs)

    def parse_url_path(self, url_path: str) -> str:
        """Answer the icon that browsers ask for unasked."""
        if "\0" in url_path:
            raise HTTPError(404)
        return super().parse_url_path("favicon.svg" if url_path == "favicon.ico" else url_path)


class FolderHandler(StaticHandler):
    """
    The pages, scripts, styles and pictures of an application's own folder; see `App.serve_folder`.

    Whatever else lies there, such as Python files, data and hidden folders, is not served.
    """

    def parse_url_path(self, url_path: str) -> str:
        """Find a file by what follows the folder's address; 404 unless it is of a kind that browsers show."""
        path = url_path.removeprefix("/")
        *folders, name = path.split("/")
        is_shown = not name or PurePosixPath(name).suffix.lower() in WEB_SUFFIXES
        if not is_shown or any(each.startswith(".") for each in (*folders, name)):
            raise HTTPError(404)
        return super().parse_url_path(path)


class NotFoundHandler(PageHandler):
    """Answers what no route matches."""

    async def prepare(self) -> None:
        """Refuse whatever the method; the page shows who is signed in."""
        self.current_user = None
        await self.load_session()
        raise HTTPError(404)


@stream_request_body
class TooLargeHandler(BaseHandler):
    """Answers 413 to a body that is larger than any handler reads, without keeping what comes of it."""

    def set_default_headers(self) -> None:
        """Tell that no other request will be heard on this connection."""
        super().set_default_headers()
        self.set_header("Connection", "close")

    async def prepare(self) -> None:
        """Refuse before the rest has come, and end the connection; who sends all first still hears it."""
        self.current_user = None
        self.send_error(413)

    def data_received(self, chunk: bytes) -> None:
        """Drop it."""


def write_failure(handler: RequestHandler, status: int, error: str, **fields: Any) -> None:
    """Finish a request with the failure envelope and, beside its own, these fields."""
    handler.set_status(status)
    handler.set_header("Content-Type", "application/json; charset=UTF-8")
    handler.set_header("Cache-Control", "no-store")
    handler.finish(wire.failure(error, status, **fields))


def log_answer(
    method: str, path: str, status: int, seconds: float, address: str, user: CurrentUser | None
) -> None:
    """Write the access log: a fault of ours as an error, what clients get wrong as information."""
    level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    about = {
        "method": method,
        "path": path,
        "status": status,
        "seconds": round(seconds, 6),
        "address": address,
        "user": user.username if user else "",
    }
    # Not log(): a third of its cost is to find this line, which nobody asks for.
    text, values = "%d %s %s %s %.1f ms", (status, method, path, address, 1000 * seconds)
    record = access_log.makeRecord(access_log.name, level, __file__, 0, text, values, None, None, about)
    access_log.handle(record)


def _message_of(error: BaseException | None, status: int) -> str:
    if isinstance(error, ClientError):
        return error.message
    if isinstance(error, StoreUnavailable):
        return "The store does not answer right now; try again in a moment"
    return ERROR_TEXTS.get(status, responses.get(status, "Error"))


@lru_cache(maxsize=8)
def _networks(trusted: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in trusted)


def is_trusted(address: str, trusted: Sequence[str]) -> bool:
    """Tell whether an address is that of a trusted proxy."""
    if not trusted:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _networks(trusted))


def client_address(remote: str | None, forwarded: Iterable[str], trusted: Sequence[str]) -> str:
    """
    Tell whose request it is: the socket's address, or what trusted proxies say.

    `forwarded` are the lines of X-Forwarded-For, read from right to left as long as the one
    who wrote is a trusted proxy; what stands left of the first stranger anybody could have written.
    """
    address = remote or "0.0.0.0"
    for hop in reversed([part.strip() for line in forwarded for part in line.split(",")]):
        if not is_trusted(address, trusted):
            break
        try:
            address = _written_plainly(ipaddress.ip_address(hop))
        except ValueError:
            break
    return address


def _written_plainly(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Write an address of IPv4 as one, also if a proxy that listens to both writes it into one of IPv6."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def origin_allowed(origin: str | None, host: str, allowed: tuple[str, ...]) -> bool:
    """
    Tell whether a page of this origin may connect (RFC 6455 section 10.2).

    Browsers always name it, so its absence means a program. By default the page's
    host and port must be those that the request went to; `allowed` lists others.
    """
    if origin is None:
        return True
    return max(len(origin), len(host)) <= MAX_ORIGIN_LENGTH and _is_origin_allowed(origin, host, allowed)


@lru_cache(maxsize=256)
def _is_origin_allowed(origin: str, host: str, allowed: tuple[str, ...]) -> bool:
    """Compare; the same few pages come again and again."""
    found = split_origin(origin)
    if found is None:
        return False
    # The scheme is the browser's: behind a proxy we cannot know whether it speaks TLS.
    return found == split_origin(f"{found[0]}://{host}") or found in [split_origin(each) for each in allowed]
