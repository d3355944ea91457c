"""What fuzzing has found: every kept input holds, and the command looks for more."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ..conftest import ROOT
from .__main__ import CORPUS, NAMES, corpus_of, main
from .engines import minimal, mutated
from .targets import TARGETS, Target

#: What the repository has room for.
MAX_CORPUS_BYTES = 300_000


def fuzz(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_corpus(name: str) -> None:
    """Every input that is kept of a target keeps its promises."""
    inputs = corpus_of(name)
    assert inputs
    with TARGETS[name].open() as check:
        for data in inputs:
            check(data)


def test_names() -> None:
    """The command knows every target, and every folder of the corpus belongs to one."""
    assert set(NAMES) == set(TARGETS) == {path.name for path in CORPUS.iterdir()}


def test_size_of_the_corpus() -> None:
    """The corpus stays small enough to be kept in the repository."""
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < MAX_CORPUS_BYTES


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs put together of what is kept, of the language's words and of anything."""
    parts = st.one_of(
        st.sampled_from(corpus_of(target.name)), st.sampled_from(target.dictionary), st.binary(max_size=20)
    )
    return st.lists(parts, max_size=5).map(b"".join)


@pytest.mark.parametrize("name", ["frames", "inflating", "offers", "envelopes"])
def test_what_the_corpus_is_made_of(name: str) -> None:
    """Inputs made of parts of the corpus in any order keep the promises, too."""

    @settings(max_examples=100, deadline=None)
    @given(inputs_of(TARGETS[name]))
    def holds(data: bytes) -> None:
        with TARGETS[name].open() as check:
            check(data)

    holds()


def test_engine_finds_what_is_broken(tmp_path: Path) -> None:
    """An input that breaks a promise ends the command with 1 and is kept in a file, which does it again."""
    source = (
        "import sys\n"
        "from jpulse import wire\n"
        "from tests.fuzz.__main__ import main\n"
        "wire.valid_close_code = lambda code: 1 / 0\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "broken.py").write_text(source, encoding="utf-8")

    def broken(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "broken.py", "frames", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    found = broken("--plain", "--seconds", "20")
    assert found.returncode == 1
    assert "ZeroDivisionError" in found.stderr
    (crash,) = tmp_path.glob("crash-frames-*")
    again = broken("--run", crash.name)
    assert again.returncode == 1
    assert "ZeroDivisionError" in again.stderr
    assert fuzz("frames", "--run", str(crash), folder=tmp_path).returncode == 0


def test_command(tmp_path: Path) -> None:
    """A run of our own engine ends after its time and tells how much it has tried."""
    done = fuzz("offers", "--plain", "--seconds", "1", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "offers: " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_command_without_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a target every one has its turn with the same flags, and one that fails is told."""
    commands: list[list[str]] = []

    def call(command: list[str]) -> int:
        commands.append(command)
        return int(command[-1] == "offers")

    monkeypatch.setattr(subprocess, "call", call)
    assert main(["--plain", "--seconds", "3"]) == 1
    begin = [sys.executable, "-m", "tests.fuzz", "--plain", "--seconds", "3"]
    assert commands == [[*begin, name] for name in NAMES]
    with pytest.raises(SystemExit, match="2"):
        main(["--run", "file"])


def test_least_corpus() -> None:
    """Of inputs that do the same, the shortest is kept."""
    ran: list[bytes] = []
    inputs: Sequence[bytes] = [b"permessage-deflate, x", b"permessage-deflate", b"nothing", b"x"]
    with TARGETS["offers"].open() as check:

        def noted(data: bytes) -> None:
            ran.append(data)
            check(data)

        assert list(minimal(noted, inputs)) == [b"x", b"permessage-deflate"]
    assert ran == sorted(inputs, key=len)


def test_mutations_keep_the_limit() -> None:
    """What the engine tries is never longer than the target takes."""
    target, dice = TARGETS["offers"], random.Random(1)
    tried = [mutated(dice, [b"x" * target.max_bytes, b""], target) for _ in range(500)]
    assert max(map(len, tried)) == target.max_bytes
    assert len(set(tried)) > 250
