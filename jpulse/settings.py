"""
Every setting, once: name, default, check and help stand in one frozen dataclass.

`--help`, the environment's names and the file reader are all derived from its
fields. A later source wins: default < file < environment < flag.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from .errors import SettingsError

ENVIRONMENT_PREFIX = "JPULSE_"
TRUE_WORDS = ("1", "true", "yes", "on")
#: Not settings: passwords are in no file and on no command line.
PASSWORD_VARIABLES = {"JPULSE_ADMIN_PASSWORD", "JPULSE_PASSWORD"}
#: The ports that an origin does not name.
DEFAULT_PORTS = {"http": 80, "https": 443}
FALSE_WORDS = ("0", "false", "no", "off", "")

#: Turns what a flag, the environment or a file holds into the setting's value; ValueError says what it wants.
Check = Callable[[Any], Any]


def integer(low: int, high: int | None = None) -> Check:
    """Accept a whole number from `low` to `high`."""
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number, {low} or more"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(wanted)
        try:
            number = int(value)
        except ValueError:
            raise ValueError(wanted) from None
        if number < low or (high is not None and number > high):
            raise ValueError(wanted)
        return number

    return check


def seconds(low: float) -> Check:
    """Accept a number of seconds, fractions allowed, from `low` to a year."""
    wanted = f"a number of seconds, {low:g} or more"

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(wanted)
        try:
            number = float(value)
        except ValueError:
            raise ValueError(wanted) from None
        if not low <= number <= 31_536_000:
            raise ValueError(wanted)
        return number

    return check


def choice(*words: str) -> Check:
    """Accept one of a few words."""

    def check(value: Any) -> str:
        if str(value).lower() not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value).lower()

    return check


def switch(value: Any) -> bool:
    """Accept on or off."""
    word = str(value).lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("on or off")


def text(value: Any) -> str:
    """Accept a text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a text with characters in it")
    return value.strip()


def prefix(value: Any) -> str:
    """Accept the beginning of a name."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._:/-]{1,64}", value):
        raise ValueError("a name of 1 to 64 letters, digits and . _ : / -")
    return value


def path(value: Any) -> Path:
    """Accept the name of a file or folder."""
    return value if isinstance(value, Path) else Path(text(value))


def optional_text(value: Any) -> str | None:
    """Accept a text; an empty one means none."""
    return None if value is None or value == "" else text(value)


def url(*schemes: str) -> Check:
    """Accept an address with one of `schemes`; an empty one means none."""
    wanted = "an address that starts with " + " or ".join(f"{scheme}://" for scheme in schemes)

    def check(value: Any) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(wanted)
        try:
            urlsplit(value)
        except ValueError:
            raise ValueError(wanted) from None
        return value

    return check


def items(one: Callable[[str], str]) -> Check:
    """Accept a list, or a text with commas, of what `one` accepts."""

    def check(value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            raise ValueError("a list of texts")
        return tuple(one(part.strip()) for part in parts if part.strip())

    return check


def origin(value: str) -> str:
    """Accept an origin (RFC 6454) and write it as browsers do: without the scheme's own port."""
    found = split_origin(value)
    if found is None:
        raise ValueError("origins such as https://example.com, separated by commas")
    scheme, host, port = found
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def split_origin(value: str) -> tuple[str, str, int] | None:
    """Read an origin into scheme, host and port; None if it is none, as "null" is."""
    try:
        parts = urlsplit(value.strip().lower())
        port = parts.port
    except ValueError:
        return None
    bare = parts.scheme in DEFAULT_PORTS and "@" not in parts.netloc and not parts.path.strip("/")
    if not bare or not parts.hostname or "*" in parts.netloc or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, port if port is not None else DEFAULT_PORTS[parts.scheme]


