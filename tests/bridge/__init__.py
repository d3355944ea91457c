"""Tests of the bridge: what travels over it, and Redis as the way."""
