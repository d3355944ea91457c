"""
Redis dies, freezes, cuts connections and is behind a bad network, while everybody talks.

Run with `-rP` to see the figures of each fault.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, Server, wait_until
from ..servers import RedisServer
from ..support import memory_bytes
from ..visitor import Visitor
from .conftest import BRIDGE_LOG, Cluster
from .proxy import Proxy
from .support import assert_each_once_in_order, assert_none_twice, figures, in_namespace
from .swarm import RELAY, Member, Swarm, new_client_id

#: Every speaker says so often a number.
TALK_SECONDS = 0.02
#: Clients of the sender's own process wait no longer, whatever Redis does.
LOCAL_SECONDS = 2.0
#: After a fault everybody is heard everywhere again by then.
BACK_SECONDS = 20.0
MIB = 1024 * 1024


class Ordeal:
    """Two processes in which clients talk all the time, and one fault that they live through."""

    def __init__(self, swarm: Swarm, servers: list[Server]) -> None:
        self._swarm = swarm
        self._servers = servers
        for server in servers:
            server.expected_log = BRIDGE_LOG
        #: Two clients in each process; the first of them talks.
        self._groups = [swarm.join_many(server.port, 2) for server in servers]
        self._speakers = [group[0] for group in self._groups]
        #: From the end of the fault until everybody was heard everywhere again.
        self.back_seconds = 0.0
        #: The status of /readyz of each process at the end of the fault.
        self.ready: list[int] = []

    def live_through(
        self, name: str, begin: Callable[[], object], seconds: float, lift: Callable[[], object]
    ) -> None:
        """Talk before, during and after a fault; check what nobody may lose, and print the figures."""
        self._swarm.talk(self._speakers, TALK_SECONDS)
        self._swarm.run_for(0.5)
        begin()
        self._swarm.run_for(seconds)
        self.ready = self._readiness()
        lift()
        self._await_all(self._swarm.now())
        self._swarm.talk((), 1)
        self._hear_the_last()
        self._check()
        self._print(name)
        self._check_afterwards()

    def _readiness(self) -> list[int]:
        return [Visitor(server.port).get("/readyz").status for server in self._servers]

    def _await_all(self, lifted: float) -> None:
        def all_heard() -> bool:
            return all(self._heard_since(lifted, *pair) for pair in self._pairs(across=True))

        self._swarm.run_until(all_heard, BACK_SECONDS, "everybody to hear everybody")
        self.back_seconds = self._swarm.now() - lifted

    def _heard_since(self, moment: float, speaker: Member, listener: Member) -> bool:
        heard = listener.heard.get(speaker.name, [])
        return bool(heard) and self._swarm.said_at[speaker.name, heard[-1][0]] > moment

    def _pairs(self, *, across: bool) -> list[tuple[Member, Member]]:
        """Who speaks to whom, from one process to the other or within one."""
        return [
            (group[0], listener)
            for group in self._groups
            for other in self._groups
            for listener in other
            if (group is not other) is across
        ]

    def _hear_the_last(self) -> None:
        self._swarm.run_for(0.5)
        for speaker in self._speakers:
            speaker.say()
            self._swarm.run_until_heard(speaker, self._swarm.members, speaker.said - 1, 10)
        self._swarm.run_for(0.5)

    def _check(self) -> None:
        assert [server.process.poll() for server in self._servers] == [None, None]
        assert [member.closes for member in self._swarm.members] == [[]] * 4
        assert_none_twice(self._speakers, self._swarm.members)
        for speaker, listener in self._pairs(across=False):
            assert listener.numbers(speaker) == list(range(speaker.said))
        assert self._longest_wait() < LOCAL_SECONDS
        self._check_accounts()

    def _longest_wait(self) -> float:
        return max(
            heard - self._swarm.said_at[speaker.name, number]
            for speaker, listener in self._pairs(across=False)
            for number, heard in listener.heard[speaker.name]
        )

    def _check_accounts(self) -> None:
        """Whatever did not cross is counted: as lost by its sender or as a gap by its receiver."""
        bridges = self.bridges()
        for sender, receiver in ((0, 1), (1, 0)):
            missing = self._missing(self._speakers[sender], self._groups[receiver][1])
            assert bridges[sender]["lost"] + bridges[receiver]["gaps"] >= missing, (missing, bridges)

    @staticmethod
    def _missing(speaker: Member, listener: Member) -> int:
        return speaker.said - len(listener.numbers(speaker))

    def bridges(self) -> list[dict[str, Any]]:
        """What each process knows of its bridge."""
        return [figures(server.port)["bridge"] for server in self._servers]

    def _print(self, name: str) -> None:
        said = sum(speaker.said for speaker in self._speakers)
        missing = [self._missing(speaker, listener) for speaker, listener in self._pairs(across=True)]
        print(
            f"{name}: said {said}, delivered locally {said}, delivered across {said - sum(missing) // 2}, "
            f"lost {sum(missing) // 2}, across again after {self.back_seconds:.2f} s, "
            f"longest wait of a local client {self._longest_wait() * 1000:.0f} ms"
        )
        for bridge in self.bridges():
            print("   ", bridge)

    def _check_afterwards(self) -> None:
        """Nobody is deaf: what is said now all hear."""
        begin = [speaker.said for speaker in self._speakers]
        for speaker in self._speakers * 50:
            speaker.say()
        for speaker, first in zip(self._speakers, begin, strict=True):
            self._swarm.run_until_heard(speaker, self._swarm.members, speaker.said - 1, 10)
            for member in self._swarm.members:
                assert member.numbers(speaker)[-50:] == list(range(first, first + 50))
        assert self._readiness() == [200, 200]
        assert [bridge["state"] for bridge in self.bridges()] == ["up", "up"]

    def states(self) -> list[list[str]]:
        """What on_bridge was told in each process."""
        return [figures(server.port)["states"] for server in self._servers]

    def missing_across(self) -> int:
        """Messages that did not reach the other process, of both."""
        return sum(self._missing(*pair) for pair in self._pairs(across=True)) // 2


def test_redis_is_killed(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """A Redis that is killed and comes back after 3 s loses no local message and hardly any other."""
    ordeal = Ordeal(swarm, cluster(2, redis_server.url))
    ordeal.live_through("killed for 3 s", redis_server.kill, 3, redis_server.start)
    assert all("down" in states and states[-1] in ("up", "resynced") for states in ordeal.states())
    assert ordeal.missing_across() <= 10


def test_redis_is_frozen(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """A Redis that is frozen for 10 s is noticed by readyz; what was said meanwhile crosses afterwards."""
    ordeal = Ordeal(swarm, cluster(2, redis_server.url))
    ordeal.live_through("frozen for 10 s", redis_server.pause, 10, redis_server.resume)
    assert ordeal.ready == [503, 503]
    assert ordeal.missing_across() <= 10


def test_all_connections_are_cut(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """CLIENT KILL of everybody, five times within two seconds, is overcome without a restart."""
    ordeal = Ordeal(swarm, cluster(2, redis_server.url))

    def cut() -> None:
        with redis_server.client() as redis:
            for _ in range(5):
                for kind in ("pubsub", "normal"):
                    redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                swarm.run_for(0.4)

    ordeal.live_through("cut 5 times", cut, 0, lambda: None)


def test_listeners_are_cut(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """CLIENT KILL of those who listen leaves nobody deaf."""
    servers = cluster(2, redis_server.url)
    ordeal = Ordeal(swarm, servers)

    def cut() -> None:
        with redis_server.client() as redis:
            assert redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 2

    ordeal.live_through("listeners cut", cut, 0, lambda: None)
    assert all(" WARNING jpulse.bridge: " in server.log for server in servers)


def test_listeners_go_deaf(proxy: Proxy, cluster: Cluster, swarm: Swarm) -> None:
    """Listeners to whom nothing comes any more over an open connection are found out and made anew."""
    ordeal = Ordeal(swarm, cluster(2, proxy.url))
    ordeal.live_through("deaf listeners", proxy.deafen, 0, lambda: None)


def test_network_loses_bytes(proxy: Proxy, cluster: Cluster, swarm: Swarm) -> None:
    """A network that is slow and out of which bytes vanish makes nobody hear what was not said, nor twice."""
    ordeal = Ordeal(swarm, cluster(2, proxy.url))

    def spoil() -> None:
        proxy.delay_seconds, proxy.damage = 0.01, 0.05

    ordeal.live_through("bytes vanish for 4 s", spoil, 4, proxy.heal)
    assert proxy.dropped_bytes > 0


def test_network_is_slow(proxy: Proxy, cluster: Cluster, swarm: Swarm) -> None:
    """A network that holds up all it carries for half a second, then cuts, loses no order."""
    ordeal = Ordeal(swarm, cluster(2, proxy.url))

    def slow_down() -> None:
        proxy.delay_seconds = 0.5
        swarm.run_for(2)
        proxy.cut()

    ordeal.live_through("half a second late", slow_down, 2, proxy.heal)


def test_answers_vanish(proxy: Proxy, cluster: Cluster, swarm: Swarm) -> None:
    """When what is said reaches everybody and Redis's answers do not come back, nobody hears it twice."""
    ordeal = Ordeal(swarm, cluster(2, proxy.url))

    def swallow() -> None:
        proxy.swallow_answers = True

    ordeal.live_through("answers vanish for 7 s", swallow, 7, proxy.heal)


