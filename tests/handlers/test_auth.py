"""Signing in and out over HTTP: pages and REST, and those who try to get around it."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest

from ..conftest import ADMIN_PASSWORD, Server
from ..patience import Stopwatch
from ..raw_client import RawClient
from ..support import make_certificate
from ..visitor import LOGIN, SESSION_COOKIE, Visitor, data_dir, manage

PAGE = "/auth/login"
LOGOUT = "/api/1/auth/logout"
STATUS = "/api/1/auth/status"
EVIL = {"Origin": "https://evil.example"}
ADMIN = {"username": "admin", "password": ADMIN_PASSWORD}
_addresses = (f"10.3.{number // 250}.{number % 250}" for number in itertools.count())


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    """A server behind a trusted proxy, so that each visitor has an address of its own to guess from."""
    return serve_module("--trusted-proxies", "127.0.0.1")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


@pytest.fixture
def visitor(server: Server) -> Visitor:
    """A guest with an address of its own."""
    return Visitor(server.port, {"X-Forwarded-For": next(_addresses)})


@pytest.fixture(scope="module")
def members_jar(shared: Server) -> dict[str, str]:
    """Cookies of a session that tests share and do not end."""
    visitor = Visitor(shared.port, {"X-Forwarded-For": next(_addresses)})
    visitor.sign_in()
    return visitor.jar


@pytest.fixture
def member(visitor: Visitor, members_jar: dict[str, str]) -> Visitor:
    """Somebody who is signed in as admin."""
    visitor.jar = dict(members_jar)
    return visitor


def attributes(line: str) -> tuple[str, dict[str, str]]:
    """The name of a cookie that is set, and its attributes in lower case."""
    first, *rest = line.split(";")
    pairs = (part.strip().partition("=") for part in rest)
    return first.partition("=")[0], {name.lower(): value for name, _, value in pairs}


def session_line(cookies: list[str]) -> str:
    """The one Set-Cookie of the session."""
    [line] = [each for each in cookies if each.startswith(SESSION_COOKIE + "=")]
    return line


# REST


def test_rest(visitor: Visitor) -> None:
    """REST signs in and out, tells who is signed in, and has no hash in any answer."""
    assert visitor.user is None
    answer = visitor.sign_in()
    assert answer.data["user"]["username"] == "admin"
    assert sorted(answer.data["user"]["roles"]) == ["admin", "user"]
    assert visitor.user == answer.data["user"]
    assert b"$2b$" not in answer.body
    assert b"hash" not in answer.body.lower()
    assert visitor.sign_out().data == {"user": None}
    assert visitor.user is None
    assert SESSION_COOKIE not in visitor.jar


def test_sign_out_ends_the_session(visitor: Visitor) -> None:
    """After signing out the old cookie is worth nothing, wherever it was copied to."""
    visitor.sign_in()
    copy = Visitor(visitor.port)
    copy.jar = dict(visitor.jar)
    assert copy.user is not None
    assert visitor.sign_out().status == 200
    assert copy.user is None


def test_sign_out_as_a_guest(visitor: Visitor) -> None:
    """Signing out without a session is no mistake."""
    assert visitor.sign_out().data == {"user": None}


def test_cookie(visitor: Visitor) -> None:
    """The session cookie is out of reach of scripts, other sites and other hosts, and says how long."""
    name, found = attributes(session_line(visitor.sign_in().cookies))
    assert name == SESSION_COOKIE
    assert "httponly" in found
    assert found["samesite"] == "Lax"
    assert found["path"] == "/"
    assert found["max-age"] == "86400"
    assert "domain" not in found
    assert "secure" not in found


@pytest.mark.parametrize("proto", ["https", "HTTPS", "http, https"])
def test_cookie_behind_a_tls_proxy(visitor: Visitor, proto: str) -> None:
    """Behind a trusted proxy that speaks TLS with the browser, the cookie is only sent over TLS."""
    visitor.headers["X-Forwarded-Proto"] = proto
    assert "secure" in attributes(session_line(visitor.sign_in().cookies))[1]


def test_cookie_behind_a_plain_proxy(visitor: Visitor) -> None:
    """What a client claims before a trusted proxy that does not speak TLS makes no cookie Secure."""
    visitor.headers["X-Forwarded-Proto"] = "https, http"
    assert "secure" not in attributes(session_line(visitor.sign_in().cookies))[1]


def test_cookie_of_a_stranger(serve: Callable[..., Server]) -> None:
    """Without trusted proxies X-Forwarded-Proto is not believed."""
    visitor = Visitor(serve().port, {"X-Forwarded-Proto": "https"})
    assert "secure" not in attributes(session_line(visitor.sign_in().cookies))[1]


def test_cookie_under_tls(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A server that speaks TLS itself makes the cookie Secure, also when it is taken back."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    server = serve("--tls-certificate", str(certificate), "--tls-key", str(key))
    context = ssl.create_default_context(cafile=str(certificate))

    def post(path: str, headers: dict[str, str]) -> list[str]:
        connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=60)
        connection.request("POST", path, json.dumps(ADMIN), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        assert (response.status, response.read()[:15]) == (200, b'{"success":true')
        connection.close()
        return response.headers.get_all("Set-Cookie") or []

    line = session_line(post(LOGIN, {}))
    assert "secure" in attributes(line)[1]
    assert "secure" in attributes(session_line(post(LOGOUT, {"Cookie": line.split(";")[0]})))[1]


# Sessions


def test_session_fixation(visitor: Visitor) -> None:
    """An id that the browser brings is never adopted: signing in always makes a new one."""
    planted = "A" * 43
    visitor.jar[SESSION_COOKIE] = planted
    visitor.sign_in()
    assert visitor.jar[SESSION_COOKIE] != planted
    attacker = Visitor(visitor.port)
    attacker.jar[SESSION_COOKIE] = planted
    assert attacker.user is None


@pytest.mark.parametrize("way", ["REST", "page"])
def test_new_session_at_every_sign_in(visitor: Visitor, way: str) -> None:
    """Signing in again makes a new id, and the session that the browser had before is over."""
    visitor.sign_in()
    before = Visitor(visitor.port)
    before.jar = dict(visitor.jar)
    assert before.user is not None
    if way == "REST":
        visitor.sign_in()
    else:
        assert visitor.submit(PAGE, ADMIN).status == 303
    assert visitor.jar[SESSION_COOKIE] != before.jar[SESSION_COOKIE]
    assert visitor.user is not None
    assert before.user is None


def test_failed_sign_in_keeps_the_session(member: Visitor) -> None:
    """Who is signed in and mistypes the password of another account stays who they are."""
    assert member.post(LOGIN, {"username": "nobody-1", "password": "wrong password"}).status == 401
    assert member.user is not None


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "A" * 43, "A" * 20_000, "%00", "..%2f", "é", '"', "'OR''='", '{"$ne":null}', "a b", "=;="],
)
def test_forged_cookies(visitor: Visitor, cookie: str) -> None:
    """A cookie that the server did not make is a guest's, whatever is in it."""
    line = f"{SESSION_COOKIE}={cookie}".encode().decode("latin-1")
    assert visitor.get(STATUS, {"Cookie": line}).data == {"user": None}
    assert "Sign in" in visitor.get("/", {"Cookie": line}).text


