"""The Grafana dashboard asks for figures that there are."""

from __future__ import annotations

import json
import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from jpulse.cluster import Snapshot
from jpulse.metrics import Process, render
from jpulse.stats import NamespaceStats

from .conftest import ROOT

NOON = 1_700_000_000.0


def expressions() -> list[str]:
    """Every query of the dashboard."""
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return [target["expr"] for target in targets] + [each["query"] for each in variables]


def samples() -> dict[str, set[str]]:
    """What /metrics has of a process in which everything happened: names with their labels."""
    stats = NamespaceStats()
    stats.received(NOON, 1)
    stats.delivered(1, 1)
    stats.drop("rate")
    stats.connected()
    stats.closed(1000)
    stats.handled(0.001)
    snapshot = Snapshot(name="web-1", refusals={"origin": 1})
    snapshot.bridge.lag_seconds = 0.001
    text = render([Process(snapshot, {"/api/1/ws/chat": stats.figures(NOON)})]).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def labels_of(expression: str) -> set[str]:
    """The labels that a query selects or groups by."""
    grouped: list[Any] = re.findall(r"by \(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)=~", expression)
    return {label.strip() for each in grouped for label in each.split(",")} | set(selected)


def test_every_figure_is_there() -> None:
    """Each query names figures that /metrics has, by labels that those have."""
    known = samples()
    for expression in expressions():
        names = re.findall(r"jpulse_\w+", expression)
        assert names, expression
        assert set(names) <= set(known), expression
        assert labels_of(expression) <= set.union(*(known[name] for name in names)), expression


def test_every_figure_is_shown() -> None:
    """Whatever /metrics tells of the server is somewhere on the dashboard."""
    asked = {name for expression in expressions() for name in re.findall(r"jpulse_\w+", expression)}
    own = {re.sub(r"_(bucket|sum|count)$", "_bucket", name) for name in samples()}
    assert {name for name in own if not name.endswith(("_info", "_created"))} <= asked
