"""python-socketio on uvicorn: events over Engine.IO, with WebSocket as the only transport."""

from __future__ import annotations

from typing import Any

import socketio
import uvicorn

from .envelope import answer_to, port

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], cors_allowed_origins=[])


@server.on("echo")
async def echo(sid: str, message: dict[str, Any]) -> None:
    """Answer the sender."""
    await server.emit("answer", answer_to(message), to=sid)


@server.on("broadcast")
async def broadcast(sid: str, message: dict[str, Any]) -> None:
    """Answer everybody."""
    await server.emit("answer", answer_to(message))


if __name__ == "__main__":
    uvicorn.run(socketio.ASGIApp(server), host="127.0.0.1", port=port(), log_level="warning")
