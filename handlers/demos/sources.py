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
#: What is larger is a library and not an example.
MAX_BYTES = 32 * 1024


@dataclass(frozen=True)
class Source:
    """A file as it is shown."""

    name: str
    text: str
    #: Where it stands in a checkout.
    place: str


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
        readme = _source(path / "README.md", f"examples/{path.name}/README.md")
        title, description = _introduction(readme.text)
        yield Example(
            path.name,
            title,
            description,
            _command(folder, path.name),
            _with_shared(tuple(_read(path, SERVER_FILES))),
            _with_shared(tuple(_read(path, PAGE_FILES))),
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


def _source(path: Path, place: str) -> Source:
    return Source(path.name, path.read_text(encoding="utf-8"), place)


def _read(folder: Path, kinds: tuple[str, ...]) -> Iterator[Source]:
    """The files of these kinds that have something in them: app.py, then by kind and name."""
    paths = [path for path in folder.iterdir() if path.suffix in kinds]
    for path in sorted(paths, key=lambda each: (each.name != "app.py", kinds.index(each.suffix), each.name)):
        if 0 < path.stat().st_size <= MAX_BYTES:
            yield _source(path, f"examples/{folder.name}/{path.name}")


def _with_shared(files: tuple[Source, ...]) -> tuple[Source, ...]:
    """The files, and behind them what they use of that which the examples share: a copy needs it, too."""
    text = "\n".join(each.text for each in files)
    modules = re.findall(r"^from \.\.(\w+) import", text, re.MULTILINE)
    assets = re.findall(r"/static/(examples/[\w.-]+)", text)
    shared = (
        *((find_folder("examples") / f"{name}.py", f"examples/{name}.py") for name in modules),
        *((find_folder("static") / name, f"static/{name}") for name in assets),
    )
    return (*files, *(_source(path, place) for path, place in dict.fromkeys(shared)))


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
        (Source("chat.py", server[1], "chat.py"),),
        (Source("chat.html", page[1], "chat.html"),),
    )


def _readme() -> str:
    checkout = find_folder("templates").parent / "README.md"
    if checkout.exists():
        return checkout.read_text(encoding="utf-8")
    try:
        return str(metadata("jpulse").json.get("description", ""))
    except PackageNotFoundError:
        return ""
