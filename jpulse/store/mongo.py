"""
The store in MongoDB: for servers on several machines.

What is acknowledged is in the journal of a majority of the servers (w=majority, j=true):
it survives the end of any process and a power cut. After StoreUnavailable a change may
have been made or not; nobody can know. The connection comes back by itself.

Motor is the driver, and this is the only module that knows it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorCollection,
    AsyncIOMotorCursor,
    AsyncIOMotorDatabase,
)
from pymongo import ASCENDING, DESCENDING, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import ConfigurationError, DuplicateKeyError, OperationFailure, PyMongoError

from ..names import name_key
from .base import (
    Conflict,
    NoActiveUser,
    Note,
    Session,
    Store,
    StoreError,
    StoreSettingsError,
    StoreStartError,
    StoreUnavailable,
    Todo,
    User,
    milliseconds,
)
from .checks import NoteChanges, TodoChanges, UserChanges, checked, findable

Document = dict[str, Any]
R = TypeVar("R", bound=msgspec.Struct)

DATABASE = "jpulse"
#: How long to look for a server that takes requests.
SELECTION_SECONDS = 3.0
#: How long the driver spends on one request in all.
REQUEST_SECONDS = 4.0
#: Nobody waits longer; counts the wait for one of the driver's threads too, and methods of several requests.
TIMEOUT_SECONDS = 4.8
#: MongoDB forgets sessions by its own clock, so much later than they expire by ours: the two may differ.
TTL_GRACE_SECONDS = 3600
BATCH_DOCUMENTS = 1000

#: These win over what the URL says; the store's promises depend on them.
OPTIONS: dict[str, Any] = {
    "appname": "jpulse",
    "serverSelectionTimeoutMS": int(1000 * SELECTION_SECONDS),
    "connectTimeoutMS": 2000,
    "timeoutMS": int(1000 * REQUEST_SECONDS),
}


class MongoStore(Store):
    """Keeps everything in the database that the URL names, or in `jpulse`; `open` it after a fork."""

    def __init__(self, url: str) -> None:
        self._url = url
        #: None before `open` and after `close`.
        self._client: AsyncIOMotorClient[Document] | None = None
        #: Calls that wait for MongoDB.
        self._under_way = 0
        self._idle = asyncio.Event()

    async def open(self) -> None:
        self._client = self._make_client(retryWrites=True)
        try:
            async with self._asking() as db:
                hello = await db.command("hello")
            if not _tells_attempts_apart(hello):
                await asyncio.to_thread(self._client.close)
                self._client = self._make_client(retryWrites=False)
            async with self._asking() as db:
                await _make_indexes(db)
        except StoreError as error:
            await self.close()
            why = _short(error.__cause__ or error)
            raise StoreStartError(f"mongo_url: cannot use MongoDB at {_place(self._url)}: {why}") from None

    def _make_client(self, **options: Any) -> AsyncIOMotorClient[Document]:
        try:
            loop = asyncio.get_running_loop()
            return AsyncIOMotorClient(self._url, io_loop=loop, **OPTIONS, **options)
        except (PyMongoError, ValueError) as error:
            # The driver's texts quote what it could not read, and that may be a part of the password.
            why = "quote user name and password by RFC 3986" if "@" in self._url else _short(error)
            raise StoreSettingsError(f"mongo_url: not a MongoDB URL that works: {why}") from None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        # In a thread, because it says goodbye to the server.
        await asyncio.to_thread(client.close)

    async def check(self) -> None:
        async with self._asking() as db:
            await db.command("ping")

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[AsyncIOMotorDatabase[Document]]:
        """Lend the database, bound the time, and turn the driver's errors into the store's."""
        if self._client is None:
            raise StoreUnavailable("the database is closed")
        self._under_way += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                yield _database(self._client)
        except DuplicateKeyError as error:
            raise Conflict("there is one already") from error
        except (TimeoutError, PyMongoError) as error:
            raise StoreUnavailable("the database does not answer; try again in a moment") from error
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    # Users

    async def add_user(self, user: User) -> None:
        async with self._asking() as db:
            await db.users.insert_one({**msgspec.structs.asdict(user), "key": user.key})

    async def get_user(self, username: str) -> User | None:
        async with self._asking() as db:
            return _record(User, await db.users.find_one({"key": findable(name_key(username))}))

    async def list_users(self) -> list[User]:
        async with self._asking() as db:
            return await _records(User, db.users.find().sort("key", ASCENDING))

    async def count_users(self) -> int:
        async with self._asking() as db:
            return await db.users.count_documents({})

    async def update_user(self, username: str, **changes: Any) -> User | None:
        values = checked(UserChanges, changes)
        if not values:
            return await self.get_user(username)
        async with self._asking() as db:
            found = await db.users.find_one_and_update(
                {"key": findable(name_key(username))},
                {"$set": values},
                return_document=ReturnDocument.AFTER,
            )
            return _record(User, found)

    # Sessions

    async def add_session(self, session: Session) -> None:
        """
        Keep a new session; NoActiveUser if there is no such user, or it is disabled.

        The user is looked at afterwards: whoever disables a user ends the sessions after that, so one of
        the two sees the other.
        """
        user_key = findable(session.user_key)
        document = {**_document(session), "user_key": user_key, "expires": _date(session.expires_at)}
        async with self._asking() as db:
            await db.sessions.insert_one(document)
            if not await db.users.find_one({"key": user_key, "active": True}):
                await db.sessions.delete_one({"_id": session.id_hash})
                raise NoActiveUser("a session needs an active user")

    async def get_session(self, id_hash: str, now: float) -> Session | None:
        async with self._asking() as db:
            found = await db.sessions.find_one({"_id": findable(id_hash), "expires_at": {"$gt": now}})
            return _record(Session, found)

    async def get_session_users(self, id_hashes: Collection[str], now: float) -> dict[str, User]:
        wanted = {"_id": {"$in": [findable(each) for each in id_hashes]}, "expires_at": {"$gt": now}}
        async with self._asking() as db:
            sessions = await _records(Session, db.sessions.find(wanted))
            keys = list({session.user_key for session in sessions})
            users = {user.key: user for user in await _records(User, db.users.find({"key": {"$in": keys}}))}
        return {each.id_hash: users[each.user_key] for each in sessions if each.user_key in users}

    async def extend_session(self, id_hash: str, expires_at: float) -> bool:
        later = {"expires_at": expires_at, "expires": _date(expires_at)}
        async with self._asking() as db:
            result = await db.sessions.update_one({"_id": findable(id_hash)}, {"$max": later})
            return result.matched_count == 1

    async def delete_session(self, id_hash: str) -> bool:
        async with self._asking() as db:
            return (await db.sessions.delete_one({"_id": findable(id_hash)})).deleted_count == 1

    async def delete_sessions_of(self, user_key: str, keep: str | None = None) -> list[str]:
        kept = None if keep is None else findable(keep)
        wanted = {"user_key": findable(user_key), "_id": {"$ne": kept}}
        ended: list[str] = []
        async with self._asking() as db:
            # By id, so that what is deleted is what is returned; again, for those that came meanwhile.
            while ids := await _ids(db.sessions.find(wanted, {"_id": True})):
                await db.sessions.delete_many({"_id": {"$in": ids}})
                ended += ids
        return ended

    async def delete_expired_sessions(self, now: float) -> int:
        async with self._asking() as db:
            return (await db.sessions.delete_many({"expires_at": {"$lte": now}})).deleted_count

    # Todos

    async def add_todo(self, todo: Todo) -> None:
        async with self._asking() as db:
            await db.todos.insert_one(_document(todo))

    async def get_todo(self, todo_id: str) -> Todo | None:
        async with self._asking() as db:
            return _record(Todo, await db.todos.find_one({"_id": findable(todo_id)}))

    async def list_todos(self, limit: int = 1000) -> list[Todo]:
        if limit < 1:
            return []
        async with self._asking() as db:
            newest = db.todos.find().sort([("created_at", DESCENDING), ("_id", DESCENDING)]).limit(limit)
            return (await _records(Todo, newest))[::-1]

    async def count_todos(self) -> int:
        async with self._asking() as db:
            return await db.todos.count_documents({})

    async def update_todo(self, todo_id: str, now: float, **changes: Any) -> Todo | None:
        values = _literal(checked(TodoChanges, changes))
        async with self._asking() as db:
            return _record(Todo, await _change(db.todos, todo_id, now, values))

    async def toggle_todo(self, todo_id: str, now: float) -> Todo | None:
        async with self._asking() as db:
            found = await _change(db.todos, todo_id, now, {"completed": {"$not": "$completed"}})
            return _record(Todo, found)

    async def delete_todo(self, todo_id: str) -> Todo | None:
        async with self._asking() as db:
            return _record(Todo, await db.todos.find_one_and_delete({"_id": findable(todo_id)}))

    # Notes

    async def add_note(self, note: Note, max_notes: int) -> list[str]:
        """
        Keep a new note, and of all the `max_notes` last updated; returns the ids of those that had to go.

        Adding and evicting are two steps, but whoever evicts looks at the rank of a note and not at how many
        there are: two at once choose the same ones, and each id is returned to one of the two. A note that is
        updated at that moment can leave one too many, until the next note is added.
        """
        async with self._asking() as db:
            await db.notes.insert_one(_document(note))
            return await _evict(db, max_notes)

    async def list_notes(self) -> list[Note]:
        async with self._asking() as db:
            return await _records(Note, db.notes.find().sort([("created_at", ASCENDING), ("_id", ASCENDING)]))

    async def update_note(self, note_id: str, now: float, **changes: Any) -> Note | None:
        values = _literal(checked(NoteChanges, changes))
        async with self._asking() as db:
            return _record(Note, await _change(db.notes, note_id, now, values))

    async def delete_note(self, note_id: str) -> Note | None:
        async with self._asking() as db:
            return _record(Note, await db.notes.find_one_and_delete({"_id": findable(note_id)}))


# The database


def _database(client: AsyncIOMotorClient[Document]) -> AsyncIOMotorDatabase[Document]:
    return client.get_default_database(
        DATABASE, write_concern=WriteConcern(w="majority", j=True), read_preference=ReadPreference.PRIMARY
    )


async def _make_indexes(db: AsyncIOMotorDatabase[Document]) -> None:
    await db.users.create_index("key", unique=True)
    await db.sessions.create_index("user_key")
    await db.sessions.create_index("expires_at")
    await db.sessions.create_index("expires", expireAfterSeconds=TTL_GRACE_SECONDS)
    await db.todos.create_index([("created_at", ASCENDING), ("_id", ASCENDING)])
    await db.notes.create_index([("updated_at", ASCENDING), ("_id", ASCENDING)])


async def _change(
    records: AsyncIOMotorCollection[Document], record_id: str, now: float, values: Document
) -> Document | None:
    """Set fields of a todo or a note to what expressions give, and updated_at, in one step."""
    return await records.find_one_and_update(
        {"_id": findable(record_id)},
        [{"$set": {**values, "updated_at": _later(now)}}],
        return_document=ReturnDocument.AFTER,
    )


def _later(now: float) -> Document:
    """An expression: max(now, updated_at + 1 ms), in whole milliseconds."""
    next_one = {"$add": [{"$round": {"$multiply": ["$updated_at", 1000]}}, 1]}
    return {"$divide": [{"$max": [milliseconds(now), next_one]}, 1000]}


def _literal(values: Document) -> Document:
    """Expressions that stand for values; else a text like "$username" would name a field."""
    return {name: {"$literal": value} for name, value in values.items()}


async def _evict(db: AsyncIOMotorDatabase[Document], max_notes: int) -> list[str]:
    latest = db.notes.find({}, {"updated_at": True}).sort([("updated_at", DESCENDING), ("_id", DESCENDING)])
    too_many = await latest.skip(max(0, max_notes)).to_list(None)
    # One that was updated meanwhile does not match any more, and stays.
    return [each["_id"] for each in reversed(too_many) if await db.notes.find_one_and_delete(each)]


def _tells_attempts_apart(hello: Document) -> bool:
    """
    Tell by a server's `hello` whether it knows a second attempt at a write from the first.

    A standalone does not, and there the driver (PyMongo 4.20) must not try again: it raises the failure
    of the first attempt once more, out of a connection that is sound, and takes that for broken with all
    others. Twenty who write go on like this for ever.
    """
    return "setName" in hello or hello.get("msg") == "isdbgrid"


# What went wrong


def _short(error: BaseException) -> str:
    """The driver's text without its description of the topology, in one line."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    text = (
        str((error.details or {}).get("errmsg", error)) if isinstance(error, OperationFailure) else str(error)
    )
    if isinstance(error, ConfigurationError):
        return text.splitlines()[0]
    return re.split(r" \(configured timeouts|, Timeout:|, full error:|\n", text)[0]


