# Foldwright: `make demo` and `make test` set up everything they need in .venv, with python3 and pip alone.
#
#   PYTHON=python3.12   another interpreter (3.11 or newer)
#   TORCH=...           what pip installs as torch; give a CPU-only wheel here to save a large download
#   PYTEST_ARGS=...     passed on to pytest by `make test`
#   PARALLEL=           tests in one process; by default a process a core, four at most, each a file at a time

PYTHON ?= python3
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile
DEMO_OUT ?= demo

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Compiled numba kernels live with the environment, so that a second run starts fast.
export NUMBA_CACHE_DIR := $(CURDIR)/$(VENV)/numba

.PHONY: help venv demo test check format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up, then find an accelerator for a small network and write its report"
	@echo "make test    set up, then run the tests"
	@echo "make check   format, lint, types, then the tests"
	@echo "make venv    set up .venv with everything for development"
	@echo "make format  let ruff format the code and sort imports"
	@echo "make clean   remove .venv and what the demo wrote"

# The interpreter itself is a link out of .venv, so its date says nothing: hence stamps.
$(VENV)/venv.stamp: | tools/make_venv.py
	@$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

# What a user needs: no torch, no compiler, no tool of a vendor.
$(VENV)/core.stamp: pyproject.toml $(VENV)/venv.stamp
	@echo "installing Foldwright into $(VENV) (once, about 600 MB)"
	@$(PIP) install --editable .
	@touch $@

# What the tests need. torch is pinned and comes first: left open, it brings gigabytes along.
$(VENV)/dev.stamp: pyproject.toml $(VENV)/venv.stamp
	@echo "installing Foldwright with torch and the development tools into $(VENV) (once, about 2 GB)"
	@$(PIP) install "$(TORCH)"
	@$(PIP) install --editable ".[rl,train,build,dev]"
	@touch $@ $(VENV)/core.stamp

venv: $(VENV)/dev.stamp

demo: $(VENV)/core.stamp
	@$(BIN)/foldwright demo --out $(DEMO_OUT)

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy --explicit-package-bases tests benchmarks tools
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

format: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO_OUT) build dist
