"""What administrators see and do: live statistics, a namespace's connections, and actions on them."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import msgspec
from tornado.web import HTTPError

from jpulse import ApiHandler, ClientError, CloseCode, Connection, NamespaceHandler, PageHandler
from jpulse.timers import Repeating

from . import admin_text

log = logging.getLogger("handlers.admin")

ROLES = ("admin",)
STATS_PAGE = "/admin/websocket-stats.shtml"
NAMESPACE_PAGE = "/admin/websocket-namespace"

UPDATE_SECONDS = 1.0
#: An update repeats the last seconds of each series: other processes may have told more of them since.
REPEATED_SECONDS = 5
#: New entries of the activity log in one update; the page tells how many more there were.
MAX_NEWS = 200
#: Entries and connections that are part of a page; the page says so, and has a search.
MAX_LOGGED = 50
MAX_LISTED = 200
MAX_MESSAGE_BYTES = 65536

Details = dict[str, Any]


class AdminPage(PageHandler):
    """A page for the role admin: guests are sent to sign in and come back, others get 403."""

    async def prepare(self) -> None:
        """Let nobody else in."""
        await super().prepare()
        if self.current_user is None:
            self._ask_to_sign_in()
        elif not self.current_user.has_any(ROLES):
            raise ClientError("This page is for administrators.", 403)

    def _ask_to_sign_in(self) -> None:
        if self.request.method not in ("GET", "HEAD"):
            raise ClientError("Your session has ended. Sign in again.", 401)
        self.redirect(f"/auth/login?{urlencode({'next': self.request.uri})}")


class StatsPage(AdminPage):
    """The figures as they are now; the page's script keeps them up to date."""

    def get(self) -> None:
        """Render the page."""
        self.render(
            "admin/stats.html",
            text=admin_text,
            blank=admin_text.BLANK,
            stats=self.app.get_details(),
            now=self.app.clock(),
            max_logged=MAX_LOGGED,
            namespace_page=NAMESPACE_PAGE,
            namespace_path="",
            done=done_text(self.get_query_argument("done", "")),
        )


class StatsApi(ApiHandler):
    """GET /api/1/websocket/stats."""

    def get(self) -> None:
        """Tell the figures to an administrator."""
        if self.current_user is None:
            raise ClientError("Sign in first", 401)
        if not self.current_user.has_any(ROLES):
            raise ClientError("A role is needed: " + ", ".join(ROLES), 403)
        self.write_success(self.app.websockets.get_stats())


# A namespace and its connections


class NamespacePage(AdminPage):
    """A namespace's connections over all processes, and what can be done with them."""

    async def get(self) -> None:
        """Render the page."""
        path, search = self.get_query_argument("path", ""), self.get_query_argument("search", "")
        namespaces = self.app.get_details()["namespaces"]
        figures = next((each for each in namespaces if each["path"] == path), None)
        if figures is None:
            raise HTTPError(404)
        connections = await self.app.admin.connections(path)
        found = [each for each in connections if matches(each, search)]
        self.render(
            "admin/namespace.html",
            text=admin_text,
            close_codes=CLOSE_CODES,
            namespace_path=path,
            namespace=figures,
            total=len(connections),
            found=len(found),
            connections=sorted(found, key=lambda each: float(each["since"]), reverse=True)[:MAX_LISTED],
            processes=sorted(Counter(str(each["instance"]) for each in connections).items()),
            search=search,
            now=self.app.clock(),
            done=done_text(self.get_query_argument("done", "")),
        )


def matches(connection: dict[str, Any], search: str) -> bool:
    """Tell whether a connection's user, address, ids or process contain a text, in any case."""
    fields = ("user", "address", "clientId", "id", "instance")
    wanted = search.strip().casefold()
    return any(wanted in str(connection[name]).casefold() for name in fields)


# Actions

DONE = {
    "sent": "The message was sent.",
    "closed": "The connection was closed.",
    "signed-out": "The user was signed out everywhere.",
    "drained": "The process drains: it lets nobody new in, closes its connections and ends.",
}


def done_text(key: str) -> str:
    """What a page says after an action; "" for anything else that an address may hold."""
    return DONE.get(key, "")


class Action(AdminPage):
    """What an administrator does: a POST from one of our pages, written to the log with who did it."""

    def field(self, name: str) -> str:
        """Read a field of the form that must not be empty."""
        value = self.get_body_argument(name, "")
        if not value:
            raise ClientError(f"{name}: is missing")
        return value

    def done(self, key: str, what: str, *details: object) -> None:
        """Write it to the log, and go back to the page."""
        who, path = self.ctx["username"], self.get_body_argument("path", "")
        if self.app.websockets.find(path) is None:
            path = ""
        extra = {"user": who, "address": self.client_address, "namespace": path}
        log.info("%s " + what, who, *details, extra=extra)
        page, fields = (NAMESPACE_PAGE, {"path": path}) if path else (STATS_PAGE, {})
        self.redirect(f"{page}?{urlencode({**fields, 'done': key})}", status=303)


class SendAction(Action):
    """Sends a message to a namespace's clients, or to one of them."""

    async def post(self) -> None:
        """Send."""
        path, client_id = self.field("path"), self.get_body_argument("client", "") or None
        await self.app.admin.send(path, client_id, read_message(self.field("message")))
        self.done("sent", "sent a message to %s of %s", client_id or "all clients", path)


