"""Studies whose results lie in `docs/results`: `python -m experiments.NAME` from the root of the repository."""
