"""
The embedded store: one SQLite file, for any number of processes on one machine.

Two threads, each with a connection of its own: one writes, in the order in which it is
asked, the other reads and never waits for a write. The event loop waits for neither.

What is acknowledged survives the end of the process, kill -9 included. Users and ended
sessions also survive a power cut, because they are synced to the disk one by one; of the
rest a power cut may take what the kernel had not written yet, on Linux about the last
half minute. It never damages the file.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..names import name_key
from .base import (
    Conflict,
    NoActiveUser,
    Note,
    Session,
    Store,
    StoreSettingsError,
    StoreStartError,
    StoreUnavailable,
    Todo,
    User,
    milliseconds,
)
from .checks import NoteChanges, TodoChanges, UserChanges, checked, findable

T = TypeVar("T")
Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]

#: How long a statement waits for another process to let go of the file.
LOCK_SECONDS = 2.0
#: What has waited longer for its thread is not begun: with LOCK_SECONDS it would be late.
QUEUE_SECONDS = 2.5
#: Nobody waits longer, even for a disk that does not answer.
TIMEOUT_SECONDS = 4.8
#: A store that could not write a moment ago is not well, even if it can write a little.
STUCK_SECONDS = 5.0
#: STRICT tables and RETURNING.
OLDEST_SQLITE = (3, 37)

#: What each version of the schema adds to the one before; only ever append.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE users (
            key TEXT PRIMARY KEY,
            username TEXT NOT NULL,
            password_hash TEXT NOT NULL,
            roles TEXT NOT NULL,  -- a JSON array
            display_name TEXT NOT NULL,
            active INTEGER NOT NULL,
            created_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE sessions (
            id_hash TEXT PRIMARY KEY,
            user_key TEXT NOT NULL REFERENCES users (key) ON DELETE CASCADE,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX sessions_of_user ON sessions (user_key)",
        "CREATE INDEX sessions_by_expiry ON sessions (expires_at)",
        """CREATE TABLE todos (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            completed INTEGER NOT NULL,
            username TEXT NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX todos_by_age ON todos (created_at, id)",
        """CREATE TABLE notes (
            id TEXT PRIMARY KEY,
            x REAL NOT NULL,
            y REAL NOT NULL,
            text TEXT NOT NULL,
            color TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX notes_by_update ON notes (updated_at, id)",
    ),
)

USER_COLUMNS = ", ".join(User.__struct_fields__)
USER_COLUMNS_JOINED = ", ".join(f"users.{name}" for name in User.__struct_fields__)
SESSION_COLUMNS = ", ".join(Session.__struct_fields__)
TODO_COLUMNS = ", ".join(Todo.__struct_fields__)
NOTE_COLUMNS = ", ".join(Note.__struct_fields__)
#: Sets updated_at; `:now` is in milliseconds. In whole numbers, so that the time is what its text says.
LATER = "updated_at = max(:now, CAST(round(updated_at * 1000) AS INTEGER) + 1) / 1000.0"


class SqliteStore(Store):
    """Keeps everything in one file; `open` it after a fork, never before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: None before `open` and after `close`.
        self._writer: _Lane | None = None
        self._reader: _Lane | None = None
        #: Device and inode of the file, from `open` on.
        self._identity = (0, 0)
        #: What the last attempt to write has failed with, and the monotonic time; None if it worked.
        self._failure: tuple[str, float] | None = None

    async def open(self) -> None:
        self._writer, self._reader = _Lane("writer"), _Lane("reader")
        try:
            await self._writer.start(self._open_writer)
            await self._reader.start(self._open_reader)
        except (OSError, sqlite3.Error, _Unusable) as error:
            await self.close()
            why = f"{_why(error)}; mend that, or name another folder"
            kind = StoreStartError if _may_pass(error) else StoreSettingsError
            raise kind(f"data_dir: cannot use {self._path}: {why}") from None

    def _open_writer(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise _Unusable(
                f"Python has SQLite {sqlite3.sqlite_version}, and {oldest} is the oldest that works"
            )
        _make_private(self._path)
        connection = _connect(self._path)
        try:
            set_wal(connection)
            migrate(connection)
            self._identity = _identity_of(self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        connection = _connect(self._path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    async def close(self) -> None:
        # The reader first: the last connection to go folds the -wal file into the database.
        lanes, self._reader, self._writer = (self._reader, self._writer), None, None
        for lane in lanes:
            if lane is not None:
                await lane.stop()

    async def check(self) -> None:
        # Reading goes on while the file is locked or the disk is full.
        failure = self._failure
        if failure is None:
            await self._read(_plain, "SELECT count(*) FROM users WHERE key = ''")
            return
        await self._transact(_prove_writing, False)
        text, failed_at = failure
        # That was a small change; what failed may have been larger.
        if time.monotonic() - failed_at < STUCK_SECONDS and self._failure is failure:
            raise StoreUnavailable(text)
        self._failure = None

    async def _read(self, make: Callable[[Row], T], sql: str, values: Values = ()) -> list[T]:
        """Ask for rows and make something of each, all in the reading thread."""

        def ask(connection: sqlite3.Connection) -> list[T]:
            self._need_same_file()
            return _rows(connection, make, sql, values)

        return await _open_lane(self._reader).run(ask)

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, synced: bool = False) -> T:
        """Do something in one transaction; `synced`: it survives a power cut too, and costs an fsync."""
        try:
            result = await self._transact(work, synced)
        except StoreUnavailable as error:
            self._failure = (str(error), time.monotonic())
            raise
        self._failure = None
        return result

    async def _transact(self, work: Callable[[sqlite3.Connection], T], synced: bool) -> T:
        given_up_at = time.monotonic() + TIMEOUT_SECONDS

        def transact(connection: sqlite3.Connection) -> T:
            self._need_same_file()
            with _synced(connection, synced), _transaction(connection):
                done = work(connection)
                # Whoever asked has been told by now that it did not happen.
                _refuse_after(given_up_at)
                return done

        return await _open_lane(self._writer).run(transact)

    def _need_same_file(self) -> None:
        """Refuse what would be read from, or written to, a file that has no name any more."""
        try:
            same = _identity_of(self._path) == self._identity
        except OSError:
            same = False
        if not same:
            raise StoreUnavailable("the database file was removed or replaced; restart the server")

    async def _change(
        self, make: Callable[[Row], T], sql: str, values: Values, *, synced: bool = False
    ) -> list[T]:
        """Run one changing statement and make something of each row that it returns."""
        return await self._write(lambda connection: _rows(connection, make, sql, values), synced=synced)

    # Users

    async def add_user(self, user: User) -> None:
        values = {**_values(user), "key": user.key, "roles": _json(user.roles)}
        await self._change(_plain, _insert("users", values), values, synced=True)

    async def get_user(self, username: str) -> User | None:
        sql = f"SELECT {USER_COLUMNS} FROM users WHERE key = ?"
        return _first(await self._read(_user, sql, (findable(name_key(username)),)))

    async def list_users(self) -> list[User]:
        return await self._read(_user, f"SELECT {USER_COLUMNS} FROM users ORDER BY key")

    async def count_users(self) -> int:
        return (await self._read(_number, "SELECT count(*) FROM users"))[0]

    async def update_user(self, username: str, **changes: Any) -> User | None:
        values = checked(UserChanges, changes)
        if not values:
            return await self.get_user(username)
        if "roles" in values:
            values["roles"] = _json(values["roles"])
        sql = f"UPDATE users SET {_assignments(values)} WHERE key = :key RETURNING {USER_COLUMNS}"
        values["key"] = findable(name_key(username))
        return _first(await self._change(_user, sql, values, synced=True))

    # Sessions

    async def add_session(self, session: Session) -> None:
        sql = f"""INSERT INTO sessions ({SESSION_COLUMNS})
            SELECT :id_hash, key, :created_at, :expires_at FROM users WHERE key = :user_key AND active
            RETURNING id_hash"""
        if not await self._change(_text, sql, {**_values(session), "user_key": findable(session.user_key)}):
            raise NoActiveUser("a session needs an active user")

    async def get_session(self, id_hash: str, now: float) -> Session | None:
        sql = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE id_hash = ? AND expires_at > ?"
        return _first(await self._read(_session, sql, (findable(id_hash), now)))

    async def get_session_user(self, id_hash: str, now: float) -> tuple[Session, User] | None:
        sql = f"""SELECT id_hash, user_key, sessions.created_at, expires_at, {USER_COLUMNS_JOINED}
            FROM sessions JOIN users ON key = user_key WHERE id_hash = ? AND expires_at > ?"""
        return _first(await self._read(_session_user, sql, (findable(id_hash), now)))

    async def get_session_users(self, id_hashes: Collection[str], now: float) -> dict[str, User]:
        sql = f"""SELECT id_hash, {USER_COLUMNS_JOINED} FROM sessions JOIN users ON key = user_key
            WHERE id_hash IN (SELECT value FROM json_each(?)) AND expires_at > ?"""
        wanted = _json([findable(each) for each in id_hashes])
        return dict(await self._read(lambda row: (row[0], _user(row[1:])), sql, (wanted, now)))

    async def extend_session(self, id_hash: str, expires_at: float) -> bool:
        sql = "UPDATE sessions SET expires_at = max(expires_at, ?) WHERE id_hash = ? RETURNING id_hash"
        return bool(await self._change(_text, sql, (expires_at, findable(id_hash))))

    async def delete_session(self, id_hash: str) -> bool:
        sql = "DELETE FROM sessions WHERE id_hash = ? RETURNING id_hash"
        return bool(await self._change(_text, sql, (findable(id_hash),), synced=True))

    async def delete_sessions_of(self, user_key: str, keep: str | None = None) -> list[str]:
        sql = "DELETE FROM sessions WHERE user_key = ? AND id_hash IS NOT ? RETURNING id_hash"
        kept = None if keep is None else findable(keep)
        return await self._change(_text, sql, (findable(user_key), kept), synced=True)

    async def delete_expired_sessions(self, now: float) -> int:
        sql = "DELETE FROM sessions WHERE expires_at <= ? RETURNING id_hash"
        return len(await self._change(_text, sql, (now,)))

    # Todos

    async def add_todo(self, todo: Todo) -> None:
        values = _values(todo)
        await self._change(_plain, _insert("todos", values), values)

    async def get_todo(self, todo_id: str) -> Todo | None:
        sql = f"SELECT {TODO_COLUMNS} FROM todos WHERE id = ?"
        return _first(await self._read(_todo, sql, (findable(todo_id),)))

    async def list_todos(self, limit: int = 1000) -> list[Todo]:
        sql = f"SELECT {TODO_COLUMNS} FROM todos ORDER BY created_at DESC, id DESC LIMIT ?"
        return (await self._read(_todo, sql, (max(0, limit),)))[::-1]

    async def count_todos(self) -> int:
        return (await self._read(_number, "SELECT count(*) FROM todos"))[0]

    async def update_todo(self, todo_id: str, now: float, **changes: Any) -> Todo | None:
        values = checked(TodoChanges, changes)
        sql = f"UPDATE todos SET {_later(values)} WHERE id = :id RETURNING {TODO_COLUMNS}"
        values |= {"now": milliseconds(now), "id": findable(todo_id)}
        return _first(await self._change(_todo, sql, values))

    async def toggle_todo(self, todo_id: str, now: float) -> Todo | None:
        sql = f"UPDATE todos SET completed = NOT completed, {LATER} WHERE id = :id RETURNING {TODO_COLUMNS}"
        return _first(await self._change(_todo, sql, {"now": milliseconds(now), "id": findable(todo_id)}))

    async def delete_todo(self, todo_id: str) -> Todo | None:
        sql = f"DELETE FROM todos WHERE id = ? RETURNING {TODO_COLUMNS}"
        return _first(await self._change(_todo, sql, (findable(todo_id),)))

    # Notes

    async def add_note(self, note: Note, max_notes: int) -> list[str]:
        values = _values(note)

        def add(connection: sqlite3.Connection) -> list[str]:
            connection.execute(_insert("notes", values), values)
            return _evict(connection, max_notes)

        return await self._write(add)

    async def list_notes(self) -> list[Note]:
        return await self._read(_note, f"SELECT {NOTE_COLUMNS} FROM notes ORDER BY created_at, id")

    async def update_note(self, note_id: str, now: float, **changes: Any) -> Note | None:
        values = checked(NoteChanges, changes)
        sql = f"UPDATE notes SET {_later(values)} WHERE id = :id RETURNING {NOTE_COLUMNS}"
        values |= {"now": milliseconds(now), "id": findable(note_id)}
        return _first(await self._change(_note, sql, values))

    async def delete_note(self, note_id: str) -> Note | None:
        sql = f"DELETE FROM notes WHERE id = ? RETURNING {NOTE_COLUMNS}"
        return _first(await self._change(_note, sql, (findable(note_id),)))


class _Unusable(Exception):
    """The file cannot be used for a reason of our own, which the text says."""


class _Lane:
    """A connection and the one thread that uses it, one call after the other."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{name}")
        #: Set by `start`; only the thread touches it.
        self._connection: sqlite3.Connection | None = None

    async def start(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Connect, in the thread; raises what `connect` does."""

        def keep() -> None:
            self._connection = connect()

        await self._submit(keep)

    async def stop(self) -> None:
        """Finish what is queued and disconnect."""
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)
        await closed

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection; StoreUnavailable when that does not work or takes too long."""
        latest = time.monotonic() + QUEUE_SECONDS

        def begin() -> T:
            _refuse_after(latest)
            assert self._connection is not None
            return work(self._connection)

        try:
            return await self._submit(begin)
        except TimeoutError:
            raise StoreUnavailable("the disk of the database does not answer") from None
        except sqlite3.DatabaseError as error:
            raise _translated(error) from error

    async def _submit(self, work: Callable[[], T]) -> T:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _refuse_after(moment: float) -> None:
    """Refuse what is no longer waited for."""
    if time.monotonic() > moment:
        raise StoreUnavailable("the database is too busy; try again in a moment")


def _open_lane(lane: _Lane | None) -> _Lane:
    if lane is None:
        raise StoreUnavailable("the database is closed")
    return lane


# The file


def _make_private(path: Path) -> None:
    """Make the folder and the file if they are missing; nobody but the owner can read the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        # Not by opening it: closing any descriptor of a file drops all locks that this process has on it.
        if not os.access(path, os.W_OK) or not path.stat().st_mode & stat.S_IWUSR:
            raise _Unusable("it is read-only") from None
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if each.exists():
            each.chmod(each.stat().st_mode & stat.S_IRWXU)


def _identity_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def set_wal(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log; of several processes that do it at once, SQLite sends all but one away."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            [(mode,)] = connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise _Unusable(
            "its file system lacks what SQLite's write-ahead log needs, as network file systems do"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, all or nothing; writes even if it is, so that a full disk shows now."""
    with _transaction(connection):
        [(version,)] = connection.execute("PRAGMA user_version")
        if version > len(MIGRATIONS):
            raise _Unusable(f"a newer jPulse wrote it (schema {version}, this one knows {len(MIGRATIONS)})")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _prove_writing(connection: sqlite3.Connection) -> None:
    """Write what stands there already."""
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def fold_log(path: Path) -> None:
    """
    Fold what is left of the write-ahead log into the database, when all who had it open are gone.

    The last one to close it does so, but of several that close it at once none may be the last.
    Here they wait for each other.
    """
    if path.exists():
        with _alone_in(path.parent), suppress(sqlite3.Error), closing(_connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else is here; a process that ends lets the next one in."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: two transactions that begin by reading and then both write cannot wait for each other.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _synced(connection: sqlite3.Connection, synced: bool) -> Iterator[None]:
    if not synced:
        yield
        return
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")


# What went wrong


def _primary_code(error: sqlite3.Error) -> int:
    """The kind of an error, without SQLite's details; 0 if the error is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_TEXTS = {
    sqlite3.SQLITE_BUSY: "another process keeps the database locked",
    sqlite3.SQLITE_LOCKED: "the database is locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
}


def _translated(error: sqlite3.DatabaseError) -> Exception:
    """What to raise instead; mistakes in our own SQL stay what they are."""
    if getattr(error, "sqlite_errorcode", 0) in (
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    ):
        return Conflict("there is one already")
    text = _TEXTS.get(_primary_code(error))
    return StoreUnavailable(f"{text}; try again in a moment") if text else error


def _may_pass(error: Exception) -> bool:
    """Tell whether a later start may work although nobody changes a setting."""
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    passing = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return isinstance(error, sqlite3.Error) and _primary_code(error) in passing


def _why(error: Exception) -> str:
    """One line for whoever starts the server."""
    if isinstance(error, FileExistsError):
        return "its folder is a file"
    if isinstance(error, OSError):
        return error.strerror or str(error) or "it does not answer"
    if isinstance(error, sqlite3.Error):
        return _TEXTS.get(_primary_code(error), str(error))
    return str(error)


# Rows and records


def _rows(connection: sqlite3.Connection, make: Callable[[Row], T], sql: str, values: Values) -> list[T]:
    return [make(row) for row in connection.execute(sql, values)]


def _evict(connection: sqlite3.Connection, max_notes: int) -> list[str]:
    sql = "SELECT id FROM notes ORDER BY updated_at DESC, id DESC LIMIT -1 OFFSET ?"
    ids = _rows(connection, _text, sql, (max(0, max_notes),))[::-1]
    connection.executemany("DELETE FROM notes WHERE id = ?", [(each,) for each in ids])
    return ids


def _insert(table: str, values: Mapping[str, Any]) -> str:
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = :{name}" for name in values)


def _later(values: Mapping[str, Any]) -> str:
    """The assignments of a change that `updated_at` tells of."""
    return ", ".join([*(f"{name} = :{name}" for name in values), LATER])


def _values(record: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(record)


def _json(roles: Sequence[str]) -> str:
    return msgspec.json.encode(roles).decode()


def _first(found: list[T]) -> T | None:
    return found[0] if found else None


def _plain(row: Row) -> Row:
    return row


def _text(row: Row) -> str:
    text = row[0]
    assert isinstance(text, str)
    return text


def _number(row: Row) -> int:
    number = row[0]
    assert isinstance(number, int)
    return number


def _user(row: Row) -> User:
    username, password_hash, roles, display_name, active, created_at = row
    return User(
        username=username,
        password_hash=password_hash,
        roles=msgspec.json.decode(roles, type=tuple[str, ...]),
        display_name=display_name,
        active=bool(active),
        created_at=created_at,
    )


def _session(row: Row) -> Session:
    id_hash, user_key, created_at, expires_at = row
    return Session(id_hash=id_hash, user_key=user_key, created_at=created_at, expires_at=expires_at)


def _session_user(row: Row) -> tuple[Session, User]:
    return _session(row[:4]), _user(row[4:])


def _todo(row: Row) -> Todo:
    todo_id, title, completed, username, created_at, updated_at = row
    return Todo(
        id=todo_id,
        title=title,
        completed=bool(completed),
        username=username,
        created_at=created_at,
        updated_at=updated_at,
    )


def _note(row: Row) -> Note:
    return Note(**dict(zip(Note.__struct_fields__, row, strict=True)))
