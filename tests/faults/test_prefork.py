"""`--processes N`: children that die are replaced, signals reach all, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Self

import pytest

from ..conftest import ROOT, Server, wait_until
from ..raw_client import RawClient
from ..servers import free_port, redis_client
from ..visitor import Visitor, data_dir
from .conftest import APP, BRIDGE_LOG, END_SECONDS
from .processes import (
    children_of,
    is_alive,
    is_port_open,
    is_redis,
    open_files,
    processes_about,
    redis_of,
)
from .support import assert_each_once_in_order, figures_of_all, in_namespace
from .swarm import RELAY, Member, Swarm

Serve = Callable[..., Server]
#: What the parent and the children may log when processes are killed.
KILLED_LOG = (*BRIDGE_LOG, r" (WARNING|ERROR) +(\[\d+\] )?jpulse\.(server|prefork|redis)\b")
#: A child that died is replaced, and everybody counts right again.
REPLACE_SECONDS = 15
STORE_FILES = {"jpulse.db", "jpulse.db-wal", "jpulse.db-shm"}


def workers(server: Server) -> set[int]:
    """The children that serve."""
    return {pid for pid in children_of(server.pid) if not is_redis(pid)}


def join_each(swarm: Swarm, server: Server, count: int, *, returns: bool = False) -> list[Member]:
    """Let clients connect until each of `count` processes serves one; those who are too many leave."""
    met: dict[int, Member] = {}
    for _ in range(400):
        member = swarm.join(server.port, returns=returns)
        if member.pid in met:
            member.close()
        else:
            met[member.pid] = member
        if len(met) == count:
            return list(met.values())
    raise AssertionError(f"met {len(met)} of {count} processes in 400 connections")


def assert_nothing_left(server: Server) -> None:
    """No process, no open port, and no file but the store's."""
    folder = data_dir(server)
    wait_until(lambda: not processes_about(folder), END_SECONDS, "the end of all processes")
    assert not is_port_open(server.port)
    assert {each.name for each in folder.iterdir()} == {"jpulse.db"}


def stop_well(swarm: Swarm, server: Server) -> None:
    """Let the clients leave and the server end by SIGTERM, which must leave nothing behind."""
    swarm.leave()
    assert server.stop() == 0
    assert_nothing_left(server)


class Knocking:
    """Connects again and again in threads of its own, for a page and for a namespace in turn."""

    def __init__(self, port: int, pool: ThreadPoolExecutor) -> None:
        self._port = port
        self._pool = pool
        self._over = threading.Event()
        self.served = 0
        #: What those were told who were not served.
        self.refused: list[str] = []

    def __enter__(self) -> Self:
        for _ in range(3):
            self._pool.submit(self._knock)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()

    def _knock(self) -> None:
        while not self._over.is_set():
            try:
                assert Visitor(self._port).get("/healthz").status == 200
                with RawClient(self._port, RELAY) as client:
                    client.read_data("here")
            except (OSError, EOFError, AssertionError, HTTPException) as error:
                self.refused.append(repr(error))
            self.served += 2


def test_four_processes_serve_one_port(serve: Serve, swarm: Swarm) -> None:
    """Four children share the port and, through a private Redis, what is said."""
    server = serve("--processes", "4", app=APP)
    assert len(workers(server)) == 4
    members = [*join_each(swarm, server, 4), *swarm.join_many(server.port, 96)]
    assert {member.pid for member in members} == workers(server)
    for number in range(500):
        members[number % len(members)].say()
        if number % 10 == 0:
            swarm.turn(0)
    swarm.run_until(lambda: swarm.deliveries >= 500 * len(members), 60, "500 broadcasts at 100 clients")
    assert_each_once_in_order(members, members)
    stop_well(swarm, server)


def test_the_port_is_served_when_the_log_says_so(serve: Serve) -> None:
    """When the line "jPulse serves" comes, every child answers, and there is one such line."""
    server = serve("--processes", "3", app=APP)
    assert len(figures_of_all(server.port, 3)) == 3
    assert server.log.count("jPulse serves") == 1


def test_one_process_for_each_core(serve: Serve) -> None:
    """`--processes 0` starts as many as there are cores for us."""
    server = serve("--processes", "0", app=APP)
    assert len(workers(server)) == len(os.sched_getaffinity(0))


