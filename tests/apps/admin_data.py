"""
The admin pages beside the namespaces of `behaviours`.

With `ADMIN_DATA=200` they show made-up figures of 200 busy namespaces, with 0 of none.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

from jpulse import App, Connection, NamespaceHandler
from jpulse.activity import MAX_ENTRIES, iso_time
from jpulse.stats import SERIES_SECONDS

from . import behaviours

KINDS = ("cursor-move", "note-update", "said", "todo-created", "typing")
USERS = ("", "ann", "bert", "Zoë", "张伟")


class MadeUp:
    """Figures of namespaces that do not exist; each reading finds that time has passed."""

    def __init__(self, namespaces: int) -> None:
        self._dice = random.Random(5)
        self._started = time.time() - 93_784
        self._second = int(time.time())
        self._paths = [f"/api/1/ws/{name_of(number)}" for number in range(namespaces)]
        #: Messages a second, of which the last namespaces have fewer and fewer.
        self._paces = [40 / (number + 1) if number % 3 else 0.0 for number in range(namespaces)]
        self._totals = [int(pace * 5000) for pace in self._paces]
        self._series = [[self._count(pace) for _ in range(SERIES_SECONDS)] for pace in self._paces]
        self._last = [time.time() - number * 37 for number in range(namespaces)]
        self._log = [
            self._entry(time.time() - number * 0.2) for number in range(MAX_ENTRIES * bool(namespaces))
        ]

    def details(self) -> dict[str, Any]:
        """What `app.get_details` tells."""
        self._go_on()
        namespaces = [self._namespace(number) for number in range(len(self._paths))]
        busy = bool(namespaces)
        return {
            "uptime": time.time() - self._started,
            "totalMessages": sum(self._totals),
            "messagesPerSecond": sum(each["messagesPerSecond"] for each in namespaces),
            "clients": sum(each["clientCount"] for each in namespaces),
            "users": 412 if busy else 0,
            "processes": [self._process(number) for number in range(4 if busy else 1)],
            "bridge": {"kind": "redis" if busy else "local", "state": "up", "lagSeconds": 0.0004, "lost": 0},
            "store": "ok",
            "refusals": {"origin": 3, "rate": 12_345, "signed out": 1} if busy else {},
            "namespaces": namespaces,
            "seriesEnd": self._second,
            "activityLog": list(self._log),
            "activityLeftOut": 4321 if busy else 0,
            "activityCap": MAX_ENTRIES,
        }

    def _go_on(self) -> None:
        now = time.time()
        while self._second < int(now):
            self._second += 1
            for number, pace in enumerate(self._paces):
                count = self._count(pace)
                self._series[number] = [*self._series[number][1:], count]
                self._totals[number] += count
                if count:
                    self._last[number] = now
            news = [self._entry(now - part * 0.05) for part in range(20 if self._paths else 0)]
            self._log = (news + self._log)[:MAX_ENTRIES]

    def _count(self, pace: float) -> int:
        return max(0, round(self._dice.gauss(pace, pace / 3))) if self._dice.random() < 0.9 else 0

    def _namespace(self, number: int) -> dict[str, Any]:
        series = self._series[number]
        first = next((place for place, count in enumerate(series) if count), len(series))
        silent = time.time() - self._last[number]
        return {
            "path": self._paths[number],
            "status": "green" if silent < 300 else "yellow" if silent < 1800 else "red",
            "clientCount": 3 * number % 97,
            "activeUsers": number % 31,
            "messagesPerHour": int(self._paces[number] * 3600),
            "totalMessages": self._totals[number],
            "lastActivity": iso_time(self._last[number]) if number % 7 != 6 else None,
            "messagesPerSecond": sum(series[-5:]) / 5,
            "deliveries": self._totals[number] * 12,
            "bytesIn": self._totals[number] * 90,
            "bytesOut": self._totals[number] * 1300,
            "dropped": {"rate": number} if number else {},
            "connects": 1200 + number,
            "closes": {"1000": 500, "1006": 20, "4401": 3},
            "handlerP50": 0.00042,
            "handlerP99": 0.0031,
            "series": series[first:],
        }

    def _process(self, number: int) -> dict[str, Any]:
        return {
            "instance": f"{number + 1:x}c0ffee{number:09x}",
            "pid": 4711 + number,
            "host": "web-1.example",
            "clients": 1200 + number,
            "messagesPerSecond": 40.2 + number,
            "memoryBytes": 61_000_000 + number * 1_300_000,
            "loopLagSeconds": 0.0007 * (number + 1),
            "uptime": time.time() - self._started,
        }

    def _entry(self, when: float) -> dict[str, str]:
        kind, path = self._dice.choice(KINDS), self._dice.choice(self._paths)
        message = {"type": kind, "x": round(self._dice.random() * 100, 2), "text": "Hello, all " * 5}
        return {
            "timestamp": iso_time(when),
            "namespace": path,
            "direction": self._dice.choice(("in", "out")),
            "username": self._dice.choice(USERS),
            "type": kind,
            "message": json.dumps(message),
        }


def name_of(number: int) -> str:
    """A path as applications have them, short and long."""
    return ("chat", "cursors", "rooms/reception", "orders", "a-very-long-name-of-a-namespace/with/parts")[
        number % 5
    ] + (f"-{number}" if number >= 5 else "")


class ManyConnections:
    """`app.admin` with connections that do not exist, and nothing that can be done with them."""

    async def connections(self, path: str) -> list[dict[str, Any]]:
        """Tell of three hundred."""
        now = time.time()
        return [
            {
                "id": f"{number % 4 + 1:x}c0ffee{number % 4:09x}-{number}",
                "clientId": f"{number:08x}-89ab-4def-8123-456789abcdef",
                "instance": f"{number % 4 + 1:x}c0ffee{number % 4:09x}",
                "user": USERS[number % len(USERS)],
                "address": f"10.0.{number // 200}.{number % 200}",
                "since": now - number * 61,
                "lastSeen": now - number % 30,
                "messagesIn": number * 7,
                "messagesOut": number * 1234,
                "outboxBytes": number * 100 if number % 9 == 0 else 0,
            }
            for number in range(300)
        ]


class Impostor(NamespaceHandler):
    """Lets a client say under which name it is told to all, as a careless application might."""

    path = "/api/1/ws/impostor"

    def on_message(self, conn: Connection) -> None:
        """Tell everybody."""
        message = conn.message
        self.broadcast({"type": message["type"], "text": message["text"]}, {"username": message["as"]})


def setup(app: App) -> None:
    """Register the namespaces, and make up what the environment asks for."""
    behaviours.setup(app)
    app.websockets.register(Impostor)
    made_up = os.environ.get("ADMIN_DATA")
    if made_up is not None:
        app.get_details = MadeUp(int(made_up)).details  # type: ignore[method-assign]
        app.admin = ManyConnections()  # type: ignore[assignment]
