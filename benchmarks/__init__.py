"""Timings against peers and limits: `python -m benchmarks.NAME` from the root of the repository."""
