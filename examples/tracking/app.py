"""
Ephemeral tracking: everybody sees who reads which part of a page. Nothing is stored.

The browsers are the memory. Who comes is announced, and the others tell that one client where they are.
"""

from pathlib import Path

from jpulse import App, ClientError, Connection, NamespaceHandler

MAX_PLACE_LENGTH = 40


class Tracking(NamespaceHandler):
    """A place is the id of a section; "" while somebody looks elsewhere."""

    path = "/api/1/ws/tracking"
    # Positions are short and frequent; the page sends at most five a second.
    max_message_bytes = 500
    max_messages_per_second = 20

    def on_connect(self, conn: Connection) -> None:
        """Ask the others to tell the newcomer where they are."""
        self.broadcast({"type": "who", "newcomer": conn.client_id}, exclude=conn.client_id)

    def on_message(self, conn: Connection) -> None:
        """Pass on where somebody looks: to everybody else, or to the newcomer it is meant for."""
        match conn.message:
            case {"type": "look", "place": str(place)} if len(place) <= MAX_PLACE_LENGTH:
                # No ctx: the others need not know anybody's address.
                told = {"type": "look", "clientId": conn.client_id, "name": conn.username, "place": place}
            case _:
                raise ClientError(f"place: a text of at most {MAX_PLACE_LENGTH} characters is needed")
        match conn.message.get("to"):
            case str(newcomer):
                self.send_to_client(newcomer, told)
            case _:
                self.broadcast(told, exclude=conn.client_id)

    def on_disconnect(self, conn: Connection) -> None:
        """Tell the others, unless the same browser is still here in another tab."""
        if not self.has_client(conn.client_id):
            self.broadcast({"type": "left", "clientId": conn.client_id})


def setup(app: App) -> None:
    """Serve the namespace, and the page at /tracking/."""
    app.websockets.register(Tracking)
    app.serve_folder("/tracking/", Path(__file__).parent, index="page.html")
