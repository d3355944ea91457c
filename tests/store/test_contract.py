"""What the stores promise; each test runs over SQLite and a real MongoDB, those of notes over Redis too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec
import pytest

from jpulse.store.base import Conflict, NoteStore, Store, StoreError, StoreUnavailable, User, new_id

from .conftest import NOW, WithNotes, WithStore, note, session, todo, user

ODD_IDS = [
    "",
    " ",
    "\0",
    "a\0b",
    "$ne",
    "$where",
    "../../etc/passwd",
    "%00",
    "' OR '1'='1",
    '{"$ne": null}',
    "x.y",
    "\N{BOM}",
    "\N{PILE OF POO}",
    "\ud800",
    "m" * 1_000_000,
]
#: The times of changes one after the other, and what each must be taken for.
CLOCK = [0.0, 0.0, -100.0, 1.0, 1.0004, 1.0006, 3.0, -5.0]
LATER = [0.001, 0.002, 0.003, 1.0, 1.001, 1.002, 3.0, 3.001]
UNICODE_NAMES = ["Ärger", "Βασίλης", "李小龍", "Ann\N{ZERO WIDTH JOINER}", "🦀", "O'Hara; --", "a\0b"]


# Opening and closing


def test_records_survive_a_restart(make_store: Callable[[], Store]) -> None:
    """What one store kept, the next one on the same data finds."""
    first = (user(), session("s1"), todo(), note(1))

    async def scenario() -> None:
        store = make_store()
        await store.open()
        await store.add_user(first[0])
        await store.add_session(first[1])
        await store.add_todo(first[2])
        await store.add_note(first[3], 10)
        await store.close()
        store = make_store()
        await store.open()
        try:
            found = (
                await store.get_user("ann"),
                await store.get_session("s1", NOW),
                await store.get_todo(first[2].id),
                (await store.list_notes())[0],
            )
        finally:
            await store.close()
        assert found == first

    asyncio.run(scenario())


def test_close_may_be_called_again(make_store: Callable[[], Store]) -> None:
    """Closing twice, or without opening, is no error; a closed store is not available, and opens again."""

    async def scenario() -> None:
        store = make_store()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.check()
        for _ in range(2):
            await store.open()
            await store.check()
            await store.close()
            await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.add_todo(todo())

    asyncio.run(scenario())


def test_close_waits_for_writes(make_store: Callable[[], Store]) -> None:
    """What was begun before the store was closed is finished, and kept."""

    async def scenario() -> None:
        store = make_store()
        await store.open()
        writes = [asyncio.create_task(store.add_todo(todo())) for _ in range(50)]
        await asyncio.sleep(0)
        await store.close()
        assert all(task.done() for task in writes)
        await asyncio.gather(*writes)
        await store.open()
        assert len(await store.list_todos()) == 50
        await store.close()

    asyncio.run(scenario())


# Users


def test_user_by_any_spelling(with_store: WithStore) -> None:
    """A user is found by every spelling of the name and comes back as it was kept."""
    ann = user("Änn", roles=("user", "admin"), display_name="Ann O'Hara", active=False)

    async def scenario(store: Store) -> None:
        await store.add_user(ann)
        for spelling in ("Änn", "änn", "ÄNN", " änn ", "A\N{COMBINING DIAERESIS}nn"):
            assert await store.get_user(spelling) == ann
        assert await store.get_user("ann") is None

    with_store(scenario)


def test_name_is_taken(with_store: WithStore) -> None:
    """A second user with another spelling of the name is a conflict and changes nothing."""

    async def scenario(store: Store) -> None:
        await store.add_user(user("Ann"))
        with pytest.raises(Conflict):
            await store.add_user(user("ＡＮＮ", password_hash="other"))
        assert await store.list_users() == [user("Ann")]

    with_store(scenario)


def test_same_name_at_once(with_store: WithStore) -> None:
    """Of 40 who make the same user at once, in four spellings, exactly one wins."""

    async def scenario(store: Store) -> None:
        names = ["ann", "Ann", "ANN", "ａｎｎ"] * 10
        made = (store.add_user(user(name, password_hash=str(i))) for i, name in enumerate(names))
        results = await asyncio.gather(*made, return_exceptions=True)
        winners = [i for i, result in enumerate(results) if result is None]
        assert len(winners) == 1
        assert all(isinstance(result, Conflict) for result in results if result is not None)
        [kept] = await store.list_users()
        assert kept == user(names[winners[0]], password_hash=str(winners[0]))

    with_store(scenario)


def test_users_are_listed_by_key(with_store: WithStore) -> None:
    """All users, by key, and their number."""

    async def scenario(store: Store) -> None:
        assert await store.count_users() == 0
        for name in ("zoe", "Bob", "ann", "Ärger"):
            await store.add_user(user(name))
        assert [each.key for each in await store.list_users()] == ["ann", "bob", "zoe", "ärger"]
        assert await store.count_users() == 4

    with_store(scenario)


def test_update_of_a_user(with_store: WithStore) -> None:
    """The named fields change, the others stay; the user is returned as it is then."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        changed = await store.update_user("ANN", roles=("root",), active=False)
        assert changed == user(roles=("root",), active=False) == await store.get_user("ann")
        assert await store.update_user("ann") == changed
        assert await store.update_user("nobody", active=True) is None
        assert await store.update_user("nobody") is None

    with_store(scenario)


