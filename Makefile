# make quickstart: install what inference needs, then answer five questions about sample scenes.
# make test:       install everything, then run the tests. Those of the demo drive a Chromium: on Debian, root gets it
#                  installed; otherwise one line says what is missing, and without CI=1 they are skipped with that reason.
# make lint:       ruff (lint and format) and pyright.
# Each makes .venv when it is missing and installs again only after pyproject.toml or the constraints changed.

PYTHON ?= python3
CONSTRAINTS := constraints/cpu.txt
BIN := .venv/bin

.PHONY: quickstart test browser lint clean
.DELETE_ON_ERROR:

quickstart: .venv/installed
	$(BIN)/fusargpt quickstart

test: .venv/installed-dev browser
	$(BIN)/python -m pytest

browser: .venv/installed-dev
	@$(BIN)/python -m tests.space_app.browser >/dev/null || { \
	    test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	    apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; \
	    $(BIN)/python -m tests.space_app.browser || test -z "$$CI"; }

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
