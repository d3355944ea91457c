"""A browser without a screen: it keeps cookies, asks for pages and REST, and opens WebSockets."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .conftest import ADMIN_PASSWORD, ROOT, Server
from .patience import LONG_SECONDS
from .raw_client import RawClient

SESSION_COOKIE = "jpulse_session"
LOGIN = "/api/1/auth/login"


class Answer(NamedTuple):
    """What came back, header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    #: Every Set-Cookie line as it came.
    cookies: list[str]

    @property
    def envelope(self) -> dict[str, Any]:
        """The body as REST's envelope, checked against the status."""
        assert self.headers["content-type"] == "application/json; charset=UTF-8"
        envelope = json.loads(self.body)
        assert envelope["success"] is (self.status < 400)
        assert self.status < 400 or envelope["code"] == self.status
        assert isinstance(envelope, dict)
        return envelope

    @property
    def data(self) -> Any:
        """What a successful REST answer carries."""
        assert self.status < 400, (self.status, self.body)
        return self.envelope["data"]

    @property
    def error(self) -> str:
        """What a refusal says."""
        assert self.status >= 400, (self.status, self.body)
        return str(self.envelope["error"])

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Visitor:
    """Somebody with a cookie jar; each request is a connection of its own."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.port = port
        #: Sent with every request.
        self.headers = headers or {}
        self.jar: dict[str, str] = {}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = LONG_SECONDS,
    ) -> Answer:
        """Send one request as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = {**self.headers, **self.cookie_header(), **(headers or {})}
            connection.request(method, path, body.encode() if isinstance(body, str) else body, sent)
            response = connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
                response.headers.get_all("Set-Cookie") or [],
            )
        finally:
            connection.close()
        self._keep(answer.cookies)
        return answer

    def cookie_header(self) -> dict[str, str]:
        """The header that carries the jar."""
        return (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}
        )

    def _keep(self, cookies: list[str]) -> None:
        for line in cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.jar[name] = morsel.value
                else:
                    self.jar.pop(name, None)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """GET."""
        return self.ask("GET", path, headers=headers)

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send JSON, as `jPulse.api` does."""
        return self.ask(
            method, path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        )

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """POST JSON."""
        return self.send("POST", path, body, headers)

    def submit(self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Answer:
        """Send a form as a browser does from one of the server's own pages."""
        own = {"Origin": f"http://127.0.0.1:{self.port}"} if headers is None else headers
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields), {**kind, **own})

    def sign_in(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> Answer:
        """Sign in by REST, which must work."""
        answer = self.post(LOGIN, {"username": username, "password": password})
        assert answer.status == 200, answer
        return answer

    def sign_out(self) -> Answer:
        """Sign out by REST."""
        return self.post("/api/1/auth/logout")

    @property
    def user(self) -> dict[str, Any] | None:
        """Who the server says this is."""
        user = self.get("/api/1/auth/status").data["user"]
        assert user is None or isinstance(user, dict)
        return user

    def connect(self, path: str, headers: dict[str, str] | None = None) -> RawClient:
        """Open a WebSocket with the jar's cookies."""
        return RawClient(self.port, path, headers={**self.headers, **self.cookie_header(), **(headers or {})})


def manage(server: Server, *words: str, password: str = ADMIN_PASSWORD) -> None:
    """Run `run.py user …` on the store of a running server; it must work."""
    command = [sys.executable, str(ROOT / "run.py"), "user", *words, "--data-dir", str(data_dir(server))]
    environ = {**os.environ, "JPULSE_PASSWORD": password}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def data_dir(server: Server) -> Path:
    """The folder of a server's embedded store."""
    flags = server._flags
    return Path(flags[flags.index("--data-dir") + 1])
