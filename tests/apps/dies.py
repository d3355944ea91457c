"""A process with this application ends while it starts."""

import os
import sys

from jpulse import App


async def setup(app: App) -> None:
    """End at once."""
    print("tests.apps.dies lives for a moment", file=sys.stderr, flush=True)
    os._exit(7)