def test_changed_cookie(member: Visitor) -> None:
    """A true cookie with one character changed, added or left out is a guest's."""
    cookie = member.jar[SESSION_COOKIE]
    other = "A" if cookie[20] != "A" else "B"
    for each in (cookie[:20] + other + cookie[21:], cookie + "A", cookie[:-1], cookie.swapcase()):
        member.jar[SESSION_COOKIE] = each
        assert member.user is None


@pytest.fixture(scope="module")
def short(serve_module: Callable[..., Server]) -> Server:
    """A server whose sessions last two seconds."""
    return serve_module("--session-seconds", "2")


def test_sliding_and_expired_cookies(short: Server) -> None:
    """A session in use outlives session_seconds, as its cookie does; unused it is over, cookie or not."""
    with short.lent():
        visitor = Visitor(short.port)
        visitor.sign_in()
        cookie = visitor.jar[SESSION_COOKIE]
        begin = time.monotonic()
        renewed = []
        while time.monotonic() < begin + 2.5:
            answer = visitor.get(STATUS)
            assert answer.data["user"] is not None
            renewed += answer.cookies
            time.sleep(0.05)
        assert renewed
        assert all(attributes(each)[1]["max-age"] == "2" for each in renewed)
        assert {each.split(";")[0] for each in renewed} == {f"{SESSION_COOKIE}={cookie}"}
        # What matters is the time that passes, so there is nothing else to wait for.
        time.sleep(2.1)
        visitor.jar[SESSION_COOKIE] = cookie
        assert visitor.user is None


