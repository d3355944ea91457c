"""The architecture, drawn from the running system: what any visitor may see of it, counts and states."""

from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler
from jpulse.timers import Repeating

UPDATE_SECONDS = 1.0


class Architecture(NamespaceHandler):
    """
    Tells who looks how the system stands: at once, and again every second in which it has changed.

    One timer serves all viewers of a process, and rests while there are none.
    """

    path = "/api/1/ws/hello-architecture"
    # Counted in no statistics: the picture would show its own traffic.
    hidden = True

    def __init__(self) -> None:
        self._timer: Repeating | None = None
        self._told: dict[str, Any] = {}

    def on_connect(self, conn: Connection) -> None:
        """Show the picture; the first viewer starts the timer."""
        conn.send({"type": "picture", "picture": picture(self.app)})
        # What a newcomer was shown may differ from what the others know: the next one goes to all.
        self._told = {}
        if self._timer is None:
            self._timer = Repeating(self._update, UPDATE_SECONDS)
            self._timer.start()

    def on_message(self, conn: Connection) -> None:
        """Say that nothing is awaited."""
        raise ClientError("type: this address only tells")

    def on_disconnect(self, conn: Connection) -> None:
        """Stop the timer when nobody looks any more."""
        if not self.namespace.members.connections and self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _update(self) -> None:
        now = picture(self.app)
        if now != self._told:
            self._told = now
            # Each process tells its own viewers, who are told which process is theirs.
            self.broadcast({"type": "picture", "picture": now}, local_only=True)


def picture(app: App) -> dict[str, Any]:
    """
    The parts of the system and how they are, over all processes.

    Processes are numbered and namespaces are those that are no secret: no addresses, names or
    process ids. `clients` of a namespace counts by process, in the order of `processes`; its
    `total` counts a browser once that is in two of them.
    """
    others = sorted(app.cluster.snapshots(), key=lambda each: (each[1].name, each[0]))
    names = sorted([(app.overview.name, app.bridge.instance), *((each[1].name, each[0]) for each in others)])
    own = names.index((app.overview.name, app.bridge.instance))
    sockets = [snapshot.sockets for _, snapshot, _ in others]
    sockets.insert(own, app.hub.sockets)
    return {
        "processes": [{"own": number == own, "connections": count} for number, count in enumerate(sockets)],
        "namespaces": [
            _namespace(each, own, [snapshot.census.get(each.path, (0, 0))[0] for _, snapshot, _ in others])
            for each in app.websockets
            if not each.hidden
        ],
        "bridge": {"kind": str(app.bridge.kind), "isUp": app.bridge.state == "up"},
        "store": {"kind": "MongoDB" if app.config.mongo_url else "SQLite", "isUp": app.store_state == "ok"},
    }


def _namespace(namespace: Any, own: int, clients: list[int]) -> dict[str, Any]:
    clients.insert(own, len(namespace.members.clients.here))
    return {
        "path": namespace.path,
        "status": namespace.get_stats()["status"],
        "total": namespace.client_count,
        "clients": clients,
    }


def summary(picture: dict[str, Any]) -> str:
    """The picture in one sentence, as static/demos/architecture.js writes it."""
    count = sum(each["connections"] for each in picture["processes"])
    parts = (
        f"{_counted(len(picture['processes']), 'process serves', 'processes serve')} "
        + _counted(count, "connection", "connections"),
        bridge_text(picture),
        store_text(picture),
    )
    return ". ".join(parts) + "."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def bridge_text(picture: dict[str, Any]) -> str:
    """How the processes hear of each other."""
    if picture["bridge"]["kind"] == "local":
        return "No Redis is needed for one process"
    return "Redis is connected" if picture["bridge"]["isUp"] else "Redis is not reached"


def store_text(picture: dict[str, Any]) -> str:
    """How the database is."""
    return f"{picture['store']['kind']} {'answers' if picture['store']['isUp'] else 'does not answer'}"
