"""Tests of what runs in the browser."""
