"""Names of users: which spellings are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpulse.names import name_key


@pytest.mark.parametrize(
    "spelling",
    ["ann", "ANN", "Ann", "  ann\t", "\uff21\uff4e\uff4e", "\u00a0ann\u3000"],
    ids=repr,
)
def test_spellings_of_one_name(spelling: str) -> None:
    """Case, width and blanks around a name do not make another name."""
    assert name_key(spelling) == "ann"


@pytest.mark.parametrize(
    ("one", "other"),
    [("straße", "STRASSE"), ("\u00c5se", "a\u030ase"), ("ﬁn", "FIN"), ("Σίσυφος", "ΣΊΣΥΦΟΣ")],
    ids=repr,
)
def test_spellings_that_unicode_has(one: str, other: str) -> None:
    """What Unicode has as the same, folded and normalised by NFKC, is the same name."""
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(("one", "other"), [("ann", "anne"), ("ann", "änn"), ("a nn", "ann"), ("o", "0")])
def test_different_names(one: str, other: str) -> None:
    """Names that only look alike are different."""
    assert name_key(one) != name_key(other)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_key_of_any_key(name: str) -> None:
    """The key of a key is itself, so that it does not matter how often a name was reduced."""
    assert name_key(name_key(name)) == name_key(name)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_key_of_any_spelling(name: str) -> None:
    """Composed or decomposed, a name has one key."""
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert name_key(composed) == name_key(decomposed)
