"""
REST changes, the WebSocket tells: a todo list that every window follows.

A change is kept first, answered second, and told to everybody third. Its number tells a
page which of two messages about a todo is newer, in whichever order and from whichever process they come.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from jpulse import ApiHandler, App, ClientError, Connection, NamespaceHandler

from ..database import Database
from . import todos

REST = "/api/1/todo-sync"


class TodoSync(NamespaceHandler):
    """Tells what became of the list; clients send nothing here."""

    path = "/api/1/ws/todo-sync"

    def on_message(self, conn: Connection) -> None:
        """Say where changes go."""
        raise ClientError(f"type: changes go to {REST} by REST; this address only tells")

    def on_bridge(self, state: str) -> None:
        """Let the clients of this process read the list again when other processes were out of reach."""
        if state == "resynced":
            self.broadcast({"type": "reload"}, local_only=True)


class NewTodo(msgspec.Struct, forbid_unknown_fields=True):
    """The page makes the id, so that it can show the todo before the answer and safely ask again."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[\w-]{8,40}$")]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What can be changed."""

    done: bool


class TodoHandler(ApiHandler):
    """What both addresses share."""

    def initialize(self, database: Database, namespace: TodoSync) -> None:
        """Take what `setup` hands over."""
        self.database = database
        self.namespace = namespace

    def answer_and_tell(self, todo: dict[str, Any] | None, status: int = 200) -> None:
        """Answer the one who asked, then tell everybody."""
        if todo is None:
            raise ClientError("There is no such todo; somebody may have deleted it", 404)
        self.write_success(todo, status)
        self.namespace.broadcast({"type": "todo", "todo": todo})


class TodosApi(TodoHandler):
    """GET the list, POST a new todo."""

    async def get(self) -> None:
        """The whole list."""
        self.write_success(await self.database.run(todos.read_all))

    async def post(self) -> None:
        """Make a todo."""
        new = self.read_body(NewTodo)
        todo = await self.database.run(lambda db: todos.add(db, new.id, new.title))
        if todo is None:
            raise ClientError(f"The list is full with {todos.MAX_TODOS} todos; delete some first", 409)
        self.answer_and_tell(todo, 201)


class TodoApi(TodoHandler):
    """PUT a change of a todo, DELETE it."""

    async def put(self, todo_id: str) -> None:
        """Complete or reopen it."""
        change = self.read_body(Change)
        self.answer_and_tell(await self.database.run(lambda db: todos.set_done(db, todo_id, change.done)))

    async def delete(self, todo_id: str) -> None:
        """Remove it."""
        self.answer_and_tell(await self.database.run(lambda db: todos.delete(db, todo_id)))


def setup(app: App) -> None:
    """Serve the namespace, the REST API, and the page at /todo-sync/."""
    shared = {
        "namespace": app.websockets.register(TodoSync),
        "database": Database(app.config.data_dir / "todo-sync.db", todos.SCHEMA),
    }
    app.add_handlers(".*", [(REST, TodosApi, shared), (REST + r"/([\w-]+)", TodoApi, shared)])
    app.serve_folder("/todo-sync/", Path(__file__).parent, index="page.html")
