"""
An echo server for RFC 6455 test suites: `python -m tests.conformance --port 9001` serves ws://127.0.0.1:9001/echo.

It runs the product's parser, transport and connection, and leaves out what the product
adds above them: envelopes, the `connected` frame, the message rate. Text comes back as
the same text and binary as the same bytes, up to 32 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from jpulse import wire
from jpulse.endpoint import shake_hands
from jpulse.transport import take_over, unmask
from jpulse.websocket import BaseConnection, Scheduler

MAX_BYTES = 32 * 1024 * 1024


class Echo(BaseConnection):
    """Sends back what comes in."""

    def on_payload(self, opcode: int, payload: bytes) -> None:
        """Answer with the same payload."""
        self.send_frame(wire.frame(payload, opcode))


class EchoEndpoint(WebSocketHandler):
    """The handshake, without the checks that a namespace makes."""

    scheduler: Scheduler

    def initialize(self, scheduler: Scheduler) -> None:
        """Take what all connections share."""
        self.scheduler = scheduler

    async def get(self) -> None:
        """Shake hands and hand the socket over."""
        stream = shake_hands(self)
        if not stream.closed():
            take_over(stream, Echo(self.scheduler, wire.FrameParser(MAX_BYTES, unmask), 3 * MAX_BYTES))


async def cut_overdue(scheduler: Scheduler) -> None:
    """Cut those who do not finish closing, as the heartbeat does in the product."""
    loop = asyncio.get_running_loop()
    while True:
        scheduler.cut_overdue(loop.time())
        await asyncio.sleep(0.5)


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    scheduler = Scheduler()
    server = HTTPServer(Application([("/echo", EchoEndpoint, {"scheduler": scheduler})]))
    server.listen(port, "127.0.0.1")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cutter = asyncio.ensure_future(cut_overdue(scheduler))
    print(f"echo at ws://127.0.0.1:{port}/echo", flush=True)
    await stop.wait()
    cutter.cancel()
    server.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Serve /echo for an RFC 6455 test suite.")
    arguments.add_argument("--port", type=int, default=9001)
    asyncio.run(serve(arguments.parse_args().port))
