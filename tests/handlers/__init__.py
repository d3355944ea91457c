"""Tests of the first application."""
