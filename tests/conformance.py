"""
An echo server for RFC 6455 test suites: `python -m tests.conformance --port 9001` serves ws://127.0.0.1:9001/echo.

It runs the product's parser, transport and connection, and leaves out what the product
adds above them: envelopes, the `connected` frame, the message rate. Text comes back as
the same text and binary as the same bytes, up to 32 MiB. With `--deflate` it accepts
permessage-deflate and answers compressed what becomes smaller by it, however short it is.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from jpulse import wire
from jpulse.deflate import negotiate
from jpulse.endpoint import shake_hands
from jpulse.transport import take_over, unmask
from jpulse.websocket import BaseConnection, Scheduler

MAX_BYTES = 32 * 1024 * 1024


class Echo(BaseConnection):
    """Sends back what comes in."""

    def on_payload(self, opcode: int, payload: bytes) -> None:
        """Answer with the same payload."""
        frame = wire.frame(payload, opcode)
        self.send_frame(wire.compressed(frame, self.window_bits) if self.window_bits else frame)


class EchoEndpoint(WebSocketHandler):
    """The handshake, without the checks that a namespace makes."""

    scheduler: Scheduler
    compress: bool

    def initialize(self, scheduler: Scheduler, compress: bool) -> None:
        """Take what all connections share."""
        self.scheduler = scheduler
        self.compress = compress

    async def get(self) -> None:
        """Shake hands and hand the socket over."""
        offer = self.request.headers.get("Sec-WebSocket-Extensions", "")
        agreement = negotiate(offer) if self.compress else None
        stream = shake_hands(self, agreement)
        if stream.closed():
            return
        parser = wire.FrameParser(MAX_BYTES, unmask, inflates=agreement is not None)
        echo = Echo(self.scheduler, parser, 3 * MAX_BYTES)
        if agreement is not None:
            echo.window_bits = agreement.window_bits
        take_over(stream, echo)


async def cut_overdue(scheduler: Scheduler) -> None:
    """Cut those who do not finish closing, as the heartbeat does in the product."""
    loop = asyncio.get_running_loop()
    while True:
        scheduler.cut_overdue(loop.time())
        await asyncio.sleep(0.5)


async def serve(port: int, *, compress: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; port 0 takes a free one."""
    scheduler = Scheduler()
    echo = ("/echo", EchoEndpoint, {"scheduler": scheduler, "compress": compress})
    server = HTTPServer(Application([echo]))
    sockets = bind_sockets(port, "127.0.0.1")
    server.add_sockets(sockets)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cutter = asyncio.ensure_future(cut_overdue(scheduler))
    print(f"echo at ws://127.0.0.1:{sockets[0].getsockname()[1]}/echo", flush=True)
    await stop.wait()
    cutter.cancel()
    server.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Serve /echo for an RFC 6455 test suite.")
    arguments.add_argument("--port", type=int, default=9001)
    arguments.add_argument("--deflate", action="store_true", help="accept permessage-deflate")
    given = arguments.parse_args()
    asyncio.run(serve(given.port, compress=given.deflate))