def test_updates_of_a_user_at_once(with_store: WithStore) -> None:
    """Changes of different fields at once lose nothing."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await asyncio.gather(
            store.update_user("ann", password_hash="new"),
            store.update_user("ann", roles=("user", "admin")),
            store.update_user("ann", display_name="Ann"),
            store.update_user("ann", active=False),
        )
        expected = user(password_hash="new", roles=("user", "admin"), display_name="Ann", active=False)
        assert await store.get_user("ann") == expected

    with_store(scenario)


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "bob"},
        {"created_at": 0.0},
        {"no_such": 1},
        {"active": "yes"},
        {"active": 1},
        {"roles": "admin"},
        {"display_name": {"$ne": None}},
        {"password_hash": None},
    ],
)
def test_change_that_is_not_allowed(with_store: WithStore, changes: dict[str, object]) -> None:
    """Other fields and other types are a mistake of the caller, and change nothing."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        with pytest.raises(TypeError):
            await store.update_user("ann", **changes)
        assert await store.list_users() == [user()]

    with_store(scenario)


def test_operators_are_no_values(with_store: WithStore) -> None:
    """What is no text cannot be looked for, so nobody smuggles an operator in; as text it is only text."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1"))
        await store.add_todo(todo())
        for lookup in (store.get_user, store.get_todo, store.delete_todo, store.delete_session):
            with pytest.raises((TypeError, AttributeError)):
                await lookup({"$ne": None})  # type: ignore[arg-type]
        kept = await store.update_user("ann", display_name="$password_hash")
        assert kept is not None
        assert kept.display_name == "$password_hash"
        changed = await store.update_todo((await store.list_todos())[0].id, NOW, title="$username")
        assert changed is not None
        assert changed.title == "$username"

    with_store(scenario)


def test_unicode_and_odd_names(with_store: WithStore) -> None:
    """Names of any script, quotes and NUL bytes are kept as they are."""

    async def scenario(store: Store) -> None:
        users = [user(name) for name in UNICODE_NAMES]
        for each in users:
            await store.add_user(each)
        assert await store.list_users() == sorted(users, key=lambda each: each.key)
        for each in users:
            assert await store.get_user(each.username.upper()) == each

    with_store(scenario)


# Sessions


def test_expiry_by_the_clock_passed_in(with_store: WithStore) -> None:
    """A session is found until the very moment of its end, whatever the store's own clock says."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1", expires_at=NOW + 0.0005))
        assert await store.get_session("s1", NOW) == session("s1", expires_at=NOW + 0.0005)
        assert await store.get_session("s1", NOW + 0.0004) is not None
        assert await store.get_session("s1", NOW + 0.0005) is None
        assert await store.get_session("S1", NOW) is None

    with_store(scenario)


