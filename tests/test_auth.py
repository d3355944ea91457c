"""Users, passwords, sessions and the limits on guessing, with a clock that the tests turn."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import tracemalloc
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

import bcrypt
import msgspec
import pytest

from jpulse import auth as auth_module
from jpulse.app import SESSION_SWEEP_SECONDS
from jpulse.auth import Auth, CurrentUser, Guesses, TooManyAttempts, ensure_admin
from jpulse.errors import ClientError
from jpulse.settings import Settings
from jpulse.store.base import Session, User
from jpulse.store.sqlite import SqliteStore

NOW = 1_000_000.0
DAY = 86400
PASSWORD = "correct horse"
HERE = "10.0.0.1"


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Events:
    """Writes down what the hub would do."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.changed: list[tuple[str, CurrentUser]] = []
        self.open: list[str] = []
        #: What the other processes would be told.
        self.looked_again: list[Sequence[str] | None] = []
        self.guesses: list[tuple[str, str, bool]] = []

    def session_ended(self, id_hash: str) -> None:
        self.ended.append(id_hash)

    def user_changed(self, id_hash: str, user: CurrentUser) -> None:
        self.changed.append((id_hash, user))

    def open_sessions(self) -> Collection[str]:
        return self.open

    def look_again(self, id_hashes: Sequence[str] | None) -> None:
        self.looked_again.append(id_hashes)

    def guessed(self, name: str, address: str, *, failed: bool) -> None:
        self.guesses.append((name, address, failed))


class CountingStore(SqliteStore):
    """Counts the writes of sessions."""

    writes = 0

    async def add_session(self, session: Session) -> None:
        self.writes += 1
        await super().add_session(session)

    async def extend_session(self, id_hash: str, expires_at: float) -> bool:
        self.writes += 1
        return await super().extend_session(id_hash, expires_at)


class Office:
    """An Auth with all that it needs."""

    def __init__(self, store: CountingStore, session_seconds: float = DAY) -> None:
        self.store, self.clock, self.events = store, Clock(), Events()
        self.auth = Auth(store, session_seconds, self.events, cost=4, clock=self.clock)

    async def sign_in(self, name: str = "Ann", password: str = PASSWORD, address: str = HERE) -> str:
        """Sign in and return the cookie."""
        return (await self.auth.sign_in(name, password, address))[1]

    async def fails(self, name: str = "Ann", password: str = "wrong", address: str = HERE) -> ClientError:
        """Try to sign in and return what is raised."""
        return await refusal(self.auth.sign_in(name, password, address))


async def refusal(work: Awaitable[object]) -> ClientError:
    """The ClientError that something raises."""
    with pytest.raises(ClientError) as caught:
        await work
    return caught.value


