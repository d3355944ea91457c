"""The drain of a loaded server: what its clients, a load balancer and an operator see of it."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..conftest import Server, wait_until
from ..patience import Stopwatch
from ..raw_client import RawClient
from ..support import make_certificate
from ..visitor import Visitor
from .drain import APP, REFUSED, Drain, LoadBalancer
from .processes import children_of, frozen, is_redis
from .support import assert_none_twice
from .swarm import RELAY, Swarm

Serve = Callable[..., Server]
CLIENTS = 300
DRAIN_SECONDS = 5
#: What ending takes beyond the drain: closing the store, the last log lines, a busy machine.
END_SECONDS = 3
ONE_OR_TWO = pytest.mark.parametrize("processes", ["1", "2"])


@pytest.fixture
def asking(serve: Serve) -> Iterator[ExitStack]:
    """Connections that are closed after the test."""
    with ExitStack() as stack:
        yield stack


def ask(server: Server, asking: ExitStack, path: str, *, keep: bool = True) -> RawClient:
    """Send a request on a connection of its own, on which others may follow."""
    client = asking.enter_context(RawClient(server.port, shake_hands=False))
    client.send(client.handshake_request(path, {"Upgrade": "", "Connection": "" if keep else "close"}))
    return client


@ONE_OR_TWO
def test_drain_under_load(serve: Serve, swarm: Swarm, asking: ExitStack, processes: str) -> None:
    """
    Of 300 clients that talk all are closed with 1012, spread over the drain, and readyz fails before.

    What was asked before is answered with `Connection: close`, and the server ends in time with 0.
    """
    server = serve("--processes", processes, "--drain-seconds", str(DRAIN_SECONDS), app=APP)
    members = swarm.join_many(server.port, CLIENTS)
    swarm.talk(members[:: CLIENTS // 5], 0.25)
    in_flight = ask(server, asking, "/api/1/slow?seconds=2")
    server.wait_for_log("asked")
    drain = Drain(server, swarm)
    balancer = drain.run(DRAIN_SECONDS + END_SECONDS)
    assert drain.status == 0
    assert drain.codes() == {1012: CLIENTS}
    assert [len(member.closes) for member in members] == [1] * CLIENTS
    assert balancer.course() == [200, 503, REFUSED]
    first_close = drain.signalled_at + drain.close_seconds()[0]
    assert balancer.first(503) < first_close
    assert balancer.first(REFUSED) < first_close + 1
    assert drain.busiest(DRAIN_SECONDS / 10) < 0.4
    assert drain.close_seconds()[-1] - drain.close_seconds()[0] > DRAIN_SECONDS / 2
    assert_none_twice(members[:: CLIENTS // 5], members)
    status, headers = in_flight.read_head()
    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(in_flight.read_body(headers)) == {"success": True, "data": "done"}


@ONE_OR_TWO
def test_requests_between(serve: Serve, asking: ExitStack, swarm: Swarm, processes: str) -> None:
    """While the port is still open, a drain refuses handshakes with 503 and answers the rest, once."""
    # The port closes after a share of the drain; a second signal ends both.
    server = serve("--processes", processes, "--drain-seconds", "200", app=APP)
    swarm.join_many(server.port, 10)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log("(?s)" + ".*".join(["not ready any more"] * int(processes)))
    assert Visitor(server.port).get("/readyz").status == 503
    client = ask(server, asking, "/api/1/auth/status")
    status, headers = client.read_head()
    assert (status, headers["connection"]) == (200, "close")
    client.read_body(headers)
    assert client.at_end()
    client = asking.enter_context(RawClient(server.port, shake_hands=False))
    client.send(client.handshake_request(RELAY))
    status, headers = client.read_head()
    assert (status, headers["connection"]) == (503, "close")
    assert int(headers["retry-after"]) > 0
    assert server.stop() == 0


@ONE_OR_TWO
def test_notice_to_those_who_ask(serve: Serve, processes: str) -> None:
    """A server that nobody uses but a load balancer tells it that it ends before the port closes."""
    server = serve("--processes", processes, "--drain-seconds", "10", app=APP)
    # Of several processes any may answer: all have to be watched.
    for _ in range(20):
        assert Visitor(server.port).get("/readyz").status == 200
    with LoadBalancer(server.port) as balancer:
        wait_until(lambda: len(balancer.answers) > 5, what="readyz")
        assert server.stop() == 0
        wait_until(lambda: balancer.answers[-1][1] == REFUSED, what="the port to close")
    assert balancer.course() == [200, 503, REFUSED]


def test_group_is_told_to_end(serve: Serve, swarm: Swarm) -> None:
    """SIGTERM to every process of a server at once, as systemd sends it, drains and does not hurry."""
    server = serve("--processes", "2", "--drain-seconds", "3", app=APP)
    swarm.join_many(server.port, 60)
    drain = Drain(server, swarm)
    workers = [pid for pid in children_of(server.pid) if not is_redis(pid)]

    def tell_the_rest() -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)

    drain.run(3 + END_SECONDS, tell_the_rest)
    assert (drain.status, drain.codes()) == (0, {1012: 60})
    assert drain.close_seconds()[-1] - drain.close_seconds()[0] > 1.5


def test_worker_that_drains_alone(serve: Serve, swarm: Swarm) -> None:
    """A worker that is retired by SIGUSR1 refuses nobody: the others serve, and another takes its place."""
    server = serve("--processes", "2", "--drain-seconds", "2", app=APP)
    server.expected_log = (r"jpulse\.prefork: worker \d+ ended \(exit status 0\)",)
    swarm.join_many(server.port, 20)
    victim = swarm.members[0].pid
    with LoadBalancer(server.port) as balancer:
        os.kill(victim, signal.SIGUSR1)
        swarm.run_until(lambda: victim not in children_of(server.pid), 10, "its end")
        swarm.run_until(lambda: len(re.findall("worker .* serves", server.log)) == 3, 10, "a successor")
    assert balancer.course() == [200]
    assert all(member.closes == ([1012] if member.pid == victim else []) for member in swarm.members)


@pytest.mark.parametrize("way", ["usual", "unusual", "tls"])
def test_request_that_comes_late(serve: Serve, asking: ExitStack, tmp_path: Path, way: str) -> None:
    """Whom a worker accepted before it retired is let in while it drains, and told 1012 with the rest."""
    options, tls = list[str](), None
    if way == "tls":
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        make_certificate(certificate, key)
        options += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        tls = ssl.create_default_context(cafile=str(certificate))
    server = serve("--processes", "2", "--drain-seconds", "6", *options, app=APP)
    server.expected_log = (r"jpulse\.prefork: worker \d+ ended \(exit status 0\)",)
    retiring, other = [pid for pid in children_of(server.pid) if not is_redis(pid)]
    with frozen(other):
        # To close these takes a while.
        for _ in range(40):
            asking.enter_context(RawClient(server.port, RELAY, tls=tls))
        late = [asking.enter_context(RawClient(server.port, tls=tls, shake_hands=False)) for _ in range(20)]
        # Who connects last is the last to be accepted.
        asking.enter_context(RawClient(server.port, RELAY, tls=tls))
    os.kill(retiring, signal.SIGUSR1)
    server.wait_for_log(rf"\[{retiring}\] jpulse\.server: draining 41 connections")
    for client in late:
        client.send(
            client.handshake_request(RELAY, {"X-Twice": "1", "x-twice": "2"} if way == "unusual" else {})
        )
    assert [client.read_head()[0] for client in late] == [101] * len(late)
    assert {client.read_data("here")["pid"] for client in late} == {retiring}
    assert {client.read_close()[0] for client in late} == {1012}
    wait_until(lambda: len(re.findall("worker .* serves", server.log)) == 3, 20, "a successor")


def test_nobody_hangs_behind_a_port_that_is_not_served(serve: Serve, swarm: Swarm) -> None:
    """When workers drain, whoever connects is refused at once and does not wait in the parent's queue."""
    server = serve("--processes", "2", "--drain-seconds", "3", app=APP)
    swarm.join_many(server.port, 30)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log(r"draining(.|\n)*draining")
    watch = Stopwatch()
    with pytest.raises(ConnectionError):
        Visitor(server.port).get("/healthz")
    assert watch.seconds < 2
    swarm.run_until(lambda: server.process.poll() is not None, 10, "the end")
    assert server.process.returncode == 0
