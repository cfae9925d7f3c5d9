# make quickstart: install what inference needs, then answer five questions about sample scenes.
# make test:       install everything, then run the tests.
# make lint:       ruff (lint and format) and pyright.
# Each makes .venv when it is missing and installs again only after pyproject.toml or the constraints changed.

PYTHON ?= python3
CONSTRAINTS := constraints/cpu.txt
BIN := .venv/bin

.PHONY: quickstart test lint clean
.DELETE_ON_ERROR:

quickstart: .venv/installed
	$(BIN)/fusargpt quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.venv/installed: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fusargpt needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist
