"""Tests of many processes: a real Redis that dies, freezes and lies, workers that are killed under load."""
