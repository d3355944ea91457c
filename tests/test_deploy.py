"""The files in deploy/ fit the server, and the tools that read them take them."""

from __future__ import annotations

import configparser
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from jpulse import __version__
from jpulse.prefork import GRACE_SECONDS
from jpulse.settings import Settings, unknown_variables

from .conftest import ADMIN_PASSWORD, ROOT, Server, wait_until
from .raw_client import RawClient
from .servers import cannot_run, free_port
from .support import ask, make_certificate
from .test_packaging import tracked

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


# Docker


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, comments left out and lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    words = (line.split(None, 1) for line in joined)
    return [(name, " ".join(rest.split())) for name, rest in words]


def image_environ() -> dict[str, str]:
    """The environment that the image sets."""
    settings = next(rest for name, rest in instructions() if name == "ENV")
    return dict(pair.split("=", 1) for pair in settings.split())


def test_image_is_configured() -> None:
    """The image's environment has settings that exist, and lets everybody in but root."""
    environ = image_environ()
    assert unknown_variables(environ) == []
    config = Settings.load([], environ)
    assert (config.address, config.port, str(config.data_dir)) == ("0.0.0.0", 8080, "/data")
    last = dict(instructions())
    assert int(last["USER"]) > 0
    assert json.loads(last["ENTRYPOINT"]) == ["jpulse"]
    assert (last["VOLUME"], last["EXPOSE"]) == ("/data", "8080")
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(number for number, name in enumerate(names) if name == "RUN")


def test_image_is_built_from_what_is_needed(tmp_path: Path) -> None:
    """The build's context has neither tests nor data in it, and a wheel can be built from it."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    context = [name for name in tracked() if name.split("/")[0] in kept]
    for name in context:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert {name.split("/")[0] for name in context} == kept
    assert not any(fnmatch(name, pattern) for name in context for pattern in ("tests/*", "data/*", ".git*"))
    wheels = tmp_path / "wheels"
    flags = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", str(wheels), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(wheels.glob("jpulse-*.whl"))) == 1


def test_health_check(server: Server) -> None:
    """The image's health check is well with a server that lives, and fails without one."""
    check = next(rest for name, rest in instructions() if name == "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command.pop(0) == "python"

    def status(port: int) -> int:
        environ = {**os.environ, **image_environ(), "JPULSE_PORT": str(port)}
        return subprocess.run(
            [sys.executable, *command], env=environ, capture_output=True, check=False, timeout=60
        ).returncode

    assert status(server.port) == 0
    assert status(free_port()) != 0


# systemd


def unit() -> configparser.ConfigParser:
    """The service's unit; of options that are there twice the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "jpulse.service", encoding="utf-8")
    return parser


def test_unit_fits_its_settings() -> None:
    """The service waits for the drain, has enough descriptors, and reloads what can be reloaded."""
    config = Settings.load(["--config", str(DEPLOY / "jpulse.toml")], {})
    service = unit()["Service"]
    assert service["ExecStart"].endswith("/jpulse --config /etc/jpulse/jpulse.toml")
    assert float(service["TimeoutStopSec"]) > config.drain_seconds + GRACE_SECONDS
    assert int(service["LimitNOFILE"]) > 2 * config.max_connections
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert config.processes > 1, "a single process takes SIGHUP for the end"
    assert str(config.data_dir) == f"/var/lib/{service['StateDirectory']}"
    assert config.trusted_proxies == ("127.0.0.1/32", "::1/128")
    assert service["Type"] == "notify"
    assert service["User"] != "root"


def test_unit_is_known_to_systemd(tmp_path: Path) -> None:
    """systemd knows every option of the unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        cannot_run("there is no systemd-analyze: install systemd")
    text = (DEPLOY / "jpulse.service").read_text(encoding="utf-8")
    # It looks whether the program is there.
    (tmp_path / "jpulse.service").write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        [program, "verify", str(tmp_path / "jpulse.service")], capture_output=True, text=True, check=False
    )
    assert "jpulse.service" not in done.stderr, done.stderr


# nginx


