"""
The reference pages, made from the code that they describe.

`pages()` maps each page's path to its Markdown. Nothing here knows of MkDocs: whatever
builds the site writes them where it wants them.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from tornado.web import RequestHandler  # noqa: E402

import jpulse  # noqa: E402
from handlers import ROUTES  # noqa: E402
from jpulse import auth, metrics, namespace, settings, stats, testing  # noqa: E402
from jpulse.cluster import Snapshot  # noqa: E402
from jpulse.errors import CloseCode  # noqa: E402
from jpulse.web import ApiHandler  # noqa: E402

CLIENT = ROOT / "static" / "jpulse" / "jpulse.js"


def pages() -> dict[str, str]:
    """Every page that is made from code, by its path under docs/."""
    return {
        "reference/settings.md": settings_page(),
        "reference/python.md": python_page(),
        "reference/javascript.md": javascript_page(),
        "reference/close-codes.md": close_codes_page(),
        "reference/rest.md": rest_page(),
        "reference/metrics.md": metrics_page(),
    }


def _with_introduction(name: str, body: Iterable[str]) -> str:
    """Put what is written by hand, in `reference/_NAME.md`, before what is made."""
    written = (Path(__file__).parent / "reference" / f"_{name}.md").read_text(encoding="utf-8")
    return written + "\n" + "\n".join(body) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table; `|` in a cell would end it."""
    head = list(head)
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    yield ""


# Settings


def settings_page() -> str:
    """Every field of `Settings`, with the values that its own check asks for."""
    return _with_introduction("settings", _settings())


def _settings() -> Iterator[str]:
    for field in dataclasses.fields(settings.Settings):
        name = field.name
        yield f"### {name} {{ #{name} }}\n"
        yield _sentence(field.metadata["help"]) + "\n"
        yield f"- flag: `{settings.flag_name(name)}`" + (
            f", `--no-{name.replace('_', '-')}`" if isinstance(field.default, bool) else ""
        )
        yield f"- environment: `{settings.variable_name(name)}`"
        yield f"- value: {accepted(field.metadata['check'])}"
        yield f"- default: {_default(field.default)}\n"


def accepted(check: settings.Check) -> str:
    """What a setting accepts, in the words of its own error message."""
    # No setting accepts both of them; a list complains of its element first if it gets a text.
    for nonsense in ("\0", object()):
        try:
            check(nonsense)
        except ValueError as error:
            return str(error)
    raise AssertionError("a setting that accepts everything")


def _default(value: Any) -> str:
    shown = settings._shown(value)
    return shown if shown in ("none", "on", "off") else f"`{shown}`"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


# Python

#: What of each public class its users need: names of methods, properties and documented attributes.
PYTHON: dict[str, tuple[Any, tuple[str, ...]]] = {
    "NamespaceHandler": (
        jpulse.NamespaceHandler,
        (
            *("path", "require_auth", "require_roles"),
            *("max_message_bytes", "max_messages_per_second", "max_outbox_bytes", "compress", "hidden"),
            *("app", "namespace"),
            *("on_connect", "on_message", "on_disconnect", "on_bridge"),
            *("broadcast", "send_to_client", "send_to_user"),
            *("has_client", "client_count", "get_stats"),
        ),
    ),
    "Connection": (
        jpulse.Connection,
        (
            *("client_id", "user", "username", "ctx", "message"),
            *("address", "since", "received_messages", "send", "close"),
        ),
    ),
    "App": (jpulse.App, ("websockets", "config", "clock", "serve_folder", "start", "stop", "health")),
    "Registry": (namespace.Registry, ("register", "create_namespace", "find", "uptime", "get_stats")),
    "Namespace": (
        jpulse.Namespace,
        (
            *("on_connect", "on_message", "on_disconnect", "on_bridge"),
            *("broadcast", "send_to_client", "send_to_user", "has_client", "client_count", "get_stats"),
        ),
    ),
    "ApiHandler": (jpulse.ApiHandler, ("current_user", "ctx", "app", "write_success", "read_body")),
    "PageHandler": (
        jpulse.PageHandler,
        ("current_user", "ctx", "app", "client_address", "is_secure", "sign_in", "sign_out"),
    ),
    "StaticHandler": (jpulse.StaticHandler, ()),
    "CurrentUser": (auth.CurrentUser, ("username", "roles", "display_name", "has_any", "as_json")),
    "ClientError": (jpulse.ClientError, ()),
    "CloseCode": (CloseCode, ()),
    "Settings": (settings.Settings, ("load",)),
    "create_app": (jpulse.create_app, ()),
}
#: The same of `jpulse.testing`.
TESTING: dict[str, tuple[Any, tuple[str, ...]]] = {
    "serving": (testing.serving, ()),
    "Server": (testing.Server, ("sign_in",)),
    "Visitor": (testing.Visitor, ("connect", "fetch")),
    "Client": (testing.Client, ("send", "send_text", "receive", "receive_all", "closed", "close")),
    "Answer": (testing.Answer, ("json",)),
    "Refused": (testing.Refused, ()),
    "Closed": (testing.Closed, ()),
}


