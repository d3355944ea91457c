"""jPulse: WebSocket namespaces beside REST and pages, in one Tornado server that a team runs by itself."""

__version__ = "0.1.0"

from .app import App, create_app
from .connection import Connection
from .errors import ClientError, CloseCode
from .namespace import Namespace, NamespaceHandler
from .settings import Settings
from .web import ApiHandler, PageHandler, StaticHandler

__all__ = [
    "ApiHandler",
    "App",
    "ClientError",
    "CloseCode",
    "Connection",
    "Namespace",
    "NamespaceHandler",
    "PageHandler",
    "Settings",
    "StaticHandler",
    "__version__",
    "create_app",
]
