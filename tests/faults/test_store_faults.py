"""
The store is locked, full, gone, frozen or damaged under a server that people use.

Run with `-rP` to see how long each took to recover.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ..conftest import ADMIN_PASSWORD, ROOT, Server, wait_until
from ..patience import Stopwatch
from ..servers import MongoServer
from ..support import memory_bytes
from ..visitor import Answer, Visitor, data_dir
from .conftest import APP
from .swarm import RELAY, Swarm

Serve = Callable[..., Server]
#: How long a fault lasts: longer than a statement waits for a lock.
FAULT_SECONDS = float(os.environ.get("TEST_FAULT_SECONDS", "4"))
#: What the store promises; and for the way there and back.
ANSWER_SECONDS = 6.0
#: Clients who need no store never wait longer.
CHAT_SECONDS = 2.0
RECOVER_SECONDS = 20.0
STORE_LOG = (r" WARNING (\[\d+\] )?jpulse\.(app|web|auth|endpoint|handshake|door): ",)
TODO = "/api/1/todo"
LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class Trouble:
    """A server whose clients talk all the time, a signed-in visitor, and a fault of the store."""

    def __init__(self, server: Server, swarm: Swarm, pool: ThreadPoolExecutor) -> None:
        server.expected_log = STORE_LOG
        self.server = server
        self._swarm = swarm
        self._pool = pool
        self._members = swarm.join_many(server.port, 3)
        self.visitor = Visitor(server.port)
        self.visitor.sign_in()
        assert self.post("before").status == 201
        swarm.talk(self._members[:1], 0.05)

    def ask_at_once(self, *calls: Callable[[], Answer]) -> list[Answer]:
        """Ask for several things, which are answered in time; meanwhile the clients talk."""
        watch = Stopwatch()
        asked = [self._pool.submit(call) for call in calls]
        self._swarm.run_until(lambda: all(each.done() for each in asked), 20, "an answer")
        assert watch.seconds < ANSWER_SECONDS
        return [each.result() for each in asked]

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Ask for something."""
        (answer,) = self.ask_at_once(lambda: self.visitor.send(method, path, body))
        return answer

    def post(self, title: str) -> Answer:
        """Write to the store."""
        return self.ask("POST", TODO, {"title": title})

    def titles(self) -> list[str]:
        """What is in the store."""
        return [todo["title"] for todo in self.ask("GET", TODO).data]

    def ready(self) -> Answer:
        """What a load balancer is told."""
        return self.ask("GET", "/readyz")

    def go_on(self, seconds: float) -> None:
        """Let the clients talk."""
        self._swarm.run_for(seconds)

    def end(self, name: str, lifted: float) -> None:
        """Wait until all is well again; nobody who chats may have noticed anything."""
        wait_until(lambda: self.post("after").status == 201, RECOVER_SECONDS, "the store to take something")
        wrote = time.monotonic() - lifted
        wait_until(lambda: self.ready().status == 200, RECOVER_SECONDS, "readyz")
        print(
            f"{name}: written again after {wrote:.2f} s, ready after {time.monotonic() - lifted:.2f} s, "
            f"longest wait of a chat {1000 * self._longest_wait():.0f} ms, "
            f"memory {memory_bytes(self.server.pid) / 1e6:.0f} MB"
        )
        assert self._longest_wait() < CHAT_SECONDS
        assert [member.closes for member in self._members] == [[]] * 3

    def _longest_wait(self) -> float:
        """Read what has come, and tell the longest way of a number from its speaker to the others."""
        speaker, *listeners = self._members
        self._swarm.talk((), 1)
        self._swarm.run_until_heard(speaker, listeners, speaker.said - 1, 10)
        return max(
            heard - self._swarm.said_at[speaker.name, number]
            for listener in listeners
            for number, heard in listener.heard[speaker.name]
        )


