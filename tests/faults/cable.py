"""
A client in a network of its own, whose cable can be pulled: the server gets no FIN, no RST, nothing.

`python -m tests.faults.cable HOST PORT PATH` connects, says "connected" on its
output and answers pings until it is ended. `Cable` runs it in a network namespace; where
none can be made, `Freezer` stops the process instead: then TCP still answers, and nobody else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

from ..conftest import ROOT
from ..raw_client import PING, PONG, RawClient, client_frame

SECONDS = 10


class CannotSetUp(Exception):
    """There is no `ip`, or nobody may make network namespaces here; the message says which."""


class Freezer:
    """A client that can be stopped: nothing comes from it any more."""

    host = "127.0.0.1"
    #: What runs the client.
    _prefix: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def connect(self, port: int, path: str) -> None:
        """Let the client connect."""
        command = (*self._prefix, sys.executable, "-m", "tests.faults.cable", self.host, str(port), path)
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "connected\n"

    def pull(self) -> None:
        """Stop the client."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the client; may be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=SECONDS)


class Cable(Freezer):
    """A network namespace with one client in it, and the link between it and us; needs root."""

    def __init__(self) -> None:
        super().__init__()
        if shutil.which("ip") is None:
            raise CannotSetUp("there is no program `ip` (Debian package iproute2)")
        number = os.getpid() % 250
        self._name, self._ours, self._theirs = f"jpulse-{os.getpid()}", f"jp{number}a", f"jp{number}b"
        #: Addresses that RFC 3927 keeps for links without a router.
        self.host, self._client_host = f"169.254.{number}.1", f"169.254.{number}.2"
        self._prefix = ("ip", "netns", "exec", self._name)
        try:
            self._set_up()
        except subprocess.CalledProcessError as error:
            self.close()
            raise CannotSetUp(f"network namespaces cannot be made here: {error.stderr.strip()}") from None

    def _set_up(self) -> None:
        _ip("netns", "add", self._name)
        _ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self._name)
        _ip("addr", "add", f"{self.host}/30", "dev", self._ours)
        _ip("link", "set", self._ours, "up")
        _ip("-n", self._name, "addr", "add", f"{self._client_host}/30", "dev", self._theirs)
        _ip("-n", self._name, "link", "set", self._theirs, "up")

    def pull(self) -> None:
        """Let nothing pass any more, in either direction."""
        _ip("link", "set", self._ours, "down")

    def close(self) -> None:
        """End the client and its network; may be called again."""
        super().close()
        for command in (("link", "del", self._ours), ("netns", "del", self._name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*command)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True, timeout=SECONDS)


def main() -> None:
    """Be the client."""
    host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with RawClient(port, path, host=host) as client:
        client.read_data("connected")
        print("connected", flush=True)
        client.socket.settimeout(None)
        while True:
            opcode, payload = client.read_frame()
            if opcode == PING:
                client.send(client_frame(payload, PONG))


if __name__ == "__main__":
    main()