# Pages


def test_login_page(visitor: Visitor) -> None:
    """The page signs in and goes on to where the visitor wanted to go; signing out goes home."""
    page = visitor.get(PAGE + "?next=%2Fhello-websocket%2F%3Ftab%3Dtodo")
    assert page.status == 200
    assert 'name="next" value="/hello-websocket/?tab=todo"' in page.text
    answer = visitor.submit(PAGE, {**ADMIN, "next": "/hello-websocket/?tab=todo"})
    assert (answer.status, answer.headers["location"]) == (303, "/hello-websocket/?tab=todo")
    _, found = attributes(session_line(answer.cookies))
    assert ("httponly" in found, found["samesite"]) == (True, "Lax")
    assert visitor.user is not None
    copy = Visitor(visitor.port)
    copy.jar = dict(visitor.jar)
    answer = visitor.submit("/auth/logout", {})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert not any([visitor.user, copy.user])


@pytest.mark.parametrize("username", ["admin", "nobody", '"><script>alert(1)</script>'])
def test_failed_sign_in_on_the_page(visitor: Visitor, username: str) -> None:
    """A wrong password shows the form again, with the name but not the password, as text, and 401."""
    answer = visitor.submit(PAGE, {"username": username, "password": "a wrong password", "next": "/x"})
    assert answer.status == 401
    assert "Wrong name or password" in answer.text
    assert "a wrong password" not in answer.text
    assert "<script>alert" not in answer.text
    assert 'name="next" value="/x"' in answer.text
    assert SESSION_COOKIE not in visitor.jar


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_no_sign_out_by_a_link(member: Visitor, method: str) -> None:
    """Signing out takes a POST: no link and no image can do it."""
    for path in ("/auth/logout", LOGOUT):
        answer = member.ask(method, path)
        assert answer.status == 405
        assert "POST" in answer.headers["allow"]
        assert "GET" not in answer.headers["allow"]
    assert member.user is not None


@pytest.mark.parametrize("path", ["/", "/hello-websocket/", "/no/such/page"])
def test_header_of_pages(member: Visitor, path: str) -> None:
    """Every page shows who is signed in and how to sign out, or how to sign in."""
    answer = member.get(path)
    assert "Administrator" in answer.text or "admin" in _account(answer.text)
    assert 'action="/auth/logout"' in answer.text
    guest = Visitor(member.port).get(path)
    assert "/auth/logout" not in guest.text
    assert "/auth/login?next=" in guest.text


def _account(page: str) -> str:
    """The part of a page's header that is about the user."""
    found = re.search(r'<div class="account">(.*?)</div>', page, re.DOTALL)
    assert found
    return found[1]


def test_names_are_shown_as_text(server: Server, member: Visitor) -> None:
    """A display name with markup is shown as text."""
    database = data_dir(server) / "jpulse.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE users SET display_name = ?", ('<img src=x onerror="alert(1)">&',))
    connection.close()
    try:
        account = _account(member.get("/").text)
        assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;" in account
        assert "<img" not in account
    finally:
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE users SET display_name = 'Administrator'")
        connection.close()


@pytest.mark.parametrize("path", ["/", PAGE, "/hello-websocket/", "/no/such/page", STATUS, "/api/1/no/such"])
@pytest.mark.parametrize("who", ["guest", "member"])
def test_nothing_personal_is_cached(visitor: Visitor, member: Visitor, path: str, who: str) -> None:
    """What may show who is signed in is kept out of shared caches, error pages included."""
    answer = member.get(path) if who == "member" else Visitor(visitor.port).get(path)
    directives = answer.headers.get("cache-control", "")
    assert "no-store" in directives or "private" in directives, answer.headers
    assert "public" not in directives
    if path.startswith("/api/"):
        assert "no-store" in directives


