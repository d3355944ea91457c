"""
Where log lines go and what they look like.

What a line is about stands beside its text, under names that are the same everywhere:

    log.info("%s closed", who, extra={"namespace": …, "client_id": …, "user": …, "address": …})

The access log adds `method`, `path`, `status` and `seconds`. The text format shows the text alone,
JSON all of it. Neither gets what may not be kept: cookies, passwords, query strings, messages.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

from .activity import iso_time
from .settings import Settings

#: Control characters as what they are: they could begin lines or colour a terminal.
_VISIBLE = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class TextFormatter(logging.Formatter):
    """One line per event; a traceback follows on lines of its own."""

    def __init__(self, *, show_pid: bool = False) -> None:
        pid = "[%(process)d] " if show_pid else ""
        super().__init__(f"%(asctime)s %(levelname)-7s {pid}%(name)s: %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Write a traceback indented: what a client sent may be in it, and cannot look like an event."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Write where an event was logged, indented like a traceback."""
        return _indented(super().formatStack(stack_info))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line; what a client sent cannot begin another."""
        return super().formatMessage(record).translate(_VISIBLE)


def _indented(text: str) -> str:
    return "\n".join("    " + line.translate(_VISIBLE) for line in text.splitlines())


class JsonFormatter(BaseJsonFormatter):
    """
    One JSON object per event and line: timestamp, level, logger, pid, event, and what `extra` adds.

    `event` is the text; `exception` and `stack` are there if the event has them. What JSON
    cannot carry is written as Python shows it.
    """

    def __init__(self) -> None:
        super().__init__(rename_fields={"message": "event", "exc_info": "exception", "stack_info": "stack"})

    def format(self, record: logging.LogRecord) -> str:
        """Write an event; one with extras that cannot be written, such as cycles, is written without them."""
        try:
            return super().format(record)
        except (TypeError, ValueError, RecursionError) as error:
            bare = logging.makeLogRecord({name: getattr(record, name) for name in _BARE})
            bare.not_shown = f"{type(error).__name__}: {error}"
            return super().format(bare)

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Put what every event has before what this one has."""
        log_data["timestamp"] = iso_time(record.created)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["pid"] = record.process
        super().add_fields(log_data, record, message_dict)


#: What is left of a record when its extras are not.
_BARE = ("created", "process", "levelname", "name", "msg", "args", "exc_info", "exc_text", "stack_info")


def without_quotation(record: logging.LogRecord) -> bool:
    """Leave out what Tornado quotes of a malformed request: it may be a header with a session in it."""
    if isinstance(record.msg, str) and record.msg.startswith("Malformed HTTP message") and record.args:
        record.msg, record.args = "Malformed HTTP message from %s", (record.args[0],)  # type: ignore[index]
    return True


def set_up_logging(config: Settings) -> None:
    """Log to standard error, at the level and in the format that the settings tell."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if config.log_format == "json" else TextFormatter(show_pid=config.processes != 1)
    )
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("tornado.general").addFilter(without_quotation)
