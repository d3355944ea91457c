"""Tests mirror modules: tests/test_wire.py holds what jpulse/wire.py must do."""
