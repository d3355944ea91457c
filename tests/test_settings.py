"""Settings: where they come from, which source wins, and one line for whoever gets one wrong."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jpulse import __version__
from jpulse.errors import SettingsError
from jpulse.settings import Settings, flag_name, names, unknown_variables, variable_name

from .conftest import ROOT

#: The contract's table, word for word.
DEFAULTS: dict[str, Any] = {
    "port": 8080,
    "address": "127.0.0.1",
    "processes": 1,
    "data_dir": Path("data"),
    "mongo_url": None,
    "redis_url": None,
    "redis_prefix": "jpulse",
    "config": None,
    "app": None,
    "demos": True,
    "ping_interval": 30,
    "pong_timeout": 5,
    "drain_seconds": 10,
    "start_seconds": 120.0,
    "session_seconds": 86400,
    "max_message_bytes": 65536,
    "max_messages_per_second": 50,
    "max_outbox_bytes": 1048576,
    "message_seconds": 60,
    "handler_seconds": 300,
    "blocking_seconds": 1,
    "max_json_depth": 64,
    "max_connections": 10000,
    "max_connections_per_address": 0,
    "max_handshakes_per_second_per_address": 500,
    "max_loop_lag_seconds": 0.5,
    "handshake_seconds": 10.0,
    "max_log_entries": 1000,
    "allowed_origins": (),
    "trusted_proxies": (),
    "metrics_networks": ("127.0.0.0/8", "::1/128"),
    "log_level": "info",
    "log_format": "text",
    "debug": False,
}

#: For every setting two values that differ from its default: as a text, in a file (TOML), and what they mean.
SAMPLES: dict[str, tuple[tuple[str, str, Any], tuple[str, str, Any]]] = {
    "port": (("9000", "9000", 9000), ("0", "0", 0)),
    "address": (("0.0.0.0", '"0.0.0.0"', "0.0.0.0"), ("::1", '"::1"', "::1")),
    "processes": (("4", "4", 4), ("0", "0", 0)),
    "data_dir": (("/srv/one", '"/srv/one"', Path("/srv/one")), ("two", '"two"', Path("two"))),
    "mongo_url": (
        ("mongodb://db/one", '"mongodb://db/one"', "mongodb://db/one"),
        ("mongodb+srv://db", '"mongodb+srv://db"', "mongodb+srv://db"),
    ),
    "redis_url": (
        ("redis://cache:6379/0", '"redis://cache:6379/0"', "redis://cache:6379/0"),
        ("unix:///run/redis.sock", '"unix:///run/redis.sock"', "unix:///run/redis.sock"),
    ),
    "redis_prefix": (("shop", '"shop"', "shop"), ("a:b/c.d_e-f", '"a:b/c.d_e-f"', "a:b/c.d_e-f")),
    "max_bridge_bytes": (("1024", "1024", 1024), ("0", "0", 0)),
    "max_bridge_seconds": (("0", "0", 0.0), ("2.5", "2.5", 2.5)),
    "app": (("my.chat", '"my.chat"', "my.chat"), ("other", '"other"', "other")),
    "tls_certificate": (("a.pem", '"a.pem"', Path("a.pem")), ("b.pem", '"b.pem"', Path("b.pem"))),
    "tls_key": (("a.key", '"a.key"', Path("a.key")), ("b.key", '"b.key"', Path("b.key"))),
    "ping_interval": (("12.5", "12.5", 12.5), ("60", "60", 60.0)),
    "pong_timeout": (("2.5", "2.5", 2.5), ("9", "9", 9.0)),
    "start_seconds": (("0.1", "0.1", 0.1), ("600", "600", 600.0)),
    "drain_seconds": (("0", "0", 0.0), ("0.5", "0.5", 0.5)),
    "close_seconds": (("1.5", "1.5", 1.5), ("9", "9", 9.0)),
    "session_seconds": (("60", "60", 60), ("3600", "3600", 3600)),
    "max_message_bytes": (("1024", "1024", 1024), ("1", "1", 1)),
    "max_messages_per_second": (("0", "0", 0), ("5", "5", 5)),
    "max_outbox_bytes": (("2048", "2048", 2048), ("4096", "4096", 4096)),
    "max_inbox_messages": (("1", "1", 1), ("2", "2", 2)),
    "message_seconds": (("0", "0", 0.0), ("2.5", "2.5", 2.5)),
    "handler_seconds": (("0", "0", 0.0), ("2.5", "2.5", 2.5)),
    "blocking_seconds": (("0.1", "0.1", 0.1), ("2", "2", 2.0)),
    "max_json_depth": (("1", "1", 1), ("256", "256", 256)),
    "max_connections": (("1", "1", 1), ("50000", "50_000", 50000)),
    "max_connections_per_address": (("3", "3", 3), ("100", "100", 100)),
    "max_handshakes_per_second_per_address": (("0", "0", 0), ("20", "20", 20)),
    "max_loop_lag_seconds": (("0", "0", 0.0), ("1.5", "1.5", 1.5)),
    "handshake_seconds": (("2.5", "2.5", 2.5), ("30", "30", 30.0)),
    "max_log_entries": (("0", "0", 0), ("50", "50", 50)),
    "allowed_origins": (
        (
            "https://a.example, http://b:81",
            '["https://a.example", "http://b:81"]',
            ("https://a.example", "http://b:81"),
        ),
        ("https://c.example", '"https://c.example"', ("https://c.example",)),
    ),
    "metrics_networks": (
        ("10.0.0.0/8", '["10.0.0.0/8"]', ("10.0.0.0/8",)),
        ("::1", '"::1"', ("::1/128",)),
    ),
    "trusted_proxies": (
        ("10.0.0.0/8,::1", '["10.0.0.0/8", "::1"]', ("10.0.0.0/8", "::1/128")),
        ("192.168.0.7", '"192.168.0.7"', ("192.168.0.7/32",)),
    ),
    "log_level": (("debug", '"debug"', "debug"), ("error", '"error"', "error")),
    "log_format": (("json", '"json"', "json"), ("JSON", '"JSON"', "json")),
}
BOOLEANS = ["debug", "demos"]
#: A file cannot name the file, and a flag without a value has tests of its own.
TEXTUAL = [name for name in names() if name not in ("config", *BOOLEANS)]


def load(*argv: str, **environ: str) -> Settings:
    """The settings that flags and environment make."""
    return Settings.load(argv, environ)


def refusal(*argv: str, **environ: str) -> str:
    """The one line with which these are refused."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(argv, environ)
    text = str(caught.value)
    assert text.splitlines() == [text], "more than one line"
    return text