def _place(url: str) -> str:
    """The hosts of a URL, without the user and the password."""
    hosts = url.split("://", 1)[-1].rsplit("@", 1)[-1]
    return re.split(r"[/?]", hosts)[0]


# Documents and records


def _document(record: msgspec.Struct) -> Document:
    """A document whose _id is the record's first field."""
    values = msgspec.structs.asdict(record)
    return {"_id": values.pop(record.__struct_fields__[0]), **values}


def _record(kind: type[R], document: Document | None) -> R | None:
    return None if document is None else _made(kind, document)


def _made(kind: type[R], document: Document) -> R:
    if kind is not User:
        document[kind.__struct_fields__[0]] = document.pop("_id")
    return msgspec.convert(document, kind)


async def _records(kind: type[R], cursor: AsyncIOMotorCursor[Document]) -> list[R]:
    return [_made(kind, each) for each in await cursor.batch_size(BATCH_DOCUMENTS).to_list(None)]


async def _ids(cursor: AsyncIOMotorCursor[Document]) -> list[str]:
    return [each["_id"] for each in await cursor.to_list(None)]


def _date(seconds: float) -> datetime:
    """What MongoDB's TTL index understands; milliseconds, which is why expiry is not decided by it."""
    return datetime.fromtimestamp(seconds, UTC)