Scenario = Callable[[Office], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a scenario in an office where Ann works."""

    def start(scenario: Scenario) -> None:
        async def main() -> None:
            store = CountingStore(tmp_path / "jpulse.db")
            await store.open()
            office = Office(store)
            try:
                await office.auth.add_user("Ann", PASSWORD, display_name="Ann Lee")
                await scenario(office)
            finally:
                office.auth.close()
                await store.close()

        asyncio.run(main())

    return start


# Signing in


def test_sign_in(run: Run) -> None:
    """Who knows the password gets a user and a cookie that is recognised from then on."""

    async def scenario(office: Office) -> None:
        user, cookie = await office.auth.sign_in("Ann", PASSWORD, HERE)
        assert user == CurrentUser("Ann", ("user",), "Ann Lee")
        found = await office.auth.authenticate(cookie)
        assert found is not None
        assert found.user == user
        assert found.session.id_hash == hashlib.sha256(cookie.encode()).hexdigest()

    run(scenario)


@pytest.mark.parametrize("name", ["ann", "ANN", "  Ann\t", "\uff21\uff4e\uff4e", "\uff41NN "], ids=ascii)
def test_spellings_of_a_name(run: Run, name: str) -> None:
    """Case, blanks around it and compatibility characters do not matter in a name."""

    async def scenario(office: Office) -> None:
        assert (await office.auth.sign_in(name, PASSWORD, HERE))[0].username == "Ann"
        error = await refusal(office.auth.add_user(name, PASSWORD))
        assert (error.code, "username" in error.message) == (409, True)

    run(scenario)


def test_wrong_name_and_wrong_password(run: Run) -> None:
    """An unknown name and a wrong password get the same answer, which tells neither."""

    async def scenario(office: Office) -> None:
        errors = [
            await office.fails("Ann", "wrong"),
            await office.fails("nobody", PASSWORD),
            await office.fails("", PASSWORD),
            await office.fails("no name !", PASSWORD),
            await office.fails("x" * 65, PASSWORD),
            await office.fails("ann\0", PASSWORD),
            await office.fails("ann\ud800", PASSWORD),
        ]
        assert {(each.code, each.message) for each in errors} == {(401, errors[0].message)}

    run(scenario)


def test_case_of_a_password_matters(run: Run) -> None:
    """A password is taken as it is: case and blanks count."""

    async def scenario(office: Office) -> None:
        for password in (PASSWORD.upper(), PASSWORD + " ", " " + PASSWORD, PASSWORD[:-1]):
            assert (await office.fails(password=password)).code == 401

    run(scenario)


def test_unknown_users_cost_as_much(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody has costs one bcrypt of the same cost as a wrong password does."""
    work: list[int] = []
    real = bcrypt.checkpw

    def counting(password: bytes, hashed: bytes) -> bool:
        work.append(int(hashed.split(b"$")[2]))
        return real(password, hashed)

    async def scenario(office: Office) -> None:
        await office.fails("nobody")
        await office.fails("not a name")
        monkeypatch.setattr(bcrypt, "checkpw", counting)
        for name in ("Ann", "nobody", "not a name", "x" * 100):
            work.clear()
            await office.fails(name)
            assert work == [4]

    run(scenario)


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("x" * 73, "72"),
        ("ä" * 37, "72"),
        ("x" * 1_000_000, "72"),
        ("correct\0horse", "NUL"),
        ("correct\ud800horse", "password"),
    ],
    ids=["73 bytes", "74 bytes of 37 letters", "1 MB", "NUL", "half a character"],
)
def test_passwords_that_nobody_can_have(run: Run, password: str, word: str) -> None:
    """What bcrypt would cut or not take is told, at sign-in and when a password is set."""

    async def scenario(office: Office) -> None:
        for work in (
            office.auth.sign_in("Ann", password, HERE),
            office.auth.add_user("Bob", password),
            office.auth.set_password("Ann", password),
        ):
            error = await refusal(work)
            assert error.code == 400
            assert error.message.startswith("password: ")
            assert word in error.message
            assert len(error.message) < 200
        assert await office.store.get_user("Bob") is None

    run(scenario)


def test_longest_and_shortest_password(run: Run) -> None:
    """Passwords of 8 characters and of 72 bytes work in full; 7 characters are too few."""

    async def scenario(office: Office) -> None:
        for password in ("12345678", "x" * 71 + "y", "ä" * 36, " " * 8):
            await office.auth.set_password("Ann", password)
            await office.sign_in(password=password)
        await office.auth.set_password("Ann", "x" * 71 + "y")
        assert (await office.fails(password="x" * 72)).code == 401
        error = await refusal(office.auth.set_password("Ann", "1234567"))
        assert (error.code, "8" in error.message) == (400, True)

    run(scenario)


def test_hash_has_the_contracts_cost(run: Run) -> None:
    """Passwords are kept as bcrypt of cost 12, salted anew each time."""
    assert auth_module.BCRYPT_COST == 12

    async def scenario(office: Office) -> None:
        passwords = auth_module.Passwords()
        try:
            first = await passwords.hash(PASSWORD)
        finally:
            passwords.close()
        assert first.startswith("$2b$12$")
        assert await office.auth.passwords.hash(PASSWORD) != await office.auth.passwords.hash(PASSWORD)

    run(scenario)


def test_disabled_user(run: Run) -> None:
    """A disabled user who knows the password is told 403; who does not know it learns nothing."""

    async def scenario(office: Office) -> None:
        await office.auth.set_active("Ann", False)
        assert (await office.fails(password=PASSWORD)).code == 403
        assert (await office.fails(password="wrong")).code == 401
        await office.auth.set_active("Ann", True)
        await office.sign_in()

    run(scenario)


# Guessing


def test_guesses_per_name(run: Run) -> None:
    """After five failures in five minutes a name waits, in any spelling, from anywhere, right or wrong."""

    async def scenario(office: Office) -> None:
        for number in range(5):
            office.clock.now = NOW + 10 * number
            assert (await office.fails("ann", address=f"10.0.1.{number}")).code == 401
        office.clock.now = NOW + 100.5
        for name, password in (("Ann", "wrong"), ("\uff21NN ", PASSWORD)):
            error = await office.fails(name, password, "10.9.9.9")
            assert isinstance(error, TooManyAttempts)
            assert (error.code, error.retry_after) == (429, 200)
        await office.auth.add_user("Bob", PASSWORD)
        await office.sign_in("Bob")

    run(scenario)


