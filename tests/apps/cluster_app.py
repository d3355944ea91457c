"""Namespaces that say across processes what they are told, and tell what a process knows of the others."""

from __future__ import annotations

import os
from typing import Any

from jpulse import App, Connection, NamespaceHandler


class Relay(NamespaceHandler):
    """Passes on what clients say, in each way that there is of sending."""

    path = "/api/1/ws/relay"
    max_messages_per_second = 0
    max_outbox_bytes = 64 * 1024 * 1024

    def __init__(self) -> None:
        #: What on_bridge was told.
        self.states: list[str] = []

    def on_connect(self, conn: Connection) -> None:
        """Tell which process this is."""
        conn.send({"type": "here", "pid": os.getpid()})

    def on_message(self, conn: Connection) -> None:
        """Send as the type says, to whom `to` says."""
        message = conn.message
        said = {"type": "said", "sender": message.get("sender"), "number": message.get("number")}
        match message.get("type"):
            case "say":
                self.broadcast(said, conn.ctx)
            case "say to others":
                self.broadcast(said, conn.ctx, exclude=conn.client_id)
            case "say to client":
                self.send_to_client(message["to"], said, conn.ctx)
            case "say to user":
                self.send_to_user(message["to"], said, conn.ctx)
            case "flood":
                self._flood(message, said)

    def _flood(self, message: dict[str, Any], said: dict[str, Any]) -> None:
        pad = "x" * message["size"]
        for number in range(message["number"], message["number"] + message["count"]):
            self.broadcast({**said, "number": number, "pad": pad})

    def on_bridge(self, state: str) -> None:
        """Keep what became of the way to the other processes."""
        self.states.append(state)


class Quiet(NamespaceHandler):
    """Says nothing by itself and passes on nothing."""

    path = "/api/1/ws/quiet"


class Members(NamespaceHandler):
    """For signed-in users only."""

    path = "/api/1/ws/members"
    require_auth = True


class Admins(NamespaceHandler):
    """For administrators only."""

    path = "/api/1/ws/admins"
    require_roles = ("admin",)

    def on_connect(self, conn: Connection) -> None:
        """Tell which process this is."""
        conn.send({"type": "here", "pid": os.getpid()})


def figures(app: App, relay: Relay) -> dict[str, Any]:
    """What this process knows."""
    return {
        "type": "figures",
        "pid": os.getpid(),
        "bridge": app.cluster.bridge_figures(),
        "states": relay.states,
        "stats": app.websockets.get_stats(),
    }


def setup(app: App) -> None:
    """Register all, and a namespace that tells the figures of the process that serves it."""
    relay = app.websockets.register(Relay)
    assert isinstance(relay, Relay)
    app.websockets.register(Quiet)
    app.websockets.register(Members)
    app.websockets.register(Admins)
    telling = app.websockets.create_namespace("/api/1/ws/figures", max_messages_per_second=0)
    telling.on_message(lambda conn: conn.send(figures(app, relay)))
