"""What administrators are shown: everything that is known, over all processes."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

from msgspec.structs import replace

from . import metrics
from .activity import Entry
from .bridge.base import Bridge
from .cluster import ALL_LOGGED, NOTHING, Cluster, Snapshot
from .hub import Hub
from .namespace import Registry
from .stats import Figures, merge, series_end
from .timers import LoopLag

#: Entries of the activity log that go into one snapshot; the rest is counted as left out.
MAX_NEWS = 250
#: Messages a second are a mean over so many.
RATE_SECONDS = 5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Overview:
    """Makes this process's snapshot for the others, and of all snapshots one picture."""

    def __init__(self, registry: Registry, hub: Hub, bridge: Bridge, lag: LoopLag) -> None:
        self._registry = registry
        self._hub = hub
        self._bridge = bridge
        self._lag = lag
        self._host = socket.gethostname()
        self._started = monotonic()
        #: The same after a restart; a server that knows its port and its number adds them.
        self.name = self._host
        #: Handshakes that were refused, by reason.
        self.refusals: Counter[str] = Counter()
        #: What the others know of this process, and of its namespaces.
        self._told: Snapshot | None = None
        self._told_figures: dict[str, Figures] = {}
        self._mark = 0
        #: When how many messages had been counted in all.
        self._totals: deque[tuple[float, int]] = deque(maxlen=RATE_SECONDS + 1)

    # For the other processes

    def report(self, whole: bool, log: str) -> Snapshot:
        """What the other processes are told of this one; see `Cluster`."""
        snapshot = self.snapshot()
        snapshot.figures = self._registry.figures(whole=whole)
        self._told = snapshot
        self._told_figures |= snapshot.figures
        snapshot.activity, snapshot.activity_skipped = self._logged(log)
        return snapshot

    def snapshot(self) -> Snapshot:
        """What there is to tell of this process as a whole."""
        return Snapshot(
            pid=os.getpid(),
            host=self._host,
            name=self.name,
            uptime=monotonic() - self._started,
            sockets=self._hub.sockets,
            outbox_bytes=sum(each.queued_bytes for each in self._hub.connections()),
            messages_per_second=self._messages_per_second(),
            memory_bytes=memory_bytes(),
            loop_lag_seconds=self._lag.seconds,
            refusals=dict(self.refusals),
            bridge_state=self._bridge.state,
            bridge=replace(self._bridge.figures),
        )

    def _logged(self, which: str) -> tuple[list[Entry], int]:
        activity, now = self._registry.activity, time.time()
        if which == NOTHING:
            return [], 0
        if which == ALL_LOGGED:
            return activity.entries(now), activity.left_out(now)
        news = activity.since(self._mark, now, MAX_NEWS)
        self._mark = news.mark
        return news.entries, news.skipped

    def count_second(self) -> None:
        """Note how many messages there were; to be called every second."""
        total = sum(each.stats.total for each in self._registry)
        self._totals.append((monotonic(), total))

    def _messages_per_second(self) -> float:
        if len(self._totals) < 2:
            return 0.0
        (begin, before), (end, after) = self._totals[0], self._totals[-1]
        return (after - before) / (end - begin)

    # For administrators

    def get_details(self, cluster: Cluster, store: str, now: float | None = None) -> dict[str, Any]:
        """
        Tell what `get_stats` does, and rates, bytes, drops, closes, handler times, series, processes, bridge.

        `store` is "ok" or what is wrong with it.
        """
        now = time.time() if now is None else now
        stats = self._registry.get_stats(now)
        end = series_end(now, 1 + cluster.others())
        for each in stats["namespaces"]:
            each |= figures_json(merge(self._figures(cluster, each["path"], now), end))
        return {
            **stats,
            "messagesPerSecond": sum(each["messagesPerSecond"] for each in stats["namespaces"]),
            "clients": sum(each["clientCount"] for each in stats["namespaces"]),
            "users": len(self._users()),
            "refusals": self._refusals(cluster),
            "processes": list(self._processes(cluster)),
            "bridge": cluster.bridge_figures(),
            "store": store,
            "seriesEnd": end,
            "activityLeftOut": self._to_log(cluster, now) - len(stats["activityLog"]),
            "activityCap": self._registry.activity.max_entries,
        }

    def _to_log(self, cluster: Cluster, now: float) -> int:
        """How many messages of the last five minutes were logged, or should have been, in all processes."""
        own = self._registry.activity
        kept = len(own.entries(now)) + len(cluster.activity(now))
        return kept + own.left_out(now) + cluster.activity_skipped()

    def get_metrics(self, cluster: Cluster) -> bytes:
        """
        Tell all figures in Prometheus' text format.

        With others there, this process tells of itself what it has told them: counters
        must not fall when the next scrape is answered by another process.
        """
        if cluster.others() and self._told is not None:
            own = metrics.Process(self._told, dict(self._told_figures))
        else:
            now = time.time()
            own = metrics.Process(
                self.snapshot(),
                {each.path: each.stats.figures(now) for each in self._registry if not each.hidden},
            )
        others = [metrics.Process(peer.snapshot, peer.figures) for peer in cluster.peers.values()]
        return metrics.render([own, *others])

    def _figures(self, cluster: Cluster, path: str, now: float) -> Iterable[Figures]:
        namespace = self._registry.find(path)
        own = [namespace.stats.figures(now)] if namespace else []
        return [*own, *cluster.figures_of(path, now)]

    def _users(self) -> set[str]:
        """The keys of all who are signed in and connected."""
        crowds = [members.users for members in self._hub.members.values()]
        return {key for crowd in crowds for keys in (crowd.here, crowd.elsewhere) for key in keys}

    def _refusals(self, cluster: Cluster) -> dict[str, int]:
        """Handshakes that were refused, by reason, in all processes; the reasons in order."""
        total = self.refusals.copy()
        for _, snapshot, _ in cluster.snapshots():
            total.update(snapshot.refusals)
        return dict(sorted(total.items()))

    def _processes(self, cluster: Cluster) -> Iterator[dict[str, Any]]:
        """This process first, then the others by name."""
        yield process_json(self._bridge.instance, self.snapshot(), 0.0)
        for instance, snapshot, age in sorted(cluster.snapshots(), key=lambda each: each[1].name):
            yield process_json(instance, snapshot, age)


def figures_json(figures: Figures) -> dict[str, Any]:
    """What of a namespace's figures `get_stats` does not tell."""
    return {
        "messagesPerSecond": figures.per_second(),
        "deliveries": figures.deliveries,
        "bytesIn": figures.bytes_in,
        "bytesOut": figures.bytes_out,
        "bytesSaved": figures.bytes_saved,
        "dropped": figures.dropped,
        "connects": figures.connects,
        "closes": {str(code): count for code, count in figures.closes.items()},
        "handlerP50": figures.handler_quantile(0.5),
        "handlerP99": figures.handler_quantile(0.99),
        "series": figures.series,
    }


def process_json(instance: bytes, snapshot: Snapshot, age: float) -> dict[str, Any]:
    """What is told of a process, from a snapshot that is `age` seconds old."""
    return {
        "instance": instance.hex(),
        "pid": snapshot.pid,
        "host": snapshot.host,
        "name": snapshot.name,
        "clients": snapshot.sockets,
        "messagesPerSecond": snapshot.messages_per_second,
        "memoryBytes": snapshot.memory_bytes,
        "loopLagSeconds": snapshot.loop_lag_seconds,
        "uptime": snapshot.uptime + age,
    }


def memory_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