def test_sliding_expiry(with_store: WithStore) -> None:
    """A session can be made longer and never shorter; one that is gone stays gone."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1"))
        assert await store.extend_session("s1", NOW + 100)
        assert await store.extend_session("s1", NOW + 50)
        assert await store.get_session("s1", NOW + 99) == session("s1", expires_at=NOW + 100)
        assert await store.delete_session("s1")
        assert not await store.extend_session("s1", NOW + 200)
        assert await store.get_session("s1", NOW) is None

    with_store(scenario)


def test_expired_sessions_are_forgotten(with_store: WithStore) -> None:
    """Those that have expired are deleted and counted, the others stay."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        for number in range(10):
            await store.add_session(session(f"s{number}", expires_at=NOW + number))
        assert await store.delete_expired_sessions(NOW + 6) == 7
        assert await store.delete_expired_sessions(NOW + 6) == 0
        assert await store.get_session("s6", NOW) is None
        assert await store.get_session("s7", NOW) is not None

    with_store(scenario)


def test_end_of_a_users_sessions_but_one(with_store: WithStore) -> None:
    """All sessions of a user end but the one to keep; the sessions of others don't."""

    async def scenario(store: Store) -> None:
        for name in ("ann", "bob"):
            await store.add_user(user(name))
            for number in range(3):
                await store.add_session(session(f"{name}{number}", name))
        assert sorted(await store.delete_sessions_of("ann", keep="ann1")) == ["ann0", "ann2"]
        assert await store.get_session("ann1", NOW) is not None
        assert await store.delete_sessions_of("ann", keep="bob1") == ["ann1"]
        assert await store.delete_sessions_of("ann") == []
        assert sorted(await store.delete_sessions_of("bob")) == ["bob0", "bob1", "bob2"]

    with_store(scenario)


def test_deletion_of_a_session_at_once(with_store: WithStore) -> None:
    """Of many who end a session at once, one is told that it was there."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1"))
        ended = await asyncio.gather(*(store.delete_session("s1") for _ in range(20)))
        assert sorted(ended) == [False] * 19 + [True]

    with_store(scenario)


def test_sessions_with_their_users(with_store: WithStore) -> None:
    """A session is found with its user, many at once too; those that are gone, expired or odd are not."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_user(user("Bob"))
        await store.add_session(session("a1"))
        await store.add_session(session("a2", expires_at=NOW))
        await store.add_session(session("b1", "bob"))
        assert await store.get_session_user("a1", NOW) == (session("a1"), user())
        assert await store.get_session_user("a2", NOW) is None
        assert await store.get_session_user("none", NOW) is None
        asked = ["a1", "a2", "b1", *ODD_IDS]
        assert await store.get_session_users(asked, NOW) == {"a1": user(), "b1": user("Bob")}
        assert await store.get_session_users([], NOW) == {}
        await store.update_user("bob", active=False)
        assert not (await store.get_session_users(["b1"], NOW))["b1"].active

    with_store(scenario)


def test_number_of_todos(with_store: WithStore) -> None:
    """Todos are counted as they come and go."""

    async def scenario(store: Store) -> None:
        todos = [todo(str(number)) for number in range(3)]
        for each in todos:
            await store.add_todo(each)
        assert await store.count_todos() == 3
        await store.delete_todo(todos[0].id)
        assert await store.count_todos() == 2

    with_store(scenario)


def test_session_needs_an_active_user(with_store: WithStore) -> None:
    """Nobody and the disabled get no session."""

    async def scenario(store: Store) -> None:
        await store.add_user(user("bob", active=False))
        for key in ("nobody", "bob", "\ud800"):
            with pytest.raises(StoreError, match="active user"):
                await store.add_session(session("s1", key))
            assert await store.get_session("s1", NOW) is None

    with_store(scenario)


def test_sign_in_while_being_disabled(with_store: WithStore) -> None:
    """However sign-ins and the disabling of the user mix, no session is left."""

    async def scenario(store: Store) -> None:
        async def disable() -> None:
            await store.update_user("ann", active=False)
            await store.delete_sessions_of("ann")

        await store.add_user(user())
        for turn in range(5):
            await store.update_user("ann", active=True)
            ids = [f"{turn}-{number}" for number in range(20)]
            calls = [store.add_session(session(each)) for each in ids]
            await asyncio.gather(*calls[:10], disable(), *calls[10:], return_exceptions=True)
            assert [each for each in ids if await store.get_session(each, NOW)] == []

    with_store(scenario)