def test_real_redis_is_used(serve: Serve, redis_url: str, swarm: Swarm) -> None:
    """With `--redis-url` no private Redis is started."""
    server = serve("--processes", "2", "--redis-url", redis_url, app=APP)
    assert len(children_of(server.pid)) == 2
    members = join_each(swarm, server, 2)
    members[0].say()
    swarm.run_until_heard(members[0], members, 0, 5)
    stop_well(swarm, server)


def test_worker_is_killed_under_load(serve: Serve, swarm: Swarm) -> None:
    """A killed child's clients come back to others; in 15 s the figures are right and no ghost is left."""
    server = serve("--processes", "4", app=APP)
    server.expected_log = KILLED_LOG
    members = join_each(swarm, server, 4, returns=True)
    members += swarm.join_many(server.port, 76, returns=True)
    before = workers(server)
    victim = members[0].pid
    hit = [member for member in members if member.pid == victim]
    swarm.talk(members[1:9], 0.05)
    swarm.run_for(1)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    swarm.run_until(lambda: all(m.connections == 2 and m.pid != victim for m in hit), 10, "all to come back")
    swarm.run_until(lambda: len(workers(server)) == 4, REPLACE_SECONDS, "a new child")
    _await_count(swarm, server, len(members))
    print(f"worker killed with {len(hit)} clients: figures right after {time.monotonic() - killed:.1f} s")
    swarm.talk((), 1)
    assert len(workers(server) & before) == 3
    assert all(member.closes == ([1006] if member in hit else []) for member in members)
    _check_all_hear_all(swarm, members)


def _await_count(swarm: Swarm, server: Server, count: int) -> None:
    """Wait until all four processes count the same clients in the relay, sockets apart from ours."""

    def agree() -> bool:
        told = figures_of_all(server.port, 4).values()
        return all(in_namespace(each, RELAY)["clientCount"] == count for each in told)

    swarm.run_until(agree, REPLACE_SECONDS, f"{count} clients in everybody's figures")


def _check_all_hear_all(swarm: Swarm, members: list[Member]) -> None:
    by_pid = {member.pid: member for member in members}
    swarm.run_for(0.5)
    for speaker in by_pid.values():
        speaker.say()
        swarm.run_until_heard(speaker, members, speaker.said - 1, 10)


def test_dead_worker_is_forgotten(serve: Serve, redis_url: str, swarm: Swarm) -> None:
    """Of a killed child whose clients stay away nothing is counted after 15 s, and its channel is gone."""
    server = serve("--processes", "2", "--redis-url", redis_url, "--redis-prefix", "ghost", app=APP)
    server.expected_log = KILLED_LOG
    stays, goes = join_each(swarm, server, 2)
    os.kill(goes.pid, signal.SIGKILL)
    swarm.run_until(lambda: len(workers(server)) == 2, REPLACE_SECONDS, "a new child")

    def forgotten() -> bool:
        told = figures_of_all(server.port, 2).values()
        return all(in_namespace(each, RELAY)["clientCount"] == 1 for each in told)

    swarm.run_until(forgotten, REPLACE_SECONDS, "the ghost to vanish")
    with redis_client(redis_url) as redis:
        assert len(redis.pubsub_channels("ghost:to:*")) == 2
        assert dict(redis.pubsub_numsub(f"ghost:ns:{RELAY}")) == {f"ghost:ns:{RELAY}": 1}
    assert is_alive(stays.pid)


def test_workers_die_one_after_the_other(serve: Serve, swarm: Swarm) -> None:
    """Children that are killed in a row are replaced, and the parent keeps no file open for them."""
    server = serve("--processes", "2", app=APP)
    server.expected_log = KILLED_LOG
    files = open_files(server.pid)
    for _ in range(2):
        victim = min(workers(server))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in workers(server), 5)  # type: ignore[misc]
        wait_until(lambda: len(workers(server)) == 2, REPLACE_SECONDS, "a new child")
    members = join_each(swarm, server, 2)
    _check_all_hear_all(swarm, members)
    assert open_files(server.pid) == files


def test_children_that_never_come_up(tmp_path: Path) -> None:
    """When children die at the start again and again, the parent says so, ends by itself and is not 0."""
    port = str(free_port())
    command = [sys.executable, str(ROOT / "run.py"), "--processes", "2", "--port", port]
    data = ("--data-dir", str(tmp_path / "data"), "--app", "tests.apps.dies")
    done = subprocess.run(
        [*command, *data], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM)
    assert "jPulse serves" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "worker" in last or "process" in last or "child" in last, done.stderr
    assert done.stderr.count("tests.apps.dies lives for a moment") <= 12, "no backoff"
    assert not is_port_open(int(port))


