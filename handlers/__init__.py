"""The first application on jPulse, an example to copy: its routes and namespaces as explicit tables."""

from .demos.cursors import Cursors
from .demos.pages import DemosPage
from .home import HomePage

#: Tornado routes: a pattern and its handler.
ROUTES = [
    (r"/", HomePage),
    (r"/hello-websocket/?", DemosPage),
]

NAMESPACES = [Cursors]
