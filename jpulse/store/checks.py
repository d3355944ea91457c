"""What both stores check before they ask: what may change, to which type, and what can be looked for."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class UserChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What may change of a user."""

    password_hash: str | UnsetType = UNSET
    roles: tuple[str, ...] | UnsetType = UNSET
    display_name: str | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class TodoChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What may change of a todo."""

    title: str | UnsetType = UNSET
    completed: bool | UnsetType = UNSET


class NoteChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What may change of a note."""

    x: float | UnsetType = UNSET
    y: float | UnsetType = UNSET
    text: str | UnsetType = UNSET
    color: str | UnsetType = UNSET


def checked(kind: type[msgspec.Struct], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the changes as a store writes them; TypeError for a field or a type that is not allowed."""
    try:
        values = msgspec.to_builtins(msgspec.convert(changes, kind))
    except msgspec.ValidationError as error:
        raise TypeError(f"not among {kind.__name__}: {error}") from None
    assert isinstance(values, dict)
    return values


def findable(key: str) -> str:
    """
    Return the key, or, for text that no store can hold, one that nothing has.

    Half of a surrogate pair is no Unicode; on a command line it stands for a byte that is no UTF-8. No name's
    key begins with a blank, and no id has one.
    """
    try:
        key.encode()
    except UnicodeEncodeError:
        return f" {key.encode('utf-8', 'backslashreplace').decode()}"
    return key
