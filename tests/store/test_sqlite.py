"""What is the embedded store's own: the file, its schema, other processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from jpulse.store import sqlite
from jpulse.store.base import Store, StoreStartError, StoreUnavailable
from jpulse.store.sqlite import SqliteStore

from ..conftest import ROOT
from ..patience import LONG_SECONDS, Stopwatch
from .conftest import NOW, PROMISE_SECONDS, Scenario, T, run_with, session, todo, user

NOBODY = 65534
#: Keeps a lock on a database until its standard input ends.
LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is to be, in a folder that is not there yet."""
    return tmp_path / "data" / "jpulse.sqlite"


def run_on(path: Path, scenario: Scenario[T]) -> T:
    """Run a scenario with the store on a file."""
    return run_with(lambda: SqliteStore(path), scenario)


def create(path: Path) -> None:
    """Make the database."""

    async def nothing(store: Store) -> None:
        await store.check()

    run_on(path, nothing)


def refusal(path: Path) -> str:
    """Why the store does not open: one line that names the setting and the file, soon enough."""
    watch = Stopwatch()
    with pytest.raises(StoreStartError) as caught:
        create(path)
    assert not watch.is_over(PROMISE_SECONDS)
    text = str(caught.value)
    assert text.startswith(f"data_dir: cannot use {path}: ")
    assert "\n" not in text
    return text


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process keep an exclusive lock."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.communicate()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's rights for a while, which no permission of a file stops."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def writing(path: Path, name: str, number: int) -> subprocess.Popen[str]:
    """Start a process that writes."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.writer", path, name, str(number)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own that is told the path."""
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_SECONDS, check=False
    )


async def ids_of(store: Store) -> set[str]:
    """The ids of all todos."""
    return {each.id for each in await store.list_todos(1_000_000)}


# The file


def test_only_the_owner_reads_it(path: Path) -> None:
    """The folder and the file are private, and so are the files beside it while it is in use."""

    async def scenario(store: Store) -> None:
        await store.add_todo(todo())
        names = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert names == {path.name: 0o600, f"{path.name}-wal": 0o600, f"{path.name}-shm": 0o600}

    before = os.umask(0)
    try:
        run_on(path, scenario)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name], (
        "the -wal file is folded in at the end"
    )


def test_a_file_that_others_could_read(path: Path) -> None:
    """What was made readable for others is made private again."""
    create(path)
    path.chmod(0o664)
    create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_again_keeps_the_locks(path: Path) -> None:
    """A second store on the file in the same process does not make the first one lose its locks."""

    async def scenario(store: Store) -> None:
        await store.add_todo(todo())
        await asyncio.to_thread(create, path)
        probe = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA journal_mode = DELETE')"
        tried = await asyncio.to_thread(run_python, probe, path)
        assert "database is locked" in tried.stderr, "leaving WAL needs an exclusive lock on the file"

    run_on(path, scenario)


def test_read_only_file(path: Path) -> None:
    """A file that its owner may not write is not used."""
    create(path)
    path.chmod(0o444)
    assert "it is read-only" in refusal(path)


