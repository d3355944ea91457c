"""How figures are written on the admin pages; static/admin/format.js writes them the same way."""

from datetime import datetime
from typing import Any

from jpulse.activity import iso_time as iso_time
from jpulse.namespace import PREFIX as PREFIX

#: What a namespace's colour means, for those whom a colour tells nothing.
STATUS_WORDS = {"green": "Active", "yellow": "Quiet", "red": "Silent"}
BRIDGE_WORDS = {"up": "Connected", "down": "Not reached"}
NOTHING = "–"
#: Units of time, each with the number of the next smaller one that it has.
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number(value: float | None) -> str:
    """Write 12345 as 12,345, and a part of one with a digit behind the point."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """Write 7265 seconds as `2 h 1 min`."""
    if seconds is None:
        return NOTHING
    left, parts = int(seconds), list[str]()
    for name, length in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "0 s"


def ago(seconds: float) -> str:
    """Write how long ago something was, in its largest unit."""
    if seconds < 1:
        return "now"
    name, length = next(unit for unit in _UNITS if seconds >= unit[1])
    return f"{int(seconds // length)} {name} ago"


def size(count: float | None) -> str:
    """Write 1536 bytes as `1.5 KiB`."""
    if count is None:
        return NOTHING
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:,.1f} {unit}"


def seconds(value: float | None) -> str:
    """Write a short time: `0.4 ms`, `12 ms`, `2.5 s`."""
    if value is None:
        return NOTHING
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def clock(timestamp: str) -> str:
    """The time of day in an ISO timestamp; scripts write the reader's own."""
    return timestamp[11:23]


def since(timestamp: str, now: float) -> str:
    """How long ago an ISO timestamp was."""
    return ago(max(0.0, now - datetime.fromisoformat(timestamp).timestamp()))


def table(counts: dict[str, Any], nothing: str = "none") -> str:
    """Write counts by name in one line."""
    return ", ".join(f"{name}: {number(count)}" for name, count in counts.items()) or nothing


def log_text(kept: int, left_out: int, shown: int) -> str:
    """Say how much of the log there is to see."""
    what = f"{number(kept)} of the last five minutes"
    if left_out:
        what += f"; {number(left_out)} older ones are left out, since the log keeps no more"
    return f"The newest {number(shown)} of {what}." if kept > shown else f"{what}."


def cards(stats: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures of the whole server: a name, what it is called, and the figure."""
    bridge = stats["bridge"]
    return [
        ("uptime", "Up for", duration(stats["uptime"])),
        ("messagesPerSecond", "Messages per second", number(stats["messagesPerSecond"])),
        ("totalMessages", "Messages in all", number(stats["totalMessages"])),
        ("clients", "Clients", number(stats["clients"])),
        ("users", "Users signed in", number(stats["users"])),
        ("processes", "Processes", number(len(stats["processes"]))),
        ("bridge", "Redis", bridge_text(bridge)),
        ("store", "Database", "Answers" if stats["store"] == "ok" else str(stats["store"])),
    ]


def bridge_text(bridge: dict[str, Any]) -> str:
    """Say how the processes hear of each other."""
    if bridge.get("kind") == "local":
        return "Not needed"
    parts = [BRIDGE_WORDS.get(bridge["state"], str(bridge["state"]))]
    if bridge["lagSeconds"] is not None:
        parts.append(seconds(bridge["lagSeconds"]).replace(" ", "\u00a0"))
    if bridge["lost"]:
        parts.append(f"{number(bridge['lost'])} lost")
    return ", ".join(parts)


def namespace_cards(namespace: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures of one namespace: what each is called, and the figure."""
    return [
        ("Clients", number(namespace["clientCount"])),
        ("Users", number(namespace["activeUsers"])),
        ("Messages per second", number(namespace["messagesPerSecond"])),
        ("Messages per hour", number(namespace["messagesPerHour"])),
        ("Messages in all", number(namespace["totalMessages"])),
        ("Deliveries", number(namespace["deliveries"])),
        ("Received", size(namespace["bytesIn"])),
        ("Sent", sent_text(namespace)),
        ("Connections so far", number(namespace["connects"])),
        ("Handler, median", seconds(namespace["handlerP50"])),
        ("Handler, 99 of 100", seconds(namespace["handlerP99"])),
    ]


def sent_text(namespace: dict[str, Any]) -> str:
    """Say how much was sent, and what compression has saved of it."""
    sent, saved = namespace["bytesOut"], namespace["bytesSaved"]
    return f"{size(sent)}, {100 * saved / (sent + saved):.0f} % less by compression" if saved else size(sent)


#: What the page's script makes rows from.
BLANK: dict[str, dict[str, Any]] = {
    "namespace": {
        **dict.fromkeys(("path", "status"), ""),
        **dict.fromkeys(("clientCount", "activeUsers", "messagesPerSecond", "messagesPerHour"), 0),
        "totalMessages": 0,
        "lastActivity": None,
    },
    "process": {
        **dict.fromkeys(("instance", "host", "pid"), ""),
        **dict.fromkeys(("clients", "messagesPerSecond", "memoryBytes", "uptime"), 0),
        "loopLagSeconds": None,
    },
    "entry": dict.fromkeys(("timestamp", "direction", "namespace", "username", "type", "message"), ""),
}
