"""
Fuzzing: `python -m tests.fuzz TARGET --seconds N` looks for bytes that break a promise.

A target takes bytes and raises if something happens that must not: an exception that is
not the one promised, an answer of 500, a message beyond its limit, an outcome that
depends on how the bytes were cut. With atheris installed (`pip install '.[fuzz]'`) its
engine chooses the bytes, else a small one of our own does. What has found new code is
kept in `corpus/TARGET/` by `--keep`, and the test suite runs all of it; a file there
whose name begins with `crash-` is what has once broken a promise.
"""
