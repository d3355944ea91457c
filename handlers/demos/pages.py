"""The page of the demos."""

from functools import cache
from pathlib import Path

from tornado.web import HTTPError

from jpulse import PageHandler
from jpulse.app import find_folder

from ..admin_text import STATUS_WORDS
from . import architecture
from .sources import examples, find_example


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
            examples=examples(),
            picture=architecture.picture(self.app),
            status_words=STATUS_WORDS,
            server_code=_source(here / "cursors.py"),
            page_code=_source(scripts / "emoji.js"),
            todo_server_code=_source(here / "todos.py"),
            todo_page_code=_source(scripts / "todo.js"),
            notes_server_code=_source(here / "notes.py"),
            notes_page_code=_source(scripts / "notes-sync.js"),
            throttle_code=_source(scripts / "throttle.js"),
            loss_code=_source(scripts / "loss.js"),
        )


class ExampleFile(PageHandler):
    """A file of an example as plain text, to be read, copied or saved."""

    def get(self, name: str, file: str) -> None:
        """Answer with what is listed on the page, and nothing else."""
        example = find_example(name)
        source = example.find(file) if example else None
        if source is None:
            raise HTTPError(404)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(source.text)
