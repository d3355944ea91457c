"""Starlette (what FastAPI is made of) on uvicorn: one `send_text` for each client, awaited in turn."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .envelope import answer_text, port

_clients: set[WebSocket] = set()


async def echo(client: WebSocket) -> None:
    """Answer the sender."""
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(answer_text(text))


async def broadcast(client: WebSocket) -> None:
    """Answer everybody."""
    await client.accept()
    _clients.add(client)
    try:
        async for text in client.iter_text():
            await _send_to_all(answer_text(text))
    finally:
        _clients.discard(client)


async def _send_to_all(text: str) -> None:
    for client in list(_clients):
        try:
            await client.send_text(text)
        except (RuntimeError, WebSocketDisconnect):
            _clients.discard(client)


if __name__ == "__main__":
    application = Starlette(routes=[WebSocketRoute("/echo", echo), WebSocketRoute("/broadcast", broadcast)])
    uvicorn.run(application, host="127.0.0.1", port=port(), log_level="warning")
