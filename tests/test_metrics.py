"""What Prometheus reads: names, labels and figures, over all processes, and who may read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jpulse.bridge.base import DOWN, UP, BridgeFigures
from jpulse.cluster import Snapshot
from jpulse.metrics import MAX_NAMESPACES, Process, render
from jpulse.stats import BUCKETS, Figures

from .conftest import Server, wait_until
from .raw_client import RawClient
from .visitor import Answer, Visitor

CHAINED = "/api/1/ws/chained"
#: A sample: its value by name and labels.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Read the text format with Prometheus' own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """The value of one sample."""
    return found[name, frozenset(labels.items())]


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum over all samples of a name that have these labels."""
    return sum(
        number
        for (each, own), number in found.items()
        if each == name and labels.items() <= dict(own).items()
    )


def process(name: str = "web:8080/0", **figures: Figures) -> Process:
    """A process with figures of namespaces."""
    return Process(Snapshot(name=name), {f"/api/1/ws/{path}": each for path, each in figures.items()})


# The text


def test_every_figure_of_a_namespace() -> None:
    """What is counted of a namespace is told under its process and path."""
    counts = [0] * (len(BUCKETS) + 1)
    counts[0], counts[3], counts[-1] = 5, 2, 1
    figures = Figures(
        total=30,
        received=8,
        deliveries=100,
        bytes_in=800,
        bytes_out=9000,
        dropped={"rate": 3, "slow": 1},
        connects=12,
        pauses=3,
        closes={1000: 6, 4401: 2},
        handler_counts=counts,
        handler_seconds=12.5,
    )
    found = samples(render([process(chat=figures)]).decode())
    where = {"process": "web:8080/0", "namespace": "/api/1/ws/chat"}
    assert value(found, "jpulse_connections", **where) == 4
    assert value(found, "jpulse_connects_total", **where) == 12
    assert value(found, "jpulse_input_pauses_total", **where) == 3
    assert value(found, "jpulse_messages_total", direction="in", **where) == 8
    assert value(found, "jpulse_messages_total", direction="out", **where) == 22
    assert value(found, "jpulse_deliveries_total", **where) == 100
    assert value(found, "jpulse_received_bytes_total", **where) == 800
    assert value(found, "jpulse_sent_bytes_total", **where) == 9000
    assert value(found, "jpulse_dropped_total", reason="rate", **where) == 3
    assert value(found, "jpulse_closes_total", code="4401", **where) == 2
    assert value(found, "jpulse_handler_seconds_bucket", le="0.0005", **where) == 5
    assert value(found, "jpulse_handler_seconds_bucket", le="+Inf", **where) == 8
    assert value(found, "jpulse_handler_seconds_sum", **where) == 12.5
    assert value(found, "jpulse_handler_seconds_count", **where) == 8


@pytest.mark.parametrize(("state", "up"), [(UP, 1), (DOWN, 0)])
def test_every_figure_of_a_process(state: str, up: int) -> None:
    """What is known of a process as a whole is told under its name, its bridge's figures too."""
    snapshot = Snapshot(
        name="web:8080/1",
        uptime=60.5,
        sockets=7,
        outbox_bytes=4096,
        memory_bytes=50_000_000,
        loop_lag_seconds=0.25,
        refusals={"origin": 2},
        bridge_state=state,
        bridge=BridgeFigures(published=9, received=8, lost=7, gaps=6, lag_seconds=0.002),
    )
    found = samples(render([Process(snapshot, {})]).decode())
    where = {"process": "web:8080/1"}
    assert value(found, "jpulse_sockets", **where) == 7
    assert value(found, "jpulse_outbox_bytes", **where) == 4096
    assert value(found, "jpulse_memory_bytes", **where) == 50_000_000
    assert value(found, "jpulse_loop_lag_seconds", **where) == 0.25
    assert value(found, "jpulse_uptime_seconds", **where) == 60.5
    assert value(found, "jpulse_handshake_refusals_total", reason="origin", **where) == 2
    assert value(found, "jpulse_bridge_up", **where) == up
    assert value(found, "jpulse_bridge_lag_seconds", **where) == 0.002
    assert [
        value(found, f"jpulse_bridge_{name}_total", **where) for name in ("published", "lost", "gaps")
    ] == [9, 7, 6]
    assert total(found, "jpulse_build_info") == 1


