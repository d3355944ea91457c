"""
A seeded stress run whose histories are checked: `python -m tests.faults --seed 7 --minutes 6`.

`plan` draws the faults, `site` has the servers, `injector` breaks them, `crowd` is the
clients. All of them write events into a `history`; `rules` are pure functions that find
in it what must not be (of `deliveries`, `access` and `figures`), with `windows` for what an
outage excuses, and `shrink` cuts the history down to the events that show it.
"""
