"""One command builds the site without a complaint; it stands alone, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ..conftest import ROOT

#: What makes a browser load something; links that a reader clicks are not among them.
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The site, and what the command said."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [ROOT / "docs" / "build", "--site-dir", folder],
        env={**os.environ, "VENV": sys.prefix},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stderr


class Page(HTMLParser):
    """What a page loads, where its links lead, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.titles = 0
        self.pictures_without_text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to."""
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag in LOADS and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given.get(LOADS[tag], ""))
        self.titles += tag == "h1"
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag == "img" and not given.get("alt"):
            self.pictures_without_text.append(given.get("src", ""))


def pages(folder: Path) -> Iterator[tuple[Path, Page]]:
    """Every page of the site."""
    for path in sorted(folder.rglob("*.html")):
        yield path, Page(path)


def test_build_says_nothing(built: tuple[Path, str]) -> None:
    """No warning comes from building, which also checks every link and anchor between pages."""
    assert [line for line in built[1].splitlines() if not line.startswith("INFO ")] == []


def test_nothing_comes_from_elsewhere(built: tuple[Path, str]) -> None:
    """A page loads files of the site alone: no fonts, scripts or pictures of other hosts."""
    for path, page in pages(built[0]):
        assert [address for address in page.loads if re.match(r"(\w+:)?//", address)] == [], path
    for path in built[0].rglob("*.css"):
        assert (
            re.findall(r"url\(['\"]?(?:https?:)?//[^)]*|@import[^;]*//[^;]*", path.read_text("utf-8")) == []
        )


def test_what_pages_refer_to_is_there(built: tuple[Path, str]) -> None:
    """Files, pages and anchors that a page names exist, and its pictures say what they show."""
    known = dict(pages(built[0]))
    for path, page in known.items():
        for address in (*page.loads, *page.links):
            if re.match(r"\w+:|#__|//", address) or not address:
                continue
            name, _, anchor = address.partition("#")
            base = built[0] if name.startswith("/") else path.parent
            target = (base / name.partition("?")[0].lstrip("/")).resolve() if name else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path}: {address}"
            if anchor and target in known:
                assert anchor in known[target].ids, f"{path}: {address}"
        assert page.pictures_without_text == [], path


def test_every_page_has_one_title(built: tuple[Path, str]) -> None:
    """What is below the title of a page is a section of it, for contents, search and screen readers."""
    for path, page in pages(built[0]):
        assert page.titles == 1, path


def test_every_page_is_in_the_navigation(built: tuple[Path, str]) -> None:
    """Whoever opens the first page can get to every other one."""
    start = built[0] / "index.html"
    linked = {(built[0] / link.partition("#")[0]).resolve() for link in Page(start).links}
    found = {path.resolve() for path in built[0].rglob("*.html")} - {(built[0] / "404.html").resolve()}
    assert found - linked - {start.resolve()} == set()
