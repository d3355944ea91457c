"""
Where the code comes from that the demos show: the files of `examples/`, and the chat of README.

Nothing is typed twice. A checkout has both at its top; an installed package has the examples inside,
and README as the description in its metadata.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import jpulse
from jpulse.app import find_folder

#: The order in which they build on each other; others come after them by name.
ORDER = (
    *("tracking", "todo_sync", "notifications", "live_data"),
    *("presence", "request_reply", "delivery", "vue_spa"),
)
SERVER_FILES = (".py",)
PAGE_FILES = (".js", ".html", ".css")
CHAT = "chat"


@dataclass(frozen=True)
class Source:
    """A file as it is shown."""

    name: str
    text: str


@dataclass(frozen=True)
class Example:
    """A small application with one pattern."""

    name: str
    title: str
    description: str
    #: What starts it from a shell.
    command: str
    server: tuple[Source, ...]
    page: tuple[Source, ...]
    readme: Source | None = None

    def find(self, name: str) -> Source | None:
        """A file by its name."""
        own = (self.readme,) if self.readme else ()
        return next((each for each in (*self.server, *self.page, *own) if each.name == name), None)


@cache
def examples() -> tuple[Example, ...]:
    """All of them, the smallest first; read once."""
    chat = _chat()
    return (*((chat,) if chat else ()), *_folders())


def find_example(name: str) -> Example | None:
    """An example by its name."""
    return next((each for each in examples() if each.name == name), None)


def _folders() -> Iterator[Example]:
    folder = find_folder("examples")
    found = [
        path for path in folder.glob("*") if (path / "app.py").exists() and (path / "README.md").exists()
    ]
    known = {name: number for number, name in enumerate(ORDER)}
    for path in sorted(found, key=lambda each: (known.get(each.name, len(known)), each.name)):
        readme = Source("README.md", (path / "README.md").read_text(encoding="utf-8"))
        title, description = _introduction(readme.text)
        yield Example(
            path.name,
            title,
            description,
            _command(folder, path.name),
            tuple(_read(path, SERVER_FILES)),
            tuple(_read(path, PAGE_FILES)),
            readme,
        )


def _introduction(readme: str) -> tuple[str, str]:
    """The heading and the first paragraph of a README."""
    parts = re.split(r"\n\s*\n", readme.strip(), maxsplit=2)
    return parts[0].lstrip("# "), " ".join(parts[1].split()) if len(parts) > 1 else ""


def _command(folder: Path, name: str) -> str:
    if folder.parent == Path(jpulse.__file__).parent:
        return f"jpulse --app jpulse.examples.{name}.app"
    return f"python run.py --app examples.{name}.app"


def _read(folder: Path, kinds: tuple[str, ...]) -> Iterator[Source]:
    """The files of these kinds that have something in them: app.py, then by kind and name."""
    paths = [path for path in folder.iterdir() if path.suffix in kinds and path.stat().st_size]
    for path in sorted(paths, key=lambda each: (each.name != "app.py", kinds.index(each.suffix), each.name)):
        yield Source(path.name, path.read_text(encoding="utf-8"))


def _chat() -> Example | None:
    """The chat of README; None if there is neither README nor metadata."""
    text = _readme()
    found = {
        name: re.search(rf"^```{name}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for name in ("python", "html")
    }
    server, page = found["python"], found["html"]
    if server is None or page is None:
        return None
    return Example(
        CHAT,
        "A chat",
        "What one says, everybody hears. Fifteen lines on the server, a page without a build.",
        "jpulse --app chat",
        (Source("chat.py", server[1]),),
        (Source("chat.html", page[1]),),
    )


def _readme() -> str:
    checkout = find_folder("templates").parent / "README.md"
    if checkout.exists():
        return checkout.read_text(encoding="utf-8")
    try:
        return str(metadata("jpulse").json.get("description", ""))
    except PackageNotFoundError:
        return ""