def test_window_slides(run: Run) -> None:
    """Each failure counts for 300 seconds: when the oldest is that old, one more attempt is allowed."""

    async def scenario(office: Office) -> None:
        for number in range(5):
            office.clock.now = NOW + 10 * number
            await office.fails()
        office.clock.now = NOW + 299.9
        assert (await office.fails()).code == 429
        office.clock.now = NOW + 300
        assert (await office.fails()).code == 401
        assert (await office.fails()).code == 429
        office.clock.now = NOW + 310
        await office.sign_in()

    run(scenario)


def test_guesses_before_the_clock_was_set_back(run: Run) -> None:
    """Who waits while the clock is set back by hours need not wait for hours."""

    async def scenario(office: Office) -> None:
        for _ in range(5):
            await office.fails()
        assert (await office.fails()).code == 429
        office.clock.now = NOW - 7200
        await office.sign_in()

    run(scenario)


def test_refused_attempts_do_not_count(run: Run) -> None:
    """Who keeps asking while waiting does not wait any longer for it."""

    async def scenario(office: Office) -> None:
        for _ in range(5):
            await office.fails()
        for number in range(50):
            office.clock.now = NOW + number
            assert (await office.fails()).code == 429
        office.clock.now = NOW + 300
        await office.sign_in()

    run(scenario)


def test_unknown_names_are_counted_too(run: Run) -> None:
    """A name that nobody has gets 429 as one that exists, so that 429 tells nothing."""

    async def scenario(office: Office) -> None:
        codes = [(await office.fails("nobody", address=f"10.0.1.{each}")).code for each in range(6)]
        assert codes == [401] * 5 + [429]

    run(scenario)


def test_guesses_per_address(run: Run) -> None:
    """After twenty failures, whatever the names, an address waits; others do not."""

    async def scenario(office: Office) -> None:
        codes = [(await office.fails(f"name{each}")).code for each in range(21)]
        assert codes == [401] * 20 + [429]
        assert (await office.fails(password=PASSWORD)).code == 429
        await office.sign_in(address="10.0.0.2")
        office.clock.now += 300
        await office.sign_in()

    run(scenario)


def test_guesses_at_once(run: Run) -> None:
    """Of twenty attempts at the same time five are looked at: they are counted before they are answered."""

    async def scenario(office: Office) -> None:
        errors = await asyncio.gather(*(office.fails(password=f"wrong{each}") for each in range(20)))
        assert sorted(each.code for each in errors) == [401] * 5 + [429] * 15
        assert (await office.fails(password=PASSWORD)).code == 429

    run(scenario)


def test_success_forgives_the_name(run: Run) -> None:
    """A successful sign-in forgets what went wrong before with this name."""

    async def scenario(office: Office) -> None:
        for _ in range(3):
            for _ in range(4):
                await office.fails()
            await office.sign_in()

    run(scenario)


def test_own_successes_do_not_hide_guesses(run: Run) -> None:
    """An address that signs in with its own name between guesses is still stopped after twenty failures."""

    async def scenario(office: Office) -> None:
        codes = []
        for number in range(21):
            codes.append((await office.fails(f"victim{number}")).code)
            if codes[-1] == 401 and number % 5 == 4 and number < 19:
                await office.sign_in()
        assert codes == [401] * 20 + [429]

    run(scenario)


def test_successes_of_an_address_do_not_count(run: Run) -> None:
    """Many people behind one address may sign in as often as they like."""

    async def scenario(office: Office) -> None:
        for _ in range(25):
            await office.sign_in()

    run(scenario)


def test_guesses_are_bounded() -> None:
    """However many names are tried, a bounded number is remembered, the newest."""
    guesses = Guesses(1)
    for number in range(25_000):
        guesses.add(str(number), NOW)
    assert len(guesses._failures) == auth_module.MAX_REMEMBERED
    assert guesses.wait("24999", NOW) > 0
    assert guesses.wait("0", NOW) == 0


def test_memory_of_guesses(run: Run) -> None:
    """Remembering a guess costs little memory, also when the name that was tried is very long."""

    async def scenario(office: Office) -> None:
        await office.fails("x")
        tracemalloc.start()
        try:
            for number in range(20):
                await office.fails(f"{number:06}" + "x" * 500_000, address=f"10.1.0.{number}")
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
        finally:
            tracemalloc.stop()

    run(scenario)


# Users


@pytest.mark.parametrize(
    "name",
    ["", "   ", "a b", "a/b", "<b>", "x" * 65, "a\0b", "a\nb", "\ud800", "$ne", "a\u202eb", "a,b"],
    ids=ascii,
)
def test_names_that_are_none(run: Run, name: str) -> None:
    """A name that is empty, too long or has other characters is refused, naming the field."""

    async def scenario(office: Office) -> None:
        error = await refusal(office.auth.add_user(name, PASSWORD))
        assert (error.code, error.message.split(":")[0]) == (400, "username")
        assert len(await office.store.list_users()) == 1

    run(scenario)


