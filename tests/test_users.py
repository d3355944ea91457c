"""Users on the command line, as processes of their own, and the first start of a server."""

from __future__ import annotations

import fcntl
import os
import re
import select
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from handlers.__main__ import main

from .conftest import ADMIN_PASSWORD, ROOT, Server, wait_until
from .patience import LONG_SECONDS, Stopwatch
from .visitor import LOGIN, Visitor, data_dir

PASSWORD = "anns password"
RUN = (sys.executable, str(ROOT / "run.py"), "user")
#: Without what a developer may have set.
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("JPULSE_")}
Done = subprocess.CompletedProcess[str]


class Office:
    """A store, and the command line that manages its users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, password: str | None = PASSWORD) -> Done:
        """Run `user …` in a process, where nobody is there to type."""
        given = {} if password is None else {"JPULSE_PASSWORD": password}
        return subprocess.run(
            [*RUN, *words, "--data-dir", str(self.folder)],
            env={**ENVIRON, **given},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
            timeout=60,
        )

    def call(self, *words: str, password: str = PASSWORD) -> Done:
        """Run `user …` in this process, which is sooner done."""
        out, err = StringIO(), StringIO()
        argv = ["user", *words, "--data-dir", str(self.folder)]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("JPULSE_PASSWORD", password)
            patch.setattr(sys, "path", list(sys.path))
            status = main(argv)
        return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())

    def well(self, *words: str, password: str = PASSWORD) -> str:
        """Run what must work, and return what it prints."""
        done = self.call(*words, password=password)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def users(self) -> dict[str, tuple[str, str]]:
        """State and roles of every user, as `user list` has them."""
        lines = [re.split(r"\s{2,}", line.strip()) for line in self.well("list").splitlines()]
        return {line[0]: (line[1], line[2]) for line in lines}

    def hashes(self) -> dict[str, str]:
        """Every user's hash."""
        with closing(sqlite3.connect(self.folder / "jpulse.db")) as connection:
            return dict(connection.execute("SELECT key, password_hash FROM users"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = Office(tmp_path_factory.mktemp("office") / "data")
    done = office.run("add", "Ann")
    assert (done.returncode, done.stdout, done.stderr) == (0, "added Ann (user)\n", "")
    return office


@pytest.fixture
def office(shared: Office) -> Iterator[Office]:
    """An office where Ann works; tests leave her as she was."""
    yield shared
    assert shared.users()["Ann"] == ("active", "user")


def one_line(done: Done, status: int, *words: str) -> str:
    """Check that a command failed with one line on standard error that has these words."""
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("jpulse: ")
    assert [word for word in words if word not in done.stderr] == []
    return done.stderr


# Adding and changing


def test_add(office: Office) -> None:
    """A user is added with the role user, or with those that are named, and is in the list."""
    office.well("add", "Bob", "--roles", "user,admin")
    office.well("add", "--roles", " root , admin ", " jürgen@example.com ")
    users = office.users()
    assert list(users) == ["Ann", "Bob", "jürgen@example.com"]
    assert users["Bob"] == ("active", "user,admin")
    assert sorted(users["jürgen@example.com"][1].split(",")) == ["admin", "root"]
    assert all(each.startswith("$2b$12$") for each in office.hashes().values())


@pytest.mark.parametrize("name", ["ann", "ANN", " Ann ", "\uff21nn"], ids=ascii)
def test_add_twice(office: Office, name: str) -> None:
    """A name that is taken, in any spelling, is refused and stays as it was."""
    before = office.hashes()["ann"]
    one_line(office.call("add", name, password="another password"), 1, "username", "taken")
    assert office.hashes()["ann"] == before


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 65, "a\nb", "<b>", "\udcff", "$ne"], ids=ascii)
def test_bad_names(office: Office, name: str) -> None:
    """What is no name is refused, naming the field."""
    one_line(office.call("add", name), 1, "username")


