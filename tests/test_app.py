"""The wiring: what an application serves at which address, and how namespaces are registered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jpulse import App, NamespaceHandler, Settings, create_app

from .conftest import Server
from .raw_client import RawClient
from .support import ask


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module(app="tests.apps.broken")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


Answer = tuple[int, dict[str, str], bytes]


def assert_strict(headers: dict[str, str]) -> None:
    """The policy lets in nothing inline and nothing foreign, and types are not guessed."""
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def page(answer: Answer, status: int = 200) -> str:
    """The text of an HTML page, which has the security headers and nothing inline."""
    assert answer[0] == status
    assert answer[1]["content-type"].lower() == "text/html; charset=utf-8"
    assert_strict(answer[1])
    text = answer[2].decode()
    assert re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text) is None
    assert re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text) is None
    return text


def envelope(answer: Answer, status: int) -> dict[str, object]:
    """A failure as JSON, whose status is in both places."""
    assert answer[0] == status
    assert answer[1]["content-type"].lower() == "application/json; charset=utf-8"
    assert_strict(answer[1])
    value = json.loads(answer[2])
    assert (value["success"], value["code"]) == (False, status)
    assert value["error"]
    assert isinstance(value, dict)
    return value


# Pages


def test_home_page(server: Server) -> None:
    """The home page tells what runs here and links to the demos."""
    text = page(ask(server.port, "/"))
    assert 'href="/hello-websocket/' in text
    assert "/api/1/ws/hello-emoji" in text


@pytest.mark.parametrize("path", ["/hello-websocket/", "/hello-websocket", "/hello-websocket/?x=1"])
def test_demos_page(server: Server, path: str) -> None:
    """The demos are served with and without the last slash, with the browser client as a script."""
    text = page(ask(server.port, path))
    assert 'src="/static/jpulse/jpulse.js' in text


def test_what_pages_refer_to_is_served(server: Server) -> None:
    """Every script, style and picture that the pages refer to is served from the same server."""
    found = set()
    for path in ("/", "/hello-websocket/"):
        found |= set(re.findall(r'(?:src|href)="([^"#]+)"', page(ask(server.port, path))))
    local = {each for each in found if each.startswith("/")}
    assert any(each.startswith("/static/jpulse/jpulse.js") for each in local)
    foreign_files = {each for each in found - local if re.search(r"\.(js|css|svg|png|woff2?)\b", each)}
    assert foreign_files == set()
    for each in sorted(local):
        # Administrators' pages send a guest to sign in.
        assert ask(server.port, each)[0] == (302 if each.startswith("/admin/") else 200), each


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/static/jpulse/jpulse.js", "javascript"),
        ("/static/css/site.css", "text/css"),
        ("/static/favicon.svg", "image/svg+xml"),
    ],
)
def test_static_files(server: Server, path: str, kind: str) -> None:
    """Static files are served with their types, which browsers may not guess at."""
    status, headers, body = ask(server.port, path)
    assert status == 200
    assert kind in headers["content-type"]
    assert body
    assert_strict(headers)


def test_unchanged_static_file(server: Server) -> None:
    """A static file that the browser has is not sent again."""
    _, headers, _ = ask(server.port, "/static/css/site.css")
    assert ask(server.port, "/static/css/site.css", {"If-None-Match": headers["etag"]})[0] == 304


def test_static_file_is_kept_under_its_own_version(server: Server) -> None:
    """Browsers keep a static file whose address names its version, and ask each time for any other."""
    found = re.search(r'"(/static/css/site\.css)(\?v=\w+)"', page(ask(server.port, "/")))
    assert found
    assert ask(server.port, found[1] + found[2])[1]["cache-control"].startswith("max-age=")
    for other in ("", "?v=", "?v=0123abcd", "?v=%ff", found[2] + "0", "?w=" + found[2][3:]):
        status, headers, _ = ask(server.port, found[1] + other)
        assert (status, headers["cache-control"]) == (200, "no-cache"), other
        assert "expires" not in headers


# Errors


@pytest.mark.parametrize(
    "path", ["/nothing", "/hello-websocket/x", "/nothing%00", "/apix", "/static/nothing.js", "/static/%00"]
)
def test_unknown_page(server: Server, path: str) -> None:
    """An address that nothing serves gets the 404 page."""
    assert "no page at this address" in page(ask(server.port, path), 404)


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/jpulse", "/static/../setup.py", "/static/..%2fsetup.py", "/static/%2e%2e/run.py"],
)
def test_static_stays_in_its_folder(server: Server, path: str) -> None:
    """Nothing but the files in the static folder is served below /static/."""
    server.expected_log = ("tornado.general",)
    assert ask(server.port, path)[0] in (400, 403, 404)


def test_unknown_page_shows_no_html_of_the_client(server: Server) -> None:
    """What the client wrote stands escaped in the 404 page."""
    assert "<script>alert" not in page(ask(server.port, "/<script>alert(1)</script>"), 404)


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/1/nothing", "/api/1/ws/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_api(server: Server, path: str, method: str) -> None:
    """An unknown address under /api/ is answered with JSON, whatever the method."""
    envelope(ask(server.port, path, {"Content-Length": "0"}, method=method), 404)


def test_page_that_fails(server: Server) -> None:
    """A page that fails is logged with its traceback; the visitor gets the 500 page without the secret."""
    server.expected_log = (" 500 GET /broken", "Uncaught exception", "Traceback")
    text = page(ask(server.port, "/broken"), 500)
    assert "Something broke on the server" in text
    assert "secret" not in text
    server.wait_for_log(r"RuntimeError: secret of the page\n(.*\n)*.* 500 GET /broken")


def test_api_that_fails(server: Server) -> None:
    """REST that fails is logged with its traceback; the client gets a generic 500 as JSON."""
    server.expected_log = (" 500 GET /api/1/broken", "Uncaught exception", "Traceback")
    answer = envelope(ask(server.port, "/api/1/broken"), 500)
    assert "secret" not in str(answer["error"])
    server.wait_for_log(r"RuntimeError: secret of the API\n(.*\n)*.* 500 GET /api/1/broken")


@pytest.mark.parametrize(
    ("path", "status"), [("/rest/broken?status=409", 409), ("/rest/broken?status=x", 500)]
)
def test_api_at_an_address_of_its_own(server: Server, path: str, status: int) -> None:
    """REST answers errors with an envelope also outside /api/."""
    server.expected_log = (" 500 GET /rest/broken", "Uncaught exception", "Traceback")
    envelope(ask(server.port, path), status)
    envelope(ask(server.port, "/rest/broken", {"Content-Length": "0"}, method="PATCH"), 405)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 429, 503])
def test_api_with_another_status(server: Server, status: int) -> None:
    """Any error under /api/ has the envelope of its status."""
    envelope(ask(server.port, f"/api/1/broken?status={status}"), status)


@pytest.mark.parametrize(
    ("path", "method"), [("/", "POST"), ("/hello-websocket/", "DELETE"), ("/broken", "PUT")]
)
def test_other_methods_of_a_page(server: Server, path: str, method: str) -> None:
    """A page that does not know a method says so, as a page."""
    page(ask(server.port, path, {"Content-Length": "0"}, method=method), 405)


def test_too_large_body(server: Server) -> None:
    """A body over a megabyte is refused before it is sent."""
    server.expected_log = ("tornado.general",)
    with RawClient(server.port, shake_hands=False) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        assert client.read_head()[0] in (400, 413)


def test_version_is_not_told(server: Server) -> None:
    """No answer tells which server software runs."""
    for path in ("/", "/nothing", "/static/css/site.css", "/api/1/ws/hello-emoji"):
        assert "server" not in ask(server.port, path)[1], path


# An application's own folder


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application's folder that has more in it than pages."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("more", ".git"):
        (folder / name).mkdir()
    for name in (
        "index.html",
        "index.js",
        "app.py",
        "shop.db",
        ".hidden.html",
        "README.md",
        "more/page.html",
        ".git/page.html",
    ):
        (folder / name).write_text(f"this is {name}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shop(serve_module: Callable[..., Server], shop_folder: Path) -> Server:
    """A server with that folder."""
    return serve_module(app="tests.apps.folder", environ={"TEST_FOLDER": str(shop_folder)})


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/shop/", "text/html", "index.html"),
        ("/shop/?x=1", "text/html", "index.html"),
        ("/shop/index.js", "javascript", "index.js"),
        ("/shop/more/page.html", "text/html", "more/page.html"),
        ("/shop-two/pages/", "text/html", "more/page.html"),
    ],
)
def test_folder(shop: Server, path: str, kind: str, name: str) -> None:
    """A folder's pages and scripts are served with the policy of all pages, and asked for again each time."""
    with shop.lent():
        status, headers, body = ask(shop.port, path)
        assert (status, body.decode()) == (200, f"this is {name}")
        assert kind in headers["content-type"]
        assert headers["cache-control"] == "no-cache"
        assert_strict(headers)
        assert ask(shop.port, path, {"If-None-Match": headers["etag"]})[0] == 304


