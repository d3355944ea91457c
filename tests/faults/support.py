"""What several fault tests ask and check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ..raw_client import RawClient
from .swarm import Member

FIGURES = "/api/1/ws/figures"
#: So often a client connects until it has met every process behind one port.
MAX_TRIES = 400


def figures(port: int) -> dict[str, Any]:
    """What a process knows; behind a port that several share, one that happens to answer."""
    with RawClient(port, FIGURES) as client:
        client.send_json({"type": "tell"})
        return client.read_data("figures")


def figures_of_all(port: int, count: int) -> dict[int, dict[str, Any]]:
    """What each of the processes behind one port knows, by process id."""
    found: dict[int, dict[str, Any]] = {}
    for _ in range(MAX_TRIES):
        told = figures(port)
        found[told["pid"]] = told
        if len(found) == count:
            return found
    raise AssertionError(f"met {len(found)} of {count} processes in {MAX_TRIES} connections")


def in_namespace(told: dict[str, Any], path: str) -> dict[str, Any]:
    """The figures of one namespace, of all that a process told."""
    found = {each["path"]: each for each in told["stats"]["namespaces"]}[path]
    assert isinstance(found, dict)
    return found


def assert_each_once_in_order(senders: Iterable[Member], listeners: Sequence[Member]) -> None:
    """Every listener heard all that every sender said."""
    for sender in senders:
        said = list(range(sender.said))
        for listener in listeners:
            assert listener.numbers(sender) == said, f"{listener.name} of {sender.name}"


def assert_none_twice(senders: Iterable[Member], listeners: Sequence[Member]) -> None:
    """Listeners heard only numbers that were said, in order and each once; some may be missing."""
    for sender in senders:
        for listener in listeners:
            numbers = listener.numbers(sender)
            assert all(type(number) is int and 0 <= number < sender.said for number in numbers)
            assert all(a < b for a, b in pairwise(numbers)), (
                listener.name,
                sender.name,
            )
