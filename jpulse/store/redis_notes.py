"""
The notes in Redis: for servers of several processes, which hear of changes over Redis too.

A hash has one JSON text per note; a sorted set has their ids by the last update, for the
eviction. Each change is one Lua script, so nobody comes between reading and writing.

What is acknowledged lives as long as Redis keeps it: through a restart of Redis only if that
saves to disk. After StoreUnavailable a change may have been made or not. The connection
comes back by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from ..redis_url import options_of
from .base import Conflict, Note, NoteStore, StoreUnavailable, milliseconds
from .checks import NoteChanges, checked, findable

#: Nobody waits longer, not even for a connection and then for its answer.
TIMEOUT_SECONDS = 4.8
#: These win over what the URL says; the promise to answer in time depends on them. No command is
#: sent twice: a note that was added by the first attempt would be a conflict for the second.
OPTIONS: dict[str, Any] = {
    "socket_timeout": 2.0,
    "socket_connect_timeout": 2.0,
    "max_connections": 8,
    "timeout": 2.0,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_timeout": False,
    "retry_on_error": [],
    "protocol": 2,
    "decode_responses": False,
}

#: KEYS: the hash, the sorted set. ARGV: id, JSON, updated_at, max_notes. False: the id is taken.
ADD = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return false end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
local too_many = redis.call('ZCARD', KEYS[2]) - ARGV[4]
if too_many <= 0 then return {} end
local gone = redis.call('ZRANGE', KEYS[2], 0, too_many - 1)
for _, id in ipairs(gone) do
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
end
return gone
"""

#: KEYS: the hash, the sorted set. ARGV: id, now in milliseconds, the changes as JSON. False: no such note.
#: Lua's own JSON has 14 digits; with 17 every number stays what it was.
UPDATE = """
local json = redis.call('HGET', KEYS[1], ARGV[1])
if not json then return false end
local note = cjson.decode(json)
for name, value in pairs(cjson.decode(ARGV[3])) do note[name] = value end
local later = math.floor(note.updated_at * 1000 + 0.5) + 1
note.updated_at = math.max(tonumber(ARGV[2]), later) / 1000
local fields = {}
for name, value in pairs(note) do
    local text = type(value) == 'number' and string.format('%.17g', value) or cjson.encode(value)
    fields[#fields + 1] = '"' .. name .. '":' .. text
end
json = '{' .. table.concat(fields, ',') .. '}'
redis.call('HSET', KEYS[1], ARGV[1], json)
redis.call('ZADD', KEYS[2], string.format('%.17g', note.updated_at), ARGV[1])
return json
"""

#: KEYS: the hash, the sorted set. ARGV: id. False: no such note.
DELETE = """
local json = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return json
"""


class RedisNotes(NoteStore):
    """Keeps the notes under `{prefix}:notes`; `open` it after a fork."""

    def __init__(self, url: str, prefix: str = "jpulse") -> None:
        self._url = url
        self._notes = f"{prefix}:notes"
        self._keys = [self._notes, f"{prefix}:notes:by-update"]
        #: None before `open` and after `close`.
        self._redis: Redis | None = None
        #: Calls that wait for Redis.
        self._under_way = 0
        self._idle = asyncio.Event()

    async def open(self) -> None:
        """Get ready; Redis need not be there yet. SettingsError for what is no URL of a Redis."""
        pool = BlockingConnectionPool(**{**options_of(self._url), **OPTIONS})
        self._redis = Redis.from_pool(pool)
        self._add = self._redis.register_script(ADD)
        self._update = self._redis.register_script(UPDATE)
        self._delete = self._redis.register_script(DELETE)

    async def close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is None:
            return
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        await redis.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Redis]:
        """Lend the client, bound the time, and turn the client's errors into the store's."""
        if self._redis is None:
            raise StoreUnavailable("the connection to Redis is closed")
        self._under_way += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                yield self._redis
        except (TimeoutError, OSError, RedisError) as error:
            raise StoreUnavailable("Redis cannot keep notes now; try again in a moment") from error
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def add_note(self, note: Note, max_notes: int) -> list[str]:
        async with self._asking():
            values = [note.id, msgspec.json.encode(note), repr(note.updated_at), max(0, max_notes)]
            gone = await self._run(self._add, values)
        if gone is None:
            raise Conflict("there is one already")
        return [each.decode() for each in gone]

    async def list_notes(self) -> list[Note]:
        async with self._asking() as redis:
            notes = [_decoded(each) for each in await redis.hvals(self._notes)]
        return sorted(notes, key=lambda note: (note.created_at, note.id))

    async def update_note(self, note_id: str, now: float, **changes: Any) -> Note | None:
        values = msgspec.json.encode(checked(NoteChanges, changes))
        async with self._asking():
            changed = await self._run(self._update, [findable(note_id), milliseconds(now), values])
        return None if changed is None else _decoded(changed)

    async def delete_note(self, note_id: str) -> Note | None:
        async with self._asking():
            deleted = await self._run(self._delete, [findable(note_id)])
        return None if deleted is None else _decoded(deleted)

    async def _run(self, script: AsyncScript, values: list[Any]) -> Any:
        return await script(keys=self._keys, args=values)


def _decoded(json: bytes | str) -> Note:
    return msgspec.json.decode(json, type=Note)
