"""The command `jpulse`, which equals `python run.py`: flags become settings, settings become a server."""

import os
import sys
from collections.abc import Sequence

from handlers import NAMESPACES, ROUTES
from jpulse import create_app
from jpulse.errors import SettingsError, StartError
from jpulse.server import serve
from jpulse.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit status: 0, 1 if it cannot start, 2 for a wrong setting."""
    # `--app package.module` is looked for where the user stands, also by the installed command.
    sys.path.insert(0, os.getcwd())
    try:
        config = Settings.load(sys.argv[1:] if argv is None else argv, os.environ)
        serve(config, lambda: create_app(config, ROUTES, NAMESPACES))
    except SettingsError as error:
        print(f"jpulse: {error}", file=sys.stderr)
        return 2
    except StartError as error:
        print(f"jpulse: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
