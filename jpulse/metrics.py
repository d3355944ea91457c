"""
Figures for Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/

Whichever process answers tells of all, each under its own label `process` (host, port,
number of the worker), as the others have told about a second before. A counter that was
a sum would fall when a process ends, which Prometheus takes for a restart.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from . import __version__
from .bridge.base import DOWN
from .cluster import Snapshot
from .stats import BUCKETS, Figures, merge

#: Namespaces that are told apart; what is beyond them is told as one.
MAX_NAMESPACES = 100
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Process(NamedTuple):
    """One process's figures, by namespace and as a whole."""

    snapshot: Snapshot
    figures: dict[str, Figures]


def render(processes: Iterable[Process]) -> bytes:
    """Write all figures in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector([_bounded(each) for each in _with_names_of_their_own(processes)]))
    return generate_latest(registry)


def _with_names_of_their_own(processes: Iterable[Process]) -> Iterator[Process]:
    """
    Tell predecessors by their process id too.

    While a worker drains its successor has the same name, and a dead one's is known for
    some seconds. Two series with the same labels would void the whole scrape.
    """
    taken = set()
    for process in sorted(processes, key=lambda each: each.snapshot.uptime):
        snapshot = process.snapshot
        if snapshot.name in taken:
            named = msgspec.structs.replace(snapshot, name=f"{snapshot.name}/{snapshot.pid}")
            process = Process(named, process.figures)
        taken.add(process.snapshot.name)
        yield process


def _bounded(process: Process) -> Process:
    """Put what is beyond the bound together, so that a site with thousands of namespaces can be scraped."""
    paths = sorted(process.figures)
    figures = {path: process.figures[path] for path in paths[:MAX_NAMESPACES]}
    rest = [process.figures[path] for path in paths[MAX_NAMESPACES:]]
    if rest:
        figures[OTHER] = merge(rest, 0)
    return Process(process.snapshot, figures)


class _Collector(Collector):
    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        """Make every family."""
        info = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("jpulse_build", "What is running", info)
        yield from self._of_namespaces()
        yield self._drops()
        yield self._closes()
        yield self._handler_seconds()
        yield from self._of_processes()
        yield self._refusals()
        yield from self._of_bridges()

    def _each(self) -> Iterator[tuple[list[str], Figures]]:
        """The labels and the figures of each namespace in each process."""
        for snapshot, figures in self._processes:
            for path, each in figures.items():
                yield [snapshot.name, path], each

    def _of_namespaces(self) -> Iterator[Metric]:
        labels = ("process", "namespace")
        open_ = GaugeMetricFamily("jpulse_connections", "Open WebSockets", labels=labels)
        messages = CounterMetricFamily(
            "jpulse_messages",
            "Messages that came in, and that were sent, to one or to many",
            labels=(*labels, "direction"),
        )
        deliveries = CounterMetricFamily("jpulse_deliveries", "Frames put into outboxes", labels=labels)
        received = CounterMetricFamily(
            "jpulse_received_bytes", "Bytes of messages that came in", labels=labels
        )
        sent = CounterMetricFamily("jpulse_sent_bytes", "Bytes put into outboxes", labels=labels)
        saved = CounterMetricFamily(
            "jpulse_saved_bytes", "Bytes that compression kept from being sent", labels=labels
        )
        connects = CounterMetricFamily("jpulse_connects", "WebSockets that were opened", labels=labels)
        pauses = CounterMetricFamily(
            "jpulse_input_pauses",
            "Times that a client was not read, since its handler was busy",
            labels=labels,
        )
        for values, each in self._each():
            open_.add_metric(values, each.connects - sum(each.closes.values()))
            messages.add_metric([*values, "in"], each.received)
            messages.add_metric([*values, "out"], each.total - each.received)
            deliveries.add_metric(values, each.deliveries)
            received.add_metric(values, each.bytes_in)
            sent.add_metric(values, each.bytes_out)
            saved.add_metric(values, each.bytes_saved)
            connects.add_metric(values, each.connects)
            pauses.add_metric(values, each.pauses)
        yield from (open_, messages, deliveries, received, sent, saved, connects, pauses)

    def _drops(self) -> Metric:
        family = CounterMetricFamily(
            "jpulse_dropped", "Messages that were dropped", labels=("process", "namespace", "reason")
        )
        for values, each in self._each():
            for reason, count in each.dropped.items():
                family.add_metric([*values, reason], count)
        return family

    def _closes(self) -> Metric:
        family = CounterMetricFamily(
            "jpulse_closes", "WebSockets that ended, by close code", labels=("process", "namespace", "code")
        )
        for values, each in self._each():
            for code, count in each.closes.items():
                family.add_metric([*values, str(code)], count)
        return family

    def _handler_seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "jpulse_handler_seconds", "How long on_message took", labels=("process", "namespace")
        )
        bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
        for values, each in self._each():
            if each.handler_counts:
                buckets = list(zip(bounds, accumulate(each.handler_counts), strict=True))
                family.add_metric(values, buckets, each.handler_seconds)
        return family

    def _of_processes(self) -> Iterator[Metric]:
        for name, help_, field in (
            ("jpulse_sockets", "Sockets that take a place, in any state", "sockets"),
            ("jpulse_outbox_bytes", "Bytes that wait for clients", "outbox_bytes"),
            ("jpulse_memory_bytes", "Memory in RAM", "memory_bytes"),
            ("jpulse_loop_lag_seconds", "Longest delay of the event loop in ten seconds", "loop_lag_seconds"),
            ("jpulse_uptime_seconds", "Time since the process was started", "uptime"),
        ):
            family = GaugeMetricFamily(name, help_, labels=("process",))
            for snapshot, _ in self._processes:
                family.add_metric([snapshot.name], getattr(snapshot, field))
            yield family

    def _refusals(self) -> Metric:
        family = CounterMetricFamily(
            "jpulse_handshake_refusals", "Handshakes that were refused", labels=("process", "reason")
        )
        for snapshot, _ in self._processes:
            for reason, count in snapshot.refusals.items():
                family.add_metric([snapshot.name, reason], count)
        return family

    def _of_bridges(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "jpulse_bridge_up", "1 while other processes can be reached", labels=("process",)
        )
        lag = GaugeMetricFamily(
            "jpulse_bridge_lag_seconds", "Time that a packet to itself was under way", labels=("process",)
        )
        for snapshot, _ in self._processes:
            up.add_metric([snapshot.name], float(snapshot.bridge_state != DOWN))
            if snapshot.bridge.lag_seconds is not None:
                lag.add_metric([snapshot.name], snapshot.bridge.lag_seconds)
        yield from (up, lag)
        for name, help_ in (
            ("published", "Packets that went out"),
            ("received", "Packets that came in"),
            ("lost", "Packets that were to go out and could not"),
            ("gaps", "Packets of others that did not arrive"),
            ("duplicates", "Packets that came twice and were left out"),
            ("damaged", "Packets that were not what was sent"),
            ("newer", "Packets of a newer version, which were left out"),
            ("reconnects", "Times that the bridge came back"),
        ):
            family = CounterMetricFamily(f"jpulse_bridge_{name}", help_, labels=("process",))
            for snapshot, _ in self._processes:
                family.add_metric([snapshot.name], getattr(snapshot.bridge, name))
            yield family
