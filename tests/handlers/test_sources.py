"""The code that the demos show is that of the files that run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from handlers.demos.sources import Example, Source, examples, find_example

from ..conftest import ROOT, Server
from ..test_readme import block
from ..visitor import Visitor


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent() as lent:
        yield lent


def test_every_example_is_there() -> None:
    """The chat of README comes first, then every folder of examples/ that has an application."""
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/app.py")}
    names = [each.name for each in examples()]
    assert names[0] == "chat"
    assert set(names[1:]) == folders
    for each in examples()[1:]:
        assert each.title
        assert len(each.description) > 20, each.name
        assert each.command == f"python run.py --app examples.{each.name}.app"
        assert each.server[0].name == "app.py"
        assert each.page


def test_chat_is_that_of_readme() -> None:
    """The chat is not typed a second time."""
    chat = find_example("chat")
    assert chat is not None
    assert (chat.server[0].text, chat.page[0].text) == (block("python"), block("html"))


def test_files(server: Server) -> None:
    """Each file is served as plain text as it is on disk, and linked from the page."""
    guest = Visitor(server.port)
    page = guest.get("/hello-websocket/").text
    for example in examples():
        for file in (*example.server, *example.page):
            address = f"/hello-websocket/examples/{example.name}/{file.name}"
            assert f'href="{address}"' in page
            answer = guest.get(address)
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
            assert answer.text == on_disk(example, file)


def on_disk(example: Example, file: Source) -> str:
    """A file as the test reads it."""
    if example.name == "chat":
        return block({"chat.py": "python", "chat.html": "html"}[file.name])
    return (ROOT / file.place).read_text(encoding="utf-8")


def test_what_examples_share() -> None:
    """What an example takes from beside its folder is shown with it, so that a copy is complete."""
    example = find_example("todo_sync")
    assert example is not None
    assert "examples/database.py" in [file.place for file in example.server]
    assert "static/examples/status.js" in [file.place for file in example.page]
    for each in examples():
        names = [file.name for file in (*each.server, *each.page)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "path",
    [
        "chat/app.py",
        "nothing/app.py",
        "chat/..",
        "..%2F..%2Fsetup.py/x",
        "chat/%2e%2e%2fsetup.py",
        "chat/chat.py/x",
    ],
)
def test_nothing_else(server: Server, path: str) -> None:
    """What is not listed is not there."""
    assert Visitor(server.port).get(f"/hello-websocket/examples/{path}").status == 404


def test_home_page(server: Server) -> None:
    """The home page shows the same chat, and leads to every tab of the demos."""
    page = Visitor(server.port).get("/").text
    assert "class Chat(NamespaceHandler):" in page
    for tab in ("emoji", "todo", "notes", "how", "examples", "architecture", "practices"):
        assert f'href="/hello-websocket/#{tab}"' in page