@pytest.mark.parametrize(
    "name", ["x", "x" * 64, "jürgen", "李雷", "ann@example.com", "o.k_+-", "Ömer"], ids=ascii
)
def test_names_that_are_fine(run: Run, name: str) -> None:
    """Names of 1 to 64 letters of any script, digits and . _ - + @ work."""

    async def scenario(office: Office) -> None:
        await office.auth.add_user(f" {name} ", PASSWORD)
        assert (await office.auth.sign_in(name, PASSWORD, HERE))[0].username == name

    run(scenario)


def test_same_user_at_once(run: Run) -> None:
    """Of several who make the same user at once one wins, and the others get 409."""

    async def scenario(office: Office) -> None:
        names = ("bob", "BOB", " Bob", "\uff22ob")
        work = [office.auth.add_user(name, f"password{name}") for name in names]
        results = await asyncio.gather(*work, return_exceptions=True)
        assert sorted(each.code if isinstance(each, ClientError) else 0 for each in results) == [
            0,
            409,
            409,
            409,
        ]
        assert len(await office.store.list_users()) == 2

    run(scenario)


def test_roles(run: Run) -> None:
    """A user has roles of the three that there are, once each; another is refused, naming the field."""

    async def scenario(office: Office) -> None:
        made = await office.auth.add_user("Bob", PASSWORD, ["admin", "user", "admin"])
        assert sorted(made.roles) == ["admin", "user"]
        for work in (
            office.auth.add_user("Eve", PASSWORD, ["user", "king"]),
            office.auth.set_roles("Bob", ["king"]),
        ):
            error = await refusal(work)
            assert error.code == 400
            assert error.message.startswith("roles: ")
            assert "king" in error.message
        assert await office.store.get_user("Eve") is None
        user = await office.store.get_user("Bob")
        assert user is not None
        assert user.roles == made.roles

    run(scenario)


@pytest.mark.parametrize(
    ("has", "needs", "enough"),
    [
        ((), (), True),
        ((), ("user",), False),
        (("user",), ("admin",), False),
        (("user",), ("admin", "user"), True),
        (("admin",), ("user",), False),
        (("root",), ("admin",), True),
        (("root",), ("anything",), True),
    ],
)
def test_enough_roles(has: tuple[str, ...], needs: tuple[str, ...], enough: bool) -> None:
    """Any one of the required roles is enough, none is needed where none is required, and root has all."""
    assert CurrentUser("ann", has).has_any(needs) is enough


def test_unknown_users(run: Run) -> None:
    """Changing a user who does not exist is told with 404."""

    async def scenario(office: Office) -> None:
        for work in (
            office.auth.set_password("bob", PASSWORD),
            office.auth.set_active("bob", False),
            office.auth.set_roles("bob", ["user"]),
        ):
            error = await refusal(work)
            assert (error.code, "bob" in error.message) == (404, True)

    run(scenario)


def test_current_user_has_no_hash(run: Run) -> None:
    """What handlers and pages see of a user has the hash in no field, no text and no JSON."""

    async def scenario(office: Office) -> None:
        user, cookie = await office.auth.sign_in("Ann", PASSWORD, HERE)
        kept = await office.store.get_user("Ann")
        found = await office.auth.authenticate(cookie)
        assert kept is not None
        assert kept.password_hash.startswith("$2b$04$")
        shown = [repr(user), repr(found), str(msgspec.json.encode(user)), str(user.as_json())]
        assert not [each for each in shown if kept.password_hash in each or "$2b$" in each]
        assert set(user.as_json()) == {"username", "roles", "displayName"}

    run(scenario)


# Sessions


def test_session_id(run: Run) -> None:
    """A session's id has 256 random bits, is new at each sign-in, and only its hash is kept."""

    async def scenario(office: Office) -> None:
        cookies = [await office.sign_in() for _ in range(20)]
        assert len(set(cookies)) == 20
        assert all(len(each) >= 43 for each in cookies)
        kept = await asyncio.to_thread(_bytes_of_store, office.store)
        for cookie in cookies:
            assert cookie.encode() not in kept
            assert hashlib.sha256(cookie.encode()).hexdigest().encode() in kept

    run(scenario)