class CloseAction(Action):
    """Closes one connection."""

    async def post(self) -> None:
        """Close."""
        connection = self.field("connection")
        code = read_code(self.field("code"))
        await self.app.admin.close(connection, code)
        self.done("closed", "closed connection %s of %s with %d", connection, self.field("path"), code)


class SignOutAction(Action):
    """Signs a user out everywhere."""

    async def post(self) -> None:
        """Sign out."""
        username = self.field("username")
        await self.app.admin.sign_out(username)
        self.done("signed-out", "signed %s out everywhere", username)


class DrainAction(Action):
    """Lets a process end."""

    async def post(self) -> None:
        """Drain."""
        instance = self.field("instance")
        await self.app.admin.drain(instance)
        self.done("drained", "drained process %s", instance)


def read_message(text: str) -> dict[str, Any]:
    """Read what an administrator wrote; ClientError if it is no JSON object, or too large."""
    if len(text.encode("utf-8", "replace")) > MAX_MESSAGE_BYTES:
        raise ClientError(f"message: it is larger than {MAX_MESSAGE_BYTES} bytes")
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ClientError(f"message: it is no JSON object: {error}") from None


#: What an administrator may close a connection with, and what the client takes it for.
CLOSE_CODES = {
    CloseCode.RESTART: "1012, and the client comes back",
    CloseCode.NORMAL: "1000, and the client stays away",
    CloseCode.SESSION_ENDED: "4401, and the client stays away",
}


def read_code(text: str) -> int:
    """Read one of CLOSE_CODES."""
    for code in CLOSE_CODES:
        if text == str(int(code)):
            return int(code)
    raise ClientError(f"code: one of {', '.join(str(int(code)) for code in CLOSE_CODES)} is needed")


# The page's own namespace


class AdminStats(NamespaceHandler):
    """
    Keeps the statistics pages up to date, with one timer however many look.

    A viewer gets everything first (`stats`), then what has changed, every second
    (`update`): namespaces whose figures differ, the last seconds of their series, and new
    entries of the log. Nothing of this is counted as messages.
    """

    path = "/api/1/ws/admin-stats"
    require_roles = ROLES
    hidden = True
    #: All of a full log at once is more than others may wait for.
    max_outbox_bytes = 16 * 1024 * 1024

    def __init__(self) -> None:
        self._timer: Repeating | None = None
        #: What the viewers know; the next update is the difference to it.
        self._told: Details = {}

    def on_connect(self, conn: Connection) -> None:
        """Tell everything; the first viewer starts the timer."""
        if self._timer is None:
            self._told = self.app.get_details()
            self._timer = Repeating(self._update, UPDATE_SECONDS)
            self._timer.start()
        conn.send({"type": "stats", "stats": self._told}, conn.ctx)

    def on_message(self, conn: Connection) -> None:
        """Say that nothing is awaited."""
        raise ClientError("type: this address only tells")

    def on_disconnect(self, conn: Connection) -> None:
        """Stop the timer when nobody looks any more."""
        if not self.namespace.members.connections and self._timer is not None:
            self._timer.stop()
            self._timer, self._told = None, {}

    def _update(self) -> None:
        details = self.app.get_details()
        update = difference(self._told, details)
        self._told = details
        # Each process tells its own viewers.
        self.namespace.broadcast({"type": "update", "stats": update}, local_only=True)


def difference(old: Details, new: Details) -> Details:
    """
    What a viewer who knows `old` has to be told to know `new`.

    `namespaces` has those that changed, with the last seconds of their series; `paths` lists
    all, if they are others than before. `activityLog` has the new entries, at most
    MAX_NEWS, and `activitySkipped` the number of the others.
    """
    known = {each["path"]: each for each in old["namespaces"]}
    paths = [each["path"] for each in new["namespaces"]]
    changed = [each for each in new["namespaces"] if known.get(each["path"]) != each]
    news = new_entries(old["activityLog"], new["activityLog"])
    seconds = REPEATED_SECONDS + max(0, new["seriesEnd"] - old["seriesEnd"])
    return {
        **new,
        "namespaces": [{**each, "series": each["series"][-seconds:]} for each in changed],
        **({"paths": paths} if paths != list(known) else {}),
        "activityLog": news[:MAX_NEWS],
        "activitySkipped": max(0, len(news) - MAX_NEWS),
    }


def new_entries(old: Iterable[dict[str, str]], new: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The entries of one log that another lacks; equal ones count as often as they are there."""
    known = Counter(tuple(entry.values()) for entry in old)
    found = []
    for entry in new:
        key = tuple(entry.values())
        if known[key] > 0:
            known[key] -= 1
        else:
            found.append(entry)
    return found


#: For the application's table of routes.
ROUTES = [
    (r"/admin/websocket-stats(?:\.shtml)?", StatsPage),
    (r"/admin/websocket-namespace", NamespacePage),
    (r"/admin/send", SendAction),
    (r"/admin/close", CloseAction),
    (r"/admin/sign-out", SignOutAction),
    (r"/admin/drain", DrainAction),
    (r"/api/1/websocket/stats", StatsApi),
]
