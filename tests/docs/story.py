"""
Does what a page says, in its order, in an empty folder: writes its files and runs its commands.

Three things are other than for a reader: `pip install` and `venv` are left out, since the
environment of the tests has all of it (tests/test_packaging.py installs for real); servers
listen on a free port instead of 8080 and drain quickly; and `jpulse` is the one of this checkout.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..conftest import PATIENCE, ROOT
from ..servers import free_port
from .blocks import Block

#: On two cores that run other tests too a Python may take long; who ends is noticed at once.
START_SECONDS = 60
COMMAND_SECONDS = 120
#: What is in the environment of the tests already.
LEFT_OUT = (
    r"python3 -m venv \.venv",
    r"\. \.venv/bin/activate",
    r"pip install \S+",
)
INSTALL_FIRST = re.compile(r"^python3 -m venv \.venv && \.venv/bin/pip install -e \. && ")
#: What serves until it is stopped; `jpulse user …` and `jpulse new …` end by themselves.
SERVES = r"(?:\w+='[^']*' )*jpulse(?! (?:user|new)\b)(?! --(?:version|help))\b.*"


class Story:
    """One page's folder, its server, and what its last command printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.home = folder
        self.port = free_port()
        self.output = ""
        self._log = folder.parent / f"{folder.name}.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._programs = self._make_programs(folder.parent / f"{folder.name}-bin")

    def _make_programs(self, folder: Path) -> Path:
        """The commands that an installation would have put into the environment."""
        folder.mkdir()
        for name, words in (("jpulse", f"{sys.executable} {ROOT / 'run.py'}"), ("python", sys.executable)):
            (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            (folder / name).chmod(0o755)
        return folder

    @property
    def environ(self) -> dict[str, str]:
        """What commands see: a home of their own, and the free port as a setting."""
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        own = {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(ROOT)}
        return {**os.environ, **PATIENCE, **own, "JPULSE_PORT": str(self.port), "JPULSE_DRAIN_SECONDS": "0.2"}

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has logged."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def tell(self, block: Block) -> None:
        """Do what a block of commands or a file says, or compare what should have been printed."""
        if block.title:
            self.write(block)
        elif block.language == "sh":
            for command in commands(block.text):
                self.run(command)
        elif block.language == "text":
            printed = self.output
            assert matches(block.text, printed), f"{block.place} is not in:\n{printed}"
        else:
            raise AssertionError(f"{block.place}: nobody knows how to run {block.language}")

    def write(self, block: Block) -> None:
        """Write a file, or replace the class of a file that the title names: `app.py, class Chat`."""
        name, _, part = block.title.partition(", class ")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = block.text
        if part:
            text = replace_class(path.read_text(encoding="utf-8"), part, text)
        path.write_text(text, encoding="utf-8")

    def run(self, command: str) -> None:
        """Run a command as the shell would, or start the server."""
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        command = command.replace("--port 8080", f"--port {self.port}")
        command = INSTALL_FIRST.sub("", command)
        command = re.sub(r"^(\.venv/bin/)?python run\.py", "jpulse", command)
        if any(re.fullmatch(pattern, command) for pattern in LEFT_OUT):
            return
        if command.startswith("cd "):
            self.folder = (self.folder / command[3:].replace("~", str(self.home))).resolve()
        elif re.fullmatch(SERVES, command):
            self.serve(command)
        else:
            self._run_to_its_end(command)

    def _run_to_its_end(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}"
        self.output = done.stdout

    def serve(self, command: str) -> None:
        """Start the server, in the place of the one before."""
        self.stop()
        begin = len(self.log)
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not re.search(r"serves http", self.log[begin:]):
            assert self._server.poll() is None, f"{command}:\n{self.log[begin:]}"
            assert time.monotonic() < deadline, f"{command} does not serve:\n{self.log[begin:]}"
            time.sleep(0.02)
        self.output = self.log[begin:]

    def stop(self) -> None:
        """Stop the server as Ctrl-C does; it must end well."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            status = self._server.wait(START_SECONDS)
            self._server = None
            assert status == 0, self.log

    def end(self) -> None:
        """Leave nothing behind, however the test ended."""
        if self._server is not None and self._server.poll() is None:
            self._server.kill()
            self._server.wait(10)
        shutil.rmtree(self._programs)


def commands(text: str) -> list[str]:
    """The commands of a block, one a line; comments are for the reader."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def matches(expected: str, printed: str) -> bool:
    """Tell whether the lines of a text stand in what was printed, in order; `…` stands for anything."""
    lines = [line for line in expected.splitlines() if line.strip() not in ("", "…")]
    patterns = (".*".join(re.escape(part) for part in line.strip().split("…")) for line in lines)
    return re.search(r"[\s\S]*?".join(f"^{each}$" for each in patterns), printed, re.MULTILINE) is not None


def replace_class(source: str, name: str, text: str) -> str:
    """Put another class of the same name into a module."""
    found = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    assert len(found) == 1, f"there is no class {name}"
    lines = source.splitlines(keepends=True)
    lines[found[0].lineno - 1 : found[0].end_lineno] = [text]
    return "".join(lines)


def open_page(story: Story, context: Any) -> Any:
    """An empty page of the story's server with the browser client loaded, for scripts that stand alone."""
    address = f"{story.url}/empty-page-of-a-test"
    html = '<!DOCTYPE html><title>Empty</title><script src="/static/jpulse/jpulse.js"></script>'
    context.route(address, lambda route: route.fulfill(body=html, content_type="text/html"))
    page = context.new_page()
    page.goto(address)
    return page
