"""
Puts the figures of docs/performance.md into README, so that they are typed nowhere twice.

    python docs/figures.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: python docs/figures.py -->\n", "<!-- end of figures -->\n"

#: Rows of the benchmark, and what README calls them.
ROWS = {
    "broadcast to 500, one under way": "broadcast to 500 clients, µs of CPU for each",
    "broadcast to 500, 16 under way": "the same, 16 at once",
    "echo, 100 clients": "echo, µs of CPU",
    "memory per idle connection": "idle connection, kB",
    "handshakes": "handshakes in a CPU second",
}
SERVERS = {
    "jPulse": "jPulse",
    "ws (node)": "`ws` (node)",
    "Socket.IO (node)": "Socket.IO (node)",
    "python-socketio on uvicorn": "python-socketio",
    "Starlette on uvicorn": "Starlette",
    "Tornado's write_message": "Tornado",
}


def medians(performance: str) -> dict[str, dict[str, str]]:
    """The median of each case and server in the benchmark's table."""
    found: dict[str, dict[str, str]] = {}
    case = ""
    for line in performance.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[2] in SERVERS:
            case = cells[0] or case
            found.setdefault(case, {}).setdefault(cells[2], cells[3])
    return found


def table(performance: str) -> Iterator[str]:
    """README's table; KeyError if the benchmark has no such row."""
    figures = medians(performance)
    yield "| | " + " | ".join(SERVERS.values()) + " |"
    yield "|---|" + "---:|" * len(SERVERS)
    for case, name in ROWS.items():
        cells = (figures[case].get(server, "") for server in SERVERS)
        yield f"| {name} | " + " | ".join(_short(cell) for cell in cells) + " |"


def _short(cell: str) -> str:
    """Three digits are more than the figures are worth."""
    number = float(cell.replace(",", ""))
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def machine(performance: str) -> str:
    """The line that says where and when the figures were taken."""
    found = re.search(r"^CPU: (.+)$", performance, re.MULTILINE)
    if found is None:
        raise ValueError("performance.md does not say on which machine it was")
    return found[1]


def with_figures(readme: str, performance: str) -> str:
    """README with the figures of the last run."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    lines = [*table(performance), "", f"{machine(performance)}."]
    return before + BEGIN + "\n" + "\n".join(lines) + "\n\n" + END + after


if __name__ == "__main__":
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    README.write_text(with_figures(README.read_text(encoding="utf-8"), performance), encoding="utf-8")
