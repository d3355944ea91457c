"""The library `socketify`: uWebSockets, a server in C++, called from Python; broadcasts are a topic's."""

from __future__ import annotations

from typing import Any

from socketify import App, AppListenOptions, OpCode

from .envelope import answer_text, port

TOPIC = "all"
#: Enough for a stalled client; its default of 64 KiB loses messages of fast ones.
MAX_BACKPRESSURE = 1024 * 1024
#: What jPulse takes, and all that the largest case needs.
MAX_PAYLOAD = 64 * 1024


def echo(client: Any, message: Any, opcode: OpCode) -> None:
    """Answer the sender."""
    client.send(answer_text(message), OpCode.TEXT)


def main() -> None:
    """Serve until the process is ended."""
    app = App()

    def broadcast(client: Any, message: Any, opcode: OpCode) -> None:
        app.publish(TOPIC, answer_text(message), OpCode.TEXT)

    options = {"max_backpressure": MAX_BACKPRESSURE, "max_payload_length": MAX_PAYLOAD}
    app.ws("/echo", {"message": echo, **options})
    app.ws("/broadcast", {"open": lambda client: client.subscribe(TOPIC), "message": broadcast, **options})
    app.listen(AppListenOptions(port(), "127.0.0.1"), lambda _: None)
    app.run()


if __name__ == "__main__":
    main()
