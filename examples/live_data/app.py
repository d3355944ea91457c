"""
Live data: the server measures and pushes while somebody watches, and rests while nobody does.

What is measured ten times a second is told once a second: as many messages as people can read.
"""

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler

from .meter import Meter

log = logging.getLogger("examples.live_data")

SAMPLES_PER_POINT = 10
SAMPLE_SECONDS = 0.1
#: What a newcomer sees at once.
MAX_POINTS = 120


class LiveData(NamespaceHandler):
    """
    A point is `{at, low, mean, high}`: percent of the processors' time within the second before `at`.

    Each process measures for its own watchers, so that nothing has to cross between processes.
    """

    path = "/api/1/ws/live-data"

    def __init__(self) -> None:
        self.watchers: set[Connection] = set()
        self.points: deque[dict[str, Any]] = deque(maxlen=MAX_POINTS)
        self.measuring: asyncio.Task[None] | None = None

    def on_connect(self, conn: Connection) -> None:
        """Show what there is; the first watcher lets the measuring begin."""
        self.watchers.add(conn)
        conn.send({"type": "points", "points": list(self.points)})
        if self.measuring is None:
            log.info("somebody watches: measuring")
            self.measuring = asyncio.create_task(self._measure())

    def on_message(self, conn: Connection) -> None:
        """Refuse: watchers only watch."""
        raise ClientError("type: this address only tells")

    def on_disconnect(self, conn: Connection) -> None:
        """Rest when the last watcher has gone."""
        self.watchers.discard(conn)
        if not self.watchers and self.measuring is not None:
            log.info("nobody watches: resting")
            self.measuring.cancel()
            self.measuring = None

    async def _measure(self) -> None:
        meter = Meter()
        while True:
            samples = []
            for _ in range(SAMPLES_PER_POINT):
                await asyncio.sleep(SAMPLE_SECONDS)
                samples.append(meter.read())
            self._tell(samples)

    def _tell(self, samples: list[float]) -> None:
        mean = round(sum(samples) / len(samples), 1)
        point = {"at": self.app.clock(), "low": min(samples), "mean": mean, "high": max(samples)}
        self.points.append(point)
        self.broadcast({"type": "points", "points": [point]}, local_only=True)


def setup(app: App) -> None:
    """Serve the namespace, and the page at /live-data/."""
    app.websockets.register(LiveData)
    app.serve_folder("/live-data/", Path(__file__).parent, index="page.html")