@pytest.mark.parametrize("path", ["/", PAGE, "/no/such/page", STATUS])
def test_security_headers(visitor: Visitor, path: str) -> None:
    """Answers forbid foreign scripts, frames, guessing of types, and telling others where one was."""
    headers = visitor.get(path).headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer", "strict-origin-when-cross-origin")


# Open redirects

FOREIGN = [
    "//evil.example",
    "///evil.example",
    "////evil.example/x",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "https://evil.example",
    "HTTPS://evil.example/",
    "https:evil.example",
    "https:/evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\x00/evil.example",
    "\x01//evil.example",
    "/\r\nSet-Cookie: evil=1",
    "/\r\n\r\n<script>alert(1)</script>",
    "/x\u2028//evil.example",
    "/\u0085/evil.example",
    "//evil.example:80%2f@127.0.0.1/",
    "@evil.example",
    "evil.example",
    ".evil.example",
    "/..//evil.example",
    "/%0d%0aSet-Cookie:%20evil=1",
    "/%0aLocation:%20https://evil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "%2f%2fevil.example",
    "%252f%252fevil.example",
    "//%65vil.example",
    "/%09/evil.example",
    "//[::1",
    "/" + "x" * 20_000,
    "",
]


def stays_here(location: str, port: int) -> bool:
    """Tell whether a browser that follows this stays on the server, read as browsers read addresses."""
    own = f"http://127.0.0.1:{port}"
    read = re.sub(r"[\t\r\n]", "", location.strip("".join(map(chr, range(33))))).replace("\\", "/")
    target = urlsplit(urljoin(own + PAGE, read))
    return (target.scheme, target.netloc) == ("http", f"127.0.0.1:{port}") and location.startswith("/")


@pytest.mark.parametrize("target", FOREIGN, ids=lambda target: ascii(target[:40]))
def test_open_redirect(member: Visitor, target: str) -> None:
    """Whatever `next` says, nobody is led off the site, and no header is added."""
    answer = member.get(f"{PAGE}?next={quote(target, safe='')}")
    assert answer.status == 302
    assert stays_here(answer.headers["location"], member.port)
    assert not answer.headers["location"].startswith("//")
    assert "evil" not in str(answer.cookies)


