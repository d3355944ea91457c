"""Names of users, and what makes two spellings the same; names of roles."""

from __future__ import annotations

import unicodedata

#: What a user can be; root may do all.
ROLES = ("user", "admin", "root")


def name_key(username: str) -> str:
    """Reduce the spellings of a name to one: NFKC, case folded, no blanks around it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold()).strip()