def python_page() -> str:
    """The public names with their docstrings."""
    return _with_introduction("python", _python())


def _python() -> Iterator[str]:
    yield from _classes(PYTHON, "##")
    yield "## Testing { #testing }\n"
    yield "`jpulse.testing`; the [guide](../guides/testing.md) shows how to use it.\n"
    yield from _classes(TESTING, "###")


def _classes(table: dict[str, tuple[Any, tuple[str, ...]]], marks: str) -> Iterator[str]:
    for name, (thing, members) in table.items():
        yield f"{marks} {name} {{ #{name} }}\n"
        if inspect.isfunction(thing):
            yield f"`{name}{signature(thing)}`\n"
        yield _doc(thing) + "\n"
        for member in members:
            yield from _member(thing, name, member, marks + "#")


def _member(owner: type, owner_name: str, name: str, marks: str) -> Iterator[str]:
    found = inspect.getattr_static(owner, name, None)
    plain = getattr(found, "__func__", found)
    yield f"{marks} {name} {{ #{owner_name}.{name} }}\n"
    if inspect.isfunction(plain):
        kind = "async " if inspect.iscoroutinefunction(plain) else ""
        yield f"`{kind}{name}{signature(plain)}`\n"
        yield _doc(plain) + "\n"
    elif isinstance(found, property):
        yield f"`{name}: {_return(found.fget)}`\n"
        yield _doc(found) + "\n"
    else:
        annotation, text = ATTRIBUTES[f"{owner_name}.{name}"]
        yield f"`{name}: {annotation}`\n"
        yield text + "\n"


def signature(function: Callable[..., Any]) -> str:
    """A function's parameters without `self`, as its source writes their types."""
    found = inspect.signature(function)
    parameters = [each for each in found.parameters.values() if each.name not in ("self", "cls")]
    text = str(found.replace(parameters=parameters))
    # Annotations are texts, which str() shows as such.
    return re.sub(r"'([^']*)'", r"\1", text)


def _return(function: Callable[..., Any] | None) -> str:
    return str(inspect.signature(function).return_annotation).strip("'") if function else "Any"


def _doc(thing: Any) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise AssertionError(f"{thing!r} has no docstring")
    return text


#: Attributes have no docstrings: their types and what to know of them.
ATTRIBUTES = {
    "NamespaceHandler.path": ("str", "The address; it must start with `/api/1/ws/`."),
    "NamespaceHandler.require_auth": ("bool", "Refuse guests with 401, before the upgrade."),
    "NamespaceHandler.require_roles": ("Sequence[str]", "Refuse with 403 who has none of these roles."),
    "NamespaceHandler.max_message_bytes": ("int | None", "Another limit than the setting of this name."),
    "NamespaceHandler.max_messages_per_second": ("int | None", "Likewise; 0 is no limit."),
    "NamespaceHandler.max_outbox_bytes": ("int | None", "Likewise."),
    "NamespaceHandler.compress": ("bool", "Offer permessage-deflate for messages of 256 bytes and more."),
    "NamespaceHandler.hidden": ("bool", "Leave the namespace out of statistics and log."),
    "NamespaceHandler.app": ("App", "The application; set when the class is registered."),
    "NamespaceHandler.namespace": ("Namespace", "What does the work; set when the class is registered."),
    "Connection.client_id": ("str", "The client's id, a UUID that all tabs of a browser share."),
    "Connection.user": ("CurrentUser | None", "Who is signed in; None for a guest."),
    "Connection.username": ("str", 'The user\'s name; `""` for a guest.'),
    "Connection.ctx": (
        "dict[str, str]",
        '`{"username": …, "ip": …}`: pass it on with what you send because of this client.',
    ),
    "Connection.message": ("dict[str, Any]", "The message that `on_message` is called for."),
    "Connection.address": ("str", "The client's IP address."),
    "Connection.since": ("float", "When the handshake was, in seconds of `time.monotonic()`."),
    "Connection.received_messages": ("int", "Messages that came from this connection."),
    "App.websockets": ("Registry", "All [namespaces](#Registry)."),
    "App.config": ("Settings", "What the server was [told](#Settings)."),
    "App.clock": ("Callable[[], float]", "Seconds since 1970; sessions expire by it, and tests replace it."),
    "CurrentUser.username": ("str", "The name as it was given when the user was made."),
    "CurrentUser.roles": ("tuple[str, ...]", "Of `user`, `admin` and `root`."),
    "CurrentUser.display_name": ("str", 'How the user wants to be shown; may be `""`.'),
    "PageHandler.current_user": ("CurrentUser | None", "Who asks; None for a guest."),
    "ApiHandler.current_user": ("CurrentUser | None", "Who asks; None for a guest."),
}