def _bytes_of_store(store: SqliteStore) -> bytes:
    """All that the store wrote."""
    return b"".join(each.read_bytes() for each in sorted(store._path.parent.iterdir()))


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "x" * 43, "x" * 1_000_000, "\0", "\ud800", "ä", "' OR 1=1 --", '{"$ne":null}'],
    ids=["empty", "x", "as long", "1 MB", "NUL", "half a character", "umlaut", "SQL", "NoSQL"],
)
def test_forged_cookies(run: Run, cookie: str) -> None:
    """A cookie that the server did not make belongs to nobody."""

    async def scenario(office: Office) -> None:
        mine = await office.sign_in()
        assert await office.auth.authenticate(cookie) is None
        assert await office.auth.authenticate(None) is None
        assert await office.auth.authenticate(hashlib.sha256(mine.encode()).hexdigest()) is None
        assert await office.auth.authenticate(mine + "x") is None
        assert await office.auth.authenticate(mine.swapcase()) is None

    run(scenario)


def test_expiry(run: Run) -> None:
    """A session that was not used for session_seconds is over, and is forgotten by the store."""

    async def scenario(office: Office) -> None:
        cookie = await office.sign_in()
        office.clock.now = NOW + DAY - 1
        assert await office.auth.authenticate(cookie) is not None
        assert await office.auth.forget_expired() == 0
        office.clock.now = NOW + DAY
        assert await office.auth.authenticate(cookie) is None
        assert await office.auth.forget_expired() == 1

    run(scenario)


def test_sliding(run: Run) -> None:
    """A session in use lasts; it is not written at each request, and never ends a tenth too early."""

    async def scenario(office: Office) -> None:
        cookie = await office.sign_in()
        office.store.writes = 0
        # Ten days with a request a minute.
        for minute in range(0, 14_400, 60):
            for second in range(3):
                office.clock.now = NOW + 60 * minute + second
                found = await office.auth.authenticate(cookie)
                assert found is not None
                await office.auth.extend(found.session)
        assert 10 <= office.store.writes <= 120
        last = office.clock.now
        office.clock.now = last + 0.89 * DAY
        assert await office.auth.authenticate(cookie) is not None
        office.clock.now = last + DAY
        assert await office.auth.authenticate(cookie) is None

    run(scenario)


def test_extending_an_ended_session(run: Run) -> None:
    """A session that was ended while a request was under way does not come back by being extended."""

    async def scenario(office: Office) -> None:
        cookie = await office.sign_in()
        office.clock.now = NOW + DAY / 2
        found = await office.auth.authenticate(cookie)
        assert found is not None
        await office.auth.sign_out(found.session.id_hash)
        assert await office.auth.extend(found.session) is False
        assert await office.auth.authenticate(cookie) is None

    run(scenario)


def hash_of(cookie: str) -> str:
    """The name of a cookie's session."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def test_sign_out(run: Run) -> None:
    """Signing out ends this session, tells its sockets, and leaves the user's others."""

    async def scenario(office: Office) -> None:
        here, there = await office.sign_in(), await office.sign_in()
        await office.auth.sign_out(hash_of(here))
        assert await office.auth.authenticate(here) is None
        assert await office.auth.authenticate(there) is not None
        assert office.events.ended == [hash_of(here)]

    run(scenario)


@pytest.mark.parametrize("change", ["password", "disabled"])
def test_what_ends_all_sessions(run: Run, change: str) -> None:
    """Changing a password and disabling a user end all sessions of that user, and no others."""

    async def scenario(office: Office) -> None:
        await office.auth.add_user("Bob", PASSWORD)
        mine, bobs = [await office.sign_in() for _ in range(3)], await office.sign_in("Bob")
        if change == "password":
            await office.auth.set_password(" ANN", "another password")
        else:
            await office.auth.set_active(" ANN", False)
        assert [await office.auth.authenticate(each) for each in mine] == [None] * 3
        assert sorted(office.events.ended) == sorted(hash_of(each) for each in mine)
        assert await office.auth.authenticate(bobs) is not None

    run(scenario)


def test_password_change_keeps_one_session(run: Run) -> None:
    """Who changes the own password stays signed in where it was changed."""

    async def scenario(office: Office) -> None:
        here, there = await office.sign_in(), await office.sign_in()
        await office.auth.set_password("Ann", "another password", keep=hash_of(here))
        assert await office.auth.authenticate(here) is not None
        assert await office.auth.authenticate(there) is None
        assert office.events.ended == [hash_of(there)]
        assert (await office.fails(password=PASSWORD)).code == 401

    run(scenario)


