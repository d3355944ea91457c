"""The seeded stress run: `python -m tests.faults --seed 7 --minutes 6`; see `tests.faults.stress`."""

from __future__ import annotations

import argparse
import sys

from .stress.run import Options, main


def options(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Break servers in all ways while clients talk, and check what they saw.",
    )
    parser.add_argument("--seed", type=int, default=1, help="everything random comes from it")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="added to the minutes; 60 without both")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--mongo", action="store_true", help="keep users in a MongoDB instead of SQLite")
    parser.add_argument("--calm", action="store_true", help="break nothing")
    parser.add_argument("--app", default=Options.app, help="what is served; it writes the journals")
    given = parser.parse_args(arguments)
    seconds = 60 * given.minutes + given.seconds or 60.0
    return Options(given.seed, seconds, given.clients, given.mongo, given.calm, given.app)


if __name__ == "__main__":
    sys.exit(main(options()))
