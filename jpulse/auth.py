"""
Who may come in: users, passwords, sessions, and the limits on guessing.

Nothing here knows of HTTP. The web layer passes names, passwords and cookies in; what
ends a session is told to `SessionEvents`, which the hub implements.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import math
import os
import re
import secrets
import time
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import bcrypt
import msgspec

from .errors import ClientError
from .names import ROLES, name_key
from .store.base import Conflict, NoActiveUser, Session, Store, StoreUnavailable, User

log = logging.getLogger("jpulse.auth")

T = TypeVar("T")

MIN_PASSWORD_LENGTH = 8
#: bcrypt looks at no more than this.
MAX_PASSWORD_BYTES = 72
BCRYPT_COST = 12
#: Letters, digits and marks of any script, and what names and mail addresses are joined with.
_NAME = re.compile(r"[\w.@+-]{1,64}")

#: Failures in this many seconds count.
GUESSING_SECONDS = 300.0
MAX_FAILURES_PER_NAME = 5
MAX_FAILURES_PER_ADDRESS = 20
#: Names and addresses that are remembered; the oldest are forgotten first.
MAX_REMEMBERED = 10_000
#: Sign-ins that may wait for bcrypt; each takes a quarter of a second of a core.
MAX_WAITING = 100

#: A session is extended when this part of it has passed, so that not every request writes.
EXTEND_AFTER = 0.1
#: Sessions of open sockets that are looked up in one sweep.
SESSIONS_PER_SWEEP = 5000
#: Asked for at once, so that nobody else waits long for the store.
SESSIONS_PER_LOOKUP = 500
#: Which of the two is not told.
WRONG = "Wrong name or password"


class CurrentUser(msgspec.Struct, frozen=True):
    """A signed-in user as handlers and pages see it; the password's hash is not in it."""

    username: str
    roles: tuple[str, ...] = ()
    display_name: str = ""

    @property
    def key(self) -> str:
        """The same for every spelling of the name."""
        return name_key(self.username)

    def has_any(self, roles: Collection[str]) -> bool:
        """Tell whether the user has one of the roles; nobody needs one of none, and root has all."""
        return not roles or "root" in self.roles or any(role in self.roles for role in roles)

    def as_json(self) -> dict[str, Any]:
        """What REST tells of a user."""
        return {"username": self.username, "roles": list(self.roles), "displayName": self.display_name}


class SignedIn(msgspec.Struct, frozen=True):
    """A valid session and its user."""

    session: Session
    user: CurrentUser


class SessionEvents(Protocol):
    """Told when somebody may no longer be connected; the hub closes the sockets concerned."""

    def session_ended(self, id_hash: str) -> None:
        """Close the sockets of a session with 4401."""

    def user_changed(self, id_hash: str, user: CurrentUser) -> None:
        """Let a session's sockets know the user as it is now; 4403 where a role is missing."""

    def open_sessions(self) -> Collection[str]:
        """The sessions that have sockets."""

    def look_again(self, id_hashes: Sequence[str] | None) -> None:
        """Let the other processes look sessions up again; None means all."""

    def guessed(self, name: str, address: str, *, failed: bool) -> None:
        """Let the other processes count an attempt to sign in."""


