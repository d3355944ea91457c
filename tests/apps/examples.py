"""All examples in one server: they get along with each other."""

from __future__ import annotations

from importlib import import_module

from jpulse import App

NAMES = (
    "tracking",
    "todo_sync",
    "notifications",
    "live_data",
    "presence",
    "request_reply",
    "delivery",
    "vue_spa",
)


def setup(app: App) -> None:
    """Set all of them up."""
    for name in NAMES:
        import_module(f"examples.{name}.app").setup(app)
