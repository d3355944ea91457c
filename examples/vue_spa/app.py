"""
The server of a single-page application: polls by REST, and a namespace that tells of each vote.

The page is Vue's business; to the server it is one folder of files.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from jpulse import ApiHandler, App, ClientError, Connection, NamespaceHandler

from ..database import Database
from . import polls

REST = "/api/1/polls"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Polls(NamespaceHandler):
    """Tells what became of the polls; clients send nothing here."""

    path = "/api/1/ws/polls"

    def on_message(self, conn: Connection) -> None:
        """Say where votes go."""
        raise ClientError(f"type: votes go to {REST} by REST; this address only tells")

    def on_bridge(self, state: str) -> None:
        """Let the pages of this process read anew when other processes were out of reach."""
        if state == "resynced":
            self.broadcast({"type": "reload"}, local_only=True)


class NewPoll(msgspec.Struct, forbid_unknown_fields=True):
    """What a poll is made of."""

    question: Text
    choices: Annotated[list[Text], msgspec.Meta(min_length=2, max_length=6)]


class Vote(msgspec.Struct, forbid_unknown_fields=True):
    """A guest is known by an id that only the browser knows; whoever clears that may vote again."""

    choice: Annotated[int, msgspec.Meta(ge=0, lt=6)]
    voter: Annotated[str, msgspec.Meta(min_length=16, max_length=64)]


class PollHandler(ApiHandler):
    """What the addresses share."""

    def initialize(self, database: Database, namespace: Polls) -> None:
        """Take what `setup` hands over."""
        self.database = database
        self.namespace = namespace

    def answer_and_tell(self, poll: dict[str, Any], status: int = 200) -> None:
        """Answer the one who asked, then tell everybody."""
        self.write_success(poll, status)
        self.namespace.broadcast({"type": "poll", "poll": poll})


class PollsApi(PollHandler):
    """GET all polls, POST a new one."""

    async def get(self) -> None:
        """All polls, newest first."""
        self.write_success(await self.database.run(polls.read_all))

    async def post(self) -> None:
        """Make a poll."""
        new = self.read_body(NewPoll)
        self.answer_and_tell(
            await self.database.run(lambda db: polls.add(db, new.question, new.choices)), 201
        )


class VoteApi(PollHandler):
    """PUT one's vote: a second one takes the place of the first."""

    async def put(self, poll_id: str) -> None:
        """Vote."""
        vote = self.read_body(Vote)
        voter = f"user {self.current_user.key}" if self.current_user else f"guest {vote.voter}"
        poll = await self.database.run(lambda db: polls.vote(db, int(poll_id), voter, vote.choice))
        if poll is None:
            raise ClientError("There is no such poll or choice", 404)
        self.answer_and_tell(poll)


def setup(app: App) -> None:
    """Serve the namespace, the REST API, and the page at /vue-spa/."""
    shared = {
        "namespace": app.websockets.register(Polls),
        "database": Database(app.config.data_dir / "polls.db", polls.SCHEMA),
    }
    app.add_handlers(".*", [(REST, PollsApi, shared), (REST + r"/(\d{1,15})/vote", VoteApi, shared)])
    app.serve_folder("/vue-spa/", Path(__file__).parent, index="page.html")
