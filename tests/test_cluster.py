"""What processes know of each other: clients, users, figures, and who is silent."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpulse.bridge.base import ALL, DOWN, RESYNCED, UP, Kind, Packet, namespace_topic, own_topic
from jpulse.bridge.local import LocalBridge
from jpulse.cluster import (
    ASK_SECONDS,
    FORGET_SECONDS,
    LINGER_SECONDS,
    MAX_RETIRED,
    PRESENCE_SECONDS,
    REMEMBER_SECONDS,
    SETTLE_SECONDS,
    WHOLE_EVERY,
    Cluster,
    Presence,
    Snapshot,
)
from jpulse.hub import mark_of
from jpulse.stats import Figures

from .fake_cluster import CHAT, GAME, Net, Process
from .fake_transport import Client

NEWS = {"type": "news"}


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    """Processes at a time of a test's own."""
    return Net(monkeypatch)


def counts(processes: list[Process]) -> list[int]:
    """How many clients each process counts in the chat."""
    return [each.chat.client_count for each in processes]


def got(client: Client) -> int:
    """How many frames a client got since it was asked last."""
    number = len(client.frames())
    client.transport.sent = b""
    return number


# Clients and users


def test_clients_of_all_processes(net: Net) -> None:
    """Every process counts the clients of all of them."""
    one, two, three = processes = net.settled(3)
    one.connect("ann")
    two.connect("bob")
    two.connect("cid")
    net.settle()
    assert counts(processes) == [3, 3, 3]
    assert all(each.chat.has_client(client_id) for each in processes for client_id in ("ann", "bob", "cid"))
    assert three.chat.get_stats()["clientCount"] == 3
    assert not one.game.has_client("ann")


def test_comings_are_told_at_once(net: Net) -> None:
    """Others learn of a client without waiting for anybody's figures."""
    one, two = net.settled(2)
    one.connect("ann")
    assert two.chat.client_count == 0
    net.settle()
    assert two.chat.client_count == 1


def test_comings_are_told_together(net: Net) -> None:
    """A crowd that comes at once is told in a word at once, and one for each PRESENCE_SECONDS after it."""
    one, two = net.settled(2)
    before = one.sent(Kind.PRESENCE)
    for step in range(10):
        for number in range(100):
            one.connect(f"{step} {number}")
        one.run_due()
        net.now += PRESENCE_SECONDS / 5
    net.settle()
    assert two.chat.client_count == 1000
    assert one.sent(Kind.PRESENCE) - before <= 4


def test_tabs_in_two_processes(net: Net) -> None:
    """A client id with tabs in several processes counts once, until the last of them is gone."""
    one, two, three = processes = net.settled(3)
    first, second, third = one.connect("ann"), one.connect("ann"), two.connect("ann")
    net.settle()
    assert counts(processes) == [1, 1, 1]
    one.leave(first)
    net.settle()
    assert counts(processes) == [1, 1, 1]
    one.leave(second)
    net.settle()
    assert counts(processes) == [1, 1, 1]
    assert three.chat.has_client("ann")
    two.leave(third)
    net.settle()
    assert counts(processes) == [0, 0, 0]
    assert not three.chat.has_client("ann")


def test_users_of_all_processes(net: Net) -> None:
    """A user counts once however many sockets, spellings and processes it is in; guests count nothing."""
    one, two, three = processes = net.settled(3)
    one.connect("a", "ann")
    gone = [two.connect("b", "ANN", "other-session-of-ann"), two.connect("c", "bob")]
    two.connect("d")
    net.settle()
    assert [each.chat.get_stats()["activeUsers"] for each in processes] == [2, 2, 2]
    assert counts(processes) == [4, 4, 4]
    for client in gone:
        two.leave(client)
    net.settle()
    assert [each.chat.get_stats()["activeUsers"] for each in processes] == [1, 1, 1]
    assert three.chat.client_count == 2


def test_quick_tab(net: Net) -> None:
    """Who comes and goes between two words leaves no trace, and who goes and comes stays."""
    one, two = net.settled(2)
    stays = one.connect("stays")
    net.settle()
    one.leave(one.connect("quick"))
    one.leave(stays)
    one.connect("stays")
    net.settle()
    assert two.knows_of(one) == one.truth() == {CHAT: {"stays": ("", "")}}
    assert two.chat.client_count == 1


def test_newcomer_learns_of_all(net: Net) -> None:
    """A process that comes later knows at once who is connected to the others, and what they have counted."""
    one, two = net.settled(2)
    one.connect("ann", "ann")
    two.connect("bob", namespace=two.game)
    one.chat.broadcast(NEWS)
    net.settle()
    late = net.process()
    net.settle()
    assert late.knows_of(one) == one.truth()
    assert late.knows_of(two) == two.truth()
    assert late.chat.get_stats()["totalMessages"] == 1
    assert one.chat.client_count == late.chat.client_count == 1


# Who ends, who is silent


def test_goodbye(net: Net) -> None:
    """Of a process that says goodbye nobody is left at once; what was said was said."""
    one, two = net.settled(2)
    one.connect("ann", "ann")
    one.chat.broadcast(NEWS)
    net.pass_seconds(1)
    assert two.registry.get_stats()["totalMessages"] == 1
    one.cluster.say_goodbye()
    net.settle()
    assert counts([two]) == [0]
    assert two.cluster.others() == 0
    assert two.registry.get_stats()["totalMessages"] == 1


def test_nothing_after_goodbye(net: Net) -> None:
    """Who has said goodbye says no more, so that nobody takes it for a new process."""
    one, two = net.settled(2)
    client = one.connect("ann")
    net.settle()
    two.bridge.publish(own_topic(one.bridge.instance), Kind.WANTED, b"", own_topic(two.bridge.instance))
    one.leave(client)
    one.cluster.say_goodbye()
    net.settle()
    assert two.cluster.others() == 0


