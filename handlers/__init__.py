"""The first application on jPulse, an example to copy: its routes and namespaces as explicit tables."""

from . import admin
from .auth import LoginApi, LoginPage, LogoutApi, LogoutPage, StatusApi
from .demos.architecture import Architecture
from .demos.cursors import Cursors
from .demos.notes import Notes
from .demos.pages import DemosPage, ExampleFile
from .demos.practice import Practice
from .demos.todos import TodoApi, Todos, TodosApi, TodoToggleApi
from .home import HomePage
from .status import HealthApi, MetricsPage, ReadyApi

#: What `--no-demos` leaves out.
DEMO_ROUTES = [
    (r"/hello-websocket/?", DemosPage),
    (r"/hello-websocket/examples/([^/]+)/([^/]+)", ExampleFile),
    (r"/api/1/todo", TodosApi),
    (r"/api/1/todo/([^/]+)", TodoApi),
    (r"/api/1/todo/([^/]+)/toggle", TodoToggleApi),
]
DEMO_NAMESPACES = [Cursors, Todos, Notes, Practice, Architecture]

#: Tornado routes: a pattern and its handler.
ROUTES = [
    (r"/", HomePage),
    (r"/healthz", HealthApi),
    (r"/readyz", ReadyApi),
    (r"/metrics", MetricsPage),
    (r"/auth/login", LoginPage),
    (r"/auth/logout", LogoutPage),
    (r"/api/1/auth/login", LoginApi),
    (r"/api/1/auth/logout", LogoutApi),
    (r"/api/1/auth/status", StatusApi),
    *admin.ROUTES,
    *DEMO_ROUTES,
]

NAMESPACES = [admin.AdminStats, *DEMO_NAMESPACES]
