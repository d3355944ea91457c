"""The cases: what is done to a server, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .app import NEWS_SIZES
from .load import Load, Outcome
from .machine import family
from .peers import FLOOR, JPULSE, Address, Peer
from .stage import Server, Stage

CLIENTS = 500
ECHO_CLIENTS = 100
CONNECT_CLIENTS = 2000
NAMESPACES = 1000
#: Load under which latency is measured, as a part of what fills the core.
HALF = 0.5
#: Large enough that a client which does not read fills the kernel's buffers within seconds.
STALLED_PAD = 30_000
STALLED_LOAD = 0.3
#: A client among the idle ones asks so often, to find the loop's pauses.
PROBES_PER_SECOND = 50
#: Until two processes know for certain who is where, what is sent to one client crosses the bridge.
PAIR_SECONDS = 5
BRIDGED_PER_SECOND = 500
BRIDGED_WINDOW = 64


@dataclass(frozen=True)
class Effort:
    """How long is measured."""

    rounds: int
    #: Of one run.
    seconds: float
    stalled_seconds: float
    idle_clients: int
    idle_seconds: float
    #: Clients of the runs that look for growth.
    growth: tuple[int, ...]
    #: Whether long cases are for jPulse alone.
    is_short: bool = False
    #: Flags for the server that holds idle clients: a short run would see no heartbeat.
    idle_flags: tuple[str, ...] = ()


FULL = Effort(
    rounds=5,
    seconds=3,
    stalled_seconds=10,
    idle_clients=10_000,
    idle_seconds=300,
    growth=(100, 1000, 10_000),
)
QUICK = Effort(
    rounds=1,
    seconds=0.4,
    # Too short for the stalled client to be given up.
    stalled_seconds=3,
    idle_clients=2000,
    idle_seconds=6,
    growth=(100, 1000),
    is_short=True,
    idle_flags=("--ping-interval", "3"),
)


@dataclass(frozen=True)
class Bench:
    """What a case works with."""

    stage: Stage
    load: Load
    effort: Effort

    def with_seconds(self, seconds: float) -> Bench:
        """The same, with runs of another length."""
        return replace(self, effort=replace(self.effort, seconds=seconds))


Figures = Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """A figure that a case finds."""

    name: str
    title: str
    unit: str
    digits: int = 1


@dataclass(frozen=True)
class Case:
    """Something that is measured, of every peer or of jPulse alone."""

    name: str
    run: Callable[[Bench, Peer], Figures]
    metrics: tuple[Metric, ...]
    ours_only: bool = False
    #: Whether the floor takes part: it only sends.
    with_floor: bool = False
    #: Takes so long that a short run has it for jPulse alone.
    is_long: bool = False
    #: None means as many as the effort has.
    rounds: int | None = None

    def takes(self, peer: Peer, effort: Effort) -> bool:
        """Tell whether a peer is measured in this case."""
        if peer is FLOOR:
            return self.with_floor
        return peer is JPULSE or not (self.ours_only or (self.is_long and effort.is_short))


# Deliveries


def broadcast(bench: Bench, peer: Peer) -> Figures:
    """One broadcast under way: the next is sent when all clients have it."""
    outcome = _broadcast(bench, peer, window=1)
    return {"broadcast": outcome.cost_us, "payload": outcome.payload_bytes}


def burst(bench: Bench, peer: Peer) -> Figures:
    """16 broadcasts under way, sent together."""
    return {"burst": _broadcast(bench, peer, window=16).cost_us}


def _broadcast(bench: Bench, peer: Peer, window: int) -> Outcome:
    server, seconds = bench.stage.shared(peer), bench.effort.seconds
    return bench.load.run(server, peer.broadcast, "broadcast", CLIENTS, seconds, window=window)


def echo(bench: Bench, peer: Peer) -> Figures:
    """Every client has one message under way."""
    server = bench.stage.shared(peer)
    return {"echo": bench.load.run(server, peer.echo, "echo", ECHO_CLIENTS, bench.effort.seconds).cost_us}


def deflate(bench: Bench, peer: Peer) -> Figures:
    """Broadcasts of JSON as people write it, to clients that take it compressed or not; then to one."""
    server, seconds, figures = bench.stage.shared(peer), bench.effort.seconds, {}
    for size in NEWS_SIZES:
        address = Address(f"/api/1/ws/bench-news-{size}")
        for name, offered in (("plain", False), ("packed", True)):
            outcome = bench.load.run(server, address, "broadcast", CLIENTS, seconds, deflate=offered)
            alone = bench.load.run(server, address, "broadcast", 1, seconds / 2, deflate=offered)
            figures[f"{name}-cost-{size}"] = outcome.cost_us
            figures[f"{name}-alone-{size}"] = alone.cost_us
            figures[f"{name}-bytes-{size}"] = outcome.payload_bytes
    return figures


# Connections


def connect(bench: Bench, peer: Peer) -> Figures:
    """Connections are opened, and stay."""
    with bench.stage.running(peer) as server:
        outcome = bench.load.run(server, peer.echo, "hold", CONNECT_CLIENTS, 0)
    return {"memory": outcome.rss_kb_per_client, "handshakes": 1e6 / outcome.connect_cpu_us}


def session(bench: Bench, peer: Peer) -> Figures:
    """Connections are opened by somebody who is signed in."""
    with bench.stage.running(peer) as server:
        cookie = server.sign_in()
        outcome = bench.load.run(server, peer.echo, "hold", CONNECT_CLIENTS, 0, cookie=cookie)
    return {"session": 1e6 / outcome.connect_cpu_us}


# Latency


def latency(bench: Bench, peer: Peer) -> Figures:
    """Messages come at a steady rate that keeps half of the core busy, broadcast first, then echoed."""
    server = bench.stage.shared(peer)
    return {**_broadcast_latency(bench, peer, server), **_echo_latency(bench, peer, server)}


def _broadcast_latency(bench: Bench, peer: Peer, server: Server) -> Figures:
    cost = _broadcast(bench.with_seconds(bench.effort.seconds / 2), peer, window=1).cost_us
    rate = HALF * 1e6 / (cost * CLIENTS)
    outcome = _paced(bench, peer, server, rate)
    return {
        "broadcast-p50": outcome.p50_us[0] / 1e3,
        "broadcast-p99": outcome.p99_us[0] / 1e3,
        "broadcast-rate": rate * CLIENTS,
    }


def _paced(bench: Bench, peer: Peer, server: Server, rate: float) -> Outcome:
    seconds = bench.effort.seconds
    return bench.load.run(server, peer.broadcast, "paced", CLIENTS, seconds, rate=rate, receivers="all")


def _echo_latency(bench: Bench, peer: Peer, server: Server) -> Figures:
    load, seconds = bench.load, bench.effort.seconds
    # Messages that come one by one cost more than those of a crowd, so the rate is looked for among them.
    rate = HALF * 1e6 / load.run(server, peer.echo, "echo", 4, seconds / 2).cost_us
    outcome = load.run(server, peer.echo, "paced", CLIENTS, seconds, rate=rate, senders=CLIENTS)
    return {"echo-p50": outcome.p50_us[0] / 1e3, "echo-p99": outcome.p99_us[0] / 1e3, "echo-rate": rate}


def stalled(bench: Bench, peer: Peer) -> Figures:
    """One of the clients that get broadcasts stops reading."""
    server, load, seconds = bench.stage.shared(peer), bench.load, bench.effort.stalled_seconds
    alone = load.run(server, peer.broadcast, "broadcast", CLIENTS, seconds / 8, pad=STALLED_PAD)
    rate = STALLED_LOAD * 1e6 / (alone.cost_us * CLIENTS)
    figures = {}
    for name, count in (("without", 0), ("with", 1)):
        options: dict[str, Any] = {"rate": rate, "receivers": "all", "pad": STALLED_PAD, "stalled": count}
        outcome = load.run(server, peer.broadcast, "paced", CLIENTS, seconds, **options)
        figures[f"stalled-p99-{name}"] = outcome.p99_us[0] / 1e3
        figures[f"stalled-growth-{name}"] = outcome.rss_growth_kb / 1024
    figures["stalled-given-up"] = outcome.given_up
    return figures


# Growth


def growth(bench: Bench, peer: Peer) -> Figures:
    """The same with more clients, and with more namespaces."""
    with bench.stage.running(peer, environ={"BENCH_NAMESPACES": str(NAMESPACES)}) as server:
        load, seconds, figures = bench.load, bench.effort.seconds, {}
        for count in bench.effort.growth:
            outcome = load.run(server, peer.broadcast, "broadcast", count, seconds)
            figures[f"growth-{count}"] = outcome.cost_us
        # The floor shows what of the growth is the kernel's; it has no namespaces.
        for count, paths in ((1, 0), (NAMESPACES, NAMESPACES)) if peer is JPULSE else ():
            outcome = load.run(server, peer.echo, "echo", NAMESPACES, seconds, paths=paths)
            figures[f"namespaces-{count}"] = outcome.cost_us
    return figures


def idle(bench: Bench, peer: Peer) -> Figures:
    """Connections that say nothing, with heartbeats; one of them asks now and then."""
    effort = bench.effort
    with bench.stage.running(peer, *effort.idle_flags) as server:
        outcome = bench.load.run(
            *(server, peer.echo, "paced", effort.idle_clients, effort.idle_seconds), rate=PROBES_PER_SECOND
        )
    figures = {
        "idle-cpu": outcome.cpu_percent,
        "idle-pause": max(outcome.max_us) / 1e3,
        "idle-closes": outcome.closes,
        "idle-memory": outcome.rss_kb_per_client,
    }
    # A short run asks for fewer, which says nothing about the goal.
    return figures if effort.is_short else {**figures, "idle-clients": outcome.clients}


# Several processes


def processes(bench: Bench, peer: Peer) -> Figures:
    """Two processes over Redis against one, by what they could deliver with a core each."""
    places = bench.stage.places

    def echoed(server: Server, settle: float) -> Outcome:
        # From the same cores for both: where the load runs is a tenth of what an echo costs.
        options: dict[str, Any] = {"cores": places.pair_load, "settle": settle}
        return bench.load.run(server, peer.echo, "echo", ECHO_CLIENTS, bench.effort.seconds, **options)

    alone = echoed(bench.stage.shared(peer), 0.3)
    with bench.stage.running(peer, "--processes", "2", cores=places.pair) as server:
        pair = echoed(server, PAIR_SECONDS)
    return {
        "one-cost": alone.cost_us,
        "two-cost": pair.cost_us,
        "two-ratio": 2 * alone.cost_us / pair.cost_us,
        "one-wall": alone.deliveries / alone.seconds,
        "two-wall": pair.deliveries / pair.seconds,
    }


def bridge(bench: Bench, peer: Peer) -> Figures:
    """Broadcasts from a client of one process to one of another, both on cores of the benchmark's choice."""
    stage = bench.stage
    alone = _bridged(bench, peer, [stage.shared(peer)], ())
    with (
        stage.redis() as (redis, url),
        stage.running(peer, "--redis-url", url) as here,
        stage.running(peer, "--redis-url", url, cores=stage.places.second) as there,
    ):
        both = [here, there]
        idle_there = bench.load.run(both, peer.broadcast, "hold", 2, bench.effort.seconds)
        pids = family(redis.process.pid)
        outcome = _bridged(bench, peer, both, pids)
        crowd = _bridged(bench, peer, both, pids, window=BRIDGED_WINDOW)
    return _bridge_figures(alone, outcome, crowd, idle_there)


