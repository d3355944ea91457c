"""What the source promises about itself: who imports whom, what importing does, what it needs of Tornado."""

from __future__ import annotations

import ast
import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import IOStream
from tornado.util import _websocket_mask

import jpulse
from jpulse.wire import xor_unmask

from .conftest import ROOT

PACKAGE = ROOT / "jpulse"
#: Modules that know nothing of Tornado, so that they are tested without a socket.
PURE = (
    *("errors", "settings", "names", "deflate", "wire", "activity", "stats", "bridge.base", "bridge.local"),
    *("websocket", "steps", "connection", "hub", "namespace", "cluster", "heartbeat", "timers"),
    *("auth", "users"),
    *("store.base", "store.sqlite", "redis_url", "store.redis_notes", "bridge.link", "bridge.redis"),
    "prefork",
    *("private_redis", "metrics", "overview", "admin", "garbage", "scaffold", "service"),
    *("rates", "descriptors"),
)
#: Calls go down: each of these imports none that stands right of it.
ORDER = (
    *("errors", "settings", "names", "deflate", "wire", "activity", "stats", "bridge.base", "bridge.local"),
    *("websocket", "steps", "connection", "rates", "hub", "namespace", "cluster", "metrics", "timers"),
    *("garbage", "overview", "heartbeat", "transport", "descriptors"),
    *("store.base", "store.checks", "store.sqlite", "store.mongo", "redis_url", "store.redis_notes"),
    "bridge.link",
    *(
        "bridge.redis",
        "auth",
        "admin",
        "users",
        "web",
        "streams",
        "handshake",
        "endpoint",
        "app",
        "door",
        "logs",
        "prefork",
        "private_redis",
        "service",
        "server",
        "testing",
        "scaffold",
    ),
)
#: The one module that may touch Tornado's private parts, and those that it touches.
KEEPER = "transport"
PRIVATE_NAMES = {
    "_closed",
    "_disconnect_on_finish",
    "_read_buffer",
    "_read_buffer_size",
    "_state",
    "_websocket_mask",
    "_write_buffer",
}


