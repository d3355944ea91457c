"""Two processes of one example side by side, and visitors of either in one Chromium."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..browser.conftest import PATIENCE_MS, PATIENCE_SECONDS, ConsoleLog
from ..browser.conftest import browser as browser
from ..browser.conftest import console as console
from ..conftest import ADMIN_PASSWORD, ROOT, Server, _store_with_admin

#: Where the browser client keeps the id of its browser.
UUID_KEY = "jPulse.ws.clientUUID"
#: What servers say when a test stops and starts the other one.
ABOUT_NEIGHBOURS = (r" WARNING jpulse\.(bridge|cluster): ",)


class Site:
    """
    One example served by two processes on one Redis and one data directory, as on two machines.

    Visitors choose their process by its number, 0 or 1, so that what crosses between processes is
    not left to chance.
    """

    def __init__(self, name: str, folder: Path, redis_url: str) -> None:
        self.name = name
        found = re.search(r"http://127\.0\.0\.1:8080(/\S+/)>", self.readme)
        assert found, "the README names no address"
        self.address = found[1]
        shutil.copytree(_store_with_admin(), folder / "data")
        flags = (
            "--app",
            f"examples.{name}.app",
            "--data-dir",
            str(folder / "data"),
            "--drain-seconds",
            "0.5",
        )
        bridge = ("--redis-url", redis_url, "--redis-prefix", f"example-{name}")
        with ThreadPoolExecutor() as threads:
            self.servers = list(
                threads.map(lambda n: Server(folder / f"server-{n}.log", (*flags, *bridge), {}, ROOT), (0, 1))
            )
        for server in self.servers:
            server.expected_log = ABOUT_NEIGHBOURS

    @property
    def readme(self) -> str:
        """What the example says of itself."""
        return (ROOT / "examples" / self.name / "README.md").read_text(encoding="utf-8")

    def url(self, process: int) -> str:
        """Where the example's page is at one of the processes."""
        return self.servers[process].url + self.address

    def restart(self) -> None:
        """Stop both processes, and start them when both are gone: nothing in memory survives."""
        with ThreadPoolExecutor() as threads:
            assert list(threads.map(Server.stop, self.servers)) == [0, 0]
            list(threads.map(Server.start, self.servers))

    def end(self) -> None:
        """Stop both, and fail if one has logged what it should not have."""
        complaints = [server.unexpected_log() for server in self.servers]
        for server in self.servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait(10)
        assert complaints == [[], []]


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_redis: str
) -> Iterator[Site]:
    """The example that the test module is named after, served by two processes."""
    name = request.module.__name__.rpartition("test_")[2]
    made = Site(name, tmp_path_factory.mktemp(name), shared_redis)
    yield made
    made.end()


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, site: Site, console: ConsoleLog) -> Iterator[Visit]:
    """
    Open the example's page as somebody new, at one of the processes: `visit(0)`.

    With `name` signed in as the user of that name; `after` is a page whose browser profile is
    used again, so that this one is a second tab. Other options are those of a browser context.
    """
    contexts = []

    def open_one(
        process: int, *, name: str = "", after: Any = None, status: str = "connected", **options: Any
    ) -> Any:
        context = after.context if after else browser.new_context(**options)
        if not after:
            contexts.append(context)
            context.set_default_timeout(PATIENCE_MS)
            console.watch(context)
        if name:
            sign_in(context, site.servers[process], name)
        page = context.new_page()
        if after:
            # Another port is another origin with a storage of its own; behind one address it would be shared.
            uuid = after.evaluate(f"() => localStorage.getItem('{UUID_KEY}')")
            page.add_init_script(f"localStorage.setItem('{UUID_KEY}', '{uuid}')")
        page.goto(site.url(process))
        wait_for_status(page, status)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not console.unexpected()


def sign_in(context: Any, server: Server, name: str) -> None:
    """Sign a browser in as a user, who has the password that all users of tests have."""
    credentials = {"username": name, "password": ADMIN_PASSWORD}
    assert context.request.post(f"{server.url}/api/1/auth/login", data=credentials).ok


def wait_for_status(page: Any, status: str) -> None:
    """Wait until the page's connection has a status."""
    page.wait_for_selector(f'#connection[data-status="{status}"]')


def come_back(*pages: Any) -> None:
    """Let pages whose connection is lost dial at once, as they do when the network comes back."""
    for page in pages:
        page.wait_for_function(
            """() => {
                if (document.querySelector('#connection[data-status="connected"]')) return true;
                window.dispatchEvent(new Event('online'));
                return false;
            }""",
            polling=200,
            timeout=PATIENCE_MS,
        )


def eventually(read: Callable[[], Any], wanted: Any, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something has a value; fail telling the value that it has."""
    deadline = time.monotonic() + seconds
    while (found := read()) != wanted and time.monotonic() < deadline:
        # Asking a page costs more than waiting for it.
        time.sleep(0.05)
    assert found == wanted


def texts(page: Any, selector: str) -> list[str]:
    """The texts of all elements in sight that match."""
    found = page.locator(selector).filter(visible=True).all_inner_texts()
    assert isinstance(found, list)
    return [" ".join(text.split()) for text in found]
