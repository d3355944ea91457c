"""Handshakes of one address: so many a second, and more in a burst, in memory that is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpulse.rates import BURST_SECONDS, HandshakeRate, group_of

NOW = 1_000_000.0
ANN, BOB = "192.0.2.1", "192.0.2.2"


def taken_at_once(rate: HandshakeRate, address: str, now: float, most: int = 100_000) -> int:
    """How many handshakes an address gets at one moment."""
    for count in range(most):
        if rate.wait(address, now):
            return count
        rate.take(address, now)
    return most


@pytest.mark.parametrize("per_second", [1, 3, 7, 50, 500])
def test_burst(per_second: int) -> None:
    """An address gets ten seconds' worth at once, not one more, and the next after its wait."""
    rate = HandshakeRate(per_second)
    assert taken_at_once(rate, ANN, NOW) == BURST_SECONDS * per_second
    wait = rate.wait(ANN, NOW)
    assert wait == pytest.approx(1 / per_second)
    assert rate.wait(ANN, NOW + 0.9 * wait) > 0
    assert taken_at_once(rate, ANN, NOW + wait) == 1


def test_refill() -> None:
    """After a while of silence the bucket is full again, and never more than full."""
    rate = HandshakeRate(5)
    taken_at_once(rate, ANN, NOW)
    assert taken_at_once(rate, ANN, NOW + 3) == 15
    assert taken_at_once(rate, ANN, NOW + 1000) == 50


def test_each_address_for_itself() -> None:
    """One address that shakes hands too often takes nothing from another."""
    rate = HandshakeRate(2)
    taken_at_once(rate, ANN, NOW)
    assert rate.wait(ANN, NOW) > 0
    assert rate.wait(BOB, NOW) == 0


def test_refusals_cost_nothing() -> None:
    """Who asks in vain does not wait longer for it."""
    rate = HandshakeRate(1)
    taken_at_once(rate, ANN, NOW)
    waits = {rate.wait(ANN, NOW) for _ in range(100)}
    assert len(waits) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.1"])
def test_addresses_that_stand_for_many(address: str) -> None:
    """Loopback, and whoever is exempt, have no limit and are not remembered."""
    rate = HandshakeRate(1, is_exempt=lambda each: each == "10.0.0.1")
    assert taken_at_once(rate, address, NOW, most=1000) == 1000
    assert len(rate) == 0


def test_no_limit() -> None:
    """With 0 there is no limit."""
    rate = HandshakeRate(0)
    assert taken_at_once(rate, ANN, NOW, most=1000) == 1000
    assert len(rate) == 0


def test_many_addresses() -> None:
    """However many addresses there are, a bounded number is remembered: those that came last."""
    rate = HandshakeRate(1, max_addresses=100)
    for number in range(10_000):
        rate.take(f"10.0.{number // 256}.{number % 256}", NOW + number * 1e-6)
    assert len(rate) == 100
    assert taken_at_once(rate, "10.0.39.15", NOW + 0.01) == 9
    assert taken_at_once(rate, "10.0.0.1", NOW + 0.01) == 10


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_groups(address: str, group: str) -> None:
    """IPv4 addresses count each for itself, those of IPv6 by their network of 64 bits."""
    assert group_of(address) == group


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300), st.integers(1, 20))
def test_never_more_than_the_rate(pauses: list[float], per_second: int) -> None:
    """Whenever an address comes, it gets no more than the burst and what its rate has brought since."""
    rate, now, taken = HandshakeRate(per_second), NOW, 0
    for pause in pauses:
        now += pause
        if not rate.wait(ANN, now):
            rate.take(ANN, now)
            taken += 1
    assert taken <= (BURST_SECONDS + now - NOW) * per_second + 1e-3
