"""Emoji cursors: everybody sees where everybody points. Nothing is stored."""

from typing import Any

from jpulse import ClientError, Connection, NamespaceHandler

MAX_EMOJI_LENGTH = 32


class Cursors(NamespaceHandler):
    """Positions are percent of the stage, 0 to 100; the page sends at most 20 a second."""

    path = "/api/1/ws/hello-emoji"

    def on_connect(self, conn: Connection) -> None:
        """Tell the newcomer how many there are, and the others that somebody came."""
        conn.send({"type": "welcome", "userCount": self.client_count}, conn.ctx)
        self.broadcast({"type": "user-joined", **self._who(conn), "userCount": self.client_count}, conn.ctx)

    def on_message(self, conn: Connection) -> None:
        """Pass on what somebody chose or where somebody points."""
        match conn.message.get("type"):
            case "emoji-select":
                self.broadcast(
                    {"type": "user-emoji", **self._who(conn), "emoji": emoji(conn.message)}, conn.ctx
                )
            case "cursor-move":
                self.broadcast(
                    {
                        "type": "cursor",
                        **self._who(conn),
                        "emoji": emoji(conn.message),
                        "x": percent(conn.message, "x"),
                        "y": percent(conn.message, "y"),
                    },
                    conn.ctx,
                )
            case other:
                raise ClientError(f"type: {other!r:.60} is not one of emoji-select, cursor-move")

    def on_disconnect(self, conn: Connection) -> None:
        """Tell the others, unless the same browser is still here in another tab."""
        if not self.has_client(conn.client_id):
            self.broadcast({"type": "user-left", **self._who(conn), "userCount": self.client_count}, conn.ctx)

    @staticmethod
    def _who(conn: Connection) -> dict[str, Any]:
        return {"clientId": conn.client_id, "username": conn.username}


def emoji(message: dict[str, Any]) -> str:
    """Read the field `emoji`."""
    value = message.get("emoji")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_EMOJI_LENGTH:
        raise ClientError(f"emoji: a text of 1 to {MAX_EMOJI_LENGTH} characters is needed")
    return value


def percent(message: dict[str, Any], name: str) -> float:
    """Read a coordinate."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ClientError(f"{name}: a number from 0 to 100 is needed")
    return value
