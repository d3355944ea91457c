"""What the best practices are tried on: a strict limit, and a server that ends connections when asked to."""

from typing import Any

from jpulse import ClientError, CloseCode, Connection, NamespaceHandler

from .cursors import percent

MAX_TEXT_LENGTH = 200
#: How a connection can be ended: the browser client comes back after one and stays away after the other.
ENDS = {"restart": CloseCode.RESTART, "for-good": CloseCode.NORMAL}


class Practice(NamespaceHandler):
    """Answers its sender alone, so that nobody disturbs anybody."""

    path = "/api/1/ws/hello-practice"
    # Less than a pointer moves: what is too much is to be seen within a second.
    max_messages_per_second = 20

    def on_message(self, conn: Connection) -> None:
        """Hear a move, take a text, or end the connection."""
        match conn.message.get("type"):
            case "move":
                place = {name: percent(conn.message, name) for name in ("x", "y")}
                conn.send({"type": "heard", **place})
            case "note":
                conn.send({"type": "taken", **note(conn.message)})
            case "end":
                conn.close(end(conn.message), "You asked for it")
            case other:
                raise ClientError(f"type: {other!r:.60} is not one of move, note, end")


def note(message: dict[str, Any]) -> dict[str, Any]:
    """Read a text and the number that its sender knows it by."""
    number, text = message.get("number"), message.get("text")
    if isinstance(number, bool) or not isinstance(number, int):
        raise ClientError("number: a whole number is needed")
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT_LENGTH:
        raise ClientError(f"text: 1 to {MAX_TEXT_LENGTH} characters are needed")
    return {"number": number, "text": text}


def end(message: dict[str, Any]) -> CloseCode:
    """Read how the connection is to end."""
    how = message.get("how")
    if not isinstance(how, str) or how not in ENDS:
        raise ClientError(f"how: one of {', '.join(ENDS)} is needed")
    return ENDS[how]