class TooManyAttempts(ClientError):
    """Somebody is guessing; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many attempts; try again in {retry_after} seconds", 429)
        self.retry_after = retry_after


class Guesses:
    """Counts failures per key in a window of time; what is counted first is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Seconds until another attempt is allowed; 0 now."""
        failures = self._failures.get(key)
        if failures is None:
            return 0.0
        # What lies in the future was counted before the clock was set back, maybe by hours.
        while failures and not now - GUESSING_SECONDS < failures[0] <= now:
            failures.popleft()
        return failures[0] + GUESSING_SECONDS - now if len(failures) >= self._limit else 0.0

    def add(self, key: str, now: float) -> None:
        """Count an attempt as failed, until `forgive`."""
        self._failures.setdefault(key, deque()).append(now)
        self._failures.move_to_end(key)
        while len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def forgive_one(self, key: str) -> None:
        """Take back the last attempt."""
        failures = self._failures.get(key)
        if failures:
            failures.pop()

    def forgive_all(self, key: str) -> None:
        """Forget a key."""
        self._failures.pop(key, None)


class Passwords:
    """bcrypt in threads of its own: at cost 12 one call would stop the loop for a quarter of a second."""

    def __init__(self, cost: int = BCRYPT_COST) -> None:
        self._cost = cost
        workers = max(1, (os.cpu_count() or 2) - 1)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="bcrypt")
        self._waiting = 0
        #: Stands in for the hash of a user who does not exist, so that both answers take as long.
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a password; ClientError if it is too short, too long or has NUL bytes."""
        check_new_password(password)
        return await self._run(self._hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Compare; with no hash it takes as long and is false."""
        return await self._run(self._matches, password, password_hash)

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _hash(self, password: str) -> str:
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self._cost)).decode()

    def _matches(self, password: str, password_hash: str | None) -> bool:
        if password_hash is None:
            if self._nobody is None:
                self._nobody = self._hash(secrets.token_hex(8))
            bcrypt.checkpw(password.encode(), self._nobody.encode())
            return False
        return bcrypt.checkpw(password.encode(), password_hash.encode())

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._waiting >= MAX_WAITING:
            raise ClientError("Too many sign-ins at once; try again in a moment", 503)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._waiting -= 1


def check_new_password(password: str) -> None:
    """Refuse a password that cannot be kept, saying why."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ClientError(f"password: at least {MIN_PASSWORD_LENGTH} characters are needed")
    check_password_size(password)


def check_password_size(password: str) -> None:
    """Refuse what bcrypt would cut silently."""
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise ClientError("password: it has characters that do not exist") from None
    if size > MAX_PASSWORD_BYTES:
        raise ClientError(f"password: at most {MAX_PASSWORD_BYTES} bytes are possible, this has {size}")
    if "\0" in password:
        raise ClientError("password: it must not have NUL bytes")


def check_name(username: str) -> None:
    """Refuse a name that is not one."""
    if not _NAME.fullmatch(name_key(username)):
        raise ClientError("username: 1 to 64 letters, digits and . _ - + @ are needed")


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Put roles in order, once each; ClientError if one is unknown."""
    wanted = set(roles)
    unknown = wanted - set(ROLES)
    if unknown:
        raise ClientError(f"roles: {sorted(unknown)[0]} is not one of {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in wanted)


def guesser(address: str) -> str:
    """Who guesses from an address: of IPv6 one customer usually has 2**64, so they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network(f"{address}/64", strict=False))


def hash_id(cookie: str) -> str:
    """What the store keeps of a session's id."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def current_user(user: User) -> CurrentUser:
    """The part of a user that leaves the store's neighbourhood."""
    return CurrentUser(user.username, user.roles, user.display_name)