# Todos


def test_todos_oldest_first(with_store: WithStore) -> None:
    """The list holds the newest ones, the oldest of them first."""

    async def scenario(store: Store) -> None:
        todos = [todo(str(number), created_at=NOW + number) for number in range(20)]
        for each in random.Random(1).sample(todos, 20):
            await store.add_todo(each)
        assert await store.list_todos() == todos
        assert await store.list_todos(limit=3) == todos[-3:]
        assert await store.list_todos(limit=0) == []

    with_store(scenario)


def test_update_of_a_todo(with_store: WithStore) -> None:
    """A change returns the todo as it is then, with its time; nothing else changes."""

    async def scenario(store: Store) -> None:
        kept = todo("Old", username="Ann")
        await store.add_todo(kept)
        changed = await store.update_todo(kept.id, NOW + 1, title="Neu 🥛")
        assert changed == todo("Neu 🥛", id=kept.id, username="Ann", updated_at=NOW + 1)
        assert await store.get_todo(kept.id) == changed
        assert await store.delete_todo(kept.id) == changed
        assert await store.delete_todo(kept.id) is None
        assert await store.update_todo(kept.id, NOW, title="x") is None
        assert await store.toggle_todo(kept.id, NOW) is None

    with_store(scenario)


def test_id_is_taken(with_store: WithStore) -> None:
    """A second todo with an id is a conflict and changes nothing."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        with pytest.raises(Conflict):
            await store.add_todo(todo("Other", id=kept.id))
        assert await store.list_todos() == [kept]

    with_store(scenario)


@pytest.mark.parametrize("times", [50, 51])
def test_toggle_at_once(with_store: WithStore, times: int) -> None:
    """Every toggle counts: an even number at once changes nothing, an odd number does."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        results = await asyncio.gather(*(store.toggle_todo(kept.id, NOW + 1) for _ in range(times)))
        seen = [each.completed for each in results if each is not None]
        assert sorted(seen) == [False] * (times // 2) + [True] * (times - times // 2)
        assert await store.get_todo(kept.id) == todo(
            id=kept.id, completed=bool(times % 2), updated_at=round(NOW + 1 + (times - 1) / 1000, 3)
        )

    with_store(scenario)


def test_updates_of_a_todo_at_once(with_store: WithStore) -> None:
    """A new title and a toggle at once lose nothing."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        calls = [store.toggle_todo(kept.id, NOW) for _ in range(21)]
        await asyncio.gather(*calls[:10], store.update_todo(kept.id, NOW, title="New"), *calls[10:])
        expected = todo("New", id=kept.id, completed=True, updated_at=NOW + 0.022)
        assert await store.get_todo(kept.id) == expected

    with_store(scenario)


def test_order_of_a_todos_changes(with_store: WithStore) -> None:
    """Each change of a todo is later than the one before it, also by a clock that stands or goes back."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        changed = [
            await (
                store.toggle_todo(kept.id, NOW + now)
                if number % 2
                else store.update_todo(kept.id, NOW + now, title="New")
            )
            for number, now in enumerate(CLOCK)
        ]
        assert [each and each.updated_at for each in changed] == [NOW + later for later in LATER]
        assert changed[-1] == await store.get_todo(kept.id)

    with_store(scenario)


