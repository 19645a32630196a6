# Each target works alone from a clean clone with only Python and make; a second run installs nothing.

PYTHON ?= python3
BIN := .venv/bin

# A file of tests stays in one of the two processes, so that what its tests share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: demo test test-slow test-all check clean

demo: .venv/installed
	$(BIN)/seasoning demo

# The fast tier: at most five minutes on two quiet cores.
test: .venv/installed-dev
	$(PYTEST) -m "not slow"

# The rest: what is thorough and takes long.
test-slow: .venv/installed-dev
	$(PYTEST) -m slow

test-all: test test-slow

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'seasoning needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch .venv/installed $@