class Auth:
    """Signs users in and out, and ends sessions wherever they are."""

    def __init__(
        self,
        store: Store,
        session_seconds: float,
        events: SessionEvents,
        *,
        cost: int = BCRYPT_COST,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._session_seconds = session_seconds
        self._events = events
        self._clock = clock
        self.passwords = Passwords(cost)
        self._by_name = Guesses(MAX_FAILURES_PER_NAME)
        self._by_address = Guesses(MAX_FAILURES_PER_ADDRESS)
        #: Where the next sweep goes on.
        self._swept: deque[str] = deque()

    # Signing in and out

    async def sign_in(self, username: str, password: str, address: str) -> tuple[CurrentUser, str]:
        """
        Check a password and begin a session; returns the user and the new cookie.

        ClientError 401 for a wrong name or password (which of them is not told), 403 for
        a disabled user who knew the password, 400 for a password that nobody can have;
        TooManyAttempts after 5 failures per name or 20 per address in 5 minutes.
        """
        check_password_size(password)
        key, now = name_key(username), self._clock()
        if not _NAME.fullmatch(key):
            # Nobody can have this name: it is not worth remembering, and may be very long.
            key = ""
        address = guesser(address)
        self._check_guesses(key, address, now)
        # Counted before the answer is known: twenty at once are twenty attempts.
        if key:
            self._by_name.add(key, now)
        self._by_address.add(address, now)
        try:
            user = await self._user_with(key, password)
        except Exception:
            # The password was not looked at, or there was no answer.
            self._by_name.forgive_one(key)
            self._by_address.forgive_one(address)
            raise
        self._events.guessed(key, address, failed=user is None)
        if user is None:
            raise ClientError(WRONG, 401)
        self._by_name.forgive_all(key)
        self._by_address.forgive_one(address)
        return current_user(user), await self._begin_session(user)

    async def _user_with(self, key: str, password: str) -> User | None:
        """Find the user who has this name and password; takes as long when there is none."""
        user = await self._store.get_user(key) if key else None
        matches = await self.passwords.matches(password, user.password_hash if user else None)
        return user if matches else None

    def _check_guesses(self, key: str, address: str, now: float) -> None:
        wait = max(self._by_name.wait(key, now), self._by_address.wait(address, now))
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))

    async def _begin_session(self, user: User) -> str:
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            id_hash=hash_id(cookie),
            user_key=user.key,
            created_at=now,
            expires_at=now + self._session_seconds,
        )
        try:
            await self._store.add_session(session)
        except NoActiveUser:
            raise ClientError("This account is disabled; ask an administrator", 403) from None
        # A change of the password ended all sessions, but not this one if it came later.
        latest = await self._store.get_user(user.key)
        if latest is None or latest.password_hash != user.password_hash:
            await self._store.delete_session(session.id_hash)
            raise ClientError(WRONG, 401)
        return cookie

    async def authenticate(self, cookie: str | None) -> SignedIn | None:
        """Find the session of a cookie; None if it is unknown, expired, or its user is disabled."""
        if not cookie or len(cookie) > 128:
            return None
        found = await self._store.get_session_user(hash_id(cookie), self._clock())
        if found is None or not found[1].active:
            return None
        session, user = found
        return SignedIn(session, current_user(user))

    async def extend(self, session: Session) -> bool:
        """Let a session slide, if enough of it has passed; True if it did, so that the cookie does too."""
        if not self.is_extension_due(session):
            return False
        try:
            return await self._store.extend_session(session.id_hash, self._clock() + self._session_seconds)
        except StoreUnavailable as error:
            # It was found, so that reading works; the next request will try again.
            log.warning("a session is not extended: %s", error)
            return False

    def is_extension_due(self, session: Session) -> bool:
        """Tell whether so much of a session has passed that it is to slide."""
        expires = self._clock() + self._session_seconds
        return expires - session.expires_at >= EXTEND_AFTER * self._session_seconds

    async def sign_out(self, id_hash: str) -> None:
        """End a session and close its sockets."""
        await self._store.delete_session(id_hash)
        self._events.session_ended(id_hash)
        self._events.look_again([id_hash])

    async def sign_out_user(self, username: str) -> None:
        """End all sessions of a user; ClientError 404 if there is none of this name."""
        if await self._store.get_user(username) is None:
            raise ClientError(f"username: there is no user {username}", 404)
        await self._end_sessions(username)

    # Users

    async def add_user(
        self, username: str, password: str, roles: Iterable[str] = ("user",), display_name: str = ""
    ) -> User:
        """Make a user; ClientError 409 if the name is taken in any spelling, 400 if something is wrong."""
        check_name(username)
        user = User(
            username=name_shown(username),
            password_hash=await self.passwords.hash(password),
            roles=check_roles(roles),
            display_name=display_name,
            created_at=self._clock(),
        )
        try:
            await self._store.add_user(user)
        except Conflict:
            raise ClientError(f"username: {user.username} is taken", 409) from None
        return user

    async def set_password(self, username: str, password: str, keep: str | None = None) -> None:
        """Change a password and end the user's sessions, but the one whose id_hash is `keep`."""
        await self._update(username, password_hash=await self.passwords.hash(password))
        await self._end_sessions(username, keep)

    async def set_active(self, username: str, active: bool) -> None:
        """Enable or disable a user; disabling ends the user's sessions."""
        await self._update(username, active=active)
        if not active:
            await self._end_sessions(username)

    async def set_roles(self, username: str, roles: Iterable[str]) -> None:
        """Give a user exactly these roles; sockets that need one that is gone are closed with 4403."""
        await self._update(username, roles=check_roles(roles))
        self._events.look_again(None)
        await self.sweep_all()

    async def _update(self, username: str, **changes: Any) -> User:
        user = await self._store.update_user(username, **changes)
        if user is None:
            raise ClientError(f"username: there is no user {username}", 404)
        return user

    async def _end_sessions(self, username: str, keep: str | None = None) -> None:
        ended = await self._store.delete_sessions_of(name_key(username), keep)
        for id_hash in ended:
            self._events.session_ended(id_hash)
        if ended:
            self._events.look_again(ended)

    # Open sockets

    async def sweep(self) -> None:
        """
        Look the sessions of open sockets up again, at most 5,000 at a time.

        What this process ends is told at once; this finds what expired, and what the
        command line or another program changed in the store.
        """
        if not self._swept:
            self._swept.extend(self._events.open_sessions())
        left = min(SESSIONS_PER_SWEEP, len(self._swept))
        while left > 0:
            batch = [self._swept.popleft() for _ in range(min(SESSIONS_PER_LOOKUP, left))]
            await self._check_sessions(batch)
            left -= len(batch)

    async def sweep_all(self) -> None:
        """Look all of them up now."""
        await self._check_sessions(list(self._events.open_sessions()))

    async def check_sessions(self, id_hashes: Collection[str]) -> None:
        """Look those up now that have sockets here, because another process changed them."""
        here = self._events.open_sessions()
        await self._check_sessions([id_hash for id_hash in id_hashes if id_hash in here])

    def note_guess(self, name: str, address: str, *, failed: bool) -> None:
        """Count an attempt to sign in at another process."""
        if not failed:
            self._by_name.forgive_all(name)
            return
        if name:
            self._by_name.add(name, self._clock())
        self._by_address.add(address, self._clock())

    async def _check_sessions(self, id_hashes: Collection[str]) -> None:
        users = await self._store.get_session_users(id_hashes, self._clock()) if id_hashes else {}
        for id_hash in id_hashes:
            user = users.get(id_hash)
            if user is None or not user.active:
                self._events.session_ended(id_hash)
            else:
                self._events.user_changed(id_hash, current_user(user))

    async def forget_expired(self) -> int:
        """Remove expired sessions from the store; returns their number."""
        return await self._store.delete_expired_sessions(self._clock())

    def close(self) -> None:
        """End the threads that hash."""
        self.passwords.close()


def name_shown(username: str) -> str:
    """The spelling of a name that is kept for showing."""
    return unicodedata.normalize("NFKC", username).strip()


async def ensure_admin(auth: Auth, store: Store, password: str | None) -> str | None:
    """Make the first user, `admin`, if there is none; returns the password if it was made at random."""
    if await store.count_users():
        return None
    made = password or secrets.token_urlsafe(12)
    try:
        await auth.add_user("admin", made, ("user", "admin"), "Administrator")
    except ClientError as error:
        if error.code == 409:
            # Another process was faster.
            return None
        raise
    return None if password else made
