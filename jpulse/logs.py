"""Where log lines go and what they look like."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from .activity import iso_time
from .settings import Settings

#: Control characters as what they are: they could begin lines or colour a terminal.
_VISIBLE = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class TextFormatter(logging.Formatter):
    """One line per event; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Write a traceback indented: what a client sent may be in it, and cannot look like an event."""
        return "\n".join(
            "    " + line.translate(_VISIBLE) for line in super().formatException(ei).splitlines()
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line; what a client sent cannot begin another."""
        return super().formatMessage(record).translate(_VISIBLE)


class JsonFormatter(logging.Formatter):
    """One JSON object per event."""

    def format(self, record: logging.LogRecord) -> str:
        """Write timestamp, level, logger, message and, if there is one, the traceback."""
        event = {
            "timestamp": iso_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event)


def set_up_logging(config: Settings) -> None:
    """Log to standard error, at the level and in the format that the settings tell."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else TextFormatter())
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