@pytest.fixture
def in_file(tmp_path: Path) -> Any:
    """Write a file and tell its path: `in_file("port = 80")`."""

    def write(text: str | bytes, name: str = "jpulse.toml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


# Defaults


def test_defaults() -> None:
    """Who says nothing gets the contract's table."""
    config = load()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


def test_defaults_without_loading() -> None:
    """A Settings made in code has the same defaults as one that was loaded."""
    assert Settings() == load()


def test_types_of_defaults() -> None:
    """A default passes its own check and has the type that a given value has."""
    for field in dataclasses.fields(Settings):
        if field.default is not None:
            checked = field.metadata["check"](field.default)
            assert checked == field.default
            assert type(checked) is type(field.default)


def test_frozen() -> None:
    """What was set stays."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 1  # type: ignore[misc]


def test_no_other_names() -> None:
    """A setting that does not exist can be neither set nor read."""
    with pytest.raises(TypeError):
        Settings(prot=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        load().prot  # type: ignore[attr-defined]  # noqa: B018


# Sources


@pytest.mark.parametrize("name", TEXTUAL)
def test_sources(name: str, in_file: Any) -> None:
    """Each setting can come from a flag, from the environment and from a file."""
    for text, toml, meant in SAMPLES[name]:
        expected = dataclasses.replace(Settings(), **{name: meant})
        assert load(flag_name(name), text) == expected
        assert load(f"{flag_name(name)}={text}") == expected
        assert load(**{variable_name(name): text}) == expected
        path = in_file(f"{name} = {toml}\n")
        assert load("--config", path) == dataclasses.replace(expected, config=Path(path))
        assert load(JPULSE_CONFIG=path) == dataclasses.replace(expected, config=Path(path))


@pytest.mark.parametrize("name", TEXTUAL)
def test_precedence(name: str, in_file: Any) -> None:
    """A flag wins over the environment, and that over the file."""
    (one, one_toml, one_meant), (two, _, two_meant) = SAMPLES[name]
    path = in_file(f"{name} = {one_toml}\n")
    assert getattr(load(JPULSE_CONFIG=path), name) == one_meant
    assert getattr(load(JPULSE_CONFIG=path, **{variable_name(name): two}), name) == two_meant
    assert getattr(load(flag_name(name), one, **{variable_name(name): two}), name) == one_meant
    assert getattr(load(flag_name(name), two, JPULSE_CONFIG=path), name) == two_meant


def test_names() -> None:
    """Flags and variables are the setting's name in other letters."""
    assert names() == [field.name for field in dataclasses.fields(Settings)]
    assert flag_name("max_connections_per_address") == "--max-connections-per-address"
    assert variable_name("max_connections_per_address") == "JPULSE_MAX_CONNECTIONS_PER_ADDRESS"


def test_sources_join(in_file: Any) -> None:
    """Each source fills in what the stronger ones leave open."""
    path = in_file('port = 1\naddress = "::"\nlog_level = "error"\n')
    config = load("--port", "3", "--config", path, JPULSE_PORT="2", JPULSE_ADDRESS="0.0.0.0")
    assert (config.port, config.address, config.log_level) == (3, "0.0.0.0", "error")


def test_config_of_the_flag_wins(in_file: Any) -> None:
    """The file that a flag names is read instead of the one that the environment names."""
    one, two = in_file("port = 1", "one.toml"), in_file("processes = 2", "two.toml")
    config = load("--config", two, JPULSE_CONFIG=one)
    assert (config.port, config.processes) == (8080, 2)


@pytest.mark.parametrize("name", names())
def test_empty_variable(name: str) -> None:
    """An empty variable counts as absent."""
    assert load(**{variable_name(name): ""}) == Settings()


def test_other_variables() -> None:
    """Variables that name no setting are nobody's business here, such as JPULSE_ADMIN_PASSWORD."""
    assert load(JPULSE_ADMIN_PASSWORD="secret", JPULSE_PROT="x", PORT="1", PATH="/bin") == Settings()


def test_empty_file(in_file: Any) -> None:
    """A file may be empty."""
    path = in_file("# nothing yet\n")
    assert load("--config", path) == dataclasses.replace(Settings(), config=Path(path))


def test_last_flag_wins() -> None:
    """A flag given twice means the second."""
    assert load("--port", "1", "--port", "2").port == 2


@pytest.mark.parametrize("name", ["mongo_url", "redis_url", "app"])
def test_flag_that_means_none(name: str) -> None:
    """An empty flag takes back what the environment says."""
    assert load(flag_name(name), "", **{variable_name(name): SAMPLES[name][0][0]}) == Settings()


# Booleans


@pytest.mark.parametrize("word", ["1", "true", "True", "yes", "on", "ON"])
def test_switched_on(word: str) -> None:
    """A switch is on for 1, true, yes and on."""
    assert load(JPULSE_DEBUG=word).debug is True


@pytest.mark.parametrize("word", ["0", "false", "False", "no", "off", "OFF"])
def test_switched_off(word: str) -> None:
    """A switch is off for 0, false, no and off."""
    assert load(JPULSE_DEBUG=word).debug is False


def test_switch_by_flag(in_file: Any) -> None:
    """A switch's flag has no value, and a counterpart that wins over environment and file."""
    path = in_file("debug = true")
    assert load("--debug").debug is True
    assert load("--no-debug", JPULSE_DEBUG="on").debug is False
    assert load("--no-debug", JPULSE_CONFIG=path).debug is False
    assert load(JPULSE_DEBUG="off", JPULSE_CONFIG=path).debug is False
    assert load("--no-demos").demos is False
    assert load("--demos", JPULSE_DEMOS="off").demos is True


@pytest.mark.parametrize(
    ("toml", "meant"), [("true", True), ("false", False), ('"on"', True), ('"off"', False)]
)
def test_switch_in_a_file(toml: str, meant: bool, in_file: Any) -> None:
    """A file switches with TOML's own booleans, or with the words."""
    assert load(JPULSE_CONFIG=in_file(f"debug = {toml}")).debug is meant


@pytest.mark.parametrize("word", ["maybe", "2", "-1", "tru", "enabled"])
def test_switched_neither(word: str) -> None:
    """Any other word is refused, rather than taken for off."""
    assert refusal(JPULSE_DEBUG=word).startswith("debug (JPULSE_DEBUG): ")


# Lists


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example,https://b.example",
        " https://a.example , https://b.example,",
        ",https://a.example,,https://b.example",
    ],
)
def test_list_in_a_text(text: str) -> None:
    """A list is written with commas; spaces and empty parts do not count."""
    assert load("--allowed-origins", text).allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("toml", ["[]", '""', '[" "]'])