def network(value: str) -> str:
    """Accept an IP address or a network in CIDR notation."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError("IP addresses or networks such as 10.0.0.0/8, separated by commas") from None


def _setting(default: Any, check: Check, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server can be told. Sizes are in bytes, times in seconds."""

    port: int = _setting(8080, integer(0, 65535), "TCP port to listen on; 0 takes a free one and logs it")
    address: str = _setting("127.0.0.1", text, "address to listen on; 0.0.0.0 for every IPv4 interface")
    processes: int = _setting(1, integer(0, 1024), "server processes; 0 means one per core")
    data_dir: Path = _setting(Path("data"), path, "folder for the embedded database")
    mongo_url: str | None = _setting(
        None, url("mongodb", "mongodb+srv"), "MongoDB to use instead of the embedded database"
    )
    redis_url: str | None = _setting(
        None, url("redis", "rediss", "unix"), "Redis that bridges several processes"
    )
    redis_prefix: str = _setting(
        "jpulse", prefix, "what names in Redis begin with; another for each site that shares one"
    )
    max_bridge_bytes: int = _setting(
        8388608, integer(0), "bytes that may wait for Redis during an outage; what does not fit is lost"
    )
    max_bridge_seconds: float = _setting(
        30.0, seconds(0), "seconds that a message may wait for Redis; what waited longer is lost"
    )
    config: Path | None = _setting(None, path, "TOML file with settings: name = value")
    app: str | None = _setting(
        None, optional_text, "module whose setup(app) is called before serving: package.module"
    )
    demos: bool = _setting(
        True,
        switch,
        "serve /hello-websocket/ with all that belongs to it; off for an application of your own",
    )
    tls_certificate: Path | None = _setting(
        None,
        path,
        "PEM file with the certificate chain; serves HTTPS and WSS",
    )
    tls_key: Path | None = _setting(None, path, "PEM file with the private key, if not in tls_certificate")
    ping_interval: float = _setting(30.0, seconds(0.05), "seconds between two pings to a client")
    pong_timeout: float = _setting(
        5.0, seconds(0.05), "seconds beyond ping_interval after which a silent client is gone"
    )
    drain_seconds: float = _setting(
        10.0, seconds(0), "seconds over which a stopping server closes its connections"
    )
    start_seconds: float = _setting(
        120.0, seconds(0.1), "seconds that one of several processes gets until it serves; then it is killed"
    )
    close_seconds: float = _setting(5.0, seconds(0.05), "seconds that a client gets to answer a close frame")
    session_seconds: int = _setting(86400, integer(1), "seconds without a request after which a session ends")
    max_message_bytes: int = _setting(65536, integer(1, 2**31 - 1), "largest message that a client may send")
    max_messages_per_second: int = _setting(
        50, integer(0), "messages a second from one connection, twice that in a burst; 0: no limit"
    )
    max_outbox_bytes: int = _setting(
        1048576, integer(1024), "bytes that may wait for a slow client before it is closed"
    )
    max_inbox_messages: int = _setting(
        64, integer(1), "messages of one connection that may wait for a busy handler"
    )
    message_seconds: float = _setting(
        60.0, seconds(0), "seconds in which a message that has begun to come must be whole; 0: no limit"
    )
    handler_seconds: float = _setting(
        300.0, seconds(0), "seconds after which an async handler is cancelled; 0: no limit"
    )
    blocking_seconds: float = _setting(
        1.0, seconds(0.01), "a handler that keeps the whole process waiting so long is logged"
    )
    max_json_depth: int = _setting(
        64, integer(1, 256), "levels of objects and lists in a message that a client sends"
    )
    max_connections: int = _setting(10000, integer(1), "open WebSockets in one process")
    max_connections_per_address: int = _setting(
        0, integer(0), "open WebSockets from one client address, of IPv6 from one /64; 0: no limit"
    )
    max_handshakes_per_second_per_address: int = _setting(
        500,
        integer(0, 1_000_000),
        "handshakes a second from one client address, ten times that in a burst; 0: no limit",
    )
    max_loop_lag_seconds: float = _setting(
        0.5, seconds(0), "delay of the event loop, if it lasts, from which on nobody new is let in; 0: none"
    )
    handshake_seconds: float = _setting(
        10.0, seconds(0.05), "seconds that a new connection has for TLS and the headers of its first request"
    )
    max_log_entries: int = _setting(
        1000, integer(0, 100_000), "messages that the activity log keeps, of the last five minutes"
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), items(origin), "origins of foreign pages that may connect; default: the same host"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), items(network), "proxies whose X-Forwarded-For and -Proto are believed"
    )
    metrics_networks: tuple[str, ...] = _setting(
        ("127.0.0.0/8", "::1/128"),
        items(network),
        "networks whose addresses may read /metrics; admins may too",
    )
    log_level: str = _setting(
        "info", choice("debug", "info", "warning", "error"), "least level that is logged"
    )
    log_format: str = _setting("text", choice("text", "json"), "one line per event as text, or as JSON")
    debug: bool = _setting(False, switch, "show exceptions to clients; never on a public server")

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
        """
        Read the flags `argv`, the environment and the file that either of them names.

        SettingsError has the one line to show. `--help` and `--version` print and raise SystemExit(0).
        """
        settings, words, _ = read_command_line(argv, environ)
        if words:
            raise SettingsError(f"unrecognized arguments: {' '.join(words)}; --help lists every setting")
        return settings

    @classmethod
    def _from_sources(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        # An empty variable counts as absent, as container files like to have it.
        variables = {
            name: environ[variable_name(name)] for name in names() if environ.get(variable_name(name))
        }
        values = {
            **_checked(variables, variable_name),
            **_checked(flags, flag_name),
        }
        file = values.get("config")
        from_file = _checked(_read_file(file), lambda _: str(file)) if file else {}
        return cls(**{**from_file, **values})


class CommandLine(NamedTuple):
    """What a command line says besides settings: `user add ann --roles user,admin`."""

    settings: Settings
    #: The words that are no flags.
    words: list[str]
    roles: str | None


def read_command_line(argv: Sequence[str], environ: Mapping[str, str]) -> CommandLine:
    """Read settings as `Settings.load` does, and the words of a command."""
    flags = {
        name: value for name, value in vars(parser().parse_intermixed_args(argv)).items() if value is not None
    }
    words, roles = flags.pop("words"), flags.pop("roles", None)
    if roles is not None and words[:1] != ["user"]:
        raise SettingsError("--roles goes with `user add`; --help lists every setting")
    return CommandLine(Settings._from_sources(flags, environ), words, roles)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, such as JPULSE_PRT."""
    known = {variable_name(name) for name in names()} | PASSWORD_VARIABLES
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


def names() -> list[str]:
    """The names of all settings, in the order of the table."""
    return [field.name for field in dataclasses.fields(Settings)]


def flag_name(name: str) -> str:
    """`max_connections` → `--max-connections`."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """`max_connections` → `JPULSE_MAX_CONNECTIONS`."""
    return ENVIRONMENT_PREFIX + name.upper()


def parser() -> argparse.ArgumentParser:
    """The command line, made from the fields of Settings."""
    from . import __version__

    result = _OneLineParser(
        prog="jpulse",
        allow_abbrev=False,
        description="Serve jPulse. Every setting can also come from the environment "
        f"({ENVIRONMENT_PREFIX}PORT=8080) or from a TOML file (--config).",
    )
    result.add_argument(
        "words",
        nargs="*",
        metavar="new … | user …",
        help="make a project: new NAME; manage users: user add NAME, user passwd|enable|disable|roles NAME, "
        "user list",
    )
    result.add_argument("--roles", metavar="VALUE", help="roles of a user, separated by commas [user]")
    result.add_argument("--version", action="version", version=f"jpulse {__version__}")
    for field in dataclasses.fields(Settings):
        shown = _shown(field.default)
        options: dict[str, Any] = {"metavar": "VALUE"}
        if isinstance(field.default, bool):
            options = {"action": argparse.BooleanOptionalAction}
        result.add_argument(
            flag_name(field.name),
            dest=field.name,
            default=None,
            help=f"{field.metadata['help']} [{shown}]".replace("%", "%%"),
            **options,
        )
    return result


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; --help lists every setting")


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _checked(raw: Mapping[str, Any], source: Callable[[str], str]) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    result = {}
    for name, value in raw.items():
        try:
            result[name] = fields[name].metadata["check"](value)
        except ValueError as error:
            raise SettingsError(f"{name} ({source(name)}): {value!r} is not {error}") from None
    return result


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"config: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"config: {path} is not TOML: {error}") from None
    for name in values:
        if name not in names() or name == "config":
            raise SettingsError(
                f"config: {path} names an unknown setting {name!r}; --help lists every setting"
            )
    return values
