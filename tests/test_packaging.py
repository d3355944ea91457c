"""A release: what is in it, and that an installed jPulse works from an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import jpulse

from .conftest import ROOT, wait_until

#: Folders of a checkout, and where they are once installed.
PLACES = {
    "jpulse/": "jpulse/",
    "handlers/": "handlers/",
    "templates/": "jpulse/templates/",
    "static/": "jpulse/static/",
    "examples/": "jpulse/examples/",
}


def tracked() -> list[str]:
    """The files that a checkout has."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    return [name for name in listed.stdout.decode().split("\n") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, made of a copy, since building leaves its traces where it is done."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive alone."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sdist))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed; what it depends on is where the tests have it from."""
    folder = tmp_path_factory.mktemp("target")
    pip("install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


def pip(*words: str) -> None:
    """Run pip, which must work."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def environ(target: Path) -> dict[str, str]:
    """An environment in which the installed package is found, and the checkout is not."""
    return {**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}


def run(
    target: Path, cwd: Path, *words: str, path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, with programs looked for in `path`."""
    command = [sys.executable, str(target / "bin" / "jpulse"), *words]
    env = {**environ(target), "PATH": path}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def serving(target: Path, cwd: Path, *flags: str) -> Iterator[str]:
    """The installed command as a server; its address without the last slash."""
    log = cwd / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(target / "bin" / "jpulse"), "--port", "0", *flags],
            cwd=cwd,
            env=environ(target),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "serves http" in log.read_text() or process.poll() is not None, 60)
        found = re.search(r"serves (http://\S+)/", log.read_text())
        assert found, log.read_text()
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(60) == 0


def fetch(address: str) -> str:
    """The body of an answer, whose status must be 200."""
    with urllib.request.urlopen(address) as answer:
        assert answer.status == 200, address
        return str(answer.read().decode())


def test_source_archive(sdist: Path) -> None:
    """The source archive has every file of a checkout."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert set(tracked()) - packed == set()


def test_wheel(wheel: Path) -> None:
    """The wheel has every file of the packages, nothing beside them, and `py.typed`."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        place + name.removeprefix(folder)
        for name in tracked()
        for folder, place in PLACES.items()
        if name.startswith(folder)
    }
    assert packed == expected
    assert "jpulse/py.typed" in packed


def metadata(wheel: Path) -> Message:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_metadata(wheel: Path) -> None:
    """The wheel says which Python it needs and what it is, and README describes it."""
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == ("jpulse", jpulse.__version__)
    assert said["Requires-Python"] == ">=3.11"
    kinds = said.get_all("Classifier") or []
    assert {"Typing :: Typed", "Operating System :: POSIX :: Linux"} <= set(kinds)
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)} <= set(kinds)
    assert str(said.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_installed_package_serves(target: Path, tmp_path: Path) -> None:
    """The command finds handlers, templates, static files and examples wherever it is started."""
    with serving(target, tmp_path) as address:
        for path in (
            "/",
            "/static/jpulse/jpulse.js",
            "/static/demos/emoji.js",
            "/static/vendor/uplot/uPlot.iife.min.js",
            "/static/admin/stats.js",
            "/auth/login",
        ):
            fetch(address + path)
        # It is the installed one, not the checkout, that served.
        assert (tmp_path / "data").is_dir()
        page = fetch(address + "/hello-websocket/")
        assert "jpulse --app jpulse.examples.tracking.app" in page
        assert "class Chat(NamespaceHandler)" in fetch(address + "/hello-websocket/examples/chat/chat.py")
        sources = re.findall(r'data-source="([^"]+)"', page)
        assert "/hello-websocket/examples/tracking/app.py" in sources
        for path in sources:
            assert fetch(address + path)


def test_installed_example(target: Path, tmp_path: Path) -> None:
    """An example starts from the installed package as its tab says."""
    with serving(target, tmp_path, "--app", "jpulse.examples.tracking.app") as address:
        assert "<h1>" in fetch(address + "/tracking/")
        fetch(address + "/tracking/page.js")


def test_version(target: Path, tmp_path: Path) -> None:
    """`jpulse --version` tells the version."""
    done = run(target, tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"jpulse {jpulse.__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+", jpulse.__version__)


def test_commands_as_one_types_them(target: Path, tmp_path: Path) -> None:
    """In an environment that is activated, `jpulse new` tells short commands, else ones that work as well."""
    path = os.pathsep.join((str(target / "bin"), str(Path(sys.executable).parent), "/usr/bin"))
    short = run(target, tmp_path, "new", "one", path=path)
    assert re.findall(r"^    (.+)$", short.stdout, re.MULTILINE) == [
        "cd one",
        "jpulse --app app",
        "python -m unittest",
    ]
    long = run(target, tmp_path, "new", "two")
    assert f"    {target / 'bin' / 'jpulse'} --app app\n" in long.stdout
    assert f"    {sys.executable} -m unittest\n" in long.stdout


def test_new_project_of_installed_package(target: Path, tmp_path: Path) -> None:
    """`jpulse new` works from the installed package, and so does the test that it makes."""
    done = run(target, tmp_path, "new", "chat")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{target / 'bin' / 'jpulse'} --app app" in done.stdout
    folder = tmp_path / "chat"
    tested = subprocess.run(
        [sys.executable, "-m", "unittest"],
        cwd=folder,
        # The project is found by the folder that it is run in.
        env={**environ(target), "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr
    with serving(target, folder, "--app", "app") as address:
        assert "<h1>Chat</h1>" in fetch(address + "/")