# JavaScript

#: What a page may use, and the line of the script before which its JSDoc stands.
JAVASCRIPT = {
    "jPulse.ws.connect(path, options)": "function connect(",
    "jPulse.ws.getConnections()": "function getConnections(",
    "handle.send(data)": "send: (data)",
    "handle.onMessage(listener)": "onMessage(listener) { connection",
    "handle.onStatusChange(listener)": "onStatusChange(listener) { connection",
    "handle.getStatus()": "getStatus: ()",
    "handle.isConnected()": "isConnected: ()",
    "handle.connect()": "connect() { connection",
    "handle.disconnect()": "disconnect() { connection",
    "jPulse.api.get / post / put / delete": "async function request(",
    "jPulse.UI.toast.show(message, level, options)": "function showToast(",
}
TYPEDEFS = ("ConnectOptions", "Handle", "Status", "Envelope", "LinkError", "ApiOptions")


def javascript_page() -> str:
    """What pages may use of the browser client, in the words of its JSDoc."""
    return _with_introduction("javascript", _javascript(CLIENT.read_text(encoding="utf-8")))


def _javascript(source: str) -> Iterator[str]:
    comments = list(_comments(source))
    for title, line in JAVASCRIPT.items():
        text = next(text for text, following in comments if following.startswith(line))
        yield f"## {title}\n"
        yield from _jsdoc(text)
    for name in TYPEDEFS:
        text = next(text for text, _ in comments if re.search(rf"@typedef \{{.*\}} {name}\b", text))
        yield f"## {name}\n"
        yield from _jsdoc(text)


def _comments(source: str) -> Iterator[tuple[str, str]]:
    """Every JSDoc comment and the line after it."""
    for found in re.finditer(r"/\*\*(.*?)\*/\s*(?=([^\n]*))", source, re.DOTALL):
        lines = (re.sub(r"^\s*\* ?", "", line) for line in found[1].splitlines())
        yield "\n".join(lines).strip(), found[2].strip()


def _jsdoc(text: str) -> Iterator[str]:
    prose, *tags = re.split(r"^@", text, flags=re.MULTILINE)
    yield prose.strip() + "\n"
    rows = [row for tag in tags if (row := _jsdoc_row(" ".join(tag.split())))]
    if rows:
        yield from _table(("", "type", ""), rows)


def _jsdoc_row(tag: str) -> tuple[str, str, str] | None:
    """`param {string} path such as …` as cells."""
    kind, _, rest = tag.partition(" ")
    type_, _, rest = _braced(rest)
    if kind in ("typedef", "callback"):
        return ("", f"`{type_}`", "") if type_ not in ("object", "") else None
    if kind in ("returns", "throws"):
        return kind, f"`{type_}`", rest
    name, _, meaning = rest.partition(" ")
    return f"`{name}`", f"`{type_}`", meaning


