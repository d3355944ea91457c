"""`jpulse new NAME`: a project with one namespace, one page and one passing test."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import __version__
from ..errors import SettingsError

USAGE = "new NAME"
#: What a new project is made from; the files' names end with SUFFIX, so that nothing takes them for code.
PROJECT = Path(__file__).parent / "project"
SUFFIX = ".template"
MAX_NAME_LENGTH = 64
#: `import NAME` finds something else.
TAKEN = {"app", "handlers", "jpulse", "tests", *sys.stdlib_module_names}
#: /NAME/ is where jPulse has pages, REST and files of its own, which those of the project would hide.
SERVED = {"admin", "api", "auth", "static"}


def run(words: Sequence[str], folder: Path, jpulse: str, python: str) -> int:
    """Do what the words after `new` ask for, in a folder; the last two are how to call them from a shell."""
    if len(words) != 1:
        raise SettingsError(f"usage: {USAGE}")
    name = words[0]
    for path in make_project(name, folder):
        print(f"made {path.relative_to(folder)}")
    print(
        f"\nTo serve it at http://127.0.0.1:8080/:\n\n    cd {name}\n    {jpulse} --app app\n"
        f"\nTo run its test:\n\n    {python} -m unittest"
    )
    return 0


def make_project(name: str, folder: Path) -> list[Path]:
    """
    Make the files of a new project in `folder`/`name` and return their paths.

    SettingsError, and nothing is left behind, if the name is none, is in use, or cannot be written.
    """
    check_name(name)
    target = folder / name
    try:
        target.mkdir()
    except FileExistsError:
        raise SettingsError(f"new: {name} is there already; choose another name, or remove it") from None
    except OSError as error:
        raise SettingsError(f"new: cannot make {target}: {error.strerror}") from None
    try:
        return [_write(target / path, text) for path, text in files(name)]
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise SettingsError(f"new: cannot write {error.filename}: {error.strerror}") from None


def check_name(name: str) -> None:
    """Refuse a name that Python cannot import, or that means something else already."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or len(name) > MAX_NAME_LENGTH:
        raise SettingsError(
            f"new: {name!r:.80} is no name of a project; use 1 to {MAX_NAME_LENGTH} letters, digits and _, "
            "a letter first"
        )
    if keyword.iskeyword(name) or name in TAKEN:
        raise SettingsError(f"new: {name} means something else in Python; choose another name")
    if name in SERVED:
        raise SettingsError(f"new: /{name}/ is an address of jPulse's own; choose another name")


def files(name: str) -> Iterator[tuple[str, str]]:
    """The paths and texts of a project's files."""
    title = name[:1].upper() + name[1:].replace("_", " ").rstrip()
    values = {"__NAME__": name, "__TITLE__": title, "__CLASS__": class_name(name), "__VERSION__": __version__}
    for template in sorted(PROJECT.rglob("*" + SUFFIX)):
        text = template.read_text(encoding="utf-8")
        for mark, value in values.items():
            text = text.replace(mark, value)
        yield str(template.relative_to(PROJECT)).removesuffix(SUFFIX), text


def class_name(name: str) -> str:
    """`team_chat` → `TeamChat`; with a suffix where the code has that name for something else."""
    joined = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    code = (PROJECT / f"app.py{SUFFIX}").read_text(encoding="utf-8")
    return f"{joined}Namespace" if re.search(rf"\b{joined}\b", code) else joined


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
