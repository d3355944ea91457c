"""Tests of the stores: one contract for both, and what is each one's own."""