class Turnstile:
    """Lets something happen while a password is being compared."""

    def __init__(self, office: Office, meanwhile: Callable[[], Awaitable[object]]) -> None:
        passwords = office.auth.passwords
        real = passwords.matches

        async def matches(password: str, password_hash: str | None) -> bool:
            result = await real(password, password_hash)
            passwords.matches = real  # type: ignore[method-assign]
            await meanwhile()
            return result

        passwords.matches = matches  # type: ignore[method-assign]


def test_password_changed_during_sign_in(run: Run) -> None:
    """A sign-in with the old password that overlaps its change leaves no session behind."""

    async def scenario(office: Office) -> None:
        Turnstile(office, lambda: office.auth.set_password("Ann", "another password"))
        [result] = await asyncio.gather(office.sign_in(), return_exceptions=True)
        if isinstance(result, str):
            assert await office.auth.authenticate(result) is None
        else:
            assert isinstance(result, ClientError)
            assert result.code == 401

    run(scenario)


def test_user_disabled_during_sign_in(run: Run) -> None:
    """A sign-in that overlaps the disabling of its user is refused as a disabled user's, not as a fault."""

    async def scenario(office: Office) -> None:
        Turnstile(office, lambda: office.auth.set_active("Ann", False))
        error = await office.fails(password=PASSWORD)
        assert error.code == 403

    run(scenario)


# Open sockets


def test_roles_taken_away(run: Run) -> None:
    """When roles change, every open session of the user is told the user as it is now, at once."""

    async def scenario(office: Office) -> None:
        cookies = [await office.sign_in() for _ in range(2)]
        office.events.open = [hash_of(each) for each in cookies]
        await office.auth.set_roles("ann", ["user", "admin"])
        await office.auth.set_roles("ann", ["user"])
        told = [(id_hash, user.roles) for id_hash, user in office.events.changed]
        expected = [(each, roles) for roles in (("user", "admin"), ("user",)) for each in office.events.open]
        assert sorted(told) == sorted(expected)
        assert office.events.ended == []

    run(scenario)


def test_sweep(run: Run, tmp_path: Path) -> None:
    """A sweep finds what another process changed: an ended session, a disabled user, roles, and expiry."""

    async def scenario(office: Office) -> None:
        for name in ("Bob", "Eve", "Kim"):
            await office.auth.add_user(name, PASSWORD)
        names = ("Ann", "Bob", "Eve", "Kim")
        sessions = {name: hash_of(await office.sign_in(name)) for name in names}
        office.events.open = list(sessions.values())
        other = SqliteStore(tmp_path / "jpulse.db")
        await other.open()
        await other.delete_session(sessions["Ann"])
        await other.update_user("Bob", active=False)
        await other.update_user("Eve", roles=("admin",))
        await other.close()
        await office.auth.sweep()
        assert sorted(office.events.ended) == sorted([sessions["Ann"], sessions["Bob"]])
        changed = dict(office.events.changed)
        assert changed[sessions["Eve"]].roles == ("admin",)
        office.clock.now += DAY
        office.events.ended.clear()
        await office.auth.sweep()
        assert set(office.events.ended) == set(sessions.values())

    run(scenario)


def test_sweep_of_nobody(run: Run) -> None:
    """Without open sockets a sweep asks the store nothing."""

    async def scenario(office: Office) -> None:
        await office.store.close()
        await office.auth.sweep()

    run(scenario)


def test_sweep_is_in_time_for_many(run: Run) -> None:
    """The sweeps of one second reach all sessions that have sockets, also when they are many."""

    async def scenario(office: Office) -> None:
        office.events.open = [f"{number:064}" for number in range(Settings().max_connections)]
        for _ in range(int(1 / SESSION_SWEEP_SECONDS)):
            await office.auth.sweep()
        assert len(set(office.events.ended)) == Settings().max_connections

    run(scenario)


# The first user


@pytest.mark.parametrize("given", [None, ""])
def test_first_start(run: Run, given: str | None, tmp_path: Path) -> None:
    """On the first start an admin is made whose random password is returned; later nothing happens."""

    async def scenario(_: Office) -> None:
        office = await _new_office(tmp_path)
        made = await ensure_admin(office.auth, office.store, given)
        assert made is not None
        assert len(made) >= 12
        user, _cookie = await office.auth.sign_in("admin", made, HERE)
        assert user.has_any(["admin"])
        assert await ensure_admin(office.auth, office.store, "another password") is None
        await office.sign_in("admin", made)
        await _close(office)

    run(scenario)


def test_first_start_with_a_password(run: Run, tmp_path: Path) -> None:
    """A given password is taken for the admin and not returned, so that it is not printed."""

    async def scenario(_: Office) -> None:
        office = await _new_office(tmp_path)
        assert await ensure_admin(office.auth, office.store, PASSWORD) is None
        await office.sign_in("admin")
        await _close(office)

    run(scenario)


