"""
Request and reply: a page asks, the server answers under the same requestId, each in its own time.

Messages of a connection are handled one after the other. So that a slow request does not hold up the
ones behind it, each runs in a task of its own, and replies come in whichever order they are ready.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler

from .questions import QUESTIONS

log = logging.getLogger("examples.request_reply")

#: Requests of one connection that may be under way; what comes on top is refused, not kept waiting.
MAX_AT_ONCE = 8
MAX_ID_LENGTH = 64


class RequestReply(NamespaceHandler):
    """Answers `{"type": "factors", "requestId": …, "number": 91}` and the like."""

    path = "/api/1/ws/request-reply"

    def __init__(self) -> None:
        #: What is under way, by connection.
        self.tasks: dict[Connection, set[asyncio.Task[None]]] = {}

    def on_connect(self, conn: Connection) -> None:
        """Nothing is under way yet."""
        self.tasks[conn] = set()

    def on_message(self, conn: Connection) -> None:
        """Begin to answer; what is no request at all is refused as any message is."""
        match conn.message:
            case {"requestId": str(request_id), "type": str(kind)} if len(request_id) <= MAX_ID_LENGTH:
                message, tasks = conn.message, self.tasks[conn]
            case _:
                raise ClientError(
                    f"requestId: a text of at most {MAX_ID_LENGTH} characters, and type, are needed"
                )
        if len(tasks) >= MAX_AT_ONCE:
            reply(conn, request_id, error="Too many requests at once; wait for a reply", code=429)
        else:
            task = asyncio.create_task(answer(conn, request_id, kind, message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def on_disconnect(self, conn: Connection) -> None:
        """End what nobody waits for any more."""
        for task in self.tasks.pop(conn):
            task.cancel()


async def answer(conn: Connection, request_id: str, kind: str, message: dict[str, Any]) -> None:
    """Reply with a result or an error, in any case exactly once."""
    try:
        if kind not in QUESTIONS:
            raise ClientError(f"type: {kind!r:.60} is not one of {', '.join(QUESTIONS)}", 404)
        reply(conn, request_id, result=await QUESTIONS[kind](conn, message))
    except ClientError as error:
        reply(conn, request_id, error=error.message, code=error.code)
    except Exception:
        # What a client may know of our faults is that there was one; the rest is in the log.
        log.exception("%s failed", kind)
        reply(conn, request_id, error="Internal error", code=500)


def reply(conn: Connection, request_id: str, **outcome: Any) -> None:
    """Send to the one socket that asked; it may be gone, which does no harm."""
    conn.send({"type": "reply", "requestId": request_id, **outcome})


def setup(app: App) -> None:
    """Serve the namespace, and the page at /request-reply/."""
    app.websockets.register(RequestReply)
    app.serve_folder("/request-reply/", Path(__file__).parent, index="page.html")
