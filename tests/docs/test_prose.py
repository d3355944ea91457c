"""What the text names between the blocks exists: flags, variables, metrics, files, addresses."""

from __future__ import annotations

import re

import pytest

from jpulse.connection import MAX_FRAMES_PER_SECOND, MAX_PING_BYTES
from jpulse.metrics import Process, render
from jpulse.settings import PASSWORD_VARIABLES, flag_name, names, variable_name
from jpulse.stats import Figures

from ..conftest import ROOT
from .blocks import pages
from .test_reference import reference

#: Flags of other commands: of pytest and our benchmarks, of Docker, kubectl, curl, pip.
FOREIGN_FLAGS = {
    *("--install", "--json", "--quick", "--case", "--peer", "--rounds", "--seconds", "--help"),
    *("--stop-timeout", "--from-literal", "--bind", "--directory", "--roles", "--version"),
}


def prose(page: str) -> str:
    """A page's text and blocks, as written."""
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages())
def test_flags_and_variables_exist(page: str) -> None:
    """Every flag and variable that a page names is one that the server knows."""
    flags = {flag_name(name) for name in names()} | {"--no-demos"} | FOREIGN_FLAGS
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(page))) <= flags
    variables = {variable_name(name) for name in names()} | PASSWORD_VARIABLES
    assert set(re.findall(r"\bJPULSE_[A-Z_]*[A-Z]\b", prose(page))) <= variables


@pytest.mark.parametrize("page", pages())
def test_metrics_exist(page: str) -> None:
    """Every metric that a page names is one that /metrics tells."""
    known = {name for name, *_ in reference.metric_families()}
    known |= {name.removesuffix("_total") for name in known}
    assert set(re.findall(r"\bjpulse_(?!session\b)[a-z_]+[a-z]\b", prose(page))) <= known


@pytest.mark.parametrize("page", pages())
def test_files_exist(page: str) -> None:
    """Every file of the repository that a page names is there."""
    named = re.findall(r"`((?:jpulse|handlers|examples|deploy|static|templates)/[\w./-]*)`", prose(page))
    missing = [name for name in named if not any((ROOT / f"{name}{end}").exists() for end in ("", ".py"))]
    # A project of one's own has such folders, too.
    assert missing == [] or page == "docs/tutorial.md"


def test_metrics_are_read_at_all() -> None:
    """The families that pages are held to are those of the exposition itself."""
    text = render([Process(reference.Snapshot(name="a"), {"/api/1/ws/b": Figures()})]).decode()
    for name, *_ in reference.metric_families():
        assert re.search(rf"^# TYPE {name} ", text, re.MULTILINE), name


def test_limits_that_are_no_settings() -> None:
    """What bounds pings and fragments cannot be set, and is told with its figures."""
    names = ("docs/reference/wire.md", "docs/guides/namespaces.md")
    wire, namespaces = (" ".join(prose(name).split()) for name in names)
    assert f"up to {MAX_PING_BYTES} bytes" in wire
    for page in (wire, namespaces):
        assert f"{MAX_FRAMES_PER_SECOND:,} pings, pongs and fragments" in page
        assert f"{2 * MAX_FRAMES_PER_SECOND:,} at once" in page


def test_limits_of_time_are_told_with_their_code() -> None:
    """What ends a connection with 4408 is told wherever the codes are: silence, and a message without end."""
    for page in ("docs/guides/namespaces.md", "docs/guides/troubleshooting.md"):
        (row,) = re.findall(r"^\|.*\b4408\b.*$", prose(page), re.MULTILINE)
        assert "message_seconds" in row
    (row,) = re.findall(r"^\|.*\*\*4408\*\*.*$", reference.close_codes_page(), re.MULTILINE)
    assert "message_seconds" in row
