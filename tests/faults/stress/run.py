"""One run from the beginning to its table."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

from ...support import memory_bytes
from .crowd import PASSWORD, Town, promoted_at_first
from .events import Figures, Memory, Slept
from .history import History, read_journals
from .injector import PROBER, Injector, following
from .plan import Planned, hard_faults, soft_faults
from .report import table
from .rules import check
from .shrink import explained
from .site import Site, add_users, settle, site_in
from .violations import Violation

MEMBERS, ADMINS = 14, 5
USERS = (
    *((f"member{number}", ("user",)) for number in range(MEMBERS)),
    *((f"admin{number}", ("user", "admin")) for number in range(ADMINS)),
)
SETTLE_SECONDS = 30.0
#: So many violations are told with their histories.
EXPLAINED = 5
MEMORY_EVERY = 1.0
CLOCK_SECONDS = 0.1
#: Runs of so many seconds have time for long faults.
LONG_SECONDS = 150.0


@dataclass(frozen=True)
class Options:
    """What a run is told."""

    seed: int = 1
    seconds: float = 60.0
    clients: int = 100
    mongo: bool = False
    #: Nothing is broken.
    calm: bool = False
    app: str = "tests.apps.stress_app"

    def plans(self) -> list[Iterator[Planned]]:
        """What is to be broken: one after the other, and besides."""
        if self.calm:
            return []
        long = self.seconds >= LONG_SECONDS
        return [hard_faults(self.seed, mongo=self.mongo, long=long), soft_faults(self.seed)]


@dataclass
class Outcome:
    """What a run has shown."""

    history: History
    violations: list[Violation]
    begin: float
    seconds: float

    def text(self, seed: int) -> str:
        """The table, and the first violations with their histories."""
        told = [explained(self.history, each, self.begin) for each in _varied(self.violations)]
        return "\n\n".join([*told, table(self.history, self.violations, seed, self.seconds)])


def _varied(violations: list[Violation]) -> Iterator[Violation]:
    """The first of each rule, a few at most."""
    firsts = {each.rule: each for each in reversed(violations)}
    return islice(firsts.values(), EXPLAINED)


def run(options: Options) -> Outcome:
    """Run, and check."""
    _tell_plan(options)
    # The site is around the loop, which waits for the threads that may be starting something.
    with (
        tempfile.TemporaryDirectory(prefix="jpulse-stress-") as folder,
        site_in(Path(folder), mongo=options.mongo) as site,
    ):
        return _run(options, site)


def _tell_plan(options: Options) -> None:
    """Print the first faults of the plan; how many there is time for shows."""
    for name, plan in zip(("one after the other", "besides"), options.plans(), strict=False):
        print(f"faults of seed {options.seed}, {name}:")
        for each in islice(plan, int(options.seconds / 5)):
            print(f"  {each}", flush=True)


def _run(options: Options, site: Site) -> Outcome:
    history = History(promoted_at_first(USERS))
    begin = monotonic()
    asyncio.run(_serve(options, site, history))
    statuses = site.stop()
    for event in read_journals(site.journals):
        history.add(event)
    violations = [*check(history), *_of_servers(site, statuses)]
    return Outcome(history, violations, begin, options.seconds)


async def _serve(options: Options, site: Site, history: History) -> None:
    store = site.make_store()
    await store.open()
    try:
        await add_users(store, [*USERS, (PROBER, ("user",))], PASSWORD)
        await asyncio.to_thread(site.start_servers, options.app)
        await _live(options, site, history, Injector(site, history, store, [name for name, _ in USERS]))
    finally:
        await store.close()


async def _live(options: Options, site: Site, history: History, injector: Injector) -> None:
    await _settle(site)
    await _tell_figures(site, history, idle=True)
    town = Town(history, options.seed, site.ports, [name for name, _ in USERS])
    town.populate(options.clients)
    watching = [asyncio.create_task(each) for each in (_weigh(site, history), _watch_clock(history))]
    living = asyncio.create_task(town.live())
    async with following(injector, *options.plans()):
        await asyncio.wait([living], timeout=options.seconds)
    town.quiet = True
    await living
    await _settle(site)
    await _tell_figures(site, history, idle=False)
    await town.leave()
    await asyncio.sleep(1)
    await _settle(site)
    await _tell_figures(site, history, idle=True)
    for each in watching:
        each.cancel()


async def _settle(site: Site) -> None:
    if not await asyncio.to_thread(settle, site, SETTLE_SECONDS):
        print("the processes do not agree on what there is", file=sys.stderr)


async def _tell_figures(site: Site, history: History, *, idle: bool) -> None:
    for pid in site.pids():
        told = await asyncio.to_thread(site.ask, pid, "/figures", 10)
        if told is not None:
            history.add(Figures(pid, told["at"], idle, told))


async def _watch_clock(history: History) -> None:
    """Note when the clients themselves were held up."""
    while True:
        before = monotonic()
        await asyncio.sleep(CLOCK_SECONDS)
        if monotonic() - before > 3 * CLOCK_SECONDS:
            history.add(Slept(monotonic(), before))


async def _weigh(site: Site, history: History) -> None:
    """Note the memory of every process again and again."""
    while True:
        for pid in site.pids():
            with suppress(OSError, AssertionError):
                history.add(Memory(pid, monotonic(), memory_bytes(pid)))
        await asyncio.sleep(MEMORY_EVERY)


def _of_servers(site: Site, statuses: list[int]) -> Iterator[Violation]:
    """What servers complained of, and how they ended."""
    for line in site.bad_lines():
        yield Violation("log", line)
    for number, status in enumerate(statuses):
        if status != 0:
            yield Violation("end", f"server {number} ended with {status}")


def main(options: Options) -> int:
    """Run, tell, and return the exit status: 1 if anything was violated."""
    # Whoever ends this ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = monotonic()
    outcome = run(options)
    print(outcome.text(options.seed))
    print(f"  (whole run: {monotonic() - began:.0f} s, CPU of this process: {os.times().user:.0f} s)")
    if outcome.violations:
        again = f"--seed {options.seed} --seconds {options.seconds:g} --clients {options.clients}"
        print(f"run it again: python -m tests.faults {again}{' --mongo' if options.mongo else ''}")
    return 1 if outcome.violations else 0
