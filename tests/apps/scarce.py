"""The namespaces of `behaviours` in a process with few file descriptors: TEST_DESCRIPTORS of them."""

from __future__ import annotations

import os
import resource

from jpulse import App

from . import behaviours


def setup(app: App) -> None:
    """Lower the limit, and register all."""
    limit = int(os.environ["TEST_DESCRIPTORS"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    behaviours.setup(app)