def test_open_redirect_in_the_form(visitor: Visitor) -> None:
    """The form's `next` is judged as the address's is, when shown, after a mistake, and after signing in."""
    shown = visitor.get(f"{PAGE}?next=%2F%2Fevil.example").text
    assert 'name="next" value="/"' in shown
    fields = {**ADMIN, "next": "/\\evil.example"}
    wrong = visitor.submit(PAGE, {**fields, "password": "wrong password"})
    assert 'name="next" value="/"' in wrong.text
    assert visitor.submit(PAGE, fields).headers["location"] == "/"
    # A second field does not override the first check.
    answer = visitor.ask(
        "POST",
        PAGE,
        f"username=admin&password={quote(ADMIN_PASSWORD)}&next=/&next=//evil.example",
        {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"},
    )
    assert (answer.status, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("target", ["/", "/hello-websocket/", "/a?b=c&d=%2F%2Fe#f", "/é", "/a//b", "/a:b@c"])
def test_local_targets(member: Visitor, target: str) -> None:
    """An address of this site is gone to as it is."""
    location = member.get(f"{PAGE}?next={quote(target, safe='')}").headers["location"]
    assert location.encode("latin-1").decode() == target


def test_next_that_is_no_text(member: Visitor) -> None:
    """Bytes in `next` that are no UTF-8 are refused or ignored."""
    answer = member.get(PAGE + "?next=/%ff%fe")
    assert answer.status in (302, 400)
    assert answer.headers.get("location", "/") == "/"


# Requests from other sites

FOREIGN_HEADERS = [
    EVIL,
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {**EVIL, "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "nonsense"},
]


@pytest.mark.parametrize("headers", FOREIGN_HEADERS, ids=str)
def test_rest_from_another_site(member: Visitor, headers: dict[str, str]) -> None:
    """What changes something and comes from a page of another site gets 403, and nothing happens."""
    for method, path, body in (
        ("POST", LOGOUT, None),
        ("POST", LOGIN, ADMIN),
        ("POST", "/api/1/todo", {"title": "from elsewhere"}),
        ("PUT", "/api/1/todo/x", {"title": "from elsewhere"}),
        ("PUT", "/api/1/todo/x/toggle", None),
        ("DELETE", "/api/1/todo/x", None),
    ):
        answer = member.send(method, path, body, headers)
        assert answer.status == 403
        assert answer.error
        assert answer.cookies == []
    assert member.user is not None
    assert member.get("/api/1/todo").data == []


@pytest.mark.parametrize("headers", FOREIGN_HEADERS, ids=str)
def test_forms_from_another_site(member: Visitor, headers: dict[str, str]) -> None:
    """A form that another site's page sends gets 403, and nothing happens, XSRF token or not."""
    token = xsrf_token(member)
    for path, fields in (("/auth/logout", {}), (PAGE, ADMIN)):
        for more in ({}, {"_xsrf": token}):
            answer = member.submit(path, {**fields, **more}, headers)
            assert answer.status == 403
            assert not [each for each in answer.cookies if SESSION_COOKIE in each]
    assert member.user is not None


def xsrf_token(visitor: Visitor) -> str:
    """The token of a form; its cookie goes into the jar."""
    found = re.search(r'name="_xsrf" value="([^"]+)"', visitor.get("/auth/login").text)
    if found is None:
        found = re.search(r'name="_xsrf" value="([^"]+)"', visitor.get("/").text)
    assert found
    return found[1]


def test_forms_without_origin(visitor: Visitor) -> None:
    """A form that says nothing of its origin needs the XSRF token that the page gave."""
    visitor.get(PAGE)
    for fields in (
        ADMIN,
        {**ADMIN, "_xsrf": ""},
        {**ADMIN, "_xsrf": "2|aaaaaaaa|bbbb|1"},
        {**ADMIN, "_xsrf": "é"},
    ):
        assert visitor.submit(PAGE, fields, {}).status == 403
    others = xsrf_token(Visitor(visitor.port))
    assert visitor.submit(PAGE, {**ADMIN, "_xsrf": others}, {}).status == 403
    assert visitor.user is None
    assert visitor.submit(PAGE, {**ADMIN, "_xsrf": xsrf_token(visitor)}, {}).status == 303
    assert visitor.submit("/auth/logout", {}, {}).status == 403
    assert visitor.user is not None
    assert visitor.submit("/auth/logout", {"_xsrf": xsrf_token(visitor)}, {}).status == 303
    assert visitor.user is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_rest_from_here(visitor: Visitor, headers: dict[str, str]) -> None:
    """Own pages and plain scripts need nothing but the request."""
    named = {name: value.format(port=visitor.port) for name, value in headers.items()}
    assert visitor.post(LOGOUT, None, named).status == 200
    answer = visitor.post("/api/1/todo", {"title": "x"}, named)
    assert answer.status == 201
    assert visitor.send("DELETE", f"/api/1/todo/{answer.data['_id']}", None, named).status == 200


def test_reading_from_another_site(member: Visitor) -> None:
    """Reading from elsewhere works as a link does, but no other site's script may see the answer."""
    answer = member.get(STATUS, {**EVIL, "Sec-Fetch-Site": "cross-site"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# What is no sign-in at all


def test_operator_injection(visitor: Visitor) -> None:
    """An operator of a database in place of a text gets 400 that names the field."""
    for operator in ({"$ne": None}, {"$gt": ""}, {"$regex": ".*"}, ["admin"], None, 1, True):
        answer = visitor.post(LOGIN, {"username": operator, "password": ADMIN_PASSWORD})
        assert (answer.status, "username" in answer.error) == (400, True)
        answer = visitor.post(LOGIN, {"username": "admin", "password": operator})
        assert (answer.status, "password" in answer.error) == (400, True)
    assert visitor.user is None


@pytest.mark.parametrize(
    "name", ["' OR '1'='1", "admin' --", "admin\\", "%admin%", "$where", "admin\u0000", "a" * 60_000]
)
def test_names_that_are_code(visitor: Visitor, name: str) -> None:
    """A name with SQL, patterns, NUL bytes or without end is a wrong name."""
    assert visitor.post(LOGIN, {"username": name, "password": ADMIN_PASSWORD}).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "admin"}, "password"),
        ({"password": "x"}, "username"),
        ({}, "username"),
        ({**ADMIN, "roles": ["root"]}, "roles"),
        ({**ADMIN, "<b>": 1}, "<b>"),
        ({**ADMIN, "\u0000": 1}, ""),
        ([], ""),
        (None, ""),
        ("admin", ""),
        (1, ""),
    ],
    ids=str,
)
def test_bodies_that_are_wrong(visitor: Visitor, body: Any, field: str) -> None:
    """A missing or unknown field gets 400 that names it, and so does what is no object at all."""
    answer = visitor.post(LOGIN, body)
    assert (answer.status, field in answer.error) == (400, True)
    assert answer.cookies == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"username=admin",
        b'{"username": NaN}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"username": "\\ud800", "password": "x"}',
        b'{"\\ud800": 1}',
        b'{"username": "\x00", "password": "x"}',
        b'{"username": "a", "password": "b"} x',
        b"\xef\xbb\xbf{}",
        b'{"username": 1e999999, "password": "x"}',
    ],
    ids=lambda body: ascii(body[:30]),
)
def test_bodies_that_are_not_json(visitor: Visitor, body: bytes) -> None:
    """A body that is no JSON gets 400."""
    answer = visitor.ask("POST", LOGIN, body, {"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.error


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx"]
)
def test_content_types(visitor: Visitor, kind: str) -> None:
    """A body that is not called JSON gets 415: a form of another site cannot be REST."""
    answer = visitor.ask("POST", LOGIN, json.dumps(ADMIN), {"Content-Type": kind})
    assert (answer.status, "application/json" in answer.error) == (415, True)


def test_content_type_with_charset(visitor: Visitor) -> None:
    """JSON may be called by its name in any case, with a charset."""
    body = json.dumps({"username": "nobody", "password": "some password"})
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert visitor.ask("POST", LOGIN, body, kind).status == 401


def test_passwords_of_1_mb(visitor: Visitor) -> None:
    """A password of 1 MB is refused at once, by REST with 413 and on the page, and the server goes on."""
    watch = Stopwatch()
    answer = visitor.post(LOGIN, {"username": "admin", "password": "x" * 1_000_000})
    assert (answer.status, bool(answer.error)) == (413, True)
    answer = visitor.submit(PAGE, {"username": "admin", "password": "x" * 1_000_000})
    assert answer.status == 400
    assert "72" in answer.text
    assert "xxxxxxxxxx" not in answer.text
    assert watch.seconds < 5
    answer = visitor.post(LOGIN, {"username": "admin", "password": "x" * 73})
    assert (answer.status, "password" in answer.error, "72" in answer.error) == (400, True, True)


def test_bodies_beyond_the_servers_limit(server: Server) -> None:
    """A body larger than the server takes is refused before it is read, with 413."""
    with RawClient(server.port, shake_hands=False) as client:
        head = "Content-Type: application/json\r\nContent-Length: 999999999\r\nHost: x\r\n\r\n"
        client.send(f"POST {LOGIN} HTTP/1.1\r\n{head}".encode())
        assert client.read_head()[0] in (400, 413)


def test_nul_bytes(visitor: Visitor) -> None:
    """A NUL byte in a password is told by REST and on the page, and never cut there or taken for a blank."""
    for password in (ADMIN_PASSWORD + "\0", ADMIN_PASSWORD + "\0x", ADMIN_PASSWORD.replace(" ", "\0"), "\0"):
        answer = visitor.post(LOGIN, {"username": "admin", "password": password})
        assert (answer.status, "password" in answer.error) == (400, True)
        page = visitor.submit(PAGE, {"username": "admin", "password": password})
        assert page.status == 400, f"{password!r} was answered with {page.status}"
    assert visitor.user is None


@pytest.mark.parametrize("body", ["", "username=%ff&password=%ff", "username=&password=", "x=1", "&&&="])
def test_forms_that_are_wrong(visitor: Visitor, body: str) -> None:
    """A form without fields or with bytes that are no text is refused as a mistake of its sender."""
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    assert visitor.ask("POST", PAGE, body, kind).status in (400, 401)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(LOGIN, "POST"), (LOGOUT, "POST"), (STATUS, "GET"), ("/auth/logout", "POST"), (PAGE, "GET, POST")],
)
def test_other_methods(visitor: Visitor, path: str, allowed: str) -> None:
    """A method that an address does not have gets 405 and is told which it has."""
    for method in ("PATCH", "DELETE", "PUT", "OPTIONS"):
        answer = visitor.ask(method, path)
        assert answer.status == 405
        assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))
        assert method not in answer.headers["allow"]
        if path.startswith("/api/"):
            assert answer.error


