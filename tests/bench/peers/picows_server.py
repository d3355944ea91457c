"""The library `picows`: frames in Cython, callbacks without tasks."""

from __future__ import annotations

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from .envelope import answer_bytes, port

_clients: set[WSTransport] = set()


class Echo(WSListener):
    """Answers the sender."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer."""
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, answer_bytes(frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class Broadcast(Echo):
    """Answers everybody."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Come in."""
        _clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave."""
        _clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer all."""
        if frame.msg_type == WSMsgType.TEXT:
            answer = answer_bytes(frame.get_payload_as_bytes())
            for client in _clients:
                client.send(WSMsgType.TEXT, answer)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def listener_for(request: WSUpgradeRequest) -> WSListener:
    """Who serves an address."""
    return Broadcast() if request.path.startswith(b"/broadcast") else Echo()


async def main() -> None:
    """Serve until the process is ended."""
    server = await ws_create_server(listener_for, "127.0.0.1", port(), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
