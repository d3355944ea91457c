"""File descriptors: each connection takes one, and there is a limit to them."""

from __future__ import annotations

import errno
import logging
import math
import os
import resource

log = logging.getLogger("jpulse.descriptors")

#: What accept() says when there are no descriptors, or no memory for them.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: Descriptors that are left to files, the store and Redis.
RESERVED = 16
#: What a process needs besides connections: listening sockets, stores, logs, HTTP.
SPARE = 512
#: Scarcity is told no more often than this.
TELL_SECONDS = 60.0


class Scarcity:
    """Knows whether file descriptors are about to run out, and says so once a minute."""

    def __init__(self) -> None:
        self._told_at = -math.inf

    def is_near(self, descriptor: int) -> bool:
        """Tell it by a new descriptor: the lowest free number is given out."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return limit != resource.RLIM_INFINITY and descriptor >= limit - RESERVED

    def is_over(self, descriptor: int) -> bool:
        """Try whether there are some again, with a copy of an open descriptor."""
        try:
            copy = os.dup(descriptor)
        except OSError:
            return False
        os.close(copy)
        return not self.is_near(copy)

    def tell(self, now: float) -> None:
        """Log it at the monotonic time `now`, unless that was done lately."""
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            log.error(
                "file descriptors are scarce (the limit is %d): nobody new is accepted until some are free; "
                "allow more with `ulimit -n`, or LimitNOFILE of systemd",
                limit,
            )


def raise_limit(connections: int) -> None:
    """Let this process have as many descriptors as its connections need, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.info("%d file descriptors are allowed; max_connections %d needs %d", most, connections, wanted)