@pytest.mark.parametrize(
    ("password", "word"),
    [("", "8"), ("1234567", "8"), ("x" * 73, "72"), ("ä" * 37, "72"), ("1234567\udcff", "")],
    ids=ascii,
)
def test_bad_passwords(office: Office, password: str, word: str) -> None:
    """A password that is too short, too long, or no text is refused by add and passwd, saying why."""
    for words in (("add", "Nobody"), ("passwd", "Ann")):
        error = one_line(office.call(*words, password=password), 1, "password", word)
        assert password not in error or not password
    assert "nobody" not in office.hashes()


def test_bad_roles(office: Office) -> None:
    """A role that there is not is refused, naming it and those that there are."""
    for words in (("add", "Nobody", "--roles", "user,king"), ("roles", "Ann", "--roles", "king")):
        one_line(office.call(*words), 1, "roles", "king", "user, admin, root")
    assert "nobody" not in office.hashes()


def test_passwd(office: Office) -> None:
    """passwd changes the password, whatever the spelling of the name."""
    before = office.hashes()["ann"]
    assert PASSWORD not in office.well("passwd", " ANN")
    assert office.hashes()["ann"] != before


def test_enable_and_disable(office: Office) -> None:
    """disable and enable are shown in the list, and may be repeated."""
    for verb, state in (
        ("disable", "disabled"),
        ("disable", "disabled"),
        ("enable", "active"),
        ("enable", "active"),
    ):
        office.well(verb, "ann")
        assert office.users()["Ann"] == (state, "user")


def test_roles(office: Office) -> None:
    """roles gives exactly the roles that are named."""
    office.well("roles", "ann", "--roles", "admin,user")
    assert office.users()["Ann"][1] == "user,admin"
    office.well("roles", "ann", "--roles", "user")
    assert office.users()["Ann"][1] == "user"


def test_unknown_user(office: Office) -> None:
    """Changing a user who does not exist is an error with exit status 1, before a password is asked for."""
    one_line(office.run("passwd", "nobody", password=None), 1, "nobody")
    for words in (("enable", "nobody"), ("disable", "nobody"), ("roles", "nobody", "--roles", "user")):
        one_line(office.call(*words), 1, "nobody")


def test_bytes_that_are_no_text(office: Office) -> None:
    """A name of bytes that are no UTF-8 is no name, on a real command line too."""
    one_line(office.run("add", "\udcff"), 1, "username")
    one_line(office.run("enable", "\udcff"), 1)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("add",),
        ("add", "a", "b"),
        ("passwd",),
        ("list", "x"),
        ("roles", "ann"),
        ("remove", "ann"),
        ("add", "x", "--role", "user"),
        ("list", "--port", "x"),
        ("ADD", "x"),
    ],
    ids=" ".join,
)
def test_usage(office: Office, words: tuple[str, ...]) -> None:
    """A command that is no command is answered with one line and exit status 2, and changes nothing."""
    before = office.hashes()
    one_line(office.call(*words), 2)
    assert office.hashes() == before


def test_other_commands(office: Office) -> None:
    """Another word than user is answered with one line that says what there is, and exit status 2."""
    command = [*RUN[:2], "users", "list", "--data-dir", str(office.folder)]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False, timeout=60)
    one_line(done, 2, "users", "user list")


def test_roles_without_a_command() -> None:
    """--roles without a command is a mistake, not a server."""
    command = [*RUN[:2], "--roles", "user", "--port", "0"]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False, timeout=60)
    one_line(done, 2, "--roles")


def test_store_that_cannot_be(tmp_path: Path) -> None:
    """A store that cannot be used is a one-line error that names the setting."""
    (tmp_path / "file").write_text("x")
    one_line(Office(tmp_path / "file").call("list"), 1, "data_dir")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "jpulse.db").write_bytes(b"no database" * 1000)
    one_line(Office(tmp_path / "bad").call("add", "x"), 1, "data_dir")


def test_list_has_no_hash(office: Office) -> None:
    """The list shows names, states, roles and dates, and no hash."""
    shown = office.well("list")
    assert "$2b$" not in shown
    assert re.search(r"^Ann +active +user +\d{4}-\d\d-\d\dT", shown, re.MULTILINE)


