"""What the system says of processes: who is whose child, and who was left behind; and how to freeze one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..conftest import wait_until

REDIS_NAMES = ("redis-server", "valkey-server")


def command_line(pid: int) -> str:
    """How a process was started; "" when it has ended, also while nobody asked how."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    return ""


def processes_about(folder: Path) -> list[int]:
    """The processes whose command line, working directory or open files tell of a folder."""
    return [pid for pid in _all_pids() if str(folder) in command_line(pid) or _uses(pid, folder)]


def _all_pids() -> list[int]:
    return [int(each) for each in os.listdir("/proc") if each.isdigit() and int(each) != os.getpid()]


def _uses(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        links = [Path(f"/proc/{pid}/cwd"), *Path(f"/proc/{pid}/fd").iterdir()]
        return any(f"{_target(each)}/".startswith(f"{folder}/") for each in links)
    return False


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""


def is_redis(pid: int) -> bool:
    """Tell whether a process is a Redis or Valkey."""
    return any(name in command_line(pid) for name in REDIS_NAMES)


def redis_of(folder: Path) -> int:
    """The private Redis that serves a data directory."""
    (found,) = filter(is_redis, processes_about(folder))
    return found


def is_port_open(port: int) -> bool:
    """Tell whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    return [each for each in _all_pids() if _parent_and_state(each)[0] == pid and is_alive(each)]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be asked how does not."""
    return _parent_and_state(pid)[1] not in ("", "Z", "X")


def _parent_and_state(pid: int) -> tuple[int, str]:
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[:2]
        return int(parent), state
    return 0, ""


def open_files(pid: int) -> int:
    """How many files, pipes and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process do nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: _parent_and_state(pid)[1] == "T", what="a process to freeze")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