def test_changed_file_is_sent_again(shop: Server, shop_folder: Path) -> None:
    """Who edits a page and loads it again sees the change, without a restart."""
    news, draft, etag = shop_folder / "news.html", shop_folder / "draft", '"none"'
    with shop.lent():
        for state in ("first", "other", "longer than before"):
            draft.write_text(state, encoding="utf-8")
            # As editors do it: the server may not have closed the old file yet.
            draft.replace(news)
            status, headers, body = ask(shop.port, "/shop/news.html", {"If-None-Match": etag})
            assert (status, body.decode()) == (200, state)
            etag = headers["etag"]
        news.unlink()
        assert ask(shop.port, "/shop/news.html")[0] == 404


def test_folder_without_the_last_slash(shop: Server) -> None:
    """The address without its last slash leads to the one with it, from where relative addresses work."""
    with shop.lent():
        for path in ("/shop", "/shop-two/pages"):
            status, headers, _ = ask(shop.port, path)
            assert (status, headers["location"]) == (301, path + "/")


@pytest.mark.parametrize(
    "name",
    [
        "app.py",
        "shop.db",
        ".hidden.html",
        ".git/page.html",
        "README.md",
        "more/",
        "more",
        "nothing.js",
        "../setup.py",
        "%2e%2e/x.js",
    ],
)
def test_folder_gives_out_nothing_else(shop: Server, name: str) -> None:
    """Neither sources nor data nor hidden files nor lists of files are served, nor what lies outside."""
    with shop.lent():
        shop.expected_log = ("tornado.general",)
        assert ask(shop.port, f"/shop/{name}")[0] in (301, 403, 404)
        assert ask(shop.port, f"/shop//{name}")[0] in (301, 403, 404)


