"""How often one client address may shake hands: a bucket of tokens each, in memory that is bounded."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

#: What a bucket holds, in seconds of its rate: after a restart a whole office comes back at once.
BURST_SECONDS = 10.0
#: Addresses that are remembered; the one that came longest ago is forgotten first, and starts afresh.
MAX_ADDRESSES = 20_000
#: What one subscriber has of IPv6 (RFC 6177); within it anybody can take addresses as he likes.
IPV6_PREFIX = 64


class HandshakeRate:
    """
    Lets each address shake hands so many times a second, ten times that at once; 0 is no limit.

    `is_exempt` tells which addresses stand for many clients: loopback is always one of them.
    """

    def __init__(
        self,
        per_second: int,
        is_exempt: Callable[[str], bool] = lambda address: False,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._per_second = per_second
        self._burst = BURST_SECONDS * per_second
        self._is_exempt = is_exempt
        self._max_addresses = max_addresses
        #: The tokens that were left, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, address: str, now: float) -> float:
        """Seconds until an address may shake hands; 0 if it may now."""
        if not self._counts(address):
            return 0.0
        missing = 1.0 - self._tokens(group_of(address), now)
        # Rounding must not make anybody wait a billionth of a second.
        return missing / self._per_second if missing > 1e-6 else 0.0

    def take(self, address: str, now: float) -> None:
        """Count a handshake."""
        if not self._counts(address):
            return
        group = group_of(address)
        self._buckets[group] = max(0.0, self._tokens(group, now) - 1.0), now
        self._buckets.move_to_end(group)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)

    def _tokens(self, group: str, now: float) -> float:
        left, at = self._buckets.get(group, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_second)

    def _counts(self, address: str) -> bool:
        if not self._per_second or address == "::1" or address.startswith(("127.", "::ffff:127.")):
            return False
        return not self._is_exempt(address)


def group_of(address: str) -> str:
    """Name whose address it is, as far as can be told: of IPv6 the network, else the address itself."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX), strict=False).network_address)