def test_200_operations_at_once(with_store: WithStore) -> None:
    """200 of all kinds at once: each takes effect, none fails."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        todos = [todo(str(number), created_at=NOW + number) for number in range(50)]
        await asyncio.gather(
            *(store.add_todo(each) for each in todos),
            *(store.add_session(session(f"s{number}")) for number in range(50)),
            *(store.add_note(note(number), 1000) for number in range(50)),
            *(store.get_user("ann") for _ in range(25)),
            *(store.list_todos() for _ in range(25)),
        )
        assert await store.list_todos() == todos
        assert len(await store.list_notes()) == 50
        assert len(await store.delete_sessions_of("ann")) == 50

    with_store(scenario)


# Notes


def test_notes_in_the_order_of_their_age(with_notes: WithNotes) -> None:
    """All notes, oldest first, with every field as it was kept."""

    async def scenario(store: NoteStore) -> None:
        notes = [note(number, x=0.1 * number, text="ä\0\n", created_by="Ann") for number in range(20)]
        for each in random.Random(1).sample(notes, 20):
            assert await store.add_note(each, 20) == []
        assert await store.list_notes() == notes
        assert await store.delete_note(notes[3].id) == notes[3]
        assert await store.delete_note(notes[3].id) is None
        assert await store.list_notes() == notes[:3] + notes[4:]

    with_notes(scenario)


def test_updates_of_a_note_at_once(with_notes: WithNotes) -> None:
    """Moving, writing and colouring a note at once lose nothing; numbers without a fraction are fine."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        changes: list[dict[str, object]] = [{"x": 1}, {"y": 2.5}, {"text": "hello"}, {"color": "#00ff00"}]
        await asyncio.gather(*(store.update_note("note-0001", NOW + 9, **each) for each in changes))
        expected = note(1, x=1.0, y=2.5, text="hello", color="#00ff00", updated_at=NOW + 9.003)
        assert await store.list_notes() == [expected]
        with pytest.raises(TypeError):
            await store.update_note("note-0001", NOW, created_by="Bob")
        assert await store.update_note("note-0002", NOW, x=1.0) is None

    with_notes(scenario)


def test_too_many_notes(with_notes: WithNotes) -> None:
    """Those go that were not updated for the longest time, the longest first."""

    async def scenario(store: NoteStore) -> None:
        for number in range(5):
            assert await store.add_note(note(number), 5) == []
        await store.update_note("note-0000", NOW + 50, x=1.0)
        assert await store.add_note(note(5), 5) == ["note-0001"]
        assert await store.add_note(note(6), 3) == ["note-0002", "note-0003", "note-0004"]
        assert [each.id for each in await store.list_notes()] == ["note-0000", "note-0005", "note-0006"]

    with_notes(scenario)


def test_note_of_a_clock_that_is_behind(with_notes: WithNotes) -> None:
    """A new note that is older than all others is the one that goes."""

    async def scenario(store: NoteStore) -> None:
        for number in range(1, 4):
            await store.add_note(note(number), 3)
        assert await store.add_note(note(0), 3) == ["note-0000"]
        assert await store.add_note(note(0), 4) == []

    with_notes(scenario)


def test_too_many_notes_at_once(with_notes: WithNotes) -> None:
    """The newest are left, as many as are allowed, and of each that went somebody was told, once."""

    async def scenario(store: NoteStore) -> None:
        for number in range(10):
            await store.add_note(note(number), 10)
        late = random.Random(1).sample(range(10, 40), 30)
        gone = await asyncio.gather(*(store.add_note(note(number), 10) for number in late))
        assert await store.list_notes() == [note(number) for number in range(30, 40)]
        told = sorted(each for ids in gone for each in ids)
        assert told == [note(number).id for number in range(30)]

    with_notes(scenario)


def test_update_touches_nothing_else(with_notes: WithNotes) -> None:
    """Whatever the other fields are, a change of one leaves them as they are, to the last digit."""
    odd = note(1, x=100 / 3, y=0.1 + 0.2, text='ä\0\n"\\/\x7f\u2028🦊', created_by="Ann/О", created_at=1 / 3)

    async def scenario(store: NoteStore) -> None:
        await store.add_note(odd, 10)
        moved = await store.update_note(odd.id, NOW + 9, y=2 / 3)
        assert moved == msgspec.structs.replace(odd, y=2 / 3, updated_at=NOW + 9)
        written = await store.update_note(odd.id, NOW + 9, text="")
        assert written == msgspec.structs.replace(odd, y=2 / 3, text="", updated_at=NOW + 9.001)
        assert await store.list_notes() == [written]
        assert await store.delete_note(odd.id) == written

    with_notes(scenario)


