"""
The collaborative todo list: REST changes it, the WebSocket tells.

Each change is kept first, answered second, and broadcast third, so that what others
are told has happened.
"""

from typing import Any

import msgspec

from jpulse import ApiHandler, ClientError, Connection, NamespaceHandler
from jpulse.activity import iso_time
from jpulse.store.base import Todo, new_id

from .turns import turn

MAX_TITLE_LENGTH = 200
#: The list is for trying out: it does not grow without end.
MAX_TODOS = 1000


class Todos(NamespaceHandler):
    """Tells what became of the list; clients send nothing here."""

    path = "/api/1/ws/hello-todo"

    def on_connect(self, conn: Connection) -> None:
        """Greet; the page then loads the list."""
        conn.send(self._welcome(), conn.ctx)

    def on_message(self, conn: Connection) -> None:
        """Say where changes go."""
        raise ClientError("type: changes go to /api/1/todo; this address only tells")

    def on_bridge(self, state: str) -> None:
        """Greet the clients of this process again when other processes were out of reach: they load anew."""
        if state == "resynced":
            self.broadcast(self._welcome(), local_only=True)

    def _welcome(self) -> dict[str, Any]:
        return {"type": "welcome", "userCount": self.client_count}


class TodoFields(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say of a todo."""

    title: str | msgspec.UnsetType = msgspec.UNSET
    completed: bool | msgspec.UnsetType = msgspec.UNSET

    def given(self) -> dict[str, Any]:
        """The fields that are there, checked."""
        fields = _without_unset({"title": self.title, "completed": self.completed})
        if "title" in fields:
            fields["title"] = check_title(fields["title"])
        return fields


class WholeTodo(TodoFields, rename={"id": "_id", "created_at": "createdAt", "updated_at": "updatedAt"}):
    """A todo as it was read, of which title and completed may differ; when it was changed does not matter."""

    id: str | msgspec.UnsetType = msgspec.UNSET
    username: str | msgspec.UnsetType = msgspec.UNSET
    created_at: str | msgspec.UnsetType = msgspec.UNSET
    updated_at: str | msgspec.UnsetType = msgspec.UNSET

    def fixed(self) -> dict[str, Any]:
        """The fields that are there and that nobody can change."""
        return _without_unset({"_id": self.id, "username": self.username, "createdAt": self.created_at})


def _without_unset(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def check_title(title: str) -> str:
    """Refuse a title that is empty or too long."""
    title = title.strip()
    if not 0 < len(title) <= MAX_TITLE_LENGTH:
        raise ClientError(f"title: 1 to {MAX_TITLE_LENGTH} characters are needed")
    if any(0xD800 <= ord(char) <= 0xDFFF or char == "\0" for char in title):
        raise ClientError("title: it has characters that do not exist")
    return title


def as_json(todo: Todo) -> dict[str, Any]:
    """What clients see of a todo."""
    return {
        "_id": todo.id,
        "title": todo.title,
        "completed": todo.completed,
        "username": todo.username,
        "createdAt": iso_time(todo.created_at),
        "updatedAt": iso_time(todo.updated_at),
    }


class TodoHandler(ApiHandler):
    """What the three addresses share."""

    def found(self, todo: Todo | None) -> Todo:
        """Refuse with 404 what is not there."""
        if todo is None:
            raise ClientError("There is no such todo; somebody may have deleted it", 404)
        return todo

    def answer_and_tell(self, kind: str, todo: Todo, status: int = 200) -> None:
        """Answer the one who asked, then tell everybody."""
        self.write_success(as_json(todo), status)
        what: dict[str, Any] = {"todoId": todo.id} if kind == "todo-deleted" else {"todo": as_json(todo)}
        namespace = self.app.websockets.find(Todos.path)
        if namespace is not None:
            namespace.broadcast({"type": kind, **what, "username": self.ctx["username"]}, self.ctx)


class TodosApi(TodoHandler):
    """/api/1/todo."""

    async def get(self) -> None:
        """The whole list, oldest first."""
        self.write_success([as_json(todo) for todo in await self.app.store.list_todos(MAX_TODOS)])

    async def post(self) -> None:
        """Make a todo."""
        fields = self.read_body(TodoFields).given()
        if "title" not in fields:
            raise ClientError("title: is missing")
        if await self.app.store.count_todos() >= MAX_TODOS:
            raise ClientError(f"The list is full with {MAX_TODOS} todos; delete some first", 409)
        now = self.app.clock()
        todo = Todo(id=new_id(), username=self.ctx["username"], created_at=now, updated_at=now, **fields)
        await self.app.store.add_todo(todo)
        self.set_header("Location", f"/api/1/todo/{todo.id}")
        self.answer_and_tell("todo-created", todo, 201)


class TodoApi(TodoHandler):
    """/api/1/todo/ID."""

    async def get(self, todo_id: str) -> None:
        """One todo."""
        self.write_success(as_json(self.found(await self.app.store.get_todo(todo_id))))

    async def put(self, todo_id: str) -> None:
        """Change the title, or whether it is completed; the whole todo may be sent as it was read."""
        body = self.read_body(WholeTodo)
        fields, fixed = body.given(), body.fixed()
        if not fields:
            raise ClientError("title: this or completed is needed")
        async with turn(todo_id):
            if fixed:
                self._check_fixed(fixed, self.found(await self.app.store.get_todo(todo_id)))
            changed = self.found(await self.app.store.update_todo(todo_id, self.app.clock(), **fields))
            self.answer_and_tell("todo-updated", changed)

    def _check_fixed(self, fixed: dict[str, Any], todo: Todo) -> None:
        """Refuse other values of what stays as it is."""
        present = as_json(todo)
        for name, value in fixed.items():
            if value != present[name]:
                raise ClientError(f"{name}: it cannot be changed")

    async def delete(self, todo_id: str) -> None:
        """Remove it."""
        async with turn(todo_id):
            self.answer_and_tell("todo-deleted", self.found(await self.app.store.delete_todo(todo_id)))


class TodoToggleApi(TodoHandler):
    """/api/1/todo/ID/toggle."""

    async def put(self, todo_id: str) -> None:
        """Turn completed into its opposite, in one step: two at once lose nothing."""
        async with turn(todo_id):
            toggled = self.found(await self.app.store.toggle_todo(todo_id, self.app.clock()))
            self.answer_and_tell("todo-updated", toggled)
