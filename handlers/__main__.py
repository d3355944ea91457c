"""The command `jpulse`, which equals `python run.py`: flags become settings, settings become a server."""

import asyncio
import os
import sys
from collections.abc import Sequence

from handlers import NAMESPACES, ROUTES
from jpulse import create_app
from jpulse.app import make_store
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
        return _manage(config, words, roles)
    return serve(
        config,
        lambda bridge: create_app(config, ROUTES, NAMESPACES, bridge=bridge),
        os.environ.get("JPULSE_ADMIN_PASSWORD"),
    )


def _manage(config: Settings, words: Sequence[str], roles: str | None) -> int:
    if words[0] != "user":
        raise SettingsError(f"there is no command {words[0]!r}; there is: {USAGE}")
    return asyncio.run(manage_users(make_store(config), words[1:], roles, os.environ))


if __name__ == "__main__":
    sys.exit(main())