def test_silent_process(net: Net) -> None:
    """The clients of a process that died count until FORGET_SECONDS after its last word, and not longer."""
    one, two = net.settled(2)
    one.connect("ann", "ann")
    one.chat.broadcast(NEWS)
    net.pass_seconds(1)
    one.kill()
    net.pass_seconds(int(FORGET_SECONDS) - 1)
    assert (counts([two]), two.registry.get_stats()["totalMessages"]) == ([1], 1)
    net.pass_seconds(1)
    assert (counts([two]), two.registry.get_stats()["totalMessages"]) == ([0], 1)
    assert two.cluster.others() == 0
    assert two.chat.get_stats()["activeUsers"] == 0
    assert two.cluster.owner_of("ann") is None


def test_client_of_a_silent_process_comes_here(net: Net) -> None:
    """A client that a dead process had, and that has come here since, is here when that one is forgotten."""
    one, two = net.settled(2)
    one.connect("ann")
    net.settle()
    one.kill()
    two.connect("ann")
    assert counts([two]) == [1]
    net.pass_seconds(int(FORGET_SECONDS) + 1)
    assert counts([two]) == [1]
    assert two.chat.has_client("ann")


def test_own_pause(net: Net) -> None:
    """A process that was paused itself forgets nobody who has gone on talking."""
    one, two, three = net.settled(3)
    one.connect("ann")
    net.settle()
    two.paused = True
    net.pass_seconds(int(FORGET_SECONDS) + 5)
    assert two.cluster.others() == 2
    two.paused = False
    two.cluster.tick()
    assert two.cluster.others() == 2
    net.settle()
    net.pass_seconds(2)
    assert two.cluster.others() == 2
    assert counts([one, two, three]) == [1, 1, 1]


def test_own_pause_hides_no_death(net: Net) -> None:
    """Who died while this process was paused is forgotten soon after."""
    one, two = net.settled(2)
    one.connect("ann")
    net.settle()
    two.paused = True
    net.pass_seconds(3)
    one.kill()
    net.pass_seconds(int(FORGET_SECONDS))
    two.paused = False
    net.pass_seconds(int(FORGET_SECONDS) + 1)
    assert two.cluster.others() == 0
    assert counts([two]) == [0]


def test_process_that_is_always_late(net: Net) -> None:
    """A process whose every tick is seconds late forgets who died all the same, and nobody else."""
    one, two, three = net.settled(3)
    one.connect("ann")
    net.settle()
    one.kill()
    for _ in range(int(FORGET_SECONDS) // 4 + 2):
        two.paused = True
        net.pass_seconds(4)
        two.paused = False
        net.settle()
        two.cluster.tick()
    assert list(two.cluster.peers) == [three.bridge.instance]
    assert counts([two, three]) == [0, 0]


def test_paused_process_comes_back(net: Net) -> None:
    """A process that was silent for long, and forgotten, counts again when it goes on."""
    one, two = net.settled(2)
    one.connect("ann", "ann")
    one.chat.broadcast(NEWS)
    net.settle()
    one.paused = True
    net.pass_seconds(int(FORGET_SECONDS) + 1)
    assert two.cluster.others() == 0
    one.paused = False
    net.pass_seconds(2)
    assert two.knows_of(one) == one.truth()
    assert two.chat.get_stats()["totalMessages"] == 1


def test_what_a_dead_process_sent_is_remembered(net: Net) -> None:
    """The bridge lets go of a process REMEMBER_SECONDS after it was forgotten."""
    one, two = net.settled(2)
    one.cluster.say_goodbye()
    net.settle()
    one.kill()
    net.pass_seconds(int(REMEMBER_SECONDS) - 1)
    assert two.bridge.forgotten == []
    net.pass_seconds(2)
    assert two.bridge.forgotten == [one.bridge.instance]


# Loss


def test_lost_presence(net: Net) -> None:
    """A word that got lost is missed at the next figures, asked for, and made good."""
    one, two = net.settled(2)
    net.loses = lambda receiver, packet: packet.kind == Kind.PRESENCE
    one.connect("ann")
    net.settle()
    net.loses = lambda receiver, packet: False
    assert two.chat.client_count == 0
    asked = two.sent(Kind.WANTED)
    net.pass_seconds(1)
    assert two.sent(Kind.WANTED) == asked + 1
    assert two.knows_of(one) == one.truth()
    assert two.cluster.complete


def test_lost_leave(net: Net) -> None:
    """A client whose end was not heard is no ghost for longer than a second."""
    one, two = net.settled(2)
    client = one.connect("ann")
    one.connect("bob")
    net.settle()
    net.loses = lambda receiver, packet: packet.kind == Kind.PRESENCE
    one.leave(client)
    one.connect("cid")
    net.settle()
    assert two.knows_of(one) == {CHAT: {"ann": ("", ""), "bob": ("", "")}}
    net.loses = lambda receiver, packet: False
    net.pass_seconds(1)
    assert two.knows_of(one) == one.truth()


def test_lost_answers(net: Net) -> None:
    """Who is not answered asks again, once in ASK_SECONDS, and is unsure until it is."""
    one, two = net.settled(2)
    net.loses = lambda receiver, packet: packet.kind == Kind.PRESENCE
    one.connect("ann")
    net.settle()
    asked = two.sent(Kind.WANTED)
    net.pass_seconds(5)
    assert two.sent(Kind.WANTED) - asked == round(5 / ASK_SECONDS)
    assert not two.cluster.complete
    net.loses = lambda receiver, packet: False
    net.pass_seconds(2)
    assert two.cluster.complete


def test_lost_figures(net: Net) -> None:
    """Figures that got lost are asked for when the gap is noticed, though no client came or went."""
    one, two = net.settled(2)
    one.chat.broadcast(NEWS)
    net.loses = lambda receiver, packet: packet.kind == Kind.SNAPSHOT
    net.pass_seconds(1)
    net.loses = lambda receiver, packet: False
    assert two.chat.get_stats()["totalMessages"] == 0
    net.pass_seconds(2)
    assert two.chat.get_stats()["totalMessages"] == 1


def test_two_words_that_pass_each_other(net: Net) -> None:
    """What two processes tell at the same time does not disturb each other, whichever is heard first."""
    one, two, three = net.settled(3)
    one.connect("ann")
    two.connect("ann")
    one.run_due()
    two.run_due()
    while net.deliver(two):
        pass
    assert three.chat.client_count == 1
    while net.deliver(one):
        pass
    assert counts([one, two, three]) == [1, 1, 1]
    assert three.hub.members_of(CHAT).clients.elsewhere == {"ann": 2}


Step = tuple[str, int, int]
ACTIONS = ("connect", "leave", "deliver", "lose", "tick", "wait", "down", "up", "pause", "restart")
IDS = ("ann", "bob", "cid")
USERS = ("", "", "ann", "bob")
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.integers(0, 23)), max_size=60)