def test_empty_list(toml: str, in_file: Any) -> None:
    """A list may be empty."""
    assert load(JPULSE_CONFIG=in_file(f"trusted_proxies = {toml}")).trusted_proxies == ()


@pytest.mark.parametrize("toml", ["5", "true", "[5]", '["::1", 5]', '{a = "b"}', '[["::1"]]'])
def test_no_list(toml: str, in_file: Any) -> None:
    """What is no list of texts is refused."""
    assert refusal(JPULSE_CONFIG=in_file(f"trusted_proxies = {toml}")).startswith("trusted_proxies (")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://example.com/", "https://example.com"),
        ("HTTPS://Example.COM", "https://example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_origin(text: str, meant: str) -> None:
    """An origin is kept as browsers write it (RFC 6454 section 6.1)."""
    assert load("--allowed-origins", text).allowed_origins == (meant,)


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80)])
def test_origin_with_the_usual_port(scheme: str, port: int) -> None:
    """A port that browsers leave out is refused or dropped: it would never match (RFC 6454 section 6.1)."""
    try:
        config = load("--allowed-origins", f"{scheme}://example.com:{port}")
    except SettingsError:
        return
    assert config.allowed_origins == (f"{scheme}://example.com",)


@pytest.mark.parametrize(
    "text",
    [
        "example.com",
        "*",
        "null",
        "ftp://example.com",
        "wss://example.com",
        "https://",
        "https://example.com/path",
        "https://example.com?query",
        "https://ann:secret@example.com",
        "https://example.com:port",
        "https://example.com:99999",
        "https://[::1",
        "https://a.example https://b.example",
    ],
)
def test_no_origin(text: str) -> None:
    """What no browser would send as an origin is refused, with an example of one."""
    message = refusal("--allowed-origins", text)
    assert message.startswith("allowed_origins (--allowed-origins): ")
    assert "such as https://example.com" in message


