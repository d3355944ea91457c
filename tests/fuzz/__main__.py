"""
`python -m tests.fuzz frames --seconds 300`: look for bytes that break a promise.

Without a target all have their turn, each for so long. Exit status 1, with a file
`crash-TARGET-…` in this folder, if some did; `--run FILE` does it again. `--keep` puts what
has found new code into the corpus, as little as will do.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .targets import Target

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("frames", "inflating", "offers", "envelopes", "handshakes", "rest", "messages")


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=NAMES, help="all of them if none is named")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long for each [60]")
    parser.add_argument("--plain", action="store_true", help="use our own engine even if there is atheris")
    parser.add_argument("--keep", action="store_true", help="put what was found into the corpus")
    parser.add_argument("--run", nargs="+", type=Path, metavar="FILE", help="only run these inputs")
    options = parser.parse_args(argv)
    if options.run and options.target is None:
        parser.error("--run goes with the target that the inputs are for")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz one target, or each of them; returns the exit status."""
    options = read_options(argv)
    if options.target is None:
        # Each in an interpreter of its own, since atheris instruments what is imported after it.
        command = [sys.executable, "-m", "tests.fuzz", *(sys.argv[1:] if argv is None else argv)]
        return max([subprocess.call([*command, name]) for name in NAMES])
    if options.run:
        return _run_files(options.target, options.run)
    with tempfile.TemporaryDirectory(prefix="jpulse-fuzz-") as folder:
        # Atheris ends its process without tidying up: what is left there goes with the folder.
        tempfile.tempdir = folder
        found = Path(folder) / "found"
        found.mkdir()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _fuzz(options, found)
        _, status = os.waitpid(child, 0)
        if options.keep:
            _keep(options.target, [path.read_bytes() for path in found.iterdir()])
    return 1 if os.waitstatus_to_exitcode(status) else 0


def _target(name: str) -> Target:
    from .targets import TARGETS

    return TARGETS[name]


def _fuzz(options: argparse.Namespace, found: Path) -> None:
    """Look for so long, in a process of its own, which ends."""
    status = 1
    try:
        if importlib.util.find_spec("atheris") and not options.plain:
            _fuzz_with_atheris(options, found)
        else:
            _fuzz_plainly(options, found)
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _fuzz_with_atheris(options: argparse.Namespace, found: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["jpulse", "handlers"]):
        target = _target(options.target)
    from .engines import run_atheris

    with target.open() as check:
        run_atheris(target, check, CORPUS / target.name, found, options.seconds)


def _fuzz_plainly(options: argparse.Namespace, found: Path) -> None:
    from .engines import run_plain

    target = _target(options.target)
    with target.open() as check:
        try:
            tried = run_plain(target, check, corpus_of(target.name), found, options.seconds)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            raise
    print(f"{target.name}: {tried} inputs, {len(list(found.iterdir()))} of them reached new lines")


def corpus_of(name: str) -> list[bytes]:
    """What is kept of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def _run_files(name: str, paths: Sequence[Path]) -> int:
    with _target(name).open() as check:
        for path in paths:
            check(path.read_bytes())
    return 0


def _keep(name: str, inputs: Sequence[bytes]) -> None:
    """Make the corpus anew of what it was and what was found; what has once crashed stays."""
    from .engines import minimal, name_of

    folder = CORPUS / name
    old = {path: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("crash-")}
    with _target(name).open() as check:
        kept = list(minimal(check, [*old.values(), *inputs]))
    for path in old:
        path.unlink()
    for data in kept:
        (folder / name_of(data)).write_bytes(data)
    print(f"{name}: {len(kept)} inputs of {sum(map(len, kept))} bytes are kept, {len(old)} were")


if __name__ == "__main__":
    sys.exit(main())
