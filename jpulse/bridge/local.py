"""The bridge of one process that has no others."""

from __future__ import annotations

from .base import Bridge, BridgeEvents, Kind


class LocalBridge(Bridge):
    """Leads nowhere, and is always up."""

    kind = "local"

    async def start(self, events: BridgeEvents) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    def publish(self, topic: str, kind: Kind, payload: bytes, target: str = "") -> None:
        """Do nothing."""

    def subscribe(self, topic: str) -> None:
        """Do nothing."""

    def unsubscribe(self, topic: str) -> None:
        """Do nothing."""

    async def attend(self, topic: str) -> None:
        """Do nothing."""