def test_unknown_address(visitor: Visitor) -> None:
    """An unknown REST address gets 404 as JSON, whatever the method."""
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = visitor.send(method, "/api/1/auth/nothing", {})
        assert (answer.status, bool(answer.error)) == (404, True)


# Guessing


def test_too_many_guesses(server: Server, visitor: Visitor) -> None:
    """After five failures a name gets 429 with Retry-After, by REST and on the page, from everywhere."""
    wrong = {"username": "Somebody", "password": "wrong password"}
    ways = [visitor.post(LOGIN, wrong).status for _ in range(3)]
    ways += [visitor.submit(PAGE, wrong).status for _ in range(2)]
    assert ways == [401] * 5
    other = Visitor(server.port, {"X-Forwarded-For": next(_addresses)})
    wrong["username"] = " sOMEBODY "
    answer = other.post(LOGIN, wrong)
    assert (answer.status, bool(answer.error)) == (429, True)
    assert 290 <= int(answer.headers["retry-after"]) <= 300
    page = other.submit(PAGE, wrong)
    assert page.status == 429
    assert 290 <= int(page.headers["retry-after"]) <= 300
    assert "Too many attempts" in page.text


# Disabled users, and what is written down


def test_disabled_user(server: Server, visitor: Visitor) -> None:
    """A disabled user's session is over at the next request, and signing in is told why it does not work."""
    manage(server, "add", "Dora", password="doras password")
    visitor.sign_in("dora", "doras password")
    assert visitor.user == {"username": "Dora", "roles": ["user"], "displayName": ""}
    manage(server, "disable", "DORA")
    assert visitor.user is None
    answer = visitor.post(LOGIN, {"username": "dora", "password": "doras password"})
    assert (answer.status, "disabled" in answer.error) == (403, True)
    page = visitor.submit(PAGE, {"username": "dora", "password": "doras password"})
    assert (page.status, "disabled" in page.text) == (403, True)
    manage(server, "enable", "dora")
    visitor.sign_in("dora", "doras password")


def test_log_has_no_secrets(serve: Callable[..., Server]) -> None:
    """The log, even at its most talkative, has neither passwords nor cookies nor what stands in addresses."""
    server = serve("--log-level", "debug", "--debug", app="tests.apps.behaviours")
    visitor = Visitor(server.port)
    visitor.sign_in()
    wrong = {"username": "admin", "password": "a-wrong-password"}
    visitor.post(LOGIN, wrong)
    visitor.submit(PAGE, wrong)
    visitor.get(PAGE + "?next=/secret-target&password=a-wrong-password")
    visitor.connect("/api/1/ws/members").socket.close()
    cookies = list(visitor.jar.values())
    visitor.sign_out()
    server.wait_for_log(f"POST {LOGOUT}")
    for secret in (ADMIN_PASSWORD, "a-wrong-password", "$2b$", *cookies):
        assert secret not in server.log
