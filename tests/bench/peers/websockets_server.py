"""The library `websockets`, with its own `broadcast`, and compression and pings as it has them by default."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

from .envelope import answer_text, port

_clients: set[ServerConnection] = set()


async def handle(client: ServerConnection) -> None:
    """Serve one client at either address."""
    assert client.request is not None
    if client.request.path.startswith("/broadcast"):
        await _broadcast(client)
    else:
        async for message in client:
            await client.send(answer_text(message))


async def _broadcast(client: ServerConnection) -> None:
    _clients.add(client)
    try:
        async for message in client:
            broadcast(_clients, answer_text(message))
    finally:
        _clients.discard(client)


async def main() -> None:
    """Serve until the process is ended."""
    async with serve(handle, "127.0.0.1", port(), backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