@pytest.mark.parametrize("password", ["short", "x" * 73, "with\0NUL byte"], ids=ascii)
def test_first_start_with_a_bad_password(run: Run, password: str, tmp_path: Path) -> None:
    """A given password that cannot be is refused, and no admin is made."""

    async def scenario(_: Office) -> None:
        office = await _new_office(tmp_path)
        assert (await refusal(ensure_admin(office.auth, office.store, password))).code == 400
        assert await office.store.count_users() == 0
        await _close(office)

    run(scenario)


def test_first_start_twice_at_once(run: Run, tmp_path: Path) -> None:
    """Of processes that start at once one makes the admin, and only its password is told."""

    async def scenario(_: Office) -> None:
        offices = [await _new_office(tmp_path) for _ in range(4)]
        made = await asyncio.gather(*(ensure_admin(each.auth, each.store, None) for each in offices))
        [password] = [each for each in made if each]
        assert await offices[0].store.count_users() == 1
        await offices[0].sign_in("admin", password)
        for office in offices:
            await _close(office)

    run(scenario)


async def _new_office(folder: Path) -> Office:
    """An office on a store without users."""
    store = CountingStore(folder / "new" / "jpulse.db")
    await store.open()
    return Office(store)


async def _close(office: Office) -> None:
    office.auth.close()
    await office.store.close()


def test_too_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords beyond those that may wait are told 503, and there is room again when the others are done."""
    monkeypatch.setattr(auth_module, "MAX_WAITING", 3)

    async def main() -> None:
        passwords = auth_module.Passwords(cost=4)
        try:
            work = [passwords.matches(PASSWORD, None) for _ in range(5)]
            results = await asyncio.gather(*work, return_exceptions=True)
            codes = [each.code if isinstance(each, ClientError) else each for each in results]
            assert codes == [False, False, False, 503, 503]
            assert await passwords.matches(PASSWORD, await passwords.hash(PASSWORD))
        finally:
            passwords.close()

    asyncio.run(main())


def test_overload_is_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in that was told 503 does not count as a wrong guess: its password was never looked at."""

    async def scenario(office: Office) -> None:
        monkeypatch.setattr(auth_module, "MAX_WAITING", 0)
        for _ in range(30):
            assert (await office.fails(password=PASSWORD)).code == 503
        monkeypatch.setattr(auth_module, "MAX_WAITING", 100)
        await office.sign_in()

    run(scenario)


def test_session_names_its_user(run: Run) -> None:
    """A session names its user by key, whatever spelling signed in."""

    async def scenario(office: Office) -> None:
        cookie = await office.sign_in("ANN")
        found = await office.auth.authenticate(cookie)
        assert found is not None
        user = await office.store.get_user("ann")
        assert isinstance(user, User)
        assert found.session.user_key == user.key == "ann"

    run(scenario)


# Other processes


def pass_on(office: Office, other: Auth) -> None:
    """Tell another process of the attempts that this one has told of since."""
    for name, address, failed in office.events.guesses:
        other.note_guess(name, address, failed=failed)
    office.events.guesses.clear()


def other_process(office: Office) -> Auth:
    """An Auth of the same store in another process."""
    return Auth(office.store, DAY, Events(), cost=4, clock=office.clock)


def test_attempts_are_told(run: Run) -> None:
    """Every attempt with an answer is told: the key of the name, who guesses, and whether it failed."""

    async def scenario(office: Office) -> None:
        await office.fails(" ANN")
        await office.fails("nobody", address="2001:db8::7")
        await office.fails("no name at all!")
        await office.sign_in("Ann")
        assert office.events.guesses == [
            ("ann", HERE, True),
            ("nobody", "2001:db8::/64", True),
            ("", HERE, True),
            ("ann", HERE, False),
        ]

    run(scenario)


def test_refused_attempts_are_not_told(run: Run) -> None:
    """What is refused before the password was looked at is told nobody."""

    async def scenario(office: Office) -> None:
        for _ in range(5):
            await office.fails()
        office.events.guesses.clear()
        assert (await office.fails()).code == 429
        assert (await office.fails("Bob", "x" * 73)).code == 400
        assert office.events.guesses == []

    run(scenario)


