"""The command `jpulse`, which equals `python run.py`: flags become settings, settings become a server."""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from handlers import DEMO_NAMESPACES, DEMO_ROUTES, NAMESPACES, ROUTES
from jpulse import App, create_app, scaffold
from jpulse.app import make_store
from jpulse.bridge.base import Bridge
from jpulse.errors import SettingsError
from jpulse.server import serve, told
from jpulse.settings import Settings, read_command_line, unknown_variables
from jpulse.users import USAGE
from jpulse.users import run as manage_users


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit status: 0, 1 if it cannot start, 2 for a wrong setting."""
    # `--app package.module` is looked for where the user stands, also by the installed command.
    sys.path.insert(0, os.getcwd())
    try:
        return told(lambda: _obey(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # At the question for a password; a server takes the signal as the order to stop.
        print(file=sys.stderr)
        return 130


def _obey(argv: Sequence[str]) -> int:
    config, words, roles = read_command_line(argv, os.environ)
    for name in unknown_variables(os.environ):
        print(f"jpulse: {name} is set, but there is no such setting", file=sys.stderr)
    if words:
        return _command(config, words, roles)
    return serve(
        config,
        lambda bridge: _make_app(config, bridge),
        os.environ.get("JPULSE_ADMIN_PASSWORD"),
    )


def _make_app(config: Settings, bridge: Bridge) -> App:
    if config.demos:
        return create_app(config, ROUTES, NAMESPACES, bridge=bridge)
    routes = [each for each in ROUTES if each not in DEMO_ROUTES]
    namespaces = [each for each in NAMESPACES if each not in DEMO_NAMESPACES]
    return create_app(config, routes, namespaces, bridge=bridge)


def _command(config: Settings, words: Sequence[str], roles: str | None) -> int:
    match words[0]:
        case "user":
            return asyncio.run(manage_users(make_store(config), words[1:], roles, os.environ))
        case "new":
            return scaffold.run(words[1:], Path.cwd(), _own_name(), _as_typed("python", sys.executable))
    raise SettingsError(f"there is no command {words[0]!r}; there is: {USAGE} | {scaffold.USAGE}")


def _own_name() -> str:
    """How to call this program from any folder."""
    program = Path(os.path.abspath(sys.argv[0]))
    if program.name == "jpulse":
        return _as_typed("jpulse", str(program))
    script = shlex.quote(str(program)) if program.name == "run.py" else "-m handlers"
    return f"{_as_typed('python', sys.executable)} {script}"


def _as_typed(name: str, path: str) -> str:
    """The short name of a program if the shell finds it by that where it is, else its path."""
    found = shutil.which(name)
    return name if found and Path(found).parent == Path(path).parent else shlex.quote(path)


if __name__ == "__main__":
    sys.exit(main())