def test_file_of_somebody_else() -> None:
    """A file, or a folder, that this user has no right to write is not used."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        path = folder / "jpulse.sqlite"
        create(path)
        path.chmod(0o444)
        if os.geteuid() != 0:
            folder.chmod(0o555)
        with unprivileged():
            assert "it is read-only" in refusal(path)
            assert "Permission denied" in refusal(folder / "other.sqlite")
            assert "Permission denied" in refusal(folder / "sub" / "jpulse.sqlite")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    """A folder below a file, a file that is a folder, and a file that is no database are told apart."""
    (tmp_path / "file").write_text("This is no database, and long enough to show it." * 50)
    assert "its folder is a file" in refusal(tmp_path / "file" / "jpulse.sqlite")
    assert "it is not a SQLite database" in refusal(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    assert "cannot be opened" in refusal(tmp_path / "folder")
    assert (tmp_path / "file").read_text().startswith("This is no database")


def test_path_with_special_characters(tmp_path: Path) -> None:
    """The path is no URL and no SQL: any file name works."""
    path = tmp_path / "a b?mode=memory#ä%20'\"" / ":memory:"
    create(path)
    assert path.stat().st_size > 0


def test_locked_at_the_start(path: Path) -> None:
    """A file that another process keeps locked is not used; without the lock it is."""
    create(path)
    with locked(path):
        assert "another process keeps the database locked" in refusal(path)
    create(path)


def test_locked_while_running(path: Path) -> None:
    """A lock makes writers wait, not long, and nobody else; afterwards all is well and nothing came late."""

    async def attempt(store: Store) -> StoreUnavailable | None:
        watch = Stopwatch()
        try:
            await store.add_todo(todo())
        except StoreUnavailable as error:
            assert not watch.is_over(PROMISE_SECONDS)
            return error
        return None

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        with locked(path):
            attempts = [asyncio.create_task(attempt(store)) for _ in range(100)]
            assert await store.get_todo(kept.id) == kept
            assert not any(each.done() for each in attempts)
            errors = await asyncio.gather(*attempts)
        assert all(errors)
        assert "another process keeps the database locked; try again" in str(errors[0])
        await store.add_todo(todo())
        assert len(await store.list_todos()) == 2

    run_on(path, scenario)


def test_lock_that_outlasts_patience(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused because it took too long does not happen when the lock is gone."""
    monkeypatch.setattr(sqlite, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", LONG_SECONDS)

    async def scenario(store: Store) -> None:
        with locked(path), pytest.raises(StoreUnavailable):
            await store.add_todo(todo())
        monkeypatch.setattr(sqlite, "TIMEOUT_SECONDS", LONG_SECONDS)
        monkeypatch.setattr(sqlite, "QUEUE_SECONDS", LONG_SECONDS)
        kept = todo("kept")
        await store.add_todo(kept)
        assert await store.list_todos() == [kept]

    create(path)
    run_on(path, scenario)


def test_full_disk(path: Path) -> None:
    """A disk that takes no more is told clearly; reading goes on, and writing when there is room again."""
    program = """
import asyncio, resource, pathlib, sys
from jpulse.store.base import StoreUnavailable
from jpulse.store.sqlite import SqliteStore
from tests.store.conftest import todo

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    await store.open()
    kept = todo()
    await store.add_todo(kept)
    limit(100_000)
    try:
        await store.add_todo(todo("x" * 1_000_000))
        print("no error")
    except StoreUnavailable as error:
        print(error)
    assert await store.list_todos() == [kept]
    limit(resource.RLIM_INFINITY)
    await store.add_todo(todo("x" * 1_000_000))
    print(len(await store.list_todos()))
    await store.close()

asyncio.run(main())
"""
    told = run_python(program, path)
    assert told.stderr == ""
    first, second = told.stdout.splitlines()
    assert first in (
        "the disk is full; try again in a moment",
        "the disk cannot be read or written; try again in a moment",
    )
    assert second == "2"


# The schema


def test_a_new_file_has_the_newest_schema(path: Path) -> None:
    """A new file is at the newest version, in WAL mode; opening it again changes nothing."""
    create(path)
    create(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite.MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_migration_from_an_older_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version is brought up to date once, and keeps what it holds."""

    async def fill(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1"))

    async def look(store: Store) -> None:
        assert await store.get_user("ann") == user()
        assert await store.get_session("s1", NOW) == session("s1")

    run_on(path, fill)
    newer = ("ALTER TABLE users ADD COLUMN mail TEXT NOT NULL DEFAULT ''", "CREATE TABLE more (id TEXT)")
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, newer))
    run_on(path, look)
    run_on(path, look)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT mail FROM users").fetchall() == [("",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite.MIGRATIONS),)
    connection.close()


def test_migration_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is done as a whole or not at all."""
    create(path)
    broken = ("CREATE TABLE more (id TEXT)", "CREATE TABLE users (id TEXT)")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, broken))
        assert "table users already exists" in refusal(path)
    create(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'more'").fetchall() == []
    connection.close()


def test_newer_version(path: Path) -> None:
    """A file that a newer jPulse wrote is left alone."""
    create(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "a newer jPulse wrote it (schema 99, this one knows " in refusal(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


# Other processes, and the end of this one


def test_eight_processes_begin_at_once(path: Path) -> None:
    """Processes that all find no database make one together."""
    writers = [writing(path, f"w{number}", 1) for number in range(8)]
    for each in writers:
        each.communicate()
    assert [each.returncode for each in writers] == [0] * 8
    assert run_on(path, ids_of) == {f"w{number}-0" for number in range(8)}


def test_write_ahead_log_is_turned_on_at_once(tmp_path: Path) -> None:
    """Of several that turn it on at the same moment SQLite sends some away at once; they try again."""

    def turn_on(path: Path, barrier: threading.Barrier) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        barrier.wait()
        try:
            sqlite.set_wal(connection)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        for turn in range(60):
            barrier = threading.Barrier(8)
            list(threads.map(turn_on, [tmp_path / f"{turn}.sqlite"] * 8, [barrier] * 8))


def test_two_processes_write_at_once(path: Path) -> None:
    """Two processes that write to one file at once lose nothing, and neither has to give up."""
    writers = [writing(path, name, 500) for name in ("a", "b")]
    said = [set(each.communicate()[0].split()) for each in writers]
    assert [each.returncode for each in writers] == [0, 0]
    assert [len(each) for each in said] == [500, 500]
    assert run_on(path, ids_of) == said[0] | said[1]


def test_kill_while_writing(path: Path) -> None:
    """kill -9 in the midst of writing: what was acknowledged is there, and the file is sound."""
    said: set[str] = set()
    for turn in range(3):
        with writing(path, f"w{turn}", 1_000_000) as writer:
            assert writer.stdout is not None
            said |= {writer.stdout.readline().strip() for _ in range(200)}
            writer.kill()
            said |= {each.strip() for each in writer.stdout if each.endswith("\n")}
        assert run_on(path, ids_of) >= said
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# The threads


def test_event_loop_is_never_blocked(path: Path) -> None:
    """While the disk is at work and while a lock is waited for, the event loop goes on."""

    async def scenario(store: Store) -> None:
        pauses = []
        done = asyncio.Event()

        async def tick() -> None:
            while not done.is_set():
                begin = time.monotonic()
                await asyncio.sleep(0.001)
                pauses.append(time.monotonic() - begin)

        ticking = asyncio.create_task(tick())
        with locked(path):
            begin = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.add_todo(todo())
            waited = time.monotonic() - begin
            done.set()
            await ticking
        assert max(pauses) < waited / 2

    run_on(path, scenario)


def test_read_while_much_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads does not stand in line behind those who write, and reads its own writes."""
    # A disk that others use too takes its time for 200 writes.
    for limit in ("QUEUE_SECONDS", "TIMEOUT_SECONDS"):
        monkeypatch.setattr(sqlite, limit, LONG_SECONDS)

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        writes = [asyncio.create_task(store.update_user("ann", display_name=str(i))) for i in range(200)]
        await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        found = await store.get_user("ann")
        assert not all(each.done() for each in writes)
        assert found is not None
        assert found.display_name != ""
        await asyncio.gather(*writes)
        found = await store.get_user("ann")
        assert found is not None
        assert found.display_name == "199"

    run_on(path, scenario)


def test_nothing_keeps_the_process_alive(path: Path) -> None:
    """A process that forgets to close its store ends all the same, and what was acknowledged is there."""
    program = """
import asyncio, pathlib, sys
from jpulse.store.sqlite import SqliteStore
from tests.store.conftest import todo

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    await store.open()
    await store.add_todo(todo())
    forgotten = asyncio.create_task(store.add_todo(todo()))
    await asyncio.sleep(0)

asyncio.run(main())
"""
    assert run_python(program, path).stderr == ""
    assert len(run_on(path, ids_of)) >= 1


def test_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose SQLite is too old is told so."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    assert "3.37 is the oldest that works" in refusal(path)