def test_same_user_at_once(office: Office) -> None:
    """Of two commands that add the same user at once one wins and the other is told so."""
    commands = [[*RUN, "add", name, "--data-dir", str(office.folder)] for name in ("Twin", "TWIN")]
    environ = {**ENVIRON, "JPULSE_PASSWORD": PASSWORD}
    running = [
        subprocess.Popen(each, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for each in commands
    ]
    outputs = [each.communicate(timeout=60) for each in running]
    assert sorted(each.returncode for each in running) == [0, 1]
    assert b"".join(err for _, err in outputs).count(b"taken") == 1


# The password


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, office: Office, *words: str, password: str | None = None) -> None:
        self.master, slave = os.openpty()
        given = {} if password is None else {"JPULSE_PASSWORD": password}
        self.process = subprocess.Popen(
            [*RUN, *words, "--data-dir", str(office.folder)],
            env={**ENVIRON, **given},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)

    def wait_for(self, pattern: str) -> None:
        """Read until something is shown."""
        watch = Stopwatch()
        while not re.search(pattern, self.shown):
            assert not watch.is_over(10), self.shown
            assert self._read(), self.shown

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 1)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += data.decode()
        return bool(data)

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.master, text.encode())

    def end(self, seconds: float = 10) -> int:
        """Read the rest and return the exit status."""
        watch = Stopwatch()
        while self._read():
            assert not watch.is_over(seconds), f"it goes on: {self.shown}"
        return self.process.wait(LONG_SECONDS)


def test_password_is_asked_for_twice(office: Office) -> None:
    """On a terminal the password is asked for twice and not shown."""
    before = office.hashes()["ann"]
    with Terminal(office, "passwd", "ann") as terminal:
        terminal.wait_for("Password: ")
        terminal.type(PASSWORD + "\n")
        terminal.wait_for("again: ")
        terminal.type(PASSWORD + "\n")
        assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    assert office.hashes()["ann"] != before


def test_passwords_that_differ(office: Office) -> None:
    """Two passwords that differ change nothing."""
    before = office.hashes()["ann"]
    with Terminal(office, "passwd", "ann") as terminal:
        terminal.wait_for("Password: ")
        terminal.type(PASSWORD + "\n")
        terminal.wait_for("again: ")
        terminal.type(PASSWORD + "x\n")
        assert terminal.end() == 1
    assert "Traceback" not in terminal.shown
    assert "not the same" in terminal.shown
    assert office.hashes()["ann"] == before


@pytest.mark.parametrize("typed", ["short\n", "\n", "\x04"], ids=ascii)
def test_password_that_cannot_be_is_told_at_once(office: Office, typed: str) -> None:
    """A password that is too short, or none, is told without asking for it again."""
    with Terminal(office, "add", "Nobody") as terminal:
        terminal.wait_for("Password: ")
        terminal.type(typed)
        assert terminal.end() == 1
    assert "password: " in terminal.shown
    assert "Traceback" not in terminal.shown
    assert "again" not in terminal.shown


def test_interrupt_at_the_password(office: Office) -> None:
    """Ctrl-C at the question for the password ends the command, without a traceback."""
    with Terminal(office, "add", "Nobody") as terminal:
        terminal.wait_for("Password: ")
        terminal.type("\x03")
        assert terminal.end(5) != 0
    assert "Traceback" not in terminal.shown
    assert "nobody" not in office.hashes()


def test_password_from_the_environment(office: Office) -> None:
    """With JPULSE_PASSWORD nothing is asked for, also on a terminal."""
    with Terminal(office, "passwd", "ann", password=PASSWORD) as terminal:
        assert terminal.end() == 0
    assert "assword: " not in terminal.shown


def test_nobody_is_there_to_type(office: Office) -> None:
    """Without a terminal and without JPULSE_PASSWORD the command says what to set."""
    done = office.run("add", "Nobody", password=None)
    assert done.returncode == 1
    assert "JPULSE_PASSWORD" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nobody" not in office.hashes()