def test_what_does_not_fit_is_lost_and_counted(
    redis_server: RedisServer, cluster: Cluster, swarm: Swarm
) -> None:
    """Of 40 MiB that are said while Redis is frozen the first cross later, the rest is counted as lost."""
    a, b = cluster(2, redis_server.url)
    a.expected_log = b.expected_log = BRIDGE_LOG
    speaker, listener, far = swarm.join(a.port), swarm.join(a.port), swarm.join(b.port)
    memory = memory_bytes(a.pid)
    redis_server.pause()
    for _ in range(20):
        speaker.flood(32, 65536)
        swarm.run_until_heard(speaker, (speaker, listener), speaker.said - 1, 10)
    assert_each_once_in_order([speaker], [speaker, listener])
    assert memory_bytes(a.pid) - memory < 40 * MIB
    lost = figures(a.port)["bridge"]["lost"]
    assert 0 < lost < 640
    redis_server.resume()
    speaker.say()
    swarm.run_until_heard(speaker, swarm.members, 640, 20)
    crossed = len(far.numbers(speaker)) - 1
    assert far.numbers(speaker) == [*range(crossed), 640]
    # The figures that processes tell each other are lost too.
    assert 640 - lost <= crossed < 640


def test_counts_after_coming_and_going(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """Clients come and go while connections to Redis are cut; afterwards all processes count them right."""
    servers = cluster(3, redis_server.url)
    for server in servers:
        server.expected_log = BRIDGE_LOG
    chance = random.Random(3)
    ids = [new_client_id() for _ in range(12)]
    here: list[Member] = []
    for number in range(300):
        if len(here) < 20:
            here.append(swarm.join(chance.choice(servers).port, client_id=chance.choice(ids)))
        else:
            here.pop(chance.randrange(len(here))).close()
        if number % 60 == 30:
            with redis_server.client() as redis:
                redis.execute_command("CLIENT", "KILL", "TYPE", chance.choice(("pubsub", "normal")))
    count = len({member.client_id for member in here})

    def counts() -> list[int]:
        told = [figures(server.port) for server in servers]
        return [in_namespace(each, RELAY)["clientCount"] for each in told]

    swarm.run_until(lambda: counts() == [count] * 3, 15, f"{count} clients in everybody's figures")
    swarm.run_for(1)
    assert counts() == [count] * 3


def test_start_without_redis(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """A process that starts while Redis is away serves its own clients, and joins others when it comes."""
    redis_server.kill()
    (a,) = cluster(1, redis_server.url)
    a.expected_log = BRIDGE_LOG
    here, near = swarm.join_many(a.port, 2)
    here.say()
    swarm.run_until_heard(here, (here, near), 0, LOCAL_SECONDS)
    redis_server.start()
    (b,) = cluster(1, redis_server.url)
    there = swarm.join(b.port)

    def crosses() -> bool:
        here.say()
        swarm.run_for(0.1)
        return here.said - 1 in there.numbers(here)

    swarm.run_until(crosses, BACK_SECONDS, "the first message to cross")
    assert_none_twice([here], [here, near, there])


@pytest.mark.parametrize("processes", ["1", "2"])
def test_redis_refuses_the_password(redis_server: RedisServer, tmp_path: Path, processes: str) -> None:
    """A password that Redis refuses is told in one line that names redis_url, without the password."""
    with redis_server.client() as redis:
        redis.config_set("requirepass", "right")
    url = redis_server.url.replace("//", "//:wrong-password@")
    command = [sys.executable, str(ROOT / "run.py"), "--redis-url", url, "--processes", processes]
    flags = ("--port", "0", "--data-dir", str(tmp_path / "data"))
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert [line for line in done.stderr.splitlines() if line.startswith("jpulse: redis_url: ")]
    assert "Traceback" not in done.stderr
    assert "wrong-password" not in done.stdout + done.stderr


def test_readyz_tells_what_is_wrong(redis_server: RedisServer, cluster: Cluster) -> None:
    """`/readyz` names store, bridge and drain when all is well, and the bridge when that is down."""
    (server,) = cluster(1, redis_server.url)
    server.expected_log = BRIDGE_LOG
    visitor = Visitor(server.port)
    assert visitor.get("/readyz").data == {"store": "ok", "bridge": "ok", "drain": "ok", "load": "ok"}
    redis_server.kill()
    wait_until(lambda: visitor.get("/readyz").status == 503, 15, "readyz to notice")
    assert "bridge" in visitor.get("/readyz").error
    assert visitor.get("/healthz").status == 200
    redis_server.start()
    wait_until(lambda: visitor.get("/readyz").status == 200, BACK_SECONDS, "readyz to be well again")


def test_garbage_from_other_programs(redis_server: RedisServer, cluster: Cluster, swarm: Swarm) -> None:
    """What other programs publish on our channels is left out, and nobody is deaf afterwards."""
    a, b = cluster(2, redis_server.url)
    a.expected_log = b.expected_log = BRIDGE_LOG
    here, there = swarm.join(a.port), swarm.join(b.port)
    with redis_server.client() as redis:
        for channel in redis.pubsub_channels():
            for garbage in (b"", b"x", b"{}", bytes(23), bytes(24), b"\x01" * 100, b"\xff" * 5000):
                redis.publish(channel, garbage)
    here.say()
    there.say()
    swarm.run_until_heard(here, swarm.members, 0, 5)
    swarm.run_until_heard(there, swarm.members, 0, 5)
    assert all(figures(server.port)["bridge"]["damaged"] > 0 for server in (a, b))