def test_wrong_settings_are_told_once(tmp_path: Path) -> None:
    """A setting that only children could find wrong is one line and exit status 2, as with one process."""
    data = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--app", "tests.apps.empty")
    command = [sys.executable, str(ROOT / "run.py"), "--processes", "2", *data]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("has no function setup(app)") == 1, done.stderr


def test_first_start_prints_one_password(serve: Serve) -> None:
    """Of several children that find an empty store one makes the admin, and one password is printed."""
    server = serve("--processes", "4", app=APP, fresh=True)
    assert server.log.count("sign in as admin") == 1


def test_sigterm_drains_all(serve: Serve, swarm: Swarm) -> None:
    """SIGTERM closes the clients of all children with 1012 and ends within drain_seconds + 5 with 0."""
    server = serve("--processes", "3", "--drain-seconds", "3", app=APP)
    join_each(swarm, server, 3)
    swarm.join_many(server.port, 30)
    os.kill(server.pid, signal.SIGTERM)
    began = time.monotonic()
    swarm.run_until(lambda: server.process.poll() is not None, 3 + 5, "the end")
    print(f"drained in {time.monotonic() - began:.1f} s")
    swarm.run_for(0.2)
    assert all(member.closes[:1] == [1012] for member in swarm.members if member.closes or member.socket)
    assert server.process.returncode == 0
    assert_nothing_left(server)


def test_sigint_to_the_group(serve: Serve) -> None:
    """Ctrl-C, which reaches the whole process group at once, ends all of it well, Redis last."""
    server = serve("--processes", "2", app=APP)
    for pid in [server.pid, *children_of(server.pid)]:
        if os.getpgid(pid) == os.getpgid(server.pid):
            os.kill(pid, signal.SIGINT)
    assert server.wait() == 0
    assert_nothing_left(server)


def test_sigterm_at_once(serve: Serve) -> None:
    """A stubborn handler in a child does not keep the server: SIGTERM ends it within drain_seconds + 5."""
    server = serve("--processes", "2", "--drain-seconds", "1", app="tests.apps.behaviours")
    server.expected_log = (*KILLED_LOG, r" WARNING (\[\d+\] )?jpulse\.server: ")
    with RawClient(server.port, "/api/1/ws/stubborn") as client:
        client.send_json({"type": "begin"})
        client.read_data("begin")
        server.stop(seconds=1 + 5)
    assert_nothing_left(server)


@pytest.mark.parametrize("frozen", ["a child", "redis"])
def test_sigterm_with_somebody_frozen(serve: Serve, swarm: Swarm, frozen: str) -> None:
    """A child or a Redis that is frozen is killed, so that SIGTERM ends all within drain_seconds + 5."""
    server = serve("--processes", "2", "--drain-seconds", "1", app=APP)
    server.expected_log = KILLED_LOG
    victim = redis_of(data_dir(server)) if frozen == "redis" else min(workers(server))
    os.kill(victim, signal.SIGSTOP)
    server.stop(seconds=1 + 5)
    assert not is_alive(victim)
    wait_until(lambda: not processes_about(data_dir(server)), END_SECONDS, "the end of all processes")
    assert not [each for each in data_dir(server).iterdir() if each.name not in STORE_FILES]


def test_second_sigterm_hurries(serve: Serve, swarm: Swarm) -> None:
    """A second SIGTERM ends the drain of all children at once, whatever clients do."""
    server = serve("--processes", "2", "--drain-seconds", "60", app=APP)
    server.expected_log = KILLED_LOG
    swarm.join_many(server.port, 20)
    os.kill(server.pid, signal.SIGTERM)
    server.wait_for_log("draining")
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait() == 0
    assert_nothing_left(server)


def test_two_processes_with_mongodb(serve: Serve, mongo_url: str, swarm: Swarm) -> None:
    """With `--mongo-url` each child has its own way to MongoDB, and what they write at once is all kept."""
    server = serve("--processes", "2", "--mongo-url", mongo_url, app=APP)
    members = join_each(swarm, server, 2)

    def post(number: int) -> int:
        return Visitor(server.port).post("/api/1/todo", {"title": f"todo {number}"}).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(post, range(40))) == [201] * 40
    titles = {todo["title"] for todo in Visitor(server.port).get("/api/1/todo").data}
    assert titles == {f"todo {number}" for number in range(40)}
    _check_all_hear_all(swarm, members)


