"""Where users, sessions, todos and notes are kept: one interface, an embedded store and MongoDB."""
