"""permessage-deflate with a real browser at the other end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conftest import Server

TALK = """async () => {
    const socket = new WebSocket(`ws://${location.host}/api/1/ws/packed`);
    const text = 'a text of which there is much '.repeat(1000);
    const got = [];
    await new Promise((resolve, reject) => {
        socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
        socket.onmessage = ({data}) => {
            got.push(JSON.parse(data).data);
            if (got.length === 1) {
                for (const each of [text, 'short', text + '🙂']) socket.send(JSON.stringify({text: each}));
            }
            if (got.length === 7) resolve();
        };
    });
    const short = ({type, message}) => [type, message.text.replaceAll(text, 'TEXT')];
    return [socket.extensions, got.slice(1).map(short)];
}"""


def test_browser_agrees(serve: Callable[..., Server], page: Any) -> None:
    """Chromium agrees to compression; long and short messages go both ways unchanged."""
    server = serve(app="tests.apps.behaviours")
    page.goto(f"{server.url}/hello-websocket/")
    extensions, got = page.evaluate(TALK)
    assert extensions == "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    texts = ["TEXT", "short", "TEXT🙂"]
    assert got == [[kind, text] for text in texts for kind in ("yours", "said")]
    page.goto("about:blank")
