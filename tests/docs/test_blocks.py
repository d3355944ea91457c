"""No block of code in the documentation is left out of the tests without saying why."""

from __future__ import annotations

from pathlib import Path

from .blocks import Block, all_blocks, included
from .story import commands, matches, replace_class

#: What the tests run, compare or parse. A block of another language would be shown and never tried.
RUN = {"sh", "text", "python", "js", "html", "json", "toml", "yaml"}
#: These stand in the repository and are only shown: they have tests of their own.
SHOWN = {"dockerfile", "ini", "nginx"}
#: Blocks with a comment that says why they are not run.
NOT_RUN = 5


def test_every_block_is_run_or_says_why_not() -> None:
    """A block is run, or shows a file of the repository, or has a comment with the reason."""
    left = [block for block in all_blocks() if not (block.excuse or block.includes)]
    assert [block.place for block in left if block.language not in RUN] == []
    assert [block.place for block in left if block.language == "python" and not block.title] == []


def test_few_blocks_are_not_run() -> None:
    """The number of blocks that are not run is known, so that it does not grow unseen."""
    excused = [f"{block.place}: {block.excuse}" for block in all_blocks() if block.excuse]
    assert len(excused) == NOT_RUN, excused


def test_what_is_included_is_there() -> None:
    """Files that are shown are in the repository."""
    blocks = [block for block in all_blocks() if block.includes]
    missing = [path for block in blocks for path in block.includes if not included(path).is_file()]
    assert missing == []
    assert [block.place for block in blocks if block.language not in RUN | SHOWN] == []


def test_there_are_blocks() -> None:
    """The documentation's blocks are found at all."""
    found = all_blocks()
    assert len(found) > 80
    assert {"README.md", "docs/tutorial.md", "docs/guides/namespaces.md"} <= {block.page for block in found}


def test_commands_of_a_block() -> None:
    """Each line is a command; a backslash joins lines, and comments are left out."""
    assert commands("# first\na \\\n  --b\n\nc 'd' # e\n") == ["a --b", "c 'd' # e"]


def test_expected_output() -> None:
    """Expected lines must come whole and in order; an ellipsis stands for anything."""
    printed = "start\nRan 3 tests in 0.2s\n\nOK\n"
    assert matches("Ran 3 tests in …\nOK\n", printed)
    assert not matches("OK\nRan 3 tests in …\n", printed)
    assert not matches("Ran 3 tests\n", printed)
    assert not matches("Ran 4 tests in …\n", printed)


def test_a_class_is_replaced() -> None:
    """A block that is a class takes the place of the class of its name, and nothing else changes."""
    before = "import a\n\n\nclass B:\n    x = 1\n\n    def f(self):\n        pass\n\n\ny = 2\n"
    assert (
        replace_class(before, "B", "class B:\n    x = 3\n")
        == "import a\n\n\nclass B:\n    x = 3\n\n\ny = 2\n"
    )


def test_markers_are_told_from_the_text_before() -> None:
    """A block has the excuse of the line before its fence, and none from further up."""
    found = {Path(block.page).name: block for block in all_blocks() if block.excuse}
    assert {"tutorial.md", "processes.md", "testing.md", "deployment.md"} == set(found)
    assert all(isinstance(block, Block) and len(block.excuse) > 10 for block in found.values())
