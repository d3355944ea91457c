"""The benchmarks work: they build what they need, measure, print one table, and leave nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from .bench.build import compile_tools, find_compiler
from .bench.goals import GOALS
from .bench.load import Load, Outcome
from .bench.machine import cpu_seconds, family, places
from .bench.peers import BROADCAST, ECHO, FLOOR, JPULSE, PEERS, Address
from .bench.results import Record, Results, Spread
from .bench.stage import CannotMeasure, Server, Stage
from .bench.table import markdown, render
from .conftest import ROOT, wait_until
from .faults.processes import is_alive

needs_compiler = pytest.mark.skipif(
    find_compiler() is None, reason="there is no C compiler to build the load generator with: install gcc"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of these tests' own, so that what they run is built from the source as it is."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def stage(cache: Path) -> Iterator[tuple[Stage, Load]]:
    """Where servers are started, and the load generator."""
    program, tools = compile_tools()
    with Stage(tools, places()) as stage:
        yield stage, Load(program, stage.places.load)


@pytest.fixture
def floor(stage: tuple[Stage, Load]) -> Server:
    """The server in C."""
    return stage[0].shared(FLOOR)


def bench(*arguments: str) -> subprocess.Popen[str]:
    """Start the benchmarks as a user does."""
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        # Who runs the tests in the background of a shell has SIGINT ignored, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# The command


@needs_compiler
def test_command(cache: Path, tmp_path: Path) -> None:
    """One command builds the tools, measures in turn, prints one table with the goals and writes records."""
    path = tmp_path / "records.json"
    options = ("--quick", "--seconds", "0.2", "--peer", "c", "--case", "echo", "--json", str(path))
    with bench(*options, "--rounds", "2") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [line.partition(": ")[2] for line in err.splitlines()] == [JPULSE.title, FLOOR.title] * 2
    assert out.startswith("CPU: ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if "|" in line]
    assert rows[0] == ["what", "unit", "server", "median", "least–most", "× ours"]
    assert rows[2][:3] == ["echo, 100 clients", "µs per delivery", "jPulse"]
    assert rows[3][:3] == ["", "", FLOOR.title]
    assert rows[4][0] == "goal of jPulse"
    records = msgspec.convert(msgspec.json.decode(path.read_bytes())["records"], list[Record])
    assert [(each.metric, each.peer, each.round) for each in records] == [
        ("echo", peer, number) for number in (1, 2) for peer in ("jpulse", "c")
    ]
    assert all(each.value > 0 for each in records)


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(cache: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the servers and the load generator too."""
    with bench("--quick", "--case", "idle", "--idle-seconds", "60") as process:
        load = str(cache / "jpulse-bench" / "load")
        wait_until(lambda: _runs(process.pid, load), 20, "the load generator")
        everyone = family(process.pid)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(everyone) == 3
    assert [pid for pid in everyone if is_alive(pid)] == []


def _runs(pid: int, program: str) -> bool:
    for each in family(pid):
        with open(f"/proc/{each}/cmdline", encoding="utf-8") as file:
            if file.read().startswith(program):
                return True
    return False


# The load generator


def run(stage: tuple[Stage, Load], server: Server, address: Address, mode: str, **options: Any) -> Outcome:
    """Run ten clients for a third of a second."""
    return stage[1].run(server, address, mode, 10, 0.3, **options)


@needs_compiler
def test_echo_is_counted_once(stage: tuple[Stage, Load], floor: Server) -> None:
    """In mode echo each message brings one delivery, and the server's CPU time is that of the run alone."""
    before = cpu_seconds(floor.process.pid)
    outcome = run(stage, floor, ECHO, "echo")
    assert outcome.deliveries == outcome.sent > 10
    assert 0 < outcome.cpu_seconds < cpu_seconds(floor.process.pid) - before
    assert outcome.payload_bytes == 113


@needs_compiler
@pytest.mark.parametrize("window", [1, 16])
def test_broadcast_is_counted_at_each_client(stage: tuple[Stage, Load], floor: Server, window: int) -> None:
    """In mode broadcast each message brings a delivery at every client, however many are under way."""
    outcome = run(stage, floor, BROADCAST, "broadcast", window=window)
    assert outcome.deliveries == 10 * outcome.sent
    assert outcome.sent >= window