def test_order_of_a_notes_changes(with_notes: WithNotes) -> None:
    """Each change of a note is later than the one before it, also by a clock that stands or goes back."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1, updated_at=NOW), 10)
        changed = [await store.update_note("note-0001", NOW + now, x=1.0) for now in CLOCK]
        assert [each and each.updated_at for each in changed] == [NOW + later for later in LATER]
        at_once = await asyncio.gather(*(store.update_note("note-0001", NOW, x=1.0) for _ in range(20)))
        times = sorted(each.updated_at for each in at_once if each)
        assert times == [round(NOW + 3.002 + number / 1000, 3) for number in range(20)]
        assert await store.update_note("note-0001", NOW + 9) is not None

    with_notes(scenario)


def test_note_of_which_there_is_one(with_notes: WithNotes) -> None:
    """A second note with an id is a conflict and changes nothing."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        with pytest.raises(Conflict):
            await store.add_note(note(1, text="other"), 10)
        assert await store.list_notes() == [note(1)]

    with_notes(scenario)


def test_notes_survive_closing(make_notes: Callable[[], NoteStore]) -> None:
    """What was begun before the store was closed is finished; after that it is not available."""

    async def scenario() -> None:
        store = make_notes()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.list_notes()
        await store.open()
        writes = [asyncio.create_task(store.add_note(note(number), 50)) for number in range(50)]
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        assert all(task.done() for task in writes)
        await asyncio.gather(*writes)
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.update_note("note-0001", NOW, x=1.0)
        await store.open()
        assert len(await store.list_notes()) == 50
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd)[:20])
def test_odd_ids_of_notes(with_notes: WithNotes, odd: str) -> None:
    """An id that cannot exist is simply not found, and takes nothing with it."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        assert await store.update_note(odd, NOW, x=1.0) is None
        assert await store.delete_note(odd) is None
        assert await store.list_notes() == [note(1)]

    with_notes(scenario)


# Odd ids


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd)[:20])
def test_odd_ids_are_not_found(with_store: WithStore, odd: str) -> None:
    """An id that cannot exist is simply not found, by every method that looks for one record."""

    async def scenario(store: Store) -> None:
        kept = (user(), session("s1"), todo(), note(1))
        await store.add_user(kept[0])
        await store.add_session(kept[1])
        await store.add_todo(kept[2])
        await store.add_note(kept[3], 10)
        assert await store.get_user(odd) is None
        assert await store.update_user(odd, active=False) is None
        assert await store.get_session(odd, NOW) is None
        assert not await store.extend_session(odd, NOW + 100)
        assert not await store.delete_session(odd)
        assert await store.delete_sessions_of(odd, keep=odd) == []
        assert await store.get_todo(odd) is None
        assert await store.update_todo(odd, NOW, title="x") is None
        assert await store.toggle_todo(odd, NOW) is None
        assert await store.delete_todo(odd) is None
        assert await store.update_note(odd, NOW, x=1.0) is None
        assert await store.delete_note(odd) is None
        found = (
            await store.get_user("ann"),
            await store.get_session("s1", NOW),
            *await store.list_todos(),
            *await store.list_notes(),
        )
        assert found == kept

    with_store(scenario)


@pytest.mark.parametrize(
    "odd", [each for each in ODD_IDS if each != "\ud800"], ids=lambda odd: ascii(odd)[:20]
)
def test_odd_texts_are_kept(with_store: WithStore, odd: str) -> None:
    """Texts, and ids that somebody chose all the same, are kept as they are and mean nothing else."""

    async def scenario(store: Store) -> None:
        kept = todo(odd, id=odd, username=odd)
        await store.add_todo(todo(id=new_id(), created_at=NOW - 1))
        await store.add_todo(kept)
        assert await store.get_todo(odd) == kept
        assert (await store.list_todos())[1] == kept
        assert await store.delete_todo(odd) == kept

    with_store(scenario)


def test_list_of_many_users(with_store: WithStore) -> None:
    """A list that comes in several parts is whole."""

    async def scenario(store: Store) -> None:
        names = [f"user{number:04}" for number in range(250)]
        await asyncio.gather(*(store.add_user(user(name)) for name in names))
        listed: list[User] = await store.list_users()
        assert [each.key for each in listed] == names
        assert await store.count_users() == 250

    with_store(scenario)
