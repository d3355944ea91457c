"""What can be asked: functions of a connection and the message, whose result is the reply."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jpulse import ClientError, Connection

MAX_NUMBER = 10**12
MAX_SECONDS = 10


async def factors(conn: Connection, message: dict[str, Any]) -> list[int]:
    """Factorise a number, in a thread so that nobody else waits."""
    number = message.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 2 <= number <= MAX_NUMBER:
        raise ClientError(f"number: a whole number from 2 to {MAX_NUMBER} is needed")
    return await asyncio.to_thread(factorise, number)


async def report(conn: Connection, message: dict[str, Any]) -> str:
    """Stand in for something that takes its time, such as another server."""
    seconds = message.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_SECONDS:
        raise ClientError(f"seconds: a number from 0 to {MAX_SECONDS} is needed")
    await asyncio.sleep(seconds)
    return f"The report for {conn.username or 'a guest'}, after {seconds:g} s"


def factorise(number: int) -> list[int]:
    """The prime factors, smallest first."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1 if divisor == 2 else 2
    return [*found, number] if number > 1 else found


#: What can be asked for.
QUESTIONS: dict[str, Callable[[Connection, dict[str, Any]], Awaitable[Any]]] = {
    "factors": factors,
    "report": report,
}
