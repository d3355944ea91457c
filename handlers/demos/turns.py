"""One after the other: changes of one record, each stored and told before the next begins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from jpulse.store.base import StoreUnavailable

#: The store itself gives up within five seconds, which the wait for one's turn must not double.
TURN_SECONDS = 0.5

#: Records that are being changed, each while somebody holds or awaits its lock.
_turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@asynccontextmanager
async def turn(record_id: str) -> AsyncIterator[None]:
    """
    Change a record when it is one's turn, so that changes are told in the order in which they were kept.

    That holds within this process; between processes clients go by `updatedAt`. StoreUnavailable when
    those before take so long that the store must be in trouble.
    """
    lock = _turns.setdefault(record_id, asyncio.Lock())
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await lock.acquire()
    except TimeoutError:
        raise StoreUnavailable("others who change the same wait for the store") from None
    try:
        yield
    finally:
        lock.release()
