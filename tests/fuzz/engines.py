"""What chooses the bytes: atheris, or a small engine of our own that works everywhere."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from .targets import Check, Target

ROOT = Path(__file__).parents[2]
#: Lines of these folders count as covered.
WATCHED = (str(ROOT / "jpulse"), str(ROOT / "handlers"))
#: Mutations of one input are so many at most.
MAX_MUTATIONS = 4

Line = tuple[str, int]


def name_of(data: bytes) -> str:
    """What an input's file is called."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_crash(target: Target, data: bytes) -> Path:
    """Keep an input that broke a promise, where the command was started."""
    path = Path(f"crash-{target.name}-{name_of(data)}")
    path.write_bytes(data)
    return path


# With atheris


def run_atheris(target: Target, check: Check, seeds: Path, found: Path, seconds: int) -> None:
    """Let atheris look for so long; it ends the process, with another status than 0 if it found something."""
    import atheris

    words = found.parent / "dictionary"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.dictionary), encoding="ascii")
    flags = [f"-max_total_time={seconds}", f"-max_len={target.max_bytes}", f"-dict={words}"]
    flags += ["-timeout=20", "-print_final_stats=1"]
    # Not all builds of libFuzzer write down the input that Python has raised for.
    atheris.Setup([sys.argv[0], *flags, str(found), str(seeds)], lambda data: _try(target, check, data))
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


# With our own


@contextmanager
def covering(lines: set[Line]) -> Iterator[None]:
    """Add the lines that are run meanwhile."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(WATCHED):
            return None
        lines.add((name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def minimal(check: Check, inputs: Sequence[bytes]) -> Iterator[bytes]:
    """Those inputs, the shortest first, that reach lines which none before them has reached."""
    lines: set[Line] = set()
    for data in sorted(inputs, key=lambda each: (len(each), each)):
        before = len(lines)
        with covering(lines):
            check(data)
        if len(lines) > before:
            yield data


def run_plain(target: Target, check: Check, seeds: Sequence[bytes], found: Path, seconds: int) -> int:
    """
    Change what has reached new lines, at random, for so long; returns how many inputs were tried.

    What reaches further lines is kept in `found`. The first input that breaks a promise is
    written to a file, and what it raised is raised.
    """
    dice, lines, kept, tried = random.Random(), set[Line](), list(seeds) or [b""], 0
    for data in kept:
        with covering(lines):
            _try(target, check, data)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data, before = mutated(dice, kept, target), len(lines)
        with covering(lines):
            _try(target, check, data)
        tried += 1
        if len(lines) > before:
            kept.append(data)
            (found / name_of(data)).write_bytes(data)
    return tried


def _try(target: Target, check: Check, data: bytes) -> None:
    try:
        check(data)
    except BaseException:
        print(f"fuzz: {write_crash(target, data)} has the bytes that did this", file=sys.stderr)
        raise


def mutated(dice: random.Random, kept: Sequence[bytes], target: Target) -> bytes:
    """Something like what has been of use before."""
    data = bytearray(dice.choice(kept))
    for _ in range(dice.randint(1, MAX_MUTATIONS)):
        place = dice.randint(0, len(data))
        end = min(len(data), place + dice.choice((0, 1, 1, 2, 4, 16)))
        data[place:end] = _replacement(dice, bytes(data[place:end]), kept, target)
    return bytes(data[: target.max_bytes])


def _replacement(dice: random.Random, old: bytes, kept: Sequence[bytes], target: Target) -> bytes:
    """What stands in place of some bytes."""
    other = dice.choice(kept)
    begin = dice.randint(0, len(other))
    return dice.choice(
        (
            b"",
            old * 2,
            old[::-1],
            dice.randbytes(max(1, len(old))),
            bytes([dice.choice((0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0xC1, 0xFE, 0xFF))]),
            dice.choice(target.dictionary),
            other[begin : begin + dice.choice((1, 4, 32))],
        )
    )