def test_guesses_at_other_processes(run: Run) -> None:
    """Failures at other processes count as those here: five of a name in all, twenty of an address."""

    async def scenario(office: Office) -> None:
        other = other_process(office)
        for number in range(3):
            await office.fails("ann", address=f"10.0.1.{number}")
        pass_on(office, other)
        for number in range(2):
            assert (await refusal(other.sign_in("Ann", "wrong", f"10.0.2.{number}"))).code == 401
        error = await refusal(other.sign_in("Ann", PASSWORD, "10.9.9.9"))
        assert isinstance(error, TooManyAttempts)
        for number in range(20):
            await office.fails(f"nobody{number}", address="10.0.3.1")
        pass_on(office, other)
        assert (await refusal(other.sign_in("nobody", "wrong", "10.0.3.1"))).code == 429
        assert (await refusal(other.sign_in("nobody", "wrong", "10.0.3.2"))).code == 401
        other.close()

    run(scenario)


def test_guesses_at_other_processes_are_forgotten(run: Run) -> None:
    """Failures at other processes count for 300 seconds too."""

    async def scenario(office: Office) -> None:
        for _ in range(5):
            office.auth.note_guess("ann", HERE, failed=True)
        assert (await office.fails("Ann", PASSWORD)).code == 429
        office.clock.now += 300.1
        await office.sign_in()

    run(scenario)


def test_success_elsewhere_forgives(run: Run) -> None:
    """Who has signed in at another process may try again here, and only that name."""

    async def scenario(office: Office) -> None:
        await office.auth.add_user("Bob", PASSWORD)
        for name in ("ann", "bob"):
            for _ in range(5):
                office.auth.note_guess(name, "10.0.1.1", failed=True)
        office.auth.note_guess("ann", HERE, failed=False)
        await office.sign_in("Ann")
        assert (await office.fails("Bob", PASSWORD)).code == 429

    run(scenario)


def test_guess_without_a_name(run: Run) -> None:
    """An attempt elsewhere with what can be no name counts for its address alone."""

    async def scenario(office: Office) -> None:
        for _ in range(20):
            office.auth.note_guess("", "10.0.1.1", failed=True)
        assert (await office.fails("no name at all!")).code == 401
        assert (await office.fails("nobody", address="10.0.1.1")).code == 429

    run(scenario)


def test_sign_out_is_told(run: Run) -> None:
    """The others are told which session has ended."""

    async def scenario(office: Office) -> None:
        here, _ = await office.sign_in(), await office.sign_in()
        await office.auth.sign_out(hash_of(here))
        assert office.events.looked_again == [[hash_of(here)]]

    run(scenario)


@pytest.mark.parametrize("change", ["password", "disabled"])
def test_end_of_all_sessions_is_told(run: Run, change: str) -> None:
    """The others are told of every session that a new password or disabling has ended, in one word."""

    async def scenario(office: Office) -> None:
        mine = [hash_of(await office.sign_in()) for _ in range(3)]
        if change == "password":
            await office.auth.set_password("ann", "another password", keep=mine.pop())
        else:
            await office.auth.set_active("ann", False)
        (told,) = office.events.looked_again
        assert told is not None
        assert sorted(told) == sorted(mine)

    run(scenario)


def test_what_ends_nothing_is_not_told(run: Run) -> None:
    """A change that ends no session leaves the others alone."""

    async def scenario(office: Office) -> None:
        await office.auth.set_password("ann", "another password")
        await office.auth.set_active("ann", False)
        await office.auth.set_active("ann", True)
        assert office.events.looked_again == []

    run(scenario)


def test_new_roles_are_told(run: Run) -> None:
    """When roles change the others look all their open sessions up again."""

    async def scenario(office: Office) -> None:
        await office.auth.set_roles("ann", ["user", "admin"])
        assert office.events.looked_again == [None]

    run(scenario)


def test_sessions_that_changed_elsewhere(run: Run) -> None:
    """Of the sessions that another process names, those with sockets here are looked up, and no others."""

    async def scenario(office: Office) -> None:
        ended, kept, elsewhere = [hash_of(await office.sign_in()) for _ in range(3)]
        office.events.open = [ended, kept]
        for session in (ended, elsewhere):
            await office.store.delete_session(session)
        await office.auth.check_sessions([ended, elsewhere, "unknown"])
        assert (office.events.ended, office.events.changed) == ([ended], [])
        await office.auth.check_sessions([kept])
        assert office.events.ended == [ended]
        assert [id_hash for id_hash, _ in office.events.changed] == [kept]

    run(scenario)


def test_sessions_of_nobody_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When none of the sessions that another process names has sockets here the store is asked nothing."""

    async def scenario(office: Office) -> None:
        session = hash_of(await office.sign_in())

        async def never(*arguments: object) -> dict[str, User]:
            raise AssertionError("the store was asked")

        monkeypatch.setattr(office.store, "get_session_users", never)
        await office.auth.check_sessions([session])
        await office.auth.check_sessions([])
        assert office.events.ended == []

    run(scenario)