def test_home_page_leads_to_folders(shop: Server) -> None:
    """Who starts a server with an application finds its pages from the home page."""
    with shop.lent():
        text = page(ask(shop.port, "/"))
        assert 'href="/shop/"' in text
        assert 'href="/shop-two/pages/"' in text


def test_folder_hides_no_neighbour(shop: Server) -> None:
    """An address that only begins like a folder's is another one, and the server's own pages stay."""
    with shop.lent():
        assert ask(shop.port, "/shopping")[0] == 404
        assert ask(shop.port, "/")[0] == 200


@pytest.mark.parametrize(
    "address", ["", "/", "//", "shop", "/a b", "/api/shop", "/static/", "/a//b", "/shop/(.*)"]
)
def test_address_that_is_no_folders(app: App, tmp_path: Path, address: str) -> None:
    """What is no address of one's own is refused where it is written."""
    (tmp_path / "index.html").touch()
    with pytest.raises(ValueError, match="serve_folder"):
        app.serve_folder(address, tmp_path)


def test_folder_without_its_page(app: App, tmp_path: Path) -> None:
    """A folder that has not the page which it is to begin with is refused where it is named."""
    with pytest.raises(ValueError, match=r"page\.html"):
        app.serve_folder("/shop/", tmp_path, index="page.html")


# Registration


class Chat(NamespaceHandler):
    """A namespace like any other."""

    path = "/api/1/ws/chat"


