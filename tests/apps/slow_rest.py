"""The namespaces of `tests.apps.cluster_app`, and a REST address that takes its time."""

from __future__ import annotations

import asyncio

from jpulse import ApiHandler, App

from . import cluster_app

PATH = "/api/1/slow"


class Slow(ApiHandler):
    """GET /api/1/slow?seconds=1: answers so much later."""

    async def get(self) -> None:
        """Tell that it begins, wait, answer."""
        print("asked", flush=True)
        await asyncio.sleep(float(self.get_query_argument("seconds")))
        self.write_success("done")


def setup(app: App) -> None:
    """Register all."""
    cluster_app.setup(app)
    app.add_handlers(".*", [(PATH, Slow)])