@pytest.fixture
def trouble(swarm: Swarm) -> Iterator[Callable[[Server], Trouble]]:
    """Let people use a server: `trouble(server)`."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda server: Trouble(server, swarm, pool)


Make = Callable[[Server], Trouble]


def assert_refused(answer: Answer, why: str = "") -> None:
    """503 in REST's envelope, which says when to come again."""
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert why in answer.error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process keep an exclusive lock."""
    command = [sys.executable, "-c", LOCKER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.communicate()


def test_locked_by_another_process(serve: Serve, trouble: Make) -> None:
    """While another process keeps the file locked what would write gets 503, and nothing else suffers."""
    server = serve(app=APP)
    people = trouble(server)
    with locked(data_dir(server) / "jpulse.db"):
        began = time.monotonic()
        assert_refused(people.post("lost"), "The store does not answer")
        assert_refused(people.ready(), "store: another process keeps the database locked")
        assert people.titles() == ["before"]
        assert people.ask("GET", "/api/1/auth/status").data["user"]["username"] == "admin"
        people.go_on(FAULT_SECONDS - (time.monotonic() - began))
    people.end("locked", time.monotonic())
    assert people.titles() == ["before", "after"]


def test_session_that_cannot_be_extended(serve: Serve, trouble: Make) -> None:
    """Who is signed in stays so while the file is locked, even if the session was to be extended."""
    server = serve("--session-seconds", "20", app=APP)
    people = trouble(server)
    people.go_on(2.5)
    with locked(data_dir(server) / "jpulse.db"):
        answer = people.ask("GET", "/api/1/auth/status")
        assert answer.data["user"]["username"] == "admin"
        assert answer.cookies == []
    assert people.ask("GET", "/api/1/auth/status").cookies != []


def test_full_disk(serve: Serve, trouble: Make) -> None:
    """On a disk that takes no more writes get 503, reading goes on, and room alone mends it."""
    server = serve(app=APP)
    people = trouble(server)
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    log = data_dir(server) / "jpulse.db-wal"
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 20_000, hard))
    kept = ["before"]
    for number in range(100):
        answer = people.post(f"todo {number}")
        if answer.status != 201:
            break
        kept.append(f"todo {number}")
    assert_refused(answer)
    assert re.search("store: the disk (is full|cannot be read or written)", people.ready().error)
    assert people.titles() == kept
    people.go_on(FAULT_SECONDS)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
    people.end("full disk", time.monotonic())
    assert people.titles() == [*kept, "after"]
    server.restart()
    assert people.titles() == [*kept, "after"]


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_file_that_is_gone(serve: Serve, trouble: Make, how: str) -> None:
    """A file that is removed or replaced is noticed: nothing is acknowledged that would be lost."""
    server = serve(app=APP)
    people = trouble(server)
    # Its session is looked up twice a second.
    signed_in = people.visitor.connect(RELAY)
    file, aside = data_dir(server) / "jpulse.db", data_dir(server) / "aside"
    file.rename(aside)
    if how == "replaced":
        shutil.copy(aside, file)
    assert_refused(people.post("lost"))
    assert_refused(people.ready(), "store: the database file was removed or replaced; restart the server")
    assert_refused(people.ask("GET", TODO))
    people.go_on(2)
    assert server.log.count("the store does not answer") == 1
    signed_in.socket.close()
    aside.rename(file)
    people.end(how, time.monotonic())
    assert people.titles() == ["before", "after"]


@contextmanager
def gone(mongo: MongoServer) -> Iterator[None]:
    """Kill a mongod, and start it again."""
    mongo.kill()
    yield
    mongo.start()


@contextmanager
def frozen(mongo: MongoServer) -> Iterator[None]:
    """Freeze a mongod for a while."""
    mongo.pause()
    yield
    mongo.resume()


@pytest.mark.parametrize("fault", [gone, frozen])
def test_mongodb(
    serve: Serve,
    trouble: Make,
    mongo_server: MongoServer,
    fault: Callable[[MongoServer], AbstractContextManager[None]],
) -> None:
    """While mongod is gone or frozen REST and sign-in say so, chats go on, and afterwards all is well."""
    manage_admin(mongo_server.url)
    server = serve("--mongo-url", mongo_server.url, app=APP)
    people = trouble(server)
    with fault(mongo_server):
        began = time.monotonic()
        guest, admin = Visitor(server.port), {"username": "admin", "password": ADMIN_PASSWORD}
        todos, written, ready, page = people.ask_at_once(
            lambda: guest.get(TODO),
            lambda: people.visitor.post(TODO, {"title": "lost"}),
            lambda: guest.get("/readyz"),
            lambda: guest.submit("/auth/login", admin),
        )
        assert_refused(todos, "The store does not answer right now")
        assert_refused(written, "The store does not answer right now")
        assert_refused(ready, "store: the database does not answer")
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert "The store does not answer right now" in page.text
        people.go_on(FAULT_SECONDS - (time.monotonic() - began))
    people.end(f"mongod {fault.__name__}", time.monotonic())
    assert people.ask("GET", "/api/1/auth/status").data["user"]["username"] == "admin"


def manage_admin(url: str) -> None:
    """Make the user `admin` in a MongoDB."""
    command = [sys.executable, str(ROOT / "run.py"), "user", "add", "admin", "--roles", "user,admin"]
    environ = {**os.environ, "JPULSE_PASSWORD": ADMIN_PASSWORD}
    subprocess.run([*command, "--mongo-url", url], check=True, env=environ, stdout=subprocess.DEVNULL)


# At the start


def start(folder: Path, processes: str) -> tuple[int, str]:
    """Start a server that cannot: its exit status and the one line that it says."""
    command = [sys.executable, str(ROOT / "run.py"), "--port", "0", "--processes", processes]
    done = subprocess.run(
        [*command, "--data-dir", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("jpulse: ")]
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0]


def damaged(folder: Path) -> None:
    """A database of which a part was overwritten."""
    folder.mkdir()
    file = folder / "jpulse.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE filler (text TEXT)")
        connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 1000,)] * 100)
    connection.close()
    data = bytearray(file.read_bytes())
    data[100:4096] = os.urandom(3996)
    file.write_bytes(data)


def not_a_database(folder: Path) -> None:
    """A file of something else."""
    folder.mkdir()
    (folder / "jpulse.db").write_text("This is no database, and long enough to show it." * 50)


def read_only(folder: Path) -> None:
    """A file that its owner may not write."""
    folder.mkdir()
    (folder / "jpulse.db").touch(0o400)


def a_file(folder: Path) -> None:
    """A file where the folder should be."""
    folder.write_text("")


def below_a_file(folder: Path) -> None:
    """A folder that cannot be made."""
    folder.parent.rmdir()
    folder.parent.write_text("")


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("spoil", [damaged, not_a_database, read_only, a_file, below_a_file])
def test_data_dir_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], None], processes: str) -> None:
    """A data directory that cannot be used is one line that names the setting, and exit status 2."""
    folder = tmp_path / "parent" / "data"
    folder.parent.mkdir()
    spoil(folder)
    status, line = start(folder, processes)
    assert status == 2, line
    assert line.startswith("jpulse: data_dir: cannot use ")
    assert line.endswith("; mend that, or name another folder")


def test_data_dir_that_is_locked(tmp_path: Path) -> None:
    """A database that is locked may be free the next time: one line, and exit status 1."""
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "jpulse.db"
    sqlite3.connect(file).close()
    with locked(file):
        status, line = start(tmp_path / "data", "1")
    assert (status, "another process keeps the database locked" in line) == (1, True)