@pytest.fixture
def app() -> App:
    return create_app(Settings())


def test_register(app: App) -> None:
    """A registered class is served at its path, and its one instance is returned."""
    chat = app.websockets.register(Chat)
    assert isinstance(chat, Chat)
    namespace = app.websockets.find("/api/1/ws/chat")
    assert namespace is not None
    assert namespace.path == "/api/1/ws/chat"
    assert chat.get_stats()["clientCount"] == 0


def test_second_namespace_on_a_path(app: App) -> None:
    """A second namespace on a path, however it is made, raises ValueError that names the path."""
    app.websockets.register(Chat)
    with pytest.raises(ValueError, match="/api/1/ws/chat"):
        app.websockets.register(Chat)
    with pytest.raises(ValueError, match="/api/1/ws/chat"):
        app.websockets.create_namespace("/api/1/ws/chat")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/chat",
        "chat",
        "/api/1/ws",
        "/api/1/ws/",
        "/api/1/wschat",
        "/api/2/ws/chat",
        "/API/1/WS/chat",
        "x/api/1/ws/chat",
        "/api/1/ws//chat",
        "/api/1/ws/chat/",
        "/api/1/ws/chat?x=1",
        "/api/1/ws/chat room",
        "/api/1/ws/chat\n",
    ],
)
def test_path_outside_of_the_prefix(app: App, path: str) -> None:
    """A namespace that is not under /api/1/ws/, or that no address can reach, raises ValueError."""
    with pytest.raises(ValueError, match="/api/1/ws/"):
        app.websockets.create_namespace(path)
    with pytest.raises(ValueError, match="/api/1/ws/"):
        app.websockets.register(type("Elsewhere", (NamespaceHandler,), {"path": path}))
    assert app.websockets.find(path) is None


@pytest.mark.parametrize(
    "path", ["/api/1/ws/a", "/api/1/ws/hello-emoji", "/api/1/ws/rooms/lobby", "/api/1/ws/v1.2_x~y"]
)
def test_path_under_the_prefix(app: App, path: str) -> None:
    """Names of letters, digits and ._~- are fine, and so are several of them."""
    assert app.websockets.create_namespace(path).path == path


def test_class_without_a_path(app: App) -> None:
    """A class that was given no path raises ValueError when it is registered."""
    with pytest.raises(ValueError, match="path"):
        app.websockets.register(type("Pathless", (NamespaceHandler,), {}))


@pytest.mark.parametrize("what", [Chat(), "chat", object, None])
def test_register_what_is_no_namespace_class(app: App, what: object) -> None:
    """What is no subclass of NamespaceHandler raises TypeError that says what is wanted."""
    with pytest.raises(TypeError, match="NamespaceHandler"):
        app.websockets.register(what)  # type: ignore[arg-type]


def test_chaining_returns_the_namespace(app: App) -> None:
    """The three handlers are chained to what create_namespace returns."""
    roles = ("user", "admin")
    made = app.websockets.create_namespace("/api/1/ws/chained", require_auth=True, require_roles=roles)
    assert made.on_connect(print).on_message(print).on_disconnect(print) is made
    assert (made.require_auth, tuple(made.require_roles)) == (True, roles)


def test_role_given_as_a_text(app: App) -> None:
    """Roles given as one text, which would be taken letter by letter, raise ValueError."""
    with pytest.raises(ValueError, match="require_roles"):
        app.websockets.create_namespace("/api/1/ws/x", require_roles="admin")


def test_role_that_nobody_can_have(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """A required role that no user can have is told in the log, with those that there are."""
    made = app.websockets.create_namespace("/api/1/ws/x", require_roles=("admin", "viewer"))
    assert made.require_roles == ("admin", "viewer")
    assert "/api/1/ws/x: require_roles: no user can be 'viewer'; there are user, admin, root" in caplog.text
    assert "'admin'" not in caplog.text


def test_namespaces_of_the_table(app: App) -> None:
    """create_app registers the classes that it is given."""
    made = create_app(Settings(), namespaces=[Chat])
    assert [each.path for each in made.websockets] == ["/api/1/ws/chat"]
    assert list(app.websockets) == []
