"""The fenced blocks of the documentation's Markdown, and what stands before each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..conftest import ROOT

DOCS = ROOT / "docs"
#: A comment on the line before a block says why it is not run.
MARKER = re.compile(r"^<!-- not run: (.+) -->$")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<options>.*)$")
#: README names its files in the text before them: "`chat.py`:".
NAMED = re.compile(r"^`([\w./]+)`:$")
INCLUDE = re.compile(r'^--8<-- "([^":]+)(?::[\w:]+)?"$')


class Block(NamedTuple):
    """One fenced block."""

    page: str
    #: The line of its first fence.
    line: int
    language: str
    #: The file that it is, or a part of one; "" for what is not kept.
    title: str
    #: As written; includes of other files are lines of their own.
    text: str
    #: Why it is not run; "" if it is.
    excuse: str

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def includes(self) -> list[str]:
        """The files of the repository that it shows; nothing of them is typed twice."""
        return [found[1] for line in self.text.splitlines() if (found := INCLUDE.match(line.strip()))]


def pages() -> list[str]:
    """README and every page that is written by hand, by their paths in the repository."""
    found = [str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md"))]
    return ["README.md", *found]


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        begin = FENCE.match(lines[number])
        if begin is None:
            number += 1
            continue
        end = number + 1
        while lines[end].strip() != "```":
            end += 1
        indent = len(begin["indent"])
        text = "".join(line[indent:] + "\n" for line in lines[number + 1 : end])
        marker = MARKER.match(lines[number - 1].strip()) if number else None
        title = re.search(r'title="([^"]+)"', begin["options"]) or NAMED.match(lines[max(0, number - 2)])
        yield Block(
            page,
            number + 1,
            begin["language"],
            title[1] if title else "",
            text,
            marker[1] if marker else "",
        )
        number = end + 1


def all_blocks() -> list[Block]:
    """Every block of every page."""
    return [block for page in pages() for block in blocks(page)]


def included(path: str) -> Path:
    """A file that a block shows."""
    return ROOT / path