def take_step(net: Net, step: Step) -> None:
    """Let something happen to one of three processes; `number` chooses whom and what it is about."""
    action, place, number = step
    process = net.alive[place]
    match action:
        case "connect":
            user = USERS[number % 4]
            client_id = IDS[number // 8]
            if process.hub.may_use(client_id, f"session-of-{user}" if user else ""):
                process.connect(client_id, user, namespace=process.chat if number % 8 > 3 else process.game)
        case "leave" if process.clients:
            process.leave(process.clients[number % len(process.clients)])
        case "deliver":
            for _ in range(number):
                net.deliver(process)
        case "lose":
            net.loses = lambda receiver, packet: receiver is process and packet.sequence % 3 <= number % 4
        case "tick":
            net.now += 1.0
            process.cluster.tick()
        case "wait":
            net.now += PRESENCE_SECONDS / 2
            process.run_due()
        case "down" | "up" if (process.bridge.state == UP) == (action == "down"):
            process.bridge.go(action)
        case "pause":
            process.paused = not process.paused
        case "restart":
            if number % 2:
                process.cluster.say_goodbye()
                net.settle()
            process.kill()
            net.process()


def truth_is_known(processes: list[Process]) -> None:
    """Every process knows who is where, and counts right."""
    for process in processes:
        others = [each for each in processes if each is not process]
        assert process.cluster.others() == len(others)
        for other in others:
            assert process.knows_of(other) == other.truth()
        for path in (CHAT, GAME):
            here = [each.truth().get(path, {}) for each in processes]
            members = process.hub.members_of(path)
            assert len(members.clients) == len({client_id for each in here for client_id in each})
            assert len(members.users) == len({key for each in here for _, key in each.values() if key})
        for client_id in IDS:
            marks = {
                owners[client_id][0]
                for other in others
                for owners in other.truth().values()
                if client_id in owners
            }
            owner = process.cluster.owner_of(client_id)
            assert owner in marks if marks else owner is None
        assert process.cluster.complete


@settings(max_examples=150, deadline=None)
@given(steps)
def test_whatever_gets_lost(history: list[Step]) -> None:
    """
    However clients and processes come and go and words get lost, in the end everybody knows the truth.

    And whenever one takes what it knows for right, it is (`Net.deliver` looks).
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        net = Net(monkeypatch)
        net.settled(3)
        for step in history:
            take_step(net, step)
        net.loses = lambda receiver, packet: False
        for process in net.alive:
            process.paused = False
            if process.bridge.state == DOWN:
                process.bridge.go(UP)
        net.settle()
        net.pass_seconds(int(FORGET_SECONDS) + 6)
        truth_is_known(net.alive)


# Being sure


def test_unsure_at_first(net: Net) -> None:
    """A process that has just come up counts on nothing until the others have had time to speak."""
    one = net.process()
    net.settle()
    assert not one.cluster.complete
    net.pass_seconds(int(SETTLE_SECONDS))
    assert one.cluster.complete
    two = net.process()
    net.settle()
    assert one.cluster.complete
    assert not two.cluster.complete


def test_unsure_while_down(net: Net) -> None:
    """While the bridge is down, and until all have been heard since, a process counts on nothing."""
    one, _ = net.settled(2)
    one.bridge.go(DOWN)
    assert not one.cluster.complete
    net.pass_seconds(2)
    assert not one.cluster.complete
    one.bridge.go(UP)
    net.settle()
    assert not one.cluster.complete
    net.pass_seconds(int(SETTLE_SECONDS))
    assert one.cluster.complete


def test_unsure_of_a_newcomer(net: Net) -> None:
    """A process of which only a part is known makes the others unsure."""
    one, _ = net.settled(2)
    net.loses = lambda receiver, packet: packet.kind == Kind.SNAPSHOT
    net.process().connect("ann")
    net.settle()
    assert not one.cluster.complete
    net.loses = lambda receiver, packet: False
    net.pass_seconds(2)
    assert one.cluster.complete


# Whose a client id is


def test_owner_in_another_process(net: Net) -> None:
    """An id in use by a session in one process is given to nobody else in the others, until it is free."""
    one, two = net.settled(2)
    client = one.connect("ann", "ann", "a" * 64)
    net.settle()
    assert two.cluster.owner_of("ann") == mark_of("a" * 64)
    assert two.hub.may_use("ann", "a" * 64)
    assert not two.hub.may_use("ann", "b" * 64)
    assert not two.hub.may_use("ann", "")
    one.leave(client)
    net.settle()
    assert two.cluster.owner_of("ann") is None
    assert two.hub.may_use("ann", "b" * 64)


def test_guest_in_another_process(net: Net) -> None:
    """A guest's id is given to guests, and to no session."""
    one, two = net.settled(2)
    one.connect("gus")
    net.settle()
    assert two.cluster.owner_of("gus") == ""
    assert two.hub.may_use("gus", "")
    assert not two.hub.may_use("gus", "b" * 64)


def test_owner_changes_between_two_words(net: Net) -> None:
    """An id that a guest leaves and a session takes within one word is the session's."""
    one, two = net.settled(2)
    guest = one.connect("ann")
    net.settle()
    one.connect("bob", namespace=one.game)
    one.leave(guest)
    one.connect("ann", "ann", namespace=one.game)
    net.settle()
    assert two.cluster.owner_of("ann") == mark_of("session-of-ann")


def test_session_is_not_told(net: Net) -> None:
    """What others are told of a session is too little to be taken for it."""
    session = "0123456789abcdef" * 4
    one, _ = net.settled(2)
    one.connect("ann", "ann", session)
    net.settle()
    told = b"".join(packet.payload + packet.target.encode() for packet in one.bridge.published_packets)
    assert mark_of(session).encode() in told
    assert session.encode() not in told


# What is sent to a client or a user


def to_clients(process: Process) -> int:
    """How many frames for one client were published."""
    return process.sent(Kind.TO_CLIENT)


def test_client_that_is_only_here(net: Net) -> None:
    """What is sent to a client that is certainly here alone stays here."""
    one, _ = net.settled(2)
    client = one.connect("ann")
    net.settle()
    one.chat.send_to_client("ann", NEWS)
    net.settle()
    assert (got(client), to_clients(one)) == (1, 0)


def test_client_that_may_be_elsewhere(net: Net) -> None:
    """While it is not certain that a client is here alone, what it is sent crosses the bridge."""
    one, two = net.settled(2)
    here = one.connect("ann")
    net.settle()
    one.cluster.complete = False
    one.chat.send_to_client("ann", NEWS)
    assert to_clients(one) == 1
    net.pass_seconds(1)
    there = two.connect("ann")
    net.settle()
    assert one.cluster.complete
    got(here)
    one.chat.send_to_client("ann", NEWS)
    net.settle()
    assert (got(here), got(there), to_clients(one)) == (1, 1, 2)


def test_client_that_is_only_elsewhere(net: Net) -> None:
    """A client of another process is reached, in the namespace that is meant."""
    one, two = net.settled(2)
    client, other = two.connect("ann"), two.connect("ann", namespace=two.game)
    net.settle()
    one.chat.send_to_client("ann", NEWS)
    net.settle()
    assert (got(client), got(other)) == (1, 0)


def test_same_id_of_another_owner(net: Net) -> None:
    """Sockets of another owner that came by the same id in another process are sent nothing of it."""
    one, two = net.settled(2)
    mine, guests = one.connect("x", "ann"), two.connect("x")
    net.settle()
    one.chat.send_to_client("x", NEWS)
    net.settle()
    assert (got(mine), got(guests)) == (1, 0)
    two.chat.send_to_client("x", NEWS)
    net.settle()
    assert (got(mine), got(guests)) == (0, 1)
    other = two.connect("y", "bob")
    one.connect("y", "ann")
    net.settle()
    one.chat.send_to_client("y", NEWS)
    net.settle()
    assert got(other) == 0


def test_user_in_several_processes(net: Net) -> None:
    """What is sent to a user reaches all sockets of it in all processes, once each, and nobody else."""
    one, two, three = net.settled(3)
    anns = [one.connect("a", "Ann"), two.connect("a", "Ann"), two.connect("b", "ANN", "other-session")]
    others = [two.connect("c"), two.connect("d", "bob")]
    net.settle()
    three.chat.send_to_user(" ann", NEWS)
    net.settle()
    assert [got(client) for client in anns] == [1, 1, 1]
    assert [got(client) for client in others] == [0, 0]


def test_user_who_is_nowhere_else(net: Net) -> None:
    """What is sent to a user who is certainly nowhere else stays here."""
    one, _ = net.settled(2)
    client = one.connect("a", "ann")
    net.settle()
    one.chat.send_to_user("ann", NEWS)
    net.settle()
    assert (got(client), one.sent(Kind.TO_USER)) == (1, 0)


def test_guests_are_no_user(net: Net) -> None:
    """A name that is empty is nobody's, not that of all guests."""
    one, two = net.settled(2)
    guests = [one.connect("a"), two.connect("b")]
    net.settle()
    for name in ("", "  ", "\u3000"):
        one.chat.send_to_user(name, NEWS)
    one.cluster.complete = False
    one.chat.send_to_user("", NEWS)
    net.settle()
    assert [got(client) for client in guests] == [0, 0]


def test_broadcast_and_exclude(net: Net) -> None:
    """A broadcast reaches every client of the namespace in all processes, but the one that is left out."""
    one, two = net.settled(2)
    clients = [one.connect("ann"), two.connect("ann"), one.connect("bob"), two.connect("cid")]
    elsewhere = two.connect("dan", namespace=two.game)
    net.settle()
    one.chat.broadcast(NEWS)
    net.settle()
    assert [got(client) for client in clients] == [1, 1, 1, 1]
    one.chat.broadcast(NEWS, exclude="ann")
    net.settle()
    assert [got(client) for client in clients] == [0, 0, 1, 1]
    assert got(elsewhere) == 0


def test_local_only(net: Net) -> None:
    """A broadcast for this process alone is not published."""
    one, two = net.settled(2)
    here, there = one.connect("ann"), two.connect("bob")
    net.settle()
    one.chat.broadcast(NEWS, local_only=True)
    net.settle()
    assert (got(here), got(there), one.sent(Kind.BROADCAST)) == (1, 0, 0)


def test_order_of_one_sender(net: Net) -> None:
    """What one process sends arrives in its order, whatever it is."""
    one, two = net.settled(2)
    client = two.connect("ann", "ann")
    net.settle()
    for number in range(30):
        data = {"type": "news", "number": number}
        if number % 3 == 0:
            one.chat.broadcast(data)
        elif number % 3 == 1:
            one.chat.send_to_client("ann", data)
        else:
            one.chat.send_to_user("ann", data)
    net.settle()
    numbers = [msgspec.json.decode(payload)["data"]["number"] for _, payload in client.frames()]
    assert numbers == list(range(30))


# What does no harm


def word(process: Process, kind: Kind, payload: bytes, topic: str = ALL, sender: bytes = b"stranger") -> None:
    """Let a process hear something from nowhere."""
    process.cluster.on_packet(Packet(topic, kind, sender, 1, "", payload))


def test_unknown_namespaces(net: Net) -> None:
    """Messages for a namespace that is not here do no harm."""
    one, _ = net.settled(2)
    client = one.connect("ann")
    for kind in (Kind.BROADCAST, Kind.TO_CLIENT, Kind.TO_USER):
        word(one, kind, b"x", namespace_topic("/api/1/ws/none"))
        word(one, kind, b"x", ALL)
    one.world.end_turn()
    assert got(client) == 0


def test_namespace_of_another_process(net: Net) -> None:
    """A namespace that only another process has is told of, and can be made here later."""
    one, two = net.settled(2)
    extra = one.registry.create_namespace("/api/1/ws/extra")
    one.connect("ann", namespace=extra)
    extra.broadcast(NEWS)
    net.pass_seconds(1)
    told = {each["path"]: each for each in two.registry.get_stats()["namespaces"]}
    assert told["/api/1/ws/extra"]["clientCount"] == 1
    assert told["/api/1/ws/extra"]["totalMessages"] == 1
    late = two.registry.create_namespace("/api/1/ws/extra")
    assert late.client_count == 1


def test_newer_snapshot(net: Net) -> None:
    """A snapshot with fields that are not known here, in it and in its figures, is understood."""
    one = net.process()
    figures = {CHAT: {"total": 5, "colour_of_hair": "red"}}
    newer = {"uptime": 9.0, "shoe_size": 43, "figures": figures, "census": {}}
    word(one, Kind.SNAPSHOT, msgspec.msgpack.encode(newer))
    assert [each.total for each in one.cluster.figures_of(CHAT)] == [5]
    assert one.cluster.longest_uptime() == 9.0


def test_older_snapshot(net: Net) -> None:
    """A snapshot without the fields that came later is understood."""
    one = net.process()
    word(one, Kind.SNAPSHOT, msgspec.msgpack.encode({}))
    assert one.cluster.others() == 1


def test_newer_presence(net: Net) -> None:
    """A presence with more behind it than is known here is understood."""
    one = net.process()
    word(one, Kind.PRESENCE, msgspec.msgpack.encode([True, {CHAT: {"ann": ["", ""]}}, "more"]))
    assert one.chat.client_count == 1


def test_leaving_who_never_came(net: Net) -> None:
    """Somebody who is told to have left and was never known, or twice, does no harm."""
    one = net.process()
    for path in (CHAT, CHAT, "/api/1/ws/none"):
        word(one, Kind.PRESENCE, msgspec.msgpack.encode(Presence(False, {path: {"ann": None}})))
    assert one.chat.client_count == 0


def test_coming_twice(net: Net) -> None:
    """Somebody who is told twice to have come has come once, with the owner that was told last."""
    one = net.process()
    for owner in (("", ""), ("mark", "ann"), ("mark", "ann")):
        word(one, Kind.PRESENCE, msgspec.msgpack.encode(Presence(False, {CHAT: {"ann": owner}})))
    assert (one.chat.client_count, one.cluster.owner_of("ann")) == (1, "mark")
    assert len(one.chat.members.users) == 1
    word(one, Kind.PRESENCE, msgspec.msgpack.encode(Presence(False, {CHAT: {"ann": None}})))
    assert (one.chat.client_count, one.cluster.owner_of("ann")) == (0, None)
    assert len(one.chat.members.users) == 0


def test_goodbye_of_a_stranger(net: Net) -> None:
    """Who was never known may say goodbye."""
    one = net.process()
    word(one, Kind.GOODBYE, b"")
    assert one.cluster.others() == 0


def test_other_kinds(net: Net) -> None:
    """What is about neither clients nor figures is passed on."""
    one, two = net.settled(2)
    one.hub.look_again(["a", "b"])
    one.hub.look_again(None)
    one.hub.guessed("ann", "10.0.0.1", failed=True)
    net.settle()
    told = [(packet.kind, msgspec.json.decode(packet.payload)) for packet in two.others]
    assert told == [
        (Kind.SESSIONS, ["a", "b"]),
        (Kind.SESSIONS, None),
        (Kind.GUESS, ["ann", "10.0.0.1", True]),
    ]


# Up and down


def test_first_start_tells_nothing(net: Net) -> None:
    """Applications are told nothing when the bridge comes up for the first time."""
    assert [each.states for each in net.settled(3)] == [[], [], []]


def test_states_of_an_outage(net: Net) -> None:
    """An outage is told as down, up and resynced, once each and in this order."""
    processes = net.settled(3)
    for each in processes:
        each.bridge.go(DOWN)
    net.pass_seconds(3)
    for each in processes:
        each.bridge.go(UP)
    net.settle()
    net.pass_seconds(5)
    assert [each.states for each in processes] == [[DOWN, UP, RESYNCED]] * 3


def test_resynced_when_all_are_known_again(net: Net) -> None:
    """`resynced` comes when all who were there have been heard again, not before."""
    one, two = net.settled(2)
    for each in (one, two):
        each.bridge.go(DOWN)
    two.connect("ann")
    net.pass_seconds(2)
    one.bridge.go(UP)
    one.cluster.tick()
    net.settle()
    assert one.states == [DOWN, UP]
    two.bridge.go(UP)
    net.settle()
    assert one.states == [DOWN, UP, RESYNCED]
    assert one.knows_of(two) == two.truth()


def test_resynced_without_those_who_died(net: Net) -> None:
    """`resynced` does not wait for those who do not come back longer than it takes to settle."""
    one, two = net.settled(2)
    one.bridge.go(DOWN)
    two.kill()
    one.bridge.go(UP)
    net.pass_seconds(int(SETTLE_SECONDS) + 1)
    assert one.states == [DOWN, UP, RESYNCED]


def test_alone_in_an_outage(net: Net) -> None:
    """A process that has no others is told the same."""
    (one,) = net.settled(1)
    one.bridge.go(DOWN)
    one.bridge.go(UP)
    net.pass_seconds(int(SETTLE_SECONDS) + 1)
    assert one.states == [DOWN, UP, RESYNCED]


def test_second_outage_before_resynced(net: Net) -> None:
    """A bridge that is lost again at once is told as that, with one `resynced` in the end."""
    one, _ = net.settled(2)
    one.bridge.go(DOWN)
    one.bridge.go(UP)
    one.bridge.go(DOWN)
    one.bridge.go(UP)
    net.settle()
    net.pass_seconds(5)
    assert one.states == [DOWN, UP, DOWN, UP, RESYNCED]


def test_start_without_the_bridge(net: Net) -> None:
    """A process that starts while the bridge is down learns all when it comes up, figures too."""
    one, _ = net.settled(2)
    one.chat.broadcast(NEWS)
    net.pass_seconds(2)
    late = Process(net, net.monkeypatch)
    net.processes.append(late)
    late.bridge.events = late.cluster
    late.bridge.go(DOWN)
    net.pass_seconds(2)
    late.bridge.go(UP)
    net.settle()
    net.pass_seconds(4)
    assert late.states == [DOWN, UP, RESYNCED]
    assert late.chat.get_stats()["totalMessages"] == 1
    assert late.cluster.complete


@pytest.mark.parametrize(
    "seconds",
    [2, 12],
)
def test_figures_after_an_outage(net: Net, seconds: int) -> None:
    """After an outage, also one in which all forget each other, the figures are right within 3 seconds."""
    one, two = net.settled(2)
    one.chat.broadcast(NEWS)
    net.pass_seconds(1)
    for each in (one, two):
        each.bridge.go(DOWN)
    one.chat.broadcast(NEWS)
    net.pass_seconds(seconds)
    one.bridge.go(UP)
    net.settle()
    net.pass_seconds(1)
    two.bridge.go(UP)
    net.settle()
    net.pass_seconds(3)
    assert two.chat.get_stats()["totalMessages"] == 2


def test_outage_loses_no_clients(net: Net) -> None:
    """Who came and went during an outage is right afterwards."""
    processes = one, two, _ = net.settled(3)
    gone = one.connect("ann")
    net.settle()
    for each in processes:
        each.bridge.go(DOWN)
    one.leave(gone)
    one.connect("bob", "bob")
    two.connect("cid")
    net.pass_seconds(4)
    for each in processes:
        each.bridge.go(UP)
        net.settle()
    net.pass_seconds(4)
    truth_is_known(list(processes))
    assert counts(list(processes)) == [2, 2, 2]


# Namespaces that are heard


def test_only_those_hear_who_have_clients(net: Net) -> None:
    """A namespace is heard from its first client here on."""
    one, two = net.settled(2)
    topic = namespace_topic(CHAT)
    assert not one.bridge.hears(topic)
    one.connect("ann")
    net.settle()
    assert one.bridge.hears(topic)
    assert not two.bridge.hears(topic)


def test_empty_namespace_is_left(net: Net) -> None:
    """A namespace without clients is heard for LINGER_SECONDS, and not longer."""
    (one,) = net.settled(1)
    topic = namespace_topic(CHAT)
    client = one.connect("ann")
    net.pass_seconds(60)
    assert one.bridge.hears(topic)
    one.leave(client)
    net.pass_seconds(int(LINGER_SECONDS))
    assert one.bridge.hears(topic)
    net.pass_seconds(2)
    assert not one.bridge.hears(topic)


def test_namespace_that_is_used_again(net: Net) -> None:
    """A client that comes in time keeps the namespace, and one that comes later has it heard again."""
    (one,) = net.settled(1)
    topic = namespace_topic(CHAT)
    one.leave(one.connect("ann"))
    net.pass_seconds(int(LINGER_SECONDS))
    client = one.connect("ann")
    net.pass_seconds(10)
    assert one.bridge.hears(topic)
    one.leave(client)
    net.pass_seconds(10)
    assert not one.bridge.hears(topic)
    one.connect("ann")
    assert one.bridge.hears(topic)


def test_attend(net: Net) -> None:
    """Who is about to connect waits until the namespace is heard, which is then kept for LINGER_SECONDS."""
    (one,) = net.settled(1)
    topic = namespace_topic(CHAT)
    one.bridge.subscribe = lambda topic: None  # type: ignore[method-assign]
    pending = one.cluster.attend(CHAT)
    assert pending is not None

    async def wait() -> None:
        await pending

    asyncio.run(wait())
    assert one.bridge.attended == [topic]
    assert one.cluster.attend(CHAT) is None
    net.pass_seconds(int(LINGER_SECONDS))
    assert one.cluster.attend(CHAT) is None
    net.pass_seconds(int(LINGER_SECONDS))
    assert one.bridge.hears(topic)
    net.pass_seconds(2)
    assert not one.bridge.hears(topic)


# Figures


def test_figures_add_up(net: Net) -> None:
    """Messages of all processes are added up, and what each has told is known for itself."""
    processes = one, two, three = net.settled(3)
    for number, each in enumerate(processes, 1):
        for _ in range(number):
            each.chat.broadcast(NEWS)
    net.pass_seconds(1)
    assert [each.chat.get_stats()["totalMessages"] for each in processes] == [6, 6, 6]
    assert [each.registry.get_stats()["totalMessages"] for each in processes] == [6, 6, 6]
    assert sorted(figures.total for figures in one.cluster.figures_of(CHAT)) == [2, 3]
    assert three.chat.get_stats()["messagesPerHour"] == 6
    assert two.chat.get_stats()["status"] == "green"
    assert two.cluster.paths() == {CHAT, GAME}


def test_only_what_changed_is_told(net: Net) -> None:
    """Figures that have not changed are told once in WHOLE_EVERY seconds."""
    one, _ = net.settled(2)
    net.pass_seconds(WHOLE_EVERY)
    begin = len(one.bridge.published_packets)
    net.pass_seconds(WHOLE_EVERY)
    snapshots = [
        msgspec.msgpack.decode(packet.payload, type=Snapshot)
        for packet in one.bridge.published_packets[begin:]
        if packet.kind == Kind.SNAPSHOT
    ]
    assert len(snapshots) == WHOLE_EVERY
    assert sum(bool(each.figures) for each in snapshots) == 1


def test_uptime_of_the_oldest(net: Net) -> None:
    """The uptime that is told is that of the oldest process, and goes on between two words of it."""
    one, two = net.settled(2)
    assert one.cluster.longest_uptime() < 10
    two.uptime = 5000.0
    net.pass_seconds(1)
    net.now += 0.5
    assert one.cluster.longest_uptime() == 5000.5
    assert one.registry.get_stats()["uptime"] == 5000.5


def test_without_others(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    """A process that was never told of others knows of none."""
    one = net.process()
    cluster = Cluster(one.hub, LocalBridge(), lambda *_: Snapshot())
    assert (cluster.others(), cluster.longest_uptime(), cluster.paths()) == (0, 0.0, set())
    assert cluster.bridge_figures()["state"] == UP
    assert list(cluster.figures_of(CHAT)) == []


def test_figures_are_those_of_the_namespace(net: Net) -> None:
    """What others have counted in one namespace is not counted in another."""
    one, two = net.settled(2)
    one.game.broadcast(NEWS)
    net.pass_seconds(1)
    assert two.game.get_stats()["totalMessages"] == 1
    assert two.chat.get_stats()["totalMessages"] == 0
    assert [each.total for each in two.cluster.figures_of(GAME)] == [1]
    assert all(isinstance(each, Figures) for each in two.cluster.figures_of(GAME))


def test_missed_messages_are_told(net: Net) -> None:
    """A namespace that missed messages of another process is told so at the next tick, once."""
    one, two = net.settled(2)
    one.connect("ann")
    two.connect("bob")
    net.pass_seconds(2)
    missed: list[str] = []
    two.cluster.on_missed = missed.append
    net.loses = lambda receiver, packet: packet.payload.find(b"lost") >= 0
    for text in ("kept", "lost", "lost", "kept", "lost", "kept"):
        one.chat.broadcast({"type": "said", "text": text})
    net.settle()
    assert missed == []
    net.pass_seconds(3)
    assert missed == [CHAT]


def totals(process: Process) -> tuple[int, int]:
    """Messages in all and in the last hour, of the chat over all processes."""
    stats = process.chat.get_stats()
    return stats["totalMessages"], stats["messagesPerHour"]


@pytest.mark.parametrize("how", ["goodbye", "killed"])
def test_counts_outlive_a_process(net: Net, how: str) -> None:
    """What a process had counted is counted still when it has ended; its clients are not."""
    one, two = net.settled(2)
    two.connect("bob")
    for _ in range(5):
        two.chat.broadcast({"type": "said"})
    net.pass_seconds(2)
    if how == "goodbye":
        two.chat.broadcast({"type": "said", "text": "at the last moment"})
        two.cluster.say_goodbye()
        net.settle()
    two.kill()
    net.pass_seconds(12)
    assert totals(one) == ((6, 6) if how == "goodbye" else (5, 5))
    assert one.chat.client_count == 0
    three = net.process()
    net.settle()
    net.pass_seconds(2)
    assert totals(three) == totals(one)


def test_counts_of_who_was_only_silent(net: Net) -> None:
    """Who was taken for dead and speaks again is not counted twice."""
    one, two = net.settled(2)
    two.chat.broadcast({"type": "said"})
    net.pass_seconds(2)
    two.paused = True
    net.pass_seconds(15)
    assert totals(one) == (1, 1)
    two.paused = False
    net.pass_seconds(3)
    assert totals(one) == (1, 1)
    assert len(one.cluster.peers) == 1


def test_hour_of_a_dead_process_passes(net: Net) -> None:
    """What a dead process had counted counts as of the last hour until that is over, and then in all only."""
    one, two = net.settled(2)
    for _ in range(100):
        two.chat.broadcast({"type": "said"})
    net.pass_seconds(2)
    two.cluster.say_goodbye()
    net.settle()
    two.kill()
    now = time.time()
    told = [one.chat.get_stats(now + 60 * minutes) for minutes in (0, 30, 58, 61)]
    assert [each["messagesPerHour"] for each in told] == [100, 100, 100, 0]
    assert [each["totalMessages"] for each in told] == [100] * 4


def test_killed_process_is_told_to_its_successor(net: Net) -> None:
    """A successor that came before its predecessor was found dead counts what that had counted too."""
    one, three = killed_before(net)
    net.pass_seconds(15)
    assert totals(three) == totals(one) == (5, 5)


def test_whole_that_one_process_asked_for(net: Net) -> None:
    """What a process has told one that asked it still tells the others, before it may be killed."""
    one, two, three = net.settled(3)
    three.chat.broadcast({"type": "said"})
    two.bridge.publish(own_topic(three.bridge.instance), Kind.WANTED, b"", own_topic(two.bridge.instance))
    net.settle()
    assert (totals(one), totals(two)) == ((0, 0), (1, 1))
    net.pass_seconds(1)
    assert totals(one) == totals(two) == (1, 1)
    three.kill()
    net.pass_seconds(12)
    assert totals(one) == totals(two) == (1, 1)


@pytest.mark.parametrize("deaf", [0, 1])
def test_last_word_that_only_one_has_heard(net: Net, deaf: int) -> None:
    """Who missed the last words of a process that died learns of them from who heard them."""
    *processes, three = net.settled(3)
    net.loses = lambda receiver, packet: receiver is processes[deaf] and packet.kind == Kind.SNAPSHOT
    three.chat.broadcast({"type": "said"})
    net.pass_seconds(1)
    net.loses = lambda receiver, packet: False
    three.kill()
    assert totals(processes[deaf]) == (0, 0)
    net.pass_seconds(12)
    four = net.process()
    net.settle()
    net.pass_seconds(2)
    assert [totals(each) for each in (*processes, four)] == [(1, 1)] * 3


def ended_before(net: Net) -> tuple[Process, Process]:
    """An old and a younger process, which know of a third that has ended after five messages."""
    (old,) = net.settled(1)
    net.pass_seconds(5)
    young, brief = net.process(), net.process()
    net.settle()
    for _ in range(5):
        brief.chat.broadcast({"type": "said"})
    brief.cluster.say_goodbye()
    net.settle()
    brief.kill()
    return old, young


def killed_before(net: Net) -> tuple[Process, Process]:
    """An old process, which heard five messages of one that was killed, and one that came after that."""
    one, two = net.settled(2)
    for _ in range(5):
        two.chat.broadcast({"type": "said"})
    net.pass_seconds(2)
    two.kill()
    three = net.process()
    net.settle()
    return one, three


def test_newcomer_after_the_death_of_the_oldest(net: Net) -> None:
    """A process that comes when the oldest is dead and not yet forgotten is told of the ended by the next."""
    old, young = ended_before(net)
    old.kill()
    three = net.process()
    net.settle()
    net.pass_seconds(6)
    assert totals(three) == totals(young) == (5, 5)
    asked = three.sent(Kind.WANTED)
    net.pass_seconds(6)
    assert three.sent(Kind.WANTED) == asked


def test_newcomer_whose_answer_is_lost(net: Net) -> None:
    """A process that was not told of those that have ended asks again until it is."""
    ended_before(net)
    net.loses = lambda receiver, packet: packet.kind == Kind.RETIRED
    three = net.process()
    net.settle()
    net.pass_seconds(3)
    assert totals(three) == (0, 0)
    net.loses = lambda receiver, packet: False
    net.pass_seconds(2)
    assert totals(three) == (5, 5)


def test_newcomer_in_an_outage(net: Net) -> None:
    """A process that has heard nobody for a while does not take itself for the oldest, and asks on."""
    old, young = ended_before(net)
    old.kill()
    three = net.process()
    net.settle()
    for each in (young, three):
        each.bridge.go(DOWN)
    net.pass_seconds(6)
    for each in (three, young):
        each.bridge.go(UP)
        net.pass_seconds(1)
    net.pass_seconds(5)
    assert totals(three) == totals(young) == (5, 5)


def test_last_that_knows_of_a_dead_process(net: Net) -> None:
    """A process that ends before it has found another one dead hands on what that had counted."""
    one, three = killed_before(net)
    net.pass_seconds(4)
    one.cluster.say_goodbye()
    net.settle()
    one.kill()
    net.pass_seconds(2)
    assert totals(three) == (5, 5)


def test_handing_on_who_was_only_silent(net: Net) -> None:
    """Who was silent when another process ended, and lives, is not counted twice."""
    one, two = net.settled(2)
    two.chat.broadcast({"type": "said"})
    net.pass_seconds(2)
    two.paused = True
    three = net.process()
    net.settle()
    net.pass_seconds(4)
    one.cluster.say_goodbye()
    net.settle()
    one.kill()
    assert totals(three) == (1, 1)
    two.paused = False
    net.pass_seconds(3)
    assert totals(three) == totals(two) == (1, 1)


def test_process_that_ends_in_an_outage(net: Net) -> None:
    """Who comes and does not hear that a process is dead, since Redis is away, is told when it is back."""
    one, three = killed_before(net)
    net.pass_seconds(3)
    for each in (one, three):
        each.bridge.go(DOWN)
    net.pass_seconds(15)
    for each in (one, three):
        each.bridge.go(UP)
    net.settle()
    net.pass_seconds(3)
    assert totals(three) == totals(one) == (5, 5)


def test_many_that_have_ended(net: Net) -> None:
    """However many processes end, their totals stay, within bounds, and newcomers know them."""
    one, two = net.settled(2)
    for number in range(MAX_RETIRED + 5):
        brief = net.process()
        net.settle()
        brief.chat.broadcast({"type": "said"})
        if number % 5 == 0:
            brief.game.broadcast({"type": "said"})
        brief.cluster.say_goodbye()
        net.settle()
        brief.kill()
    three = net.process()
    net.settle()
    net.pass_seconds(1)
    ended = MAX_RETIRED + 5
    for each in (one, two, three):
        assert each.chat.get_stats()["totalMessages"] == ended
        assert each.game.get_stats()["totalMessages"] == ended // 5
        assert len(each.cluster._retired) <= MAX_RETIRED + 1
    # One answer to each newcomer: the second process, those that have ended, the third.
    assert one.sent(Kind.RETIRED) == ended + 2
    assert three.sent(Kind.RETIRED) == 0