@pytest.mark.parametrize(
    "text", ["proxy.example", "10.0.0.0/33", "10.0.0", "::g", "10.0.0.1:80", "10.0.0.1;10.0.0.2"]
)
def test_no_network(text: str) -> None:
    """What is no address and no network is refused, with an example of one."""
    message = refusal("--trusted-proxies", f"::1,{text}")
    assert message.startswith("trusted_proxies (--trusted-proxies): ")
    assert "such as 10.0.0.0/8" in message


# What is refused


WRONG: dict[str, list[str]] = {
    "port": ["abc", "-1", "65536", "80.5", "8080x", "1e3", " ", "9" * 30],
    "address": ["  ", "\0"],
    "processes": ["-1", "many", "1025"],
    "data_dir": ["  ", "\0"],
    "mongo_url": ["localhost", "http://db", "mongodb:/", "redis://db", "mongodb://[::1"],
    "redis_url": ["localhost:6379", "mongodb://db", "http://cache", "redis://[::1"],
    "redis_prefix": ["two words", "x" * 65, "jpulse*", "pr\u00e4fix", "a\n"],
    "max_bridge_bytes": ["-1", "x", "1.5"],
    "max_bridge_seconds": ["-1", "x", "nan", "inf"],
    "app": ["  "],
    "tls_certificate": ["  "],
    "tls_key": ["  "],
    "ping_interval": ["0", "-1", "soon", "nan", "inf", "1e400", "10s", "31536001"],
    "pong_timeout": ["0", "-5", "x", "nan"],
    "start_seconds": ["0", "-1", "x", "nan", "inf"],
    "drain_seconds": ["-1", "-0.1", "x", "nan", "inf"],
    "close_seconds": ["0", "-1", "x"],
    "session_seconds": ["0", "-1", "1.5", "x"],
    "max_message_bytes": ["0", "-1", "64k", "64 KiB", "2147483648"],
    "max_messages_per_second": ["-1", "0.5", "x"],
    "max_outbox_bytes": ["0", "-1", "1M"],
    "max_inbox_messages": ["0", "-1", "x"],
    "message_seconds": ["-1", "nan", "x"],
    "handler_seconds": ["-1", "nan", "x"],
    "blocking_seconds": ["0", "nan", "x"],
    "max_json_depth": ["0", "257", "x"],
    "max_connections": ["0", "-1", "x"],
    "max_connections_per_address": ["-1", "x"],
    "max_handshakes_per_second_per_address": ["-1", "x", "0.5", "1000001"],
    "max_loop_lag_seconds": ["-1", "x", "nan", "inf"],
    "handshake_seconds": ["0", "-1", "x", "nan"],
    "max_log_entries": ["-1", "x", "100001"],
    "allowed_origins": ["example.com"],
    "trusted_proxies": ["example.com"],
    "metrics_networks": ["example.com"],
    "log_level": ["loud", "20", "information"],
    "log_format": ["xml", "yaml"],
}
#: What a file can hold and no setting is.
WRONG_IN_FILES = {
    "port": ["true", "8080.0", "[8080]", "2026-11-22", "{a = 1}"],
    "address": ["5", "true", "[]", "2026-11-22"],
    "processes": ["true", "1.0"],
    "data_dir": ["[]", "{}"],
    "mongo_url": ["5", "true", '["mongodb://db"]'],
    "app": ["5", "true", "[]"],
    "ping_interval": ["true", "nan", "inf", "[]", "10:00:00"],
    "session_seconds": ["true", "60.0"],
    "max_message_bytes": ["true", "1e3"],
    "log_level": ["true", "[]", "20"],
    "demos": ["[]", "2", '"maybe"'],
    "debug": ["[]", "2", '"maybe"', "{}", "1.5"],
}


