"""
The benchmarks: `python -m tests.bench` measures jPulse and its peers in one run, and prints one table.

What counts is the server's CPU time per delivery, which a noisy machine disturbs least:
messages per second tell as much of the load generator and of the neighbours.
"""
