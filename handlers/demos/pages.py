"""The page of the demos."""

from functools import cache
from pathlib import Path

from jpulse import PageHandler
from jpulse.app import find_folder

from ..admin_text import STATUS_WORDS
from . import architecture


@cache
def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


class DemosPage(PageHandler):
    """Shows the demos, and the code that makes them."""

    def get(self) -> None:
        """Render the page."""
        here, scripts = Path(__file__).parent, find_folder("static") / "demos"
        self.render(
            "demos/hello.html",
            architecture=architecture,
            picture=architecture.picture(self.app),
            status_words=STATUS_WORDS,
            server_code=_source(here / "cursors.py"),
            page_code=_source(scripts / "emoji.js"),
            todo_server_code=_source(here / "todos.py"),
            todo_page_code=_source(scripts / "todo.js"),
            notes_server_code=_source(here / "notes.py"),
            notes_page_code=_source(scripts / "notes-sync.js"),
        )