@contextmanager
def nginx(folder: Path, jpulse_port: int) -> Iterator[int]:
    """A real nginx with the site of deploy/, on a free port with TLS; ended by its pid."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        cannot_run("there is no nginx: install nginx-light")
    port = free_port()
    make_certificate(folder / "chain.pem", folder / "key.pem")
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for pattern, text in (
        (r"(?m)^ *listen \[.*\n", ""),
        (r"listen 80;", f"listen 127.0.0.1:{free_port()};"),
        (r"listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (r"/etc/letsencrypt/\S+/fullchain\.pem", str(folder / "chain.pem")),
        (r"/etc/letsencrypt/\S+/privkey\.pem", str(folder / "key.pem")),
        (r"127\.0\.0\.1:8080", f"127.0.0.1:{jpulse_port}"),
    ):
        site, count = re.subn(pattern, text, site)
        assert count, pattern
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{site}\n}}\n"
    )
    process = subprocess.Popen(
        [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    )
    try:
        wait_until((folder / "pid").exists, 60, f"nginx: {folder / 'error.log'}")
        yield port
    finally:
        process.terminate()
        assert process.wait(60) == 0


def page_of(port: int) -> dict[str, str]:
    """The header by which a browser says that one of our own pages asks."""
    return {"Origin": f"https://127.0.0.1:{port}"}


def test_behind_nginx(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Behind nginx WebSockets work over TLS, and the server knows the client's address and the scheme."""
    server = serve("--trusted-proxies", "127.0.0.1")
    tls = ssl.create_default_context()
    with nginx(tmp_path, server.port) as port:
        tls.load_verify_locations(tmp_path / "chain.pem")
        with RawClient(port, "/api/1/ws/hello-practice", tls=tls, headers=page_of(port)) as client:
            client.read_data("connected")
            client.send_json({"type": "move", "x": 1, "y": 2})
            assert client.read_data("heard")["x"] == 1
        tls.check_hostname = False
        # From another address than that of the proxy, which is believed. nginx adds what it saw itself
        # to what a client claims.
        https = http.client.HTTPSConnection("127.0.0.1", port, source_address=("127.0.0.2", 0), context=tls)
        headers = {"Content-Type": "application/json", "X-Forwarded-For": "192.0.2.9"}
        credentials = {"username": "admin", "password": ADMIN_PASSWORD}
        https.request("POST", "/api/1/auth/login", json.dumps(credentials), headers)
        answer = https.getresponse()
        assert (answer.status, answer.read() != b"") == (200, True)
        assert "; secure" in (answer.headers["Set-Cookie"] or "").lower()
        https.close()
    server.wait_for_log("POST /api/1/auth/login 127.0.0.2")
    assert "192.0.2.9" not in server.log


def test_foreign_page_behind_nginx(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Behind nginx a page of another site is refused as without."""
    server = serve("--trusted-proxies", "127.0.0.1")
    tls = ssl.create_default_context()
    with nginx(tmp_path, server.port) as port:
        tls.load_verify_locations(tmp_path / "chain.pem")
        with RawClient(port, tls=tls, shake_hands=False) as client:
            client.send(client.handshake_request("/api/1/ws/hello-emoji", {"Origin": "https://evil.example"}))
            assert client.read_head()[0] == 403


# Kubernetes


def manifests() -> dict[str, dict[str, Any]]:
    """What is applied, by kind."""
    paths = [*sorted((DEPLOY / "kubernetes").glob("*.yaml")), DEPLOY / "secret.example.yaml"]
    found = [each for path in paths for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    kinds = {each["kind"]: each for each in found}
    assert len(kinds) == len(found)
    return kinds


def test_manifests_fit_each_other() -> None:
    """Service and budget select the pods, ports have one name, and every secret is in the example."""
    kinds = manifests()
    assert set(kinds) == {"Deployment", "Service", "PodDisruptionBudget", "Secret"}
    template = kinds["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    for selector in (
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    container = template["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] in ports
    assert container["image"] == f"jpulse:{__version__}"
    assert kinds["PodDisruptionBudget"]["spec"]["minAvailable"] < kinds["Deployment"]["spec"]["replicas"]
    wanted = {each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"] if "valueFrom" in each}
    assert wanted == set(kinds["Secret"]["stringData"])


def test_pods_fit_the_server(serve: Callable[..., Server]) -> None:
    """The pods' settings exist, their probes are answered, and their end leaves time for the drain."""
    kinds = manifests()
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    secrets = kinds["Secret"]["stringData"]
    environ = image_environ() | {
        each["name"]: each.get("value") or secrets[each["valueFrom"]["secretKeyRef"]["key"]]
        for each in container["env"]
    }
    assert unknown_variables(environ) == []
    config = Settings.load([], environ)
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait + config.drain_seconds + GRACE_SECONDS
    # The variables that Kubernetes makes of a Service called jpulse would be taken for settings.
    assert pod["enableServiceLinks"] is False
    assert config.mongo_url
    assert config.redis_url, "several pods are one system"
    server = serve()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert ask(server.port, container[probe]["httpGet"]["path"])[0] == 200
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