def _braced(text: str) -> tuple[str, str, str]:
    """What stands in the first pair of braces, which may hold others, and what follows."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return (text[1:place], "", text[place + 1 :].strip()) if place else ("", "", text)
    return "", "", text


# Close codes

#: Why a WebSocket ends with a code. What the browser client does is read from its script.
CLOSE_REASONS = {
    CloseCode.NORMAL: "either side is done: `conn.close()`, `handle.disconnect()`, an administrator's button",
    CloseCode.GOING_AWAY: "the browser leaves the page",
    CloseCode.PROTOCOL_ERROR: "the client broke RFC 6455",
    CloseCode.NO_STATUS: "never sent: the other side's close frame had no code",
    CloseCode.ABNORMAL: "never sent: the connection broke without a close frame",
    CloseCode.INVALID_PAYLOAD: "a text message that is not UTF-8",
    CloseCode.POLICY_VIOLATION: "more empty fragments or compressed blocks than anybody needs",
    CloseCode.MESSAGE_TOO_BIG: "a message larger than [max_message_bytes](settings.md#max_message_bytes)",
    CloseCode.INTERNAL_ERROR: "not used by the framework: a handler that fails ends no connection",
    CloseCode.RESTART: "the server restarts; closes are spread over "
    "[drain_seconds](settings.md#drain_seconds)",
    CloseCode.TRY_AGAIN_LATER: "the client is too slow, its outbox passed "
    "[max_outbox_bytes](settings.md#max_outbox_bytes); or an application wants it to come back later",
    CloseCode.SESSION_ENDED: "the session ended: signed out anywhere, expired, or the user was disabled",
    CloseCode.ROLE_LOST: "the role that the namespace requires was taken away",
    CloseCode.NO_SIGN_OF_LIFE: "nothing came for [ping_interval](settings.md#ping_interval) + "
    "[pong_timeout](settings.md#pong_timeout), or a message was not whole within "
    "[message_seconds](settings.md#message_seconds)",
    CloseCode.TOO_MANY_MESSAGES: "more than [max_messages_per_second]"
    "(settings.md#max_messages_per_second), again and again; or a flood of pings or fragments",
}


def close_codes_page() -> str:
    """Every code of `CloseCode`, why it is used, and what the browser client makes of it."""
    stays = stay_away_codes(CLIENT.read_text(encoding="utf-8"))
    rows = [
        (
            f"**{int(code)}**",
            f"`{code.name}`",
            CLOSE_REASONS[code],
            "stays away" if code in stays else "reconnects",
        )
        for code in CloseCode
    ]
    return _with_introduction("close-codes", _table(("code", "`CloseCode`", "why", "browser client"), rows))


def stay_away_codes(source: str) -> set[int]:
    """The codes after which the browser client does not come back."""
    normal = re.search(r"const NORMAL_CLOSE = (\d+)", source)
    found = re.search(r"STAY_AWAY_CODES = new Set\(\[NORMAL_CLOSE, ([\d, ]+)\]\)", source)
    if not (normal and found):
        raise AssertionError("jpulse.js has no STAY_AWAY_CODES")
    return {int(normal[1]), *map(int, found[1].split(","))}


# REST


def rest_page() -> str:
    """Every route of `handlers.ROUTES`: REST first, then pages."""
    return _with_introduction("rest", _rest())


def _rest() -> Iterator[str]:
    for title, is_rest in (("REST", True), ("Pages and forms", False)):
        yield f"## {title}\n"
        rows = [row for route in ROUTES for row in _route_rows(*route[:2], is_rest=is_rest)]
        yield from _table(("method", "address", "what it does"), rows)


def _route_rows(
    pattern: str, handler: type[RequestHandler], *, is_rest: bool
) -> Iterator[tuple[str, str, str]]:
    if issubclass(handler, ApiHandler) is not is_rest:
        return
    for method in ("get", "post", "put", "delete"):
        function = getattr(handler, method)
        if function is not getattr(RequestHandler, method):
            about = f"{_without_address(_doc(handler))} {_doc(function)}".replace("\n\n", " ").strip()
            yield method.upper(), f"`{address(pattern)}`", about


def _without_address(doc: str) -> str:
    """A handler's docstring without the address that it begins with."""
    return re.sub(r"^([A-Z]+ )?/\S*?[.:]( |$)", "", doc).capitalize()


def address(pattern: str) -> str:
    """A route's regular expression as a person writes it."""
    readable = pattern.replace("([^/]+)", "ID").replace(r"\.", ".")
    return re.sub(r"\(\?:(.*?)\)\?", r"[\1]", readable).replace("/?", "/")


# Metrics


def metrics_page() -> str:
    """Every metric of /metrics, as a process with something of everything tells them."""
    rows = [
        (f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation)
        for name, family, labels in metric_families()
    ]
    return _with_introduction("metrics", _table(("metric", "kind", "labels", "what"), rows))


def metric_families() -> Iterator[tuple[str, Any, list[str]]]:
    """Name, family and labels of each metric."""
    one = dict.fromkeys(("some",), 1)
    counts = [1] * (len(stats.BUCKETS) + 1)
    figures = stats.Figures(
        total=2, received=1, connects=2, closes={1000: 1}, dropped=one, handler_counts=counts
    )
    snapshot = Snapshot(name="host:8080", refusals=one)
    snapshot.bridge = msgspec.structs.replace(snapshot.bridge, lag_seconds=0.0)
    text = metrics.render([metrics.Process(snapshot, {"/api/1/ws/chat": figures})]).decode()
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue
        labels = {label: None for sample in family.samples for label in sample.labels}
        yield family.samples[0].name if family.type in ("counter", "info") else family.name, family, [*labels]
