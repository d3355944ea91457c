"""Routes that fail, and log lines that carry what a client wrote."""

from __future__ import annotations

import logging

from tornado.web import HTTPError

from jpulse import ApiHandler, App, ClientError, Connection, PageHandler

log = logging.getLogger("tests.broken")


class BrokenPage(PageHandler):
    """A page that fails with a secret."""

    def get(self) -> None:
        """Fail."""
        raise RuntimeError("secret of the page")


class BrokenApi(ApiHandler):
    """REST that fails with a secret, or as it is told."""

    def get(self) -> None:
        """Fail."""
        status = int(self.get_query_argument("status", "500"))
        if status == 200:
            self.write_success({"fine": True})
        elif status == 500:
            raise RuntimeError("secret of the API")
        else:
            raise HTTPError(status)


def write(conn: Connection) -> None:
    """Log a text of the client's, and do with it what the type says."""
    text = conn.message["text"]
    log.warning("told: %s", text)
    if conn.message["type"] == "refused":
        raise ClientError(text)
    if conn.message["type"] == "failed":
        raise RuntimeError(text)
    conn.send({"type": "logged"})


def setup(app: App) -> None:
    """Add the routes, and a namespace that logs what it is told."""
    app.add_handlers(
        ".*", [("/broken", BrokenPage), ("/api/1/broken", BrokenApi), ("/rest/broken", BrokenApi)]
    )
    app.websockets.create_namespace("/api/1/ws/logging").on_message(write)