def module_names() -> list[str]:
    """Every module of the package, `__init__` apart: `wire`, `store.sqlite`."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    return sorted(name for name in names if name not in ("__init__", "__main__"))


MODULES = module_names()


def path_of(module: str) -> Path:
    """The file of a module; "" is the package itself."""
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    """Tell whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_in(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that is ever executed, also inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from imports_in(ast.Module([other], []))
        else:
            yield from imports_in(child)


def base_of(module: str, node: ast.ImportFrom) -> str:
    """What `from X import` names, in full."""
    if not node.level:
        return node.module or ""
    package = ["jpulse", *module.split(".")] if module else ["jpulse", "__init__"]
    if path_of(module).name == "__init__.py" and module:
        package.append("__init__")
    parts = package[: -node.level]
    return ".".join([*parts, node.module] if node.module else parts)


@cache
def imported_by(module: str) -> frozenset[str]:
    """The full names of the modules that a module imports: `jpulse.wire`, `tornado.web`."""
    found = set()
    for node in imports_in(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = base_of(module, node)
        for alias in node.names:
            inner = f"{base}.{alias.name}".removeprefix("jpulse.")
            found.add(f"jpulse.{inner}" if base.startswith("jpulse") and inner in MODULES else base)
    return frozenset(found)


def neighbours(module: str) -> set[str]:
    """The modules of jpulse that a module imports, and their packages, without those it is in itself."""
    names = {name.removeprefix("jpulse.") for name in imported_by(module) if name.startswith("jpulse.")}
    packages = {name.rpartition(".")[0] for name in names} - {"", module}
    return names | {name for name in packages if not module.startswith(name + ".")}


def reachable(module: str) -> set[str]:
    """The modules of jpulse that come along with a module, itself included."""
    found, waiting = {module}, [module]
    while waiting:
        new = neighbours(waiting.pop()) - found
        found |= new
        waiting += new
    return found


# Who imports whom


def test_every_module_is_found() -> None:
    """These tests see the modules that there are, and resolve their imports."""
    assert set(PURE) | {KEEPER, "app", "endpoint", "server", "web"} <= set(MODULES)
    assert imported_by("wire") >= {"jpulse.errors", "msgspec", "codecs"}
    assert imported_by("connection") >= {"jpulse.wire", "jpulse.errors", "asyncio"}
    assert "jpulse.namespace" not in imported_by("connection"), "it is imported for types only"
    assert reachable("heartbeat") >= {"heartbeat", "hub", "connection", "wire", "errors"}
    for module in MODULES:
        assert neighbours(module) <= set(MODULES)


@pytest.mark.parametrize("module", PURE)
def test_pure_module_does_not_import_tornado(module: str) -> None:
    """A pure module reaches Tornado neither itself nor through what it imports."""
    for each in reachable(module):
        outside = [name for name in imported_by(each) if name.split(".")[0] == "tornado"]
        assert outside == [], f"{module} imports {each}, and that imports {outside}"


@pytest.mark.parametrize("module", ["", *MODULES])
def test_framework_does_not_import_applications(module: str) -> None:
    """The framework imports neither the applications on it nor its tests."""
    outside = {name.split(".")[0] for name in imported_by(module)}
    assert not outside & {"handlers", "run", "setup", "tests"}


@pytest.mark.parametrize("module", MODULES)
def test_no_cycle(module: str) -> None:
    """No module comes along with what it imports, imports for types apart."""
    for neighbour in neighbours(module):
        assert module not in reachable(neighbour), (
            f"{module} imports {neighbour}, which leads back to {module}"
        )


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_down(module: str) -> None:
    """A module knows what it stands on, and nothing of what stands on it."""
    above = set(ORDER[ORDER.index(module) + 1 :])
    assert not reachable(module) & above


def test_package_sets_its_own_names_first() -> None:
    """What modules take from the package itself is set there before it imports any of them."""
    body = tree_of("").body
    first_import = next(
        number for number, node in enumerate(body) if isinstance(node, ast.ImportFrom) and node.level
    )
    assigned = {
        target.id
        for node in body[:first_import]
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for module in MODULES:
        for node in imports_in(tree_of(module)):
            if isinstance(node, ast.ImportFrom) and base_of(module, node) == "jpulse":
                own = {alias.name for alias in node.names} - set(MODULES)
                assert own <= assigned, f"{module} takes {own - assigned} from the package"


# What importing does


#: Imports one module of the package, without the package's `__init__`, which imports all of them, and tells
#: what happened.
IMPORT_ONE = """
import importlib, json, logging, os, sys, threading, types

package = types.ModuleType("jpulse")
package.__path__ = [sys.argv[1]]
package.__version__ = "0"
sys.modules["jpulse"] = package

events = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
WATCHED = ("socket.", "os.mkdir", "os.rename", "os.remove", "os.fork", "subprocess.", "sqlite3.", "signal.")

def watch(event, arguments):
    if event.startswith(WATCHED) or event == "open" and (arguments[2] or 0) & WRITES:
        events.append(f"{event} {arguments!r}")

sys.addaudithook(watch)
importlib.import_module("jpulse." + sys.argv[2])
print(json.dumps({
    "events": events,
    "threads": threading.active_count() - 1,
    "log handlers": len(logging.getLogger().handlers),
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


def import_one(folder: Path, module: str, cwd: Path) -> dict[str, Any]:
    """Import a module of a package in a process of its own and tell what that did."""
    result = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", IMPORT_ONE, str(folder), module],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("module", MODULES)
def test_import_of_one_module(module: str, tmp_path: Path) -> None:
    """Importing a module in a process without an event loop makes no loop, socket, file or thread."""
    told = import_one(PACKAGE, module, tmp_path)
    assert (told["events"], told["threads"], told["log handlers"]) == ([], 0, 0)
    assert list(tmp_path.iterdir()) == []
    assert not {"handlers", "tests"} & set(told["modules"])
    assert module not in PURE or "tornado" not in told["modules"]


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio; loop = asyncio.new_event_loop(); loop.close()",
        "import socket; socket.socket().close()",
        "open('file', 'w').close()",
        "import os; os.mkdir('folder')",
        "import sqlite3; sqlite3.connect(':memory:').close()",
    ],
)
def test_finding_what_importing_does(source: str, tmp_path: Path) -> None:
    """The test above would see a loop, a socket and a file."""
    (tmp_path / "guilty.py").write_text(source, encoding="utf-8")
    assert import_one(tmp_path, "guilty", tmp_path)["events"] != []


# Tornado's private parts


def is_private(name: str) -> bool:
    """Tell whether a name is somebody's own: `_state`, not `__init__`."""
    return name.startswith("_") and not name.endswith("__")


@cache
def own_private_names() -> frozenset[str]:
    """The private names that jpulse itself defines: functions, attributes of self, constants, slots."""
    names = set()
    for module in ("", *MODULES):
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return frozenset(filter(is_private, names))


@cache
def tornado_private_names() -> frozenset[str]:
    """The private names of methods and of attributes of self in the parts of Tornado that jpulse meets."""
    folder = Path(sys.modules["tornado"].__path__[0])
    names = set()
    for name in (
        "web",
        "websocket",
        "iostream",
        "httpserver",
        "http1connection",
        "httputil",
        "routing",
        "util",
    ):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and is_self(node.value):
                names.add(node.attr)
    return frozenset(filter(is_private, names))


def is_self(node: ast.AST) -> bool:
    """Tell whether this is `self` or `cls`."""
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def tornado_classes(module: str) -> set[str]:
    """The names of a module's classes that may have Tornado's among their bases."""
    imported = set()
    for each in imports_in(tree_of(module)):
        origin = base_of(module, each) if isinstance(each, ast.ImportFrom) else ""
        names = {alias.asname or alias.name for alias in each.names}
        if origin.split(".")[0] == "tornado":
            imported |= names
        elif origin.startswith("jpulse."):
            imported |= names & tornado_classes(origin.removeprefix("jpulse."))
    classes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef)]
    found: set[str] = set()
    for node in classes:
        bases = {name.id for base in node.bases for name in ast.walk(base) if isinstance(name, ast.Name)}
        if bases & (imported | found | {"tornado"}):
            found.add(node.name)
    return found


def foreign_private_names(module: str) -> set[str]:
    """The private names that a module uses of objects that are not its own."""
    tree = tree_of(module)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and base_of(module, node).split(".")[0] == "tornado":
            found |= {alias.name for alias in node.names if is_private(alias.name)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and not is_self(node.value):
            if node.attr in tornado_private_names() or node.attr not in own_private_names():
                found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "getattr",
            "setattr",
            "hasattr",
            "delattr",
        ):
            found |= {
                each.value
                for each in node.args[1:2]
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and is_private(each.value)
            }
    # os._exit is public for all its underscore.
    return found - {"_exit"}


@pytest.mark.parametrize("module", ["", *MODULES])
def test_private_names_of_others(module: str) -> None:
    """What Tornado keeps to itself is touched in one module alone, and there only what is watched below."""
    assert foreign_private_names(module) == (PRIVATE_NAMES if module == KEEPER else set())


@pytest.mark.parametrize("module", [name for name in MODULES if name not in PURE])
def test_subclasses_keep_clear_of_tornado(module: str) -> None:
    """A subclass of Tornado's classes neither uses nor hides a private name of theirs."""
    classes = tornado_classes(module)
    for node in ast.walk(tree_of(module)):
        if not (isinstance(node, ast.ClassDef) and node.name in classes):
            continue
        names = {
            each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and is_self(each.value)
        }
        names |= {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and is_private(each.id)}
        clash = names & tornado_private_names() - {"_"}
        assert clash == set(), f"{node.name} in {module}"


def test_finding_private_names() -> None:
    """These tests would see a private name: they see those of the one module that has them."""
    assert {"app", "endpoint", "web"} <= {module for module in MODULES if tornado_classes(module)}
    assert tornado_private_names() >= PRIVATE_NAMES - {"_websocket_mask"}
    assert "_deliver" in own_private_names()


def test_private_import_of_tornado() -> None:
    """Tornado's C function unmasks as RFC 6455 section 5.3 says, at any length."""
    for length in (0, 1, 3, 4, 5, 7, 8, 9, 1000, 65537):
        data = bytes(index * 7 & 0xFF for index in range(length))
        unmasked = _websocket_mask(b"\x11\x22\x33\x44", data)
        assert type(unmasked) is bytes
        assert unmasked == xor_unmask(b"\x11\x22\x33\x44", data)


def test_private_state_of_a_stream() -> None:
    """
    A Tornado stream keeps what was read and what is unsent where `transport.take_over` looks for it.

    If this fails after an upgrade, `take_over` has to learn the new names.
    """

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = IOStream(ours)
        assert stream.socket is ours
        assert isinstance(stream._read_buffer, bytearray)
        assert (stream._read_buffer_size, stream._state, stream._closed) == (0, None, False)
        assert not stream._write_buffer

        # More was read than asked for: the rest waits at the beginning of the buffer.
        theirs.sendall(b"handshakeframes")
        assert await stream.read_bytes(9) == b"handshake"
        assert isinstance(stream._read_buffer, bytearray)
        assert stream._read_buffer_size == 6
        assert bytes(memoryview(stream._read_buffer)[:6]) == b"frames"

        # More was written than the kernel takes: the rest waits, and the loop watches the socket.
        written = bytes(range(256)) * 16384
        done = stream.write(written)
        assert stream._write_buffer
        assert isinstance(stream._state, int)
        kept = len(stream._write_buffer)
        unsent = []
        while stream._write_buffer:
            with stream._write_buffer.peek(65536) as part:
                assert isinstance(part, memoryview)
                assert 0 < len(part) <= 65536
                unsent.append(bytes(part))
            stream._write_buffer.advance(len(unsent[-1]))
        assert sum(map(len, unsent)) == kept
        assert written.endswith(b"".join(unsent))

        # The stream lets go: whoever in Tornado still knows it finds it closed.
        stream.io_loop.remove_handler(stream.fileno())
        stream._state = None
        stream.socket = None  # type: ignore[assignment]
        stream._closed = True
        assert stream.closed()
        stream.close()
        assert ours.fileno() >= 0, "close() has closed the socket that was taken over"
        done.cancel()
        ours.close()
        theirs.close()

    asyncio.run(scenario())


# The public names


def test_public_names() -> None:
    """What applications may import from jpulse is decided here, and every name is there."""
    assert jpulse.__all__ == [
        "ApiHandler",
        "App",
        "ClientError",
        "CloseCode",
        "Connection",
        "Namespace",
        "NamespaceHandler",
        "PageHandler",
        "Settings",
        "StaticHandler",
        "__version__",
        "create_app",
    ]
    for name in jpulse.__all__:
        assert getattr(jpulse, name) is not None


def test_public_names_have_docstrings() -> None:
    """Every public class and function says what it does."""
    for name in jpulse.__all__:
        if name != "__version__":
            assert getattr(jpulse, name).__doc__