def _bridged(
    bench: Bench, peer: Peer, servers: list[Server], pids: tuple[int, ...] | list[int], window: int = 0
) -> Outcome:
    """Broadcast to one client of each server, at a steady pace or with so many under way."""
    count, seconds = len(servers), bench.effort.seconds
    if window:
        return bench.load.run(servers, peer.broadcast, "broadcast", count, seconds, pids=pids, window=window)
    pace: dict[str, Any] = {"rate": BRIDGED_PER_SECOND, "receivers": "all"}
    return bench.load.run(servers, peer.broadcast, "paced", count, seconds, pids=pids, **pace)


def _bridge_figures(alone: Outcome, outcome: Outcome, crowd: Outcome, idle_there: Outcome) -> Figures:
    publisher, receiver, redis = (each / outcome.sent * 1e6 for each in outcome.cpu_seconds_of)
    resting = idle_there.cpu_seconds_of[1] / idle_there.seconds / BRIDGED_PER_SECOND * 1e6
    return {
        "bridge-publisher": publisher - alone.cpu_seconds / alone.sent * 1e6,
        "bridge-receiver": receiver - resting,
        "bridge-redis": redis,
        "bridge-publisher-crowd": crowd.cpu_seconds_of[0] / crowd.sent * 1e6,
        "bridge-receiver-crowd": crowd.cpu_seconds_of[1] / crowd.sent * 1e6,
        "bridge-p50": (outcome.p50_us[1] - outcome.p50_us[0]) / 1e3,
        "bridge-p99": (outcome.p99_us[1] - outcome.p99_us[0]) / 1e3,
    }


