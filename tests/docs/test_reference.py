"""The reference pages say what the code says, all of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import jpulse
from handlers import ROUTES
from jpulse.errors import CloseCode
from jpulse.settings import Settings, flag_name, variable_name

from ..conftest import ROOT, Server
from ..visitor import Visitor


def load(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


reference = load("reference")
figures = load("figures")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Settings)])
def test_every_setting(name: str) -> None:
    """Each setting is there with its flag, its variable, what it accepts and its default."""
    page = reference.settings_page()
    section = page.partition(f"### {name} {{")[2].partition("\n### ")[0]
    assert f"`{flag_name(name)}`" in section
    assert f"`{variable_name(name)}`" in section
    assert re.search(r"^- value: \w.+$", section, re.MULTILINE)
    assert re.search(r"^- default: .+$", section, re.MULTILINE)


def test_switches_have_two_flags() -> None:
    """What is on can be turned off, and the page says how."""
    page = reference.settings_page()
    assert "- flag: `--demos`, `--no-demos`" in page
    assert "- flag: `--debug`, `--no-debug`" in page


def test_every_public_name() -> None:
    """What `from jpulse import …` has is in the Python reference, with members that exist."""
    assert set(jpulse.__all__) - {"__version__"} <= set(reference.PYTHON)
    for name, (thing, members) in (reference.PYTHON | reference.TESTING).items():
        for member in members:
            is_attribute = f"{name}.{member}" in reference.ATTRIBUTES
            assert is_attribute or inspect.getattr_static(thing, member).__doc__, f"{name}.{member}"


def test_every_attribute_of_a_namespace() -> None:
    """What a subclass of NamespaceHandler may set is told, also what came later."""
    settable = {f"NamespaceHandler.{name}" for name in jpulse.NamespaceHandler.__annotations__}
    assert settable == {name for name in reference.ATTRIBUTES if name.startswith("NamespaceHandler.")}


def test_attributes_exist() -> None:
    """No attribute is told of that the code does not have."""
    for name in reference.ATTRIBUTES:
        owner, _, attribute = name.partition(".")
        thing = reference.PYTHON[owner][0]
        source = "".join(
            inspect.getsource(base) for base in thing.__mro__[:-1] if "jpulse" in base.__module__
        )
        assert re.search(rf"\b{attribute}\b(: | = |\")", source), name


def test_every_close_code() -> None:
    """Each code has its line, with what the browser client does."""
    page = reference.close_codes_page()
    rows = re.findall(
        r"^\| \*\*(\d+)\*\* \| `(\w+)` \| .+ \| (stays away|reconnects) \|$", page, re.MULTILINE
    )
    assert [(int(code), name) for code, name, _ in rows] == [(int(code), code.name) for code in CloseCode]
    assert {int(code) for code, _, what in rows if what == "stays away"} == {1000, 4401, 4403}


def test_every_route() -> None:
    """Each route of the server is there, with what it does."""
    page = reference.rest_page()
    for pattern, *_ in ROUTES:
        assert f"`{reference.address(pattern)}`" in page
    assert re.findall(r"\|\s*\|$", page, re.MULTILINE) == []


def test_every_metric(serve: Callable[..., Server]) -> None:
    """The metrics are those that a running server tells."""
    text = Visitor(serve().port).get("/metrics").text
    told = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert {name for name, *_ in reference.metric_families()} == {
        name for name in told if not name.endswith("_created")
    }


def test_every_function_of_the_browser_client() -> None:
    """What the script gives to a page is there, and nothing that it does not give."""
    page = reference.javascript_page()
    for name in (
        "connect",
        "getConnections",
        "send",
        "onMessage",
        "onStatusChange",
        "disconnect",
        "toast.show",
    ):
        assert re.search(rf"^## .*\b{re.escape(name)}\(", page, re.MULTILINE), name
    assert "{" not in "".join(re.findall(r"^## .*$", page, re.MULTILINE))


def test_readme_has_the_figures_of_the_last_run() -> None:
    """README's table is that of docs/performance.md; `python docs/figures.py` makes it so."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert figures.with_figures(readme, performance) == readme


def test_figures_are_read_from_the_table() -> None:
    """A row without a name belongs to the case above it."""
    text = (
        "| what | unit | server | median | least–most | × ours |\n|---|---|---|---|---|---|\n"
        "| echo | µs | jPulse | 19.15 | 1–2 |  |\n|  |  | ws (node) | 23.68 | 1–2 | 1.24 |\n"
    )
    assert figures.medians(text) == {"echo": {"jPulse": "19.15", "ws (node)": "23.68"}}
