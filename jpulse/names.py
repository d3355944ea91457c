"""Names of users: what makes two spellings the same."""

from __future__ import annotations

import unicodedata


def name_key(username: str) -> str:
    """Reduce the spellings of a name to one: NFKC, case folded, no blanks around it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold()).strip()
