"""An installed jPulse serves from an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from .conftest import ROOT, wait_until


def test_installed_package_serves(tmp_path: Path) -> None:
    """After `pip install .` the command finds handlers, templates and static files wherever it is started."""
    source, target, empty = tmp_path / "source", tmp_path / "target", tmp_path / "empty"
    # A copy, since building leaves its traces where it is done; only what a checkout has.
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in files.stdout.decode().split("\n"):
        if name and not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--target", str(target), str(source)], check=True)
    empty.mkdir()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(target / "bin" / "jpulse"), "--port", "0"],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "serves http" in log.read_text() or process.poll() is not None, 20)
        found = re.search(r"serves (http://\S+)/", log.read_text())
        assert found, log.read_text()
        for path in (
            "/",
            "/hello-websocket/",
            "/static/jpulse/jpulse.js",
            "/static/demos/emoji.js",
            "/static/vendor/uplot/uPlot.iife.min.js",
            "/static/admin/stats.js",
            "/auth/login",
        ):
            with urllib.request.urlopen(found[1] + path) as answer:
                assert answer.status == 200, path
        # It is the installed one, not the checkout, that served.
        assert (empty / "data").is_dir()
        assert (target / "jpulse" / "templates" / "base.html").is_file()
    finally:
        process.terminate()
        assert process.wait(20) == 0
