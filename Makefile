# make search: sets up, trains and searches, prints the best architecture. make test: sets up, runs the suite.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv-$(notdir $(PYTHON))
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup search test check bench clean
help:
	@echo "make setup | search | test | check | bench    (PYTHON=python3.12 for another interpreter)"

setup: $(READY)

# The stamp is written last: an interrupted installation is done again.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nasjax needs Python >= 3.11, $(PYTHON) is " + sys.version.split()[0])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=77"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[dev]"
	@touch $@

search: $(READY)
	$(BIN)/nasjax search graphpnas_nb201_digits

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layout.py

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[bench]"
	$(BIN)/python benchmarks/child_training.py

clean:
	rm -rf .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
