"""
What the benchmarks ask of jPulse: `python run.py --app tests.bench.app`.

The handlers are what a user would write. The one setting that differs is the message
rate, since a closed loop is above any. BENCH_NAMESPACES asks for so many more
namespaces that echo, each at an address of its own.
"""

from __future__ import annotations

import os

from jpulse import App, Connection, NamespaceHandler


class Echo(NamespaceHandler):
    """Answers the sender."""

    path = "/api/1/ws/bench-echo"
    max_messages_per_second = 0

    def on_message(self, conn: Connection) -> None:
        """Answer."""
        self.send_to_client(conn.client_id, conn.message, conn.ctx)


class Broadcast(NamespaceHandler):
    """Answers everybody."""

    path = "/api/1/ws/bench-broadcast"
    max_messages_per_second = 0

    def on_message(self, conn: Connection) -> None:
        """Answer all."""
        self.broadcast(conn.message, conn.ctx)


def setup(app: App) -> None:
    """Register them."""
    app.websockets.register(Echo)
    app.websockets.register(Broadcast)
    for number in range(int(os.environ.get("BENCH_NAMESPACES", "0"))):
        app.websockets.register(type(f"Echo{number}", (Echo,), {"path": f"{Echo.path}-{number}"}))
