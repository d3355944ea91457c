"""Stock Tornado: `write_message` to each client, as its documentation shows."""

from __future__ import annotations

import asyncio

from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .envelope import answer_text, port

_clients: set[Broadcast] = set()


class Echo(WebSocketHandler):
    """Answers the sender."""

    def on_message(self, message: str | bytes) -> None:
        """Answer."""
        self.write_message(answer_text(message))


class Broadcast(WebSocketHandler):
    """Answers everybody."""

    def open(self) -> None:
        """Come in."""
        _clients.add(self)

    def on_close(self) -> None:
        """Leave."""
        _clients.discard(self)

    def on_message(self, message: str | bytes) -> None:
        """Answer all."""
        text = answer_text(message)
        for client in list(_clients):
            try:
                client.write_message(text)
            except WebSocketClosedError:
                _clients.discard(client)


async def main() -> None:
    """Serve until the process is ended."""
    Application([("/echo", Echo), ("/broadcast", Broadcast)]).listen(port(), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
