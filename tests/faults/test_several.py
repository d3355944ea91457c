"""Several processes and TLS, to Redis and to clients; and a role that is lost in all of them."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ..conftest import Server, wait_until
from ..raw_client import RawClient
from ..servers import RedisServer
from ..support import make_certificate
from ..visitor import Visitor, manage
from .conftest import APP, BRIDGE_LOG, Cluster
from .swarm import Member, Swarm
from .test_prefork import join_each, workers

Serve = Callable[..., Server]
ADMINS = "/api/1/ws/admins"


class TlsFront:
    """Speaks TLS before a Redis that does not, with a thread for each connection."""

    def __init__(self, target_port: int, context: ssl.SSLContext) -> None:
        self._target_port = target_port
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            self._context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self._target_port)) as redis,
        ):
            while not self._over.is_set():
                for each in select.select([secure, redis], [], [], 0.1)[0]:
                    # Reads whole TLS records (at most 16 KiB), so that nothing waits unseen.
                    data = each.recv(65536)
                    if not data:
                        return
                    (redis if each is secure else secure).sendall(data)

    def close(self) -> None:
        """End, with all connections."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost; its key is beside it."""
    make_certificate(tmp_path / "chain.pem", tmp_path / "key.pem")
    return tmp_path / "chain.pem"


@pytest.fixture
def tls_redis(redis_server: RedisServer, certificate: Path) -> Iterator[str]:
    """The address of a Redis behind TLS, without the parameters that say whom to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    front = TlsFront(redis_server.port, context)
    yield f"rediss://localhost:{front.port}/"
    front.close()


def test_redis_over_tls(cluster: Cluster, tls_redis: str, certificate: Path, swarm: Swarm) -> None:
    """With `rediss://` and the authority that signed its certificate messages and notes go over TLS."""
    servers = cluster(2, f"{tls_redis}?ssl_ca_certs={certificate}")
    here, there = (swarm.join(server.port) for server in servers)
    here.say()
    swarm.run_until_heard(here, (here, there), 0, 10)
    assert [Visitor(server.port).get("/readyz").status for server in servers] == [200, 200]
    note = {"type": "note-create", "x": 1, "y": 2, "text": "by TLS", "color": "#ffffff"}
    path = "/api/1/ws/hello-notes"
    with RawClient(servers[0].port, path) as writer, RawClient(servers[1].port, path) as reader:
        reader.read_data("notes-init")
        writer.send_json(note)
        assert reader.read_data("note-created")["note"]["text"] == "by TLS"
    for server in servers:
        # What stands before Redis ends before the servers do.
        server.expected_log = BRIDGE_LOG


def test_redis_that_nobody_vouches_for(cluster: Cluster, tls_redis: str, swarm: Swarm) -> None:
    """A Redis whose certificate no authority signed is not spoken to; the log and readyz tell of it."""
    (server,) = cluster(1, tls_redis)
    server.expected_log = BRIDGE_LOG
    here = swarm.join(server.port)
    here.say()
    swarm.run_until_heard(here, [here], 0, 5)
    wait_until(lambda: Visitor(server.port).get("/readyz").status == 503, 10, "readyz to notice")
    assert "Redis does not answer (" in server.log
    assert "certificate verify failed" in server.log


def shown_certificate(port: int) -> bytes:
    """The certificate with which a port answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with RawClient(port, tls=context, shake_hands=False) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        shown = client.socket.getpeercert(binary_form=True)
        assert shown is not None
        return shown


def test_renewed_certificate(serve: Serve, certificate: Path) -> None:
    """SIGHUP brings a renewed certificate into use, one process after the other."""
    key = certificate.with_name("key.pem")
    server = serve("--processes", "2", "--tls-certificate", str(certificate), "--tls-key", str(key), app=APP)
    before = workers(server)
    old = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    assert shown_certificate(server.port) == old
    make_certificate(certificate, key)
    assert shown_certificate(server.port) == old
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: len(workers(server)) == 2 and not workers(server) & before, 30, "new workers")
    new = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    assert {shown_certificate(server.port) for _ in range(8)} == {new} != {old}


def test_renewed_certificate_that_cannot_be(serve: Serve, certificate: Path) -> None:
    """When the renewed files do not fit, SIGHUP says so and those who serve go on with the old ones."""
    key = certificate.with_name("key.pem")
    server = serve("--processes", "2", "--tls-certificate", str(certificate), "--tls-key", str(key), app=APP)
    server.expected_log = (
        r"jpulse\.prefork: worker \d+ ended \(exit status 2\) while it was to be replaced",
    )
    before, old = workers(server), shown_certificate(server.port)
    key.write_text("no key", encoding="ascii")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("while it was to be replaced")
    assert "jpulse: tls_certificate: cannot use " in server.log
    assert workers(server) == before
    assert shown_certificate(server.port) == old


def test_role_is_lost_everywhere(serve: Serve, swarm: Swarm) -> None:
    """Who loses a role loses the sockets that need it in every process, and keeps the others."""
    server = serve("--processes", "2", app=APP)
    boss = Visitor(server.port)
    boss.sign_in()
    admins: dict[int, Member] = {}

    def is_held_by_both() -> bool:
        member = swarm.join(server.port, ADMINS, headers=boss.cookie_header())
        swarm.run_until(lambda: member.pid != 0, 5, "the process to tell who it is")
        admins.setdefault(member.pid, member)
        return len(admins) == 2

    swarm.run_until(is_held_by_both, 20, "both processes to have an administrator")
    talking = join_each(swarm, server, 2)
    manage(server, "roles", "admin", "--roles", "user")
    swarm.run_until(lambda: all(each.closes for each in admins.values()), 5, "the closes")
    assert [each.closes for each in admins.values()] == [[4403], [4403]]
    assert [each.closes for each in talking] == [[], []]
