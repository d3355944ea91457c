"""What one process says the others hear: each message once, in order, and nothing of other sites."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..conftest import wait_until
from ..raw_client import RawClient
from ..servers import RedisServer, redis_client
from ..visitor import Visitor
from .conftest import Cluster
from .proxy import Proxy
from .support import assert_each_once_in_order, figures, in_namespace
from .swarm import RELAY, Swarm, new_client_id

NOTES = "/api/1/ws/hello-notes"
EMOJI = "/api/1/ws/hello-emoji"
TODO = "/api/1/ws/hello-todo"
#: How soon the figures of all processes are those of each.
GOSSIP_SECONDS = 15


def test_two_thousand_broadcasts_reach_all_of_two_hundred(
    cluster: Cluster, redis_url: str, swarm: Swarm
) -> None:
    """With 4 processes, 200 clients each get all of 2,000 broadcasts once, each sender's in order."""
    for server in cluster(4, redis_url):
        swarm.join_many(server.port, 50)
    chance = random.Random(4)
    for number in range(2000):
        chance.choice(swarm.members).say()
        if number % 10 == 0:
            swarm.turn(0)
    swarm.run_until(lambda: swarm.deliveries >= 2000 * 200, 90, "2,000 broadcasts at 200 clients")
    swarm.run_for(0.5)
    assert_each_once_in_order(swarm.members, swarm.members)


def test_whoever_has_connected_misses_nothing(
    redis_server: RedisServer, proxy: Proxy, cluster: Cluster, swarm: Swarm
) -> None:
    """A process's first client in a namespace hears what is said elsewhere from its `connected` on."""
    (far,), (near,) = cluster(1, proxy.url), cluster(1, redis_server.url)
    speaker = swarm.join(near.port)
    proxy.delay_seconds = 0.2
    listener = swarm.join(far.port)
    speaker.say()
    swarm.run_until_heard(speaker, (listener, speaker), 0, 5)