@pytest.mark.parametrize(
    ("written", "status", "word"),
    [
        (f"{PASSWORD}\n{PASSWORD}\n", 0, ""),
        (f"{PASSWORD}\r\n{PASSWORD}", 0, ""),
        (f"{PASSWORD}\n{PASSWORD}x\n", 1, "not the same"),
        (f"{PASSWORD}\n", 1, "JPULSE_PASSWORD"),
        ("short\nshort\n", 1, "8 characters"),
        (f"{PASSWORD}\udcff\n" * 2, 1, "password: "),
    ],
    ids=ascii,
)
def test_password_from_a_pipe(office: Office, written: str, status: int, word: str) -> None:
    """A program may write the password twice, a line each; nothing of it is shown."""
    before = office.hashes()["ann"]
    done = subprocess.run(
        [*RUN, "passwd", "ann", "--data-dir", str(office.folder)],
        env=ENVIRON,
        input=written.encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=False,
        timeout=30,
    )
    told = done.stderr.decode()
    assert (done.returncode, told.count("\n"), word in told) == (status, 1 if status else 0, True)
    assert PASSWORD not in done.stdout.decode() + told
    assert (office.hashes()["ann"] == before) is bool(status)


def test_password_is_no_argument(office: Office) -> None:
    """A password cannot be given as an argument, where the list of processes would show it."""
    one_line(office.call("add", "Nobody", "--password", PASSWORD), 2)
    one_line(office.call("add", "Nobody", PASSWORD), 2)
    with Terminal(office, "add", "Nobody") as terminal:
        terminal.wait_for("Password: ")
        terminal.type(PASSWORD + "\n")
        terminal.wait_for("again: ")
        shown = Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
        assert b"add" in shown
        assert PASSWORD.encode() not in shown
        terminal.type("\x04")
        assert terminal.end() == 1


# The first start


def printed(server: Server) -> list[str]:
    """The passwords that a server told."""
    wait_until(lambda: "serves http" in server.log)
    return re.findall(r"sign in as admin with the password (\S+)", server.log)


def test_first_start(serve: Callable[..., Server]) -> None:
    """On the first start an admin is made, whose random password is printed once and never again."""
    server = serve(fresh=True)
    [password] = printed(server)
    assert len(password) >= 12
    visitor = Visitor(server.port)
    visitor.sign_in("admin", password)
    assert visitor.user is not None
    assert "admin" in visitor.user["roles"]
    server.restart()
    assert printed(server) == [password]
    assert visitor.user is not None
    assert visitor.post(LOGIN, {"username": "admin", "password": password}).status == 200
    assert (data_dir(server) / "jpulse.db").stat().st_mode & 0o777 == 0o600


def test_first_start_with_a_password(serve: Callable[..., Server]) -> None:
    """JPULSE_ADMIN_PASSWORD is the admin's password on the first start, is not printed, and later ignored."""
    server = serve(fresh=True, environ={"JPULSE_ADMIN_PASSWORD": ADMIN_PASSWORD})
    assert printed(server) == []
    assert ADMIN_PASSWORD not in server.log
    Visitor(server.port).sign_in("admin", ADMIN_PASSWORD)
    server._environ["JPULSE_ADMIN_PASSWORD"] = "another password"
    server.restart()
    Visitor(server.port).sign_in("admin", ADMIN_PASSWORD)


def test_no_first_start_with_users(serve: Callable[..., Server]) -> None:
    """With any user in the store no admin is made."""
    assert printed(serve(environ={"JPULSE_ADMIN_PASSWORD": "another password"})) == []


@pytest.mark.parametrize("password", ["short", "x" * 73])
def test_first_start_with_a_bad_password(tmp_path: Path, password: str) -> None:
    """A JPULSE_ADMIN_PASSWORD that cannot be is a one-line error that names it, with exit status 2."""
    done = subprocess.run(
        [*RUN[:2], "--port", "0", "--data-dir", str(tmp_path / "data")],
        env={**ENVIRON, "JPULSE_ADMIN_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    error = one_line(done, 2, "JPULSE_ADMIN_PASSWORD")
    assert password not in error