@needs_compiler
def test_paced_sends_at_its_rate(stage: tuple[Stage, Load], floor: Server) -> None:
    """In mode paced as many messages are sent as are due, by each sender in turn."""
    outcome = run(stage, floor, ECHO, "paced", rate=200, senders=10)
    assert outcome.sent == outcome.deliveries == 60


@needs_compiler
def test_messages_of_two_servers(stage: tuple[Stage, Load], floor: Server) -> None:
    """With two servers the clients are spread over both, and latency is told for each."""
    with stage[0].running(FLOOR) as other:
        outcome = stage[1].run([floor, other], ECHO, "echo", 4, 0.2)
    assert len(outcome.p50_us) == len(outcome.cpu_seconds_of) == 2
    assert all(each > 0 for each in [*outcome.p50_us, *outcome.cpu_seconds_of])


@needs_compiler
def test_refusal_is_told(stage: tuple[Stage, Load]) -> None:
    """A server that refuses a handshake is named as such, and is not measured."""
    server = stage[0].shared(JPULSE)
    with pytest.raises(CannotMeasure, match=r"refused: HTTP/1\.1 404"):
        run(stage, server, Address("/api/1/ws/nowhere"), "echo")


@needs_compiler
def test_messages_are_alike(stage: tuple[Stage, Load]) -> None:
    """What jPulse sends is as long as what the floor does, so that both move the same bytes."""
    server = stage[0].shared(JPULSE)
    assert run(stage, server, JPULSE.echo, "echo").payload_bytes == 113
    assert run(stage, server, JPULSE.broadcast, "broadcast").payload_bytes == 113


@needs_compiler
def test_stalled_client(stage: tuple[Stage, Load]) -> None:
    """A client that stops reading is given up by the server, and the others get everything."""
    server = stage[0].shared(JPULSE)
    options: dict[str, Any] = {"rate": 1000, "receivers": "all", "stalled": 1, "pad": 30_000}
    outcome = stage[1].run(server, JPULSE.broadcast, "paced", 5, 0.5, **options)
    assert outcome.deliveries == 4 * outcome.sent
    assert outcome.given_up == 1


@needs_compiler
def test_server_that_does_not_start(stage: tuple[Stage, Load]) -> None:
    """A server that ends instead of serving is told with its last words."""
    with (
        pytest.raises(CannotMeasure, match="ping-interval"),
        stage[0].running(JPULSE, "--ping-interval", "-1"),
    ):
        pass


# What becomes of the figures


def test_spread() -> None:
    """A figure is the median of the rounds, with the least and the most of them."""
    results = Results(Record("echo", "jpulse", number, value) for number, value in enumerate((3.0, 1.0, 8.0)))
    assert results.spread("echo", "jpulse") == Spread(3.0, 1.0, 8.0)
    assert results.median("echo", "c") is None


def test_goals_are_about_metrics_that_are_measured() -> None:
    """A goal compares figures that there are, and says whether it is met."""
    results = Results([Record("echo", "jpulse", 1, 10.0), Record("echo", "c", 1, 5.0)])
    text = render(results, {"CPU": "a"}, {"jpulse": "jpulse 1"})
    assert "| echo, to the C loop | ≤ 2.5 × | 2 ×   | met |" in text
    assert all(goal.verdict(Results()) is None for goal in GOALS)


def test_markdown_is_aligned() -> None:
    """The columns of a table are as wide as their widest cell."""
    assert markdown(("a", "long"), [("wide", "b")]).splitlines() == [
        "| a    | long |",
        "| ---- | ---- |",
        "| wide | b    |",
    ]


@pytest.mark.parametrize(
    ("cores", "server", "load", "pair"),
    [({3}, {3}, {3}, {3}), ({0, 1}, {0}, {1}, {0, 1}), ({0, 1, 2, 3, 4}, {0}, {3}, {0, 1})],
)
def test_places(cores: set[int], server: set[int], load: set[int], pair: set[int]) -> None:
    """Server and load have a core each if there are two, a pair of servers if there are four."""
    found = places(frozenset(cores))
    assert (set(found.server), set(found.load), set(found.pair)) == (server, load, pair)


def test_names_of_peers() -> None:
    """Every peer has a name and a title of its own."""
    assert len({peer.name for peer in PEERS}) == len({peer.title for peer in PEERS}) == len(PEERS)
