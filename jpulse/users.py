"""`jpulse user …`: manage users on the command line, in the same store as the server's."""

from __future__ import annotations

import getpass
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence

from .activity import iso_time
from .auth import Auth, check_new_password
from .errors import ClientError, SettingsError
from .store.base import Store, StoreError

USAGE = "user add NAME [--roles user,admin] | user passwd|enable|disable|roles NAME | user list"


class NoEvents:
    """Nobody is connected to the command line; a running server finds the changes by itself."""

    def session_ended(self, id_hash: str) -> None:
        """Do nothing."""

    def user_changed(self, id_hash: str, user: object) -> None:
        """Do nothing."""

    def open_sessions(self) -> Sequence[str]:
        """None."""
        return ()

    def look_again(self, id_hashes: Sequence[str] | None) -> None:
        """Do nothing."""

    def guessed(self, name: str, address: str, *, failed: bool) -> None:
        """Do nothing."""


async def run(store: Store, words: Sequence[str], roles: str | None, environ: Mapping[str, str]) -> int:
    """Do what the words after `user` ask for; returns the exit status."""
    auth = Auth(store, 1, NoEvents())
    try:
        await store.open()
        await _command(auth, store, words, roles, environ)
    except (ClientError, StoreError) as error:
        print(f"jpulse: {error}", file=sys.stderr)
        return 1
    finally:
        auth.close()
        await store.close()
    return 0


async def _command(
    auth: Auth, store: Store, words: Sequence[str], roles: str | None, environ: Mapping[str, str]
) -> None:
    wanted = [role.strip() for role in ("user" if roles is None else roles).split(",") if role.strip()]
    if roles is not None and (not wanted or words[:1] not in (["add"], ["roles"])):
        raise SettingsError("--roles goes with `user add` and `user roles` and names at least one role")
    match list(words):
        case ["list"]:
            await _list(store)
        case ["add", name]:
            user = await auth.add_user(name, _password(environ), wanted)
            print(f"added {user.username} ({', '.join(user.roles)})")
        case ["passwd", name]:
            await _need(store, name)
            await auth.set_password(name, _password(environ))
            print(f"changed the password of {name}; all sessions of {name} have ended")
        case ["enable" | "disable" as verb, name]:
            await auth.set_active(name, verb == "enable")
            print(f"{verb}d {name}")
        case ["roles", name] if roles is not None:
            await auth.set_roles(name, wanted)
            print(f"{name} has the roles {', '.join(wanted)}")
        case _:
            raise SettingsError(f"usage: {USAGE}")


async def _need(store: Store, name: str) -> None:
    """Refuse before a password is asked for."""
    if await store.get_user(name) is None:
        raise ClientError(f"username: there is no user {name}", 404)


async def _list(store: Store) -> None:
    users = await store.list_users()
    width = max([len(user.username) for user in users], default=0)
    for user in users:
        state = "active" if user.active else "disabled"
        print(
            f"{user.username:<{width}}  {state:<8}  {','.join(user.roles):<16}  {iso_time(user.created_at)}"
        )


def _password(environ: Mapping[str, str]) -> str:
    """Take the password from the environment, or ask for it twice."""
    given = environ.get("JPULSE_PASSWORD")
    if given is None:
        is_piped = sys.stdin is not None and not sys.stdin.isatty()
        ask = _read_line if is_piped else getpass.getpass
        # The loop's own handler would wait for the prompt to end, which waits for the user.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with warnings.catch_warnings():
                # Without a terminal getpass would warn, and show what is typed.
                warnings.simplefilter("error", getpass.GetPassWarning)
                given = ask("Password: ")
                check_new_password(given)
                again = ask("The same again: ")
        except (EOFError, getpass.GetPassWarning):
            raise ClientError("password: nobody is there to type it; set JPULSE_PASSWORD") from None
        if given != again:
            raise ClientError("password: the two are not the same")
    return given


def _read_line(question: str) -> str:
    """Take the answer of a program that writes to us, which needs no question and sees no echo."""
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        raise ClientError("password: it is not UTF-8") from None
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
