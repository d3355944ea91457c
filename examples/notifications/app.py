"""
Notifications: private to one user, in every tab and on every device, with a badge for what is unread.

Each is kept first and told second, so that who is not connected finds it later.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from jpulse import ApiHandler, App, ClientError, Connection, NamespaceHandler

from ..database import Database
from . import notes


class Notifications(NamespaceHandler):
    """Tells users what is for them, and nobody else."""

    path = "/api/1/ws/notifications"
    # Guests are refused with 401 before there is a connection, so that `conn.user` is never None.
    require_auth = True
    database: Database

    async def notify(self, username: str, text: str, sender: str = "") -> None:
        """Notify a user, connected or not; call it wherever something happens. ClientError 404 if unknown."""
        user = await self.app.store.get_user(username)
        if user is None or not user.active:
            raise ClientError(f"to: there is no user {username}", 404)
        now = self.app.clock()
        note = await self.database.run(lambda db: notes.add(db, user.key, sender, text, now))
        self.send_to_user(user.username, {"type": "note", "note": note})

    async def on_message(self, conn: Connection) -> None:
        """Tell a page its user's list, or remember up to where the user has seen it."""
        user = conn.user.key
        match conn.message:
            case {"type": "list"}:
                conn.send({"type": "list", **await self.database.run(lambda db: notes.read(db, user))})
            case {"type": "seen", "upTo": int(up_to)} if 0 <= up_to < 2**53:
                seen = await self.database.run(lambda db: notes.mark_seen(db, user, up_to))
                # To all tabs of the user: the badge goes out everywhere.
                self.send_to_user(conn.username, {"type": "seen", "upTo": seen})
            case _:
                raise ClientError("type: list, or seen with upTo, is needed")

    def on_bridge(self, state: str) -> None:
        """Let the pages of this process read anew when other processes were out of reach."""
        if state == "resynced":
            self.broadcast({"type": "reload"}, local_only=True)


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """What a user sends to another."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class NotificationsApi(ApiHandler):
    """POST /api/1/notifications notifies a user."""

    def initialize(self, notifications: Notifications) -> None:
        """Take what `setup` hands over."""
        self.notifications = notifications

    async def post(self) -> None:
        """Send."""
        if self.current_user is None:
            raise ClientError("Sign in first", 401)
        message = self.read_body(Message)
        await self.notifications.notify(message.to, message.text, self.current_user.username)
        self.write_success({"to": message.to}, 201)


def setup(app: App) -> None:
    """Serve the namespace, the REST API, and the page at /notifications/."""
    notifications = app.websockets.register(Notifications)
    assert isinstance(notifications, Notifications)
    notifications.database = Database(app.config.data_dir / "notifications.db", notes.SCHEMA)
    app.add_handlers(".*", [("/api/1/notifications", NotificationsApi, {"notifications": notifications})])
    app.serve_folder("/notifications/", Path(__file__).parent, index="page.html")
