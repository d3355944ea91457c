"""The home page."""

from jpulse import PageHandler

from .demos.sources import find_example

#: What a visitor reads beside the address of a namespace that this application brings.
TITLES = {
    "/api/1/ws/hello-emoji": "Emoji cursors",
    "/api/1/ws/hello-todo": "Todo list",
    "/api/1/ws/hello-notes": "Sticky notes",
    "/api/1/ws/hello-practice": "Best practices, tried out",
}


class HomePage(PageHandler):
    """Shows what runs here."""

    def get(self) -> None:
        """Render the page."""
        namespaces = [
            {"path": each.path, "title": TITLES.get(each.path, ""), "require_auth": each.require_auth}
            for each in self.app.websockets
            if not each.hidden
        ]
        self.render("home.html", namespaces=namespaces, folders=self.app.folders, chat=find_example("chat"))
