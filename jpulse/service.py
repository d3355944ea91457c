"""What systemd wants to know of a service (sd_notify(3)): when it serves."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

log = logging.getLogger("jpulse.service")

READY = "READY=1"


def tell_systemd(state: str, environ: Mapping[str, str]) -> None:
    """Tell a state, if systemd started this process with Type=notify; without effect otherwise."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A name that begins with @ is none of the file system (unix(7), abstract).
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.connect(name)
            told.send(state.encode())
    except OSError as error:
        log.warning("systemd cannot be told %s: %s", state, error)
