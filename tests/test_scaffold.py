"""`jpulse new NAME` makes a project that works as it is."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers import ROUTES
from jpulse.errors import SettingsError
from jpulse.scaffold import class_name, make_project

from .conftest import ROOT, Server
from .raw_client import RawClient
from .visitor import Visitor

ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


def new(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    command = [sys.executable, str(ROOT / "run.py"), "new", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_new_project(tmp_path: Path) -> None:
    """The command tells what it made and what to do next, and the test of the new project passes."""
    done = new(tmp_path, "chat")
    assert (done.returncode, done.stderr) == (0, "")
    made = re.findall(r"^made (\S+)$", done.stdout, re.MULTILINE)
    assert sorted(made) == sorted(
        str(path.relative_to(tmp_path)) for path in (tmp_path / "chat").rglob("*") if path.is_file()
    )
    assert {"chat/app.py", "chat/page.html", "chat/tests/test_app.py", "chat/.gitignore"} <= set(made)
    commands = re.findall(r"^    (.+)$", done.stdout, re.MULTILINE)
    assert len(commands) == 3
    assert commands[0] == "cd chat"
    assert commands[1].endswith("run.py --app app")
    tested = subprocess.run(
        f"{commands[0]} && {commands[2]}",
        shell=True,
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(r"^Ran 1 test .*\n\nOK$", tested.stderr, re.MULTILINE), tested.stderr


def test_new_project_serves(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The project runs from its own folder and from the one above it, with its page and its namespace."""
    make_project("team_chat", tmp_path)
    starts = (("app", tmp_path / "team_chat"), ("team_chat.app", tmp_path))
    for app, folder in starts:
        server = serve(app=app, cwd=folder)
        guest = Visitor(server.port)
        page = guest.get("/")
        assert page.status == 200
        assert "<h1>Team chat</h1>" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for path in re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css)[^"]*)"', page.text):
            assert guest.get(path).status == 200, path
        assert "/team_chat/page.js" in page.text
        with (
            RawClient(server.port, "/api/1/ws/team_chat") as ann,
            RawClient(server.port, "/api/1/ws/team_chat") as bob,
        ):
            assert bob.read_data("here")["userCount"] == 2
            ann.send_json({"type": "say", "text": " hello "})
            assert bob.read_data("said")["text"] == "hello"
            ann.read_data("said")
            for wrong in ({"type": "shout"}, {"type": "say"}, {"type": "say", "text": " "}):
                ann.send_json(wrong)
                assert ann.read_json()["code"] == 400


def test_code_of_a_new_project(tmp_path: Path) -> None:
    """What is made has no placeholder left in it, and a linter with its defaults has nothing to say."""
    for path in make_project("my_Shop2", tmp_path):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"__[A-Z]+__", text), path
        if path.suffix == ".py":
            ast.parse(text)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E,F,W,I,N,B,UP"]
    checked = subprocess.run(
        [*ruff, "."], cwd=tmp_path / "my_Shop2", capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert class_name("my_Shop2") == "MyShop2"


@pytest.mark.parametrize("name", ["connection", "start_page", "path"])
def test_class_name_that_is_taken(name: str, tmp_path: Path) -> None:
    """A name that the code uses for something else is told from it."""
    assert class_name(name).endswith("Namespace")
    app = make_project(name, tmp_path)
    code = next(path for path in app if path.name == "app.py").read_text(encoding="utf-8")
    defined = [node.name for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    assert defined == [class_name(name), "StartPage"]


@pytest.mark.parametrize(
    "name", ["", "a-b", "a b", "2go", "_x", "a/b", "..", "é", "class", "json", "jpulse", "tests", "x" * 65]
)
def test_wrong_name(name: str, tmp_path: Path) -> None:
    """A name that Python cannot import, or that is something else, is refused before anything is made."""
    with pytest.raises(SettingsError, match=r"^new: ") as refused:
        make_project(name, tmp_path)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_address_that_is_taken(tmp_path: Path) -> None:
    """A name under which the server has addresses of its own is refused, for its files would hide them."""
    first = {found[1] for pattern, *_ in ROUTES if (found := re.match(r"/(\w+)/", pattern))}
    assert first == {"admin", "api", "auth"}
    for name in (*first, "static"):
        with pytest.raises(SettingsError, match=f"^new: /{name}/ is an address"):
            make_project(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_there(tmp_path: Path) -> None:
    """What is there already is left as it is."""
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "app.py").write_text("mine", encoding="utf-8")
    done = new(tmp_path, "chat")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "jpulse: new: chat is there already; choose another name, or remove it\n"
    assert [path.name for path in (tmp_path / "chat").iterdir()] == ["app.py"]
    assert (tmp_path / "chat" / "app.py").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("words", [(), ("one", "two"), ("a-b",)])
def test_wrong_words(words: tuple[str, ...], tmp_path: Path) -> None:
    """A command that makes no sense is one line and status 2."""
    done = new(tmp_path, *words)
    assert done.returncode == 2
    assert re.fullmatch(r"jpulse: (usage: new NAME|new: .*)\n", done.stderr)


def test_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is told in one line, and half a project is not left behind."""

    def fail(path: Path, text: str, encoding: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(SettingsError, match=r"cannot write .*: No space left on device"):
        make_project("chat", tmp_path)
    with pytest.raises(SettingsError, match=r"cannot make .*: No such file"):
        make_project("chat", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