@pytest.mark.parametrize("name", TEXTUAL)
def test_wrong_value(name: str, in_file: Any) -> None:
    """A wrong value is told in one line that names the setting, where it came from, and the value."""
    for text in WRONG[name]:
        by_flag = refusal(f"{flag_name(name)}={text}")
        assert by_flag.startswith(f"{name} ({flag_name(name)}): {text!r}")
        assert " is not a" in by_flag or " is not one of " in by_flag or "such as" in by_flag
        by_variable = refusal(**{variable_name(name): text})
        assert by_variable.startswith(f"{name} ({variable_name(name)}): {text!r}")
    path = in_file(f'{name} = """{WRONG[name][0]}"""' if "\0" not in WRONG[name][0] else f'{name} = ""')
    assert refusal(JPULSE_CONFIG=path).startswith(f"{name} ({path}): ")


@pytest.mark.parametrize("name", list(WRONG_IN_FILES))
def test_wrong_type_in_a_file(name: str, in_file: Any) -> None:
    """A value of the wrong type in a file is refused, and names setting and file."""
    for toml in WRONG_IN_FILES[name]:
        path = in_file(f"{name} = {toml}")
        assert refusal("--config", path).startswith(f"{name} ({path}): ")


def test_wrong_value_that_is_overruled() -> None:
    """A wrong value is told even if a stronger source overrules it: one day it would not."""
    assert refusal("--port", "80", JPULSE_PORT="abc").startswith("port (JPULSE_PORT): ")


@pytest.mark.parametrize("flag", ["--prot", "-p", "--max_connections", "--PORT", "--", "8080"])
def test_unknown_flag(flag: str) -> None:
    """A flag that does not exist is named, and where to find those that do."""
    argv = [flag] if flag != "--" else ["--", "stray"]
    message = refusal(*argv)
    assert argv[-1] in message
    assert "--help" in message


@pytest.mark.parametrize("name", [name for name in names() if len(name) > 4])
def test_abbreviated_flag(name: str) -> None:
    """A flag is written in full: an abbreviation would break when another setting comes."""
    abbreviation = flag_name(name)[:-1]
    assert abbreviation in refusal(abbreviation, "1")


def test_flag_without_a_value() -> None:
    """A flag whose value is missing is named."""
    assert "--port" in refusal("--port")
    assert "--port" in refusal("--port", "--debug")


def test_switch_with_a_value() -> None:
    """A switch's flag that is given a value is named."""
    assert "--debug" in refusal("--debug=on")


