"""Pages in a folder that the environment names, and one page more in a folder below it."""

from __future__ import annotations

import os

from jpulse import App


def setup(app: App) -> None:
    """Serve the folder."""
    app.serve_folder("/shop/", os.environ["TEST_FOLDER"])
    app.serve_folder("/shop-two/pages", os.environ["TEST_FOLDER"] + "/more", index="page.html")
