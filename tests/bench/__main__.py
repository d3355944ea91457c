"""
`python -m tests.bench`: measure jPulse and the peers that are installed, and print one table.

    pip install '.[bench]'               the peers in Python
    python -m tests.bench --install      the peers for node, into ~/.cache/jpulse-bench
    python -m tests.bench --quick        everything, shortly: under two minutes
    python -m tests.bench --json FILE    the full run, some forty minutes, with all records
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import msgspec

from .build import CannotBuild, compile_tools, install_node_packages
from .cases import CASES, FULL, QUICK, Bench, Case, Effort
from .load import Load
from .machine import describe, places, raise_file_limit
from .peers import JPULSE, PEERS, Peer, Tools
from .results import Failure, Record, Results
from .stage import CannotMeasure, Stage
from .table import render

#: Files that a server and the load generator have open besides their sockets.
SPARE_FILES = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status: 0, 1 if something could not be measured, 2 if nothing could."""
    options = read_options(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.install:
            install_node_packages()
            return 0
        return _measure(options)
    except CannotBuild as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as with Ctrl-C, which ends what was started."""
    raise KeyboardInterrupt


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure jPulse and its peers."
    )
    parser.add_argument("--quick", action="store_true", help="short runs, one round: under two minutes")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of each case, instead of 5 (quick: 1)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="length of a run, instead of 3 (quick: 0.4)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, metavar="S", help="how long idle clients are held [300]"
    )
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this case"
    )
    parser.add_argument(
        "--peer", action="append", choices=[peer.name for peer in PEERS], help="only this peer, and jPulse"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the machine and all records there")
    parser.add_argument("--install", action="store_true", help="install the peers for node, and end")
    return parser.parse_args(argv)


def effort_of(options: argparse.Namespace, files: int) -> Effort:
    """How long is measured, with as many clients as there may be files."""
    effort = QUICK if options.quick else FULL
    changes = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "idle_seconds": options.idle_seconds,
        "idle_clients": min(effort.idle_clients, files - SPARE_FILES),
        "growth": tuple(count if count <= files - SPARE_FILES else 5000 for count in effort.growth),
    }
    return replace(effort, **{name: value for name, value in changes.items() if value is not None})


def _measure(options: argparse.Namespace) -> int:
    machine, files = describe(), raise_file_limit()
    program, tools = compile_tools()
    peers = list(_installed(tools, options.peer))
    cases = [case for case in CASES if options.case is None or case.name in options.case]
    results = Results()
    with Stage(tools, places()) as stage:
        bench = Bench(stage, Load(program, stage.places.load), effort_of(options, files))
        for case in cases:
            _run_case(bench, case, peers, results)
    versions = {peer.name: peer.version(tools) or "" for peer in peers}
    print(render(results, machine, versions))
    if options.json:
        _write_records(options.json, machine, versions, results)
    return 1 if results.failures else 0


def _installed(tools: Tools, wanted: Sequence[str] | None) -> Iterator[Peer]:
    """The peers that can be measured; those that cannot are named."""
    for peer in PEERS:
        if wanted is not None and peer is not JPULSE and peer.name not in wanted:
            continue
        if peer.version(tools) is None:
            _tell(f"{peer.title} is not installed: {peer.install}")
        else:
            yield peer


def _run_case(bench: Bench, case: Case, peers: Sequence[Peer], results: Results) -> None:
    """Measure the peers in turn, A B C A B C, so that a change of the machine's mood meets all of them."""
    failed: set[str] = set()
    rounds = bench.effort.rounds if case.rounds is None else min(case.rounds, bench.effort.rounds)
    for number in range(1, rounds + 1):
        for peer in peers:
            if case.takes(peer, bench.effort) and peer.name not in failed:
                _tell(f"{case.name}, round {number} of {rounds}: {peer.title}")
                if not _run_once(bench, case, peer, number, results):
                    failed.add(peer.name)


def _run_once(bench: Bench, case: Case, peer: Peer, number: int, results: Results) -> bool:
    try:
        figures = case.run(bench, peer)
    except CannotMeasure as error:
        results.failures.append(Failure(case.name, peer.name, str(error)))
        _tell(f"{case.name}, {peer.title}: {error}")
        return False
    results.records += [Record(name, peer.name, number, value) for name, value in figures.items()]
    return True


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write_records(path: Path, machine: dict[str, str], versions: dict[str, str], results: Results) -> None:
    whole = {
        "machine": machine,
        "versions": versions,
        "records": results.records,
        "failures": results.failures,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
