"""
The stress run's namespaces on a hub that does everything wrong now and then.

A run with it has to find all of that: the rules are proven on histories made by hand, and
here on what real clients see.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

from jpulse import App, Connection
from jpulse.connection import Handler

from . import stress_app

#: What is done to every so many deliveries of a message, in turn.
EVERY = 12
WRONGS = ("twice", "not at all", "to a stranger", "later")


def spoil_deliveries(app: App) -> None:
    """Deliver some messages twice, not at all, to another namespace or after the next."""
    right, wrongs, count = app.hub.fan_out, cycle(WRONGS), 0
    held: list[tuple[list[Connection], bytes]] = []

    def fan_out(connections: Iterable[Connection], frame: bytes) -> None:
        nonlocal count
        those = list(connections)
        is_chosen = b'"said"' in frame and len(those) > 3 and not held
        count += is_chosen
        wrong = next(wrongs) if is_chosen and count % EVERY == 0 else ""
        if wrong == "later":
            held.append((those[:1], frame))
        right(those[1:] if wrong in ("not at all", "later") else those, frame)
        if wrong == "twice":
            right(those[:1], frame)
        elif wrong == "to a stranger":
            path = those[0].namespace.path
            right([each for each in app.hub.connections() if each.namespace.path != path][:1], frame)
        elif held and not wrong and held[0][0][0] in those:
            right(*held.pop())

    app.hub.fan_out = fan_out  # type: ignore[method-assign]


def spoil_sessions(app: App) -> None:
    """Leave those connected whose session has ended, of every second session."""
    right = app.hub.session_ended

    def session_ended(id_hash: str) -> None:
        if int(id_hash[0], 16) % 2:
            right(id_hash)

    app.hub.session_ended = session_ended  # type: ignore[method-assign]


def spoil_handling(app: App) -> None:
    """Leave out some messages that come in, count some twice, and keep connections that are over."""
    kept: list[Connection] = []
    for namespace in app.websockets:
        if namespace.path == stress_app.Talk.path:
            namespace.on_message(_forgetful(namespace.message_handler))
        namespace.on_disconnect(kept.append)
        namespace.stats.count(0.0)


def _forgetful(right: Handler) -> Handler:
    count = 0

    def on_message(conn: Connection) -> None:
        nonlocal count
        count += 1
        # An early one, too, since a process of a busy machine may get few.
        if count % 40 != 5:
            right(conn)

    return on_message


async def setup(app: App) -> None:
    """Register all, and spoil it."""
    await stress_app.setup(app)
    spoil_deliveries(app)
    spoil_sessions(app)
    spoil_handling(app)
    # Who is silent is left alone, and a client id is given to whoever asks for it.
    app.heartbeat._silence = 1e9
    app.hub.may_use = lambda client_id, session_id: True  # type: ignore[method-assign]