def test_excluded_client(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """`broadcast(exclude=…)` leaves out every socket of that client id, in all processes, and nobody else."""
    a, b = cluster(2, redis_url)
    client_id = new_client_id()
    left_out = [swarm.join(port, client_id=client_id) for port in (a.port, a.port, b.port)]
    others = [swarm.join(port) for port in (a.port, b.port)]
    left_out[0].say("say to others")
    left_out[0].say()
    for member in swarm.members:
        swarm.run_until_heard(left_out[0], [member], 1, 5)
    assert [member.numbers(left_out[0]) for member in left_out] == [[1], [1], [1]]
    assert [member.numbers(left_out[0]) for member in others] == [[0, 1], [0, 1]]


def wait_until_counted(port: int, clients: int, path: str = RELAY) -> None:
    """Wait until a process knows of the clients of all; the last to come is the last to be told of."""
    wait_until(
        lambda: in_namespace(figures(port), path)["clientCount"] == clients, GOSSIP_SECONDS, "all clients"
    )


def test_one_client_in_two_processes(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """`send_to_client` reaches every socket of a client id in all processes, and nobody else."""
    a, b = cluster(2, redis_url)
    client_id = new_client_id()
    tabs = [swarm.join(port, client_id=client_id) for port in (a.port, b.port)]
    speaker, _ = swarm.join(a.port), swarm.join(b.port)
    wait_until_counted(a.port, 3)
    speaker.say("say to client", to=client_id)
    swarm.run_until_heard(speaker, tabs, 0, 5)
    speaker.say()
    swarm.run_until_heard(speaker, swarm.members, 1, 5)
    assert [member.numbers(speaker) for member in swarm.members] == [[0, 1], [0, 1], [1], [1]]


def test_one_user_in_two_processes(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """`send_to_user` reaches every socket of a user in all processes, and no guest."""
    a, b = cluster(2, redis_url)
    visitor = Visitor(a.port)
    visitor.sign_in()
    own = [swarm.join(port, headers=visitor.cookie_header()) for port in (a.port, b.port, b.port)]
    guests = [swarm.join(port) for port in (a.port, b.port)]
    wait_until_counted(a.port, 5)
    guests[0].say("say to user", to="admin")
    swarm.run_until_heard(guests[0], own, 0, 5)
    guests[0].say()
    swarm.run_until_heard(guests[0], swarm.members, 1, 5)
    assert [member.numbers(guests[0]) for member in swarm.members] == [[0, 1]] * 3 + [[1]] * 2


def test_two_sites_on_one_redis(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """Sites with different prefixes on one Redis hear nothing of each other and count apart."""
    (one,) = cluster(1, redis_url, "--redis-prefix", "one")
    (two,) = cluster(1, redis_url, "--redis-prefix", "two")
    client_id = new_client_id()
    here, there = (swarm.join(port, client_id=client_id) for port in (one.port, two.port))
    here.say()
    here.say("say to client", to=client_id)
    there.say()
    swarm.run_until_heard(here, [here], 1, 5)
    swarm.run_until_heard(there, [there], 0, 5)
    swarm.run_for(2.5)
    assert there.numbers(here) == here.numbers(there) == []
    assert in_namespace(figures(one.port), RELAY)["totalMessages"] == 5
    assert in_namespace(figures(two.port), RELAY)["totalMessages"] == 3


def test_only_those_subscribe_who_have_clients(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """A process subscribes to `{prefix}:ns:{path}` with its first client there and leaves with its last."""
    a, b = cluster(2, redis_url, "--redis-prefix", "site")
    channel = f"site:ns:{RELAY}"
    with redis_client(redis_url) as redis:

        def subscribers() -> int:
            return int(dict(redis.pubsub_numsub(channel))[channel])

        assert subscribers() == 0
        members = [swarm.join(port) for port in (a.port, a.port, b.port)]
        assert subscribers() == 2
        for member, left in zip(members, (2, 1, 0), strict=True):
            member.close()
            swarm.run_until(lambda left=left: subscribers() == left, 5, f"{left} subscribers")  # type: ignore[misc]


def test_channels(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """All channels are `jpulse:all`, one `jpulse:ns:` for a namespace and one `jpulse:to:` for a process."""
    for server in cluster(2, redis_url):
        swarm.join(server.port)
    with redis_client(redis_url) as redis:
        channels = sorted(redis.pubsub_channels())
    assert channels[:2] == ["jpulse:all", f"jpulse:ns:{RELAY}"]
    assert len(channels) == 4
    assert all(each.startswith("jpulse:to:") for each in channels[2:])


def test_figures_of_all_processes(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """
    Every process tells the figures of all: a browser with tabs in two processes is one client.

    The messages are 4 greetings, 2 that came in and 2 that went out.
    """
    a, b = cluster(2, redis_url)
    visitor = Visitor(a.port)
    visitor.sign_in()
    client_id = new_client_id()
    tabs = [
        swarm.join(port, client_id=client_id, headers=visitor.cookie_header()) for port in (a.port, b.port)
    ]
    swarm.join(a.port)
    swarm.join(b.port)
    tabs[0].say()
    tabs[1].say()
    wanted = {"clientCount": 3, "activeUsers": 1, "totalMessages": 8, "messagesPerHour": 8, "status": "green"}

    def agree() -> bool:
        told = [in_namespace(figures(port), RELAY) for port in (a.port, b.port)]
        return all(each[name] == value for each in told for name, value in wanted.items())

    swarm.run_until(agree, GOSSIP_SECONDS, "the same figures from both")


def test_activity_of_all_processes(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """Every process tells what was said in all of them in the last minutes, newest first."""
    a, b = cluster(2, redis_url)
    for server in (a, b, a):
        swarm.join(server.port).say()

    def agree() -> bool:
        logs = [figures(server.port)["stats"]["activityLog"] for server in (a, b)]
        said = [[each for each in log if each["namespace"] == RELAY] for log in logs]
        assert all(log == sorted(log, key=lambda each: each["timestamp"], reverse=True) for log in said)
        return [len(log) for log in said] == [9, 9]

    swarm.run_until(agree, GOSSIP_SECONDS, "the same log from both")


@pytest.mark.parametrize("path", [EMOJI, TODO])
def test_users_of_all_processes_are_counted(cluster: Cluster, redis_url: str, path: str) -> None:
    """`welcome` counts the clients of all processes, whichever of them greets."""
    a, b = cluster(2, redis_url)

    def count_with_me(port: int) -> int:
        with RawClient(port, path) as newcomer:
            count = newcomer.read_data("welcome")["userCount"]
        assert isinstance(count, int)
        return count

    with RawClient(a.port, path), RawClient(b.port, path):
        for server in (a, b):
            wait_until(lambda port=server.port: count_with_me(port) == 3, 5, "all to be counted")  # type: ignore[misc]


def test_somebody_who_leaves_is_counted_no_more(cluster: Cluster, redis_url: str) -> None:
    """`user-left` in another process counts those who are left in all of them."""
    a, b = cluster(2, redis_url)
    with RawClient(b.port, EMOJI) as stays:
        wait_until_counted(a.port, 1, EMOJI)
        leaves = RawClient(a.port, EMOJI)
        assert leaves.read_data("welcome")["userCount"] == 2
        leaves.reset()
        assert stays.read_data("user-left")["userCount"] == 1


def test_forty_notes_at_once(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """40 notes that are made at once in two processes are stored and told to everybody, each once."""
    servers = cluster(2, redis_url)
    members = [swarm.join(server.port, NOTES) for server in servers for _ in range(20)]
    for number, member in enumerate(members):
        member.send(
            {"type": "note-create", "x": number, "y": number, "text": f"note {number}", "color": "#ffee88"}
        )
    texts = {f"note {number}" for number in range(40)}
    swarm.run_until(
        lambda: all(len(member.has_told("note-created")) >= 40 for member in members), 20, "40 notes for each"
    )
    swarm.run_for(0.5)
    for member in members:
        created = [each["note"] for each in member.has_told("note-created")]
        assert len({note["id"] for note in created}) == len(created) == 40
        assert {note["text"] for note in created} == texts
    (newcomer,) = (swarm.join(servers[1].port, NOTES),)
    swarm.run_until(lambda: bool(newcomer.has_told("notes-init")), 5, "notes-init")
    assert {note["text"] for note in newcomer.has_told("notes-init")[0]["notes"]} == texts


def test_todos_of_many_writers_are_all_kept(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """240 todos posted at once over four processes with one SQLite are all kept, and told to everybody."""
    ports = [server.port for server in cluster(4, redis_url)]
    listeners = [swarm.join(port, TODO) for port in ports]

    def post(number: int) -> int:
        return Visitor(ports[number % 4]).post("/api/1/todo", {"title": f"todo {number}"}).status

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(post, range(240))) == [201] * 240
    titles = [todo["title"] for todo in Visitor(ports[0]).get("/api/1/todo").data]
    assert sorted(titles) == sorted(f"todo {number}" for number in range(240))
    swarm.run_until(
        lambda: all(len(each.has_told("todo-created")) >= 240 for each in listeners), 20, "240 todos for each"
    )
    for listener in listeners:
        assert sorted(each["todo"]["title"] for each in listener.has_told("todo-created")) == sorted(titles)


def test_toggles_of_many_writers_are_all_done(cluster: Cluster, redis_url: str) -> None:
    """41 toggles of one todo, sent at once to two processes, leave it completed: none is lost."""
    ports = [server.port for server in cluster(2, redis_url)]
    todo = Visitor(ports[0]).post("/api/1/todo", {"title": "toggle me"}).data["_id"]

    def toggle(number: int) -> int:
        return Visitor(ports[number % 2]).ask("PUT", f"/api/1/todo/{todo}/toggle").status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(toggle, range(41))) == [200] * 41
    assert Visitor(ports[0]).get(f"/api/1/todo/{todo}").data["completed"] is True


def test_signing_out_elsewhere(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """Who signs out at one process loses the sockets of that session at the others, with 4401."""
    a, b = cluster(2, redis_url)
    visitor = Visitor(a.port)
    visitor.sign_in()
    member = swarm.join(b.port, "/api/1/ws/members", headers=visitor.cookie_header())
    visitor.sign_out()
    swarm.run_until(lambda: member.closes == [4401], 2, "4401")


def test_a_client_id_in_use_elsewhere(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """An id that a session uses in one process is given to no guest and no other session in another."""
    a, b = cluster(2, redis_url)
    owner, other = Visitor(a.port), Visitor(b.port)
    owner.sign_in()
    other.sign_in()
    client_id = new_client_id()
    swarm.join(a.port, client_id=client_id, headers=owner.cookie_header())
    wait_until_counted(b.port, 1)
    assert swarm.join(b.port, client_id=client_id).client_id != client_id
    assert swarm.join(b.port, client_id=client_id, headers=other.cookie_header()).client_id != client_id
    assert swarm.join(b.port, client_id=client_id, headers=owner.cookie_header()).client_id == client_id


def test_a_guests_client_id_in_use_elsewhere(cluster: Cluster, redis_url: str, swarm: Swarm) -> None:
    """A guest's id is given to no session in another process until the guest has left."""
    a, b = cluster(2, redis_url)
    visitor = Visitor(b.port)
    visitor.sign_in()
    guest = swarm.join(a.port)
    wait_until_counted(b.port, 1)
    headers = visitor.cookie_header()
    assert swarm.join(b.port, client_id=guest.client_id, headers=headers).client_id != guest.client_id
    guest.close()
    wait_until_counted(b.port, 1)
    assert swarm.join(b.port, client_id=guest.client_id, headers=headers).client_id == guest.client_id


def test_an_id_is_known_to_a_process_that_comes_later(
    redis_server: RedisServer, cluster: Cluster, swarm: Swarm
) -> None:
    """A process that starts learns of the ids that are in use before it serves."""
    (a,) = cluster(1, redis_server.url)
    visitor = Visitor(a.port)
    visitor.sign_in()
    owner = swarm.join(a.port, headers=visitor.cookie_header())
    (b,) = cluster(1, redis_server.url)
    assert swarm.join(b.port, client_id=owner.client_id).client_id != owner.client_id
    assert in_namespace(figures(b.port), RELAY)["clientCount"] == 2