@pytest.mark.parametrize(
    "argv", [("--x\ny",), ("a\nb",), ("--config", "/no\nsuch/file"), ("--port", "1\n2x")]
)
def test_newline_in_an_argument(argv: tuple[str, ...]) -> None:
    """A refusal is one line, whatever the arguments hold."""
    assert refusal(*argv)


# The file


@pytest.mark.parametrize("key", ["prot", "PORT", "max-connections", "JPULSE_PORT", "config", "Port"])
def test_unknown_key(key: str, in_file: Any) -> None:
    """A key that names no setting is told, with the file; the file itself is not named in a file."""
    path = in_file(f'{key} = "1"')
    message = refusal("--config", path)
    assert repr(key) in message
    assert path in message


def test_table_in_a_file(in_file: Any) -> None:
    """Settings stand at the top of the file: a table's name is an unknown setting."""
    assert "'server'" in refusal("--config", in_file("[server]\nport = 80\n"))


def test_absent_file(tmp_path: Path) -> None:
    """A file that does not exist is told with its path, and is no reason to go on without."""
    path = str(tmp_path / "absent.toml")
    for message in (refusal("--config", path), refusal(JPULSE_CONFIG=path)):
        assert message.startswith("config: ")
        assert path in message


def test_folder_for_a_file(tmp_path: Path) -> None:
    """A folder is no file."""
    assert refusal("--config", str(tmp_path)).startswith("config: ")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is there and cannot be read is told with its path."""
    path = tmp_path / "loop.toml"
    path.symlink_to(path)
    assert str(path) in refusal("--config", str(path))


@pytest.mark.parametrize(
    "text",
    [
        b"port",
        b"port = ",
        b"port: 80",
        b'{"port": 80}',
        b"port = 80\nport = 81",
        b"port = \xff",
        b"\xff\xfe",
        b"\0",
        b"app = a.b",
    ],
)
def test_malformed_file(text: bytes, in_file: Any) -> None:
    """A file that is not TOML is told with its path."""
    path = in_file(text)
    message = refusal("--config", path)
    assert message.startswith("config: ")
    assert path in message


# As a command


def run(*argv: str, cwd: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own and wait for its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JPULSE_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *argv],
        cwd=cwd,
        env={**inherited, "COLUMNS": "100", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def written(default: Any) -> str:
    """A default as help shows it."""
    if default in (None, ()):
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_help(tmp_path: Path) -> None:
    """`--help` lists each setting's flag with its default, and ends with status 0."""
    result = run("--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    entries = re.split(r"\n  (?=--)", result.stdout)[1:]
    shown = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in entries}
    for field in dataclasses.fields(Settings):
        assert shown[flag_name(field.name)].endswith(f"[{written(field.default)}]")
    assert set(shown) == {"--version", "--roles", *map(flag_name, names())}


def test_version(tmp_path: Path) -> None:
    """`--version` tells the version, and ends with status 0."""
    result = run("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"jpulse {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        (["--port", "abc"], {}, "port (--port): 'abc'"),
        ([], {"JPULSE_PORT": "abc"}, "port (JPULSE_PORT): 'abc'"),
        (["--prot", "80"], {}, "--prot"),
        (["--config", "absent.toml"], {}, "absent.toml"),
    ],
)
def test_wrong_setting_of_the_command(
    argv: list[str], environ: dict[str, str], named: str, tmp_path: Path
) -> None:
    """A wrong setting is exactly one line on standard error, status 2, and nothing is begun."""
    result = run(*argv, cwd=tmp_path, environ=environ)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert named in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_variables() -> None:
    """A variable that looks like a setting and is none is found; those for passwords are known."""
    environ = {
        "JPULSE_PRT": "1",
        "JPULSE_PORT": "1",
        "JPULSE_PASSWORD": "x",
        "JPULSE_ADMIN_PASSWORD": "x",
        "PATH": "",
    }
    assert unknown_variables(environ) == ["JPULSE_PRT"]


def test_unknown_variable_is_told(tmp_path: Path) -> None:
    """Who mistypes a variable is told so."""
    command = [sys.executable, str(ROOT / "run.py"), "user", "list", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        command, env={**os.environ, "JPULSE_PRT": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == "jpulse: JPULSE_PRT is set, but there is no such setting\n"
