"""What the setting `redis_url` says, as redis-py takes it, and what to say of a wrong one."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import parse_url

from .errors import SettingsError


def options_of(url: str) -> dict[str, Any]:
    """Read a URL of a Redis; SettingsError for what is none."""
    try:
        return dict(parse_url(url))
    except ValueError as error:
        raise wrong_url(url, error) from None


def wrong_url(url: str, error: Exception) -> SettingsError:
    """Say what is wrong with a URL, in which a password may be, and with its options."""
    why = (
        "quote user name and password by RFC 3986"
        if "@" in url
        else str(error).partition("__() ")[2] or str(error)
    )
    return SettingsError(f"redis_url: not a Redis URL that works: {why}")