def test_namespaces_are_bounded() -> None:
    """Of more namespaces than can be told apart the rest is told as one, and nothing is left out."""
    figures = {f"n{number:04}": Figures(total=1, connects=2) for number in range(MAX_NAMESPACES + 50)}
    found = samples(render([process(**figures)]).decode())
    labels = {dict(own)["namespace"] for name, own in found if name == "jpulse_connects_total"}
    assert len(labels) == MAX_NAMESPACES + 1
    assert value(found, "jpulse_connects_total", process="web:8080/0", namespace="other") == 100
    assert total(found, "jpulse_messages_total", direction="out") == MAX_NAMESPACES + 50


def test_processes_stand_side_by_side() -> None:
    """Two processes have series of their own, so that one may end without the other's falling."""
    both = [process("a:1/0", chat=Figures(connects=3)), process("a:1/1", chat=Figures(connects=4))]
    found = samples(render(both).decode())
    assert value(found, "jpulse_connects_total", process="a:1/0", namespace="/api/1/ws/chat") == 3
    assert value(found, "jpulse_connects_total", process="a:1/1", namespace="/api/1/ws/chat") == 4


def test_successor_with_the_same_name() -> None:
    """Two processes of one name, of which one drains, have different labels; the younger keeps the name."""
    young, old = (
        Process(Snapshot(name="a:1/0", pid=pid, uptime=uptime), {"/api/1/ws/chat": Figures(connects=pid)})
        for pid, uptime in ((12, 1.0), (11, 500.0))
    )
    for order in ([young, old], [old, young]):
        found = samples(render(order).decode())
        assert value(found, "jpulse_connects_total", process="a:1/0", namespace="/api/1/ws/chat") == 12
        assert value(found, "jpulse_connects_total", process="a:1/0/11", namespace="/api/1/ws/chat") == 11


# Who may read it


def ask(server: Server, headers: dict[str, str] | None = None) -> Answer:
    """GET /metrics."""
    return Visitor(server.port, headers).get("/metrics")


def test_loopback_may_read(server: Server) -> None:
    """Prometheus on the same machine gets the text format."""
    answer = ask(server)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert total(samples(answer.text), "jpulse_build_info") == 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_proxy_on_loopback_is_not_loopback(server: Server, header: str) -> None:
    """What a proxy passes on that nobody trusts is not taken for a request of this machine."""
    answer = ask(server, {header: "for=203.0.113.7" if header == "Forwarded" else "203.0.113.7"})
    assert answer.status == 403
    assert "metrics_networks" in answer.error


def test_trusted_proxy(serve: Callable[..., Server]) -> None:
    """Behind a trusted proxy the client's own address counts."""
    server = serve("--trusted-proxies", "127.0.0.1", "--metrics-networks", "10.0.0.0/8")
    assert ask(server, {"X-Forwarded-For": "10.1.2.3"}).status == 200
    assert ask(server, {"X-Forwarded-For": "203.0.113.7"}).status == 403
    assert ask(server).status == 403


def test_admins_may_read(serve: Callable[..., Server]) -> None:
    """An administrator may read it from anywhere."""
    server = serve("--metrics-networks", "10.0.0.0/8")
    visitor = Visitor(server.port)
    assert visitor.get("/metrics").status == 403
    visitor.sign_in()
    assert visitor.get("/metrics").status == 200


# Over processes


def test_truth_over_processes(serve: Callable[..., Server], redis_url: str) -> None:
    """Whichever process is asked tells of all, and what they tell is what happened."""
    app = "tests.apps.behaviours"
    servers = [serve("--redis-url", redis_url, "--redis-prefix", "metrics", app=app) for _ in range(2)]
    for server, count in zip(servers, (3, 5), strict=True):
        with RawClient(server.port, CHAINED) as client:
            for number in range(count):
                client.send_json({"type": "say", "text": str(number)})
                client.read_data("said")

    def received(server: Server) -> float:
        return total(samples(ask(server).text), "jpulse_messages_total", namespace=CHAINED, direction="in")

    for server in servers:
        wait_until(lambda server=server: received(server) == 8, what="the figures of both")
        found = samples(ask(server).text)
        assert len({dict(own)["process"] for name, own in found if name == "jpulse_sockets"}) == 2


def test_refusals_are_counted(server: Server) -> None:
    """A handshake that is refused is counted with its reason."""
    Visitor(server.port, {"Origin": "https://elsewhere.example"}).get("/api/1/ws/hello-emoji")
    found = samples(ask(server).text)
    assert total(found, "jpulse_handshake_refusals_total", reason="origin") == 1