def test_sighup_restarts_without_refusing(serve: Serve, swarm: Swarm) -> None:
    """SIGHUP replaces the children one by one; whoever connects meanwhile is served."""
    server = serve("--processes", "2", "--drain-seconds", "2", app=APP)
    before = workers(server)
    members = join_each(swarm, server, 2, returns=True)
    with ThreadPoolExecutor(3) as pool, Knocking(server.port, pool) as knocking:
        os.kill(server.pid, signal.SIGHUP)
        swarm.run_until(
            lambda: len(workers(server) - before) == len(workers(server)) == 2, 30, "new children"
        )
    print(f"{knocking.served} connections while the children were replaced")
    assert knocking.refused == []
    swarm.run_until(lambda: all(member.connections > 1 and member.socket for member in members), 10, "return")
    assert all(set(member.closes) == {1012} for member in members)
    wait_until(lambda: set(figures_of_all(server.port, 2)) == workers(server), 10, "both to answer")
    assert is_alive(server.pid)
    _check_all_hear_all(swarm, join_each(swarm, server, 2))


def test_private_redis_is_replaced(serve: Serve, swarm: Swarm) -> None:
    """A private Redis that is killed is started again, and the children find it."""
    server = serve("--processes", "2", app=APP)
    server.expected_log = KILLED_LOG
    members = join_each(swarm, server, 2)
    victim = redis_of(data_dir(server))
    os.kill(victim, signal.SIGKILL)

    def crosses() -> bool:
        members[0].say()
        swarm.run_for(0.1)
        return all(member.numbers(members[0])[-1:] == [members[0].said - 1] for member in members)

    swarm.run_until(lambda: not is_alive(victim) and crosses(), REPLACE_SECONDS, "the first message to cross")
    assert redis_of(data_dir(server)) != victim
    stop_well(swarm, server)


@pytest.mark.parametrize("also", ["nobody else", "redis", "a child", "all"])
def test_parent_is_killed(serve: Serve, swarm: Swarm, also: str) -> None:
    """When the parent is killed, alone or with others, nothing runs and no file but the store's is left."""
    server = serve("--processes", "2", "--drain-seconds", "1", app=APP)
    server.expected_log = KILLED_LOG
    join_each(swarm, server, 2)
    redis, *others = [redis_of(data_dir(server))], *workers(server)
    victims = {"nobody else": [], "redis": redis, "a child": others[:1], "all": [*redis, *others]}[also]
    for pid in [server.pid, *victims]:
        os.kill(pid, signal.SIGKILL)
    server.wait()
    if also != "all":
        assert_nothing_left(server)


def test_start_after_a_crash(serve: Serve, swarm: Swarm) -> None:
    """What a crash of everything has left in the data directory disturbs the next start no more."""
    server = serve("--processes", "2", app=APP)
    server.expected_log = KILLED_LOG
    for pid in [server.pid, *children_of(server.pid)]:
        os.kill(pid, signal.SIGKILL)
    server.wait()
    server.start()
    members = join_each(swarm, server, 2)
    _check_all_hear_all(swarm, members)
    stop_well(swarm, server)


def test_long_data_dir(serve: Serve, swarm: Swarm, tmp_path: Path) -> None:
    """A data directory whose name is too long for the address of a Unix socket serves as well."""
    folder = tmp_path / ("long name " * 9) / ("ä" * 60)
    server = serve("--processes", "2", "--data-dir", str(folder), app=APP)
    _check_all_hear_all(swarm, join_each(swarm, server, 2))
    swarm.leave()
    assert server.stop() == 0
    assert {each.name for each in folder.iterdir()} == {"jpulse.db"}


def test_two_servers_on_one_data_dir(serve: Serve, swarm: Swarm) -> None:
    """A second server with the same data directory works beside the first and takes nothing from it."""
    first = serve("--processes", "2", app=APP)
    second = serve("--processes", "2", "--data-dir", str(data_dir(first)), app=APP)
    _check_all_hear_all(swarm, join_each(swarm, first, 2))
    _check_all_hear_all(swarm, join_each(swarm, second, 2))
    swarm.leave()
    assert second.stop() == 0
    _check_all_hear_all(swarm, join_each(swarm, first, 2))


def test_files_while_it_runs(serve: Serve) -> None:
    """The data directory of a running server is the user's alone, as is the way to its Redis."""
    server = serve("--processes", "2", app=APP)
    for each in data_dir(server).iterdir():
        if each.name not in STORE_FILES:
            assert each.stat().st_mode & 0o077 == 0, f"{each.name} is open to others"
