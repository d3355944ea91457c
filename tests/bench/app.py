"""
What the benchmarks ask of jPulse: `python run.py --app tests.bench.app`.

The handlers are what a user would write. The one setting that differs is the message
rate, since a closed loop is above any. BENCH_NAMESPACES asks for so many more
namespaces that echo, each at an address of its own.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

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


class News(NamespaceHandler):
    """Answers everybody with notes, compressed for those who offer it."""

    compress = True
    max_messages_per_second = 0
    notes: list[dict[str, Any]]

    def on_message(self, conn: Connection) -> None:
        """Answer all."""
        self.broadcast({"type": "news", "tag": conn.message["tag"], "notes": self.notes}, conn.ctx)


#: Bytes of the messages that are sent with and without compression, nearly.
NEWS_SIZES = (200, 1000, 10_000)
#: Those of what stands around the notes.
ENVELOPE_BYTES = 115
TEXTS = (
    "meet at nine and bring the plan",
    "please review what is left to do before next week",
    "the release waits for two of us",
    "lunch?",
)


def notes_of(size: int) -> list[dict[str, Any]]:
    """Notes as people write them, which with what stands around them take so many bytes of JSON."""
    dice = random.Random(size)
    notes: list[dict[str, Any]] = []
    left = size - ENVELOPE_BYTES
    while left > 0:
        note = {
            "id": f"{dice.getrandbits(64):016x}",
            "x": round(dice.uniform(0, 100), 2),
            "y": round(dice.uniform(0, 100), 2),
            "text": " ".join(dice.sample(TEXTS, 2)),
            "color": f"#{dice.getrandbits(24):06x}",
            "createdBy": dice.choice(("ann", "bob", "cid")),
        }
        if left < 200:
            note = {"text": (" ".join(TEXTS) * 2)[: max(1, left - 12)]}
        notes.append(note)
        left -= len(json.dumps(note, separators=(",", ":"))) + 1
    return notes


def setup(app: App) -> None:
    """Register them."""
    app.websockets.register(Echo)
    app.websockets.register(Broadcast)
    for size in NEWS_SIZES:
        body = {"path": f"/api/1/ws/bench-news-{size}", "notes": notes_of(size)}
        app.websockets.register(type(f"News{size}", (News,), body))
    for number in range(int(os.environ.get("BENCH_NAMESPACES", "0"))):
        app.websockets.register(type(f"Echo{number}", (Echo,), {"path": f"{Echo.path}-{number}"}))
