"""
Compiles the load generator and the floor, and installs the peers that are no Python.

The load generator is a C program of the project's own rather than a wheel or a tool of
others: a client in Python costs more than the server that it measures, and what there is
in C and Go counts messages per second but not the server's CPU time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .peers import Tools

HERE = Path(__file__).parent
NODE_PACKAGES = ("ws", "socket.io")
INSTALL_SECONDS = 300


class CannotBuild(Exception):
    """The benchmarks lack something; the message says what."""


def cache_folder() -> Path:
    """Where what was built and installed is kept: outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jpulse-bench"


def compile_tools() -> tuple[Path, Tools]:
    """Compile what is new; returns the load generator, and what starting servers takes."""
    folder = cache_folder()
    tools = Tools(floor=_compile("floor", folder), node_modules=folder / "node_modules")
    return _compile("load", folder), tools


def find_compiler() -> str | None:
    """A C compiler: the one that CC names, or the system's."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


def _compile(name: str, folder: Path) -> Path:
    source, program = HERE / f"{name}.c", folder / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = find_compiler()
    if compiler is None:
        raise CannotBuild("there is no C compiler; install gcc, or name one in CC")
    folder.mkdir(parents=True, exist_ok=True)
    # Moved when it is whole: another run may be about to start it.
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"{name}.c does not compile:\n{done.stderr}")
    fresh.replace(program)
    return program


def install_node_packages() -> None:
    """Install the peers for node with npm, into the cache folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBuild("there is no npm; install node")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--no-fund", "--no-audit", *NODE_PACKAGES]
    try:
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"npm could not install {', '.join(NODE_PACKAGES)}: {error}") from None