COST = "µs per delivery"

CASES = (
    Case(
        "broadcast",
        broadcast,
        (Metric("broadcast", f"broadcast to {CLIENTS}, one under way", COST, 2),),
        with_floor=True,
    ),
    Case(
        "burst",
        burst,
        (Metric("burst", f"broadcast to {CLIENTS}, 16 under way", COST, 2),),
        with_floor=True,
    ),
    Case("echo", echo, (Metric("echo", f"echo, {ECHO_CLIENTS} clients", COST, 2),), with_floor=True),
    Case(
        "deflate",
        deflate,
        tuple(
            metric
            for size in NEWS_SIZES
            for metric in (
                Metric(f"plain-cost-{size}", f"{size:,} bytes to {CLIENTS}, not compressed", COST, 2),
                Metric(f"packed-cost-{size}", f"{size:,} bytes to {CLIENTS}, compressed", COST, 2),
                Metric(f"plain-alone-{size}", f"{size:,} bytes to one, not compressed", COST, 2),
                Metric(f"packed-alone-{size}", f"{size:,} bytes to one, compressed", COST, 2),
                Metric(f"plain-bytes-{size}", "payload, not compressed", "bytes", 0),
                Metric(f"packed-bytes-{size}", "payload, compressed", "bytes", 0),
            )
        ),
        ours_only=True,
    ),
    Case(
        "connect",
        connect,
        (
            Metric("memory", "memory per idle connection", "kB"),
            Metric("handshakes", "handshakes", "per CPU second", 0),
        ),
    ),
    Case(
        "session",
        session,
        (Metric("session", "handshakes with a session", "per CPU second", 0),),
        ours_only=True,
    ),
    Case(
        "latency",
        latency,
        (
            Metric("broadcast-p50", f"broadcast to {CLIENTS} at half load, p50", "ms", 2),
            Metric("broadcast-p99", f"broadcast to {CLIENTS} at half load, p99", "ms", 2),
            Metric("broadcast-rate", "which is a rate of", "deliveries a second", 0),
            Metric("echo-p50", f"echo, {CLIENTS} clients, at half load, p50", "ms", 2),
            Metric("echo-p99", f"echo, {CLIENTS} clients, at half load, p99", "ms", 2),
            Metric("echo-rate", "which is a rate of", "messages a second", 0),
        ),
        with_floor=True,
        is_long=True,
    ),
    Case(
        "stalled",
        stalled,
        (
            Metric("stalled-p99-without", "broadcasts of 30 kB, p99", "ms", 2),
            Metric("stalled-p99-with", "the same with one client that does not read, p99", "ms", 2),
            Metric("stalled-growth-without", "memory grew without it by", "MB"),
            Metric("stalled-growth-with", "and with it by", "MB"),
            Metric("stalled-given-up", "and it was given up", "1 = yes", 0),
        ),
        is_long=True,
        rounds=2,
    ),
    Case(
        "growth",
        growth,
        (
            *(
                Metric(f"growth-{count}", f"broadcast to {count:,}, one under way", COST, 2)
                for count in sorted({*FULL.growth, *QUICK.growth, 5000})
            ),
            Metric("namespaces-1", "echo, 1,000 clients in one namespace", COST, 2),
            Metric("namespaces-1000", "echo, 1,000 clients in 1,000 namespaces", COST, 2),
        ),
        ours_only=True,
        with_floor=True,
    ),
    Case(
        "idle",
        idle,
        (
            Metric("idle-clients", "idle clients with heartbeats", "", 0),
            Metric("idle-cpu", "CPU while they are idle", "% of a core", 2),
            Metric("idle-pause", "longest pause of the loop, as a client sees it", "ms"),
            Metric("idle-closes", "connections lost", "", 0),
            Metric("idle-memory", "memory for each", "kB"),
        ),
        ours_only=True,
        rounds=1,
    ),
    Case(
        "processes",
        processes,
        (
            Metric("one-cost", "echo, one process", COST, 2),
            Metric("two-cost", "echo, two processes and Redis", COST, 2),
            Metric("two-ratio", "two processes with a core each deliver", "× one", 2),
            Metric("one-wall", "delivered by one", "per second", 0),
            Metric("two-wall", "delivered by two, on the cores that there are", "per second", 0),
        ),
        ours_only=True,
    ),
    Case(
        "bridge",
        bridge,
        (
            Metric("bridge-publisher", f"bridge, {BRIDGED_PER_SECOND} messages a second: sender", "µs"),
            Metric("bridge-receiver", "receiver, with one delivery", "µs"),
            Metric("bridge-redis", "Redis", "µs"),
            Metric("bridge-publisher-crowd", f"{BRIDGED_WINDOW} under way: sender, all in all", "µs"),
            Metric("bridge-receiver-crowd", f"{BRIDGED_WINDOW} under way: receiver, all in all", "µs"),
            Metric("bridge-p50", "later at another process by, p50", "ms", 2),
            Metric("bridge-p99", "later at another process by, p99", "ms", 2),
        ),
        ours_only=True,
    ),
)
