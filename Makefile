# `make demo` shows the leaks of two real stories found and contained; `make test` checks everything.

# The first Python that CubicWeb 5 runs on; `make PYTHON=python3.12 …` takes another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
VENV_DEMO := .venv-demo

DEMO_PORT ?= 8080
DEMO_FOR ?=
DEMO_JSON ?=
DEMO_OPTIONS := --port $(DEMO_PORT) $(if $(DEMO_FOR),--for $(DEMO_FOR)) $(if $(filter-out 0,$(DEMO_JSON)),--json)

# Many tests wait for processes of theirs: two at a time take half as long.
PYTEST_OPTIONS ?= -n 2 --dist loadfile

.PHONY: help demo test test-postgresql check pytest manual docs screenshots clean

help:
	@echo "make demo   serve a leaking CubicWeb site on 127.0.0.1:8080 and watch its leaks being found and contained"
	@echo "            (DEMO_PORT=8081 another port, DEMO_FOR=120 end by itself and judge, DEMO_JSON=1 say it in JSON)"
	@echo "make test   every check and every test"
	@echo "make test-postgresql  the integration tests once more, every instance on PostgreSQL"
	@echo "make check  the checks alone: ruff, mypy, import contracts, manifest"
	@echo "make manual the page of the commands and the man page, from the commands' declarations"
	@echo "make docs   the manual as HTML, in build/docs"
	@echo "make screenshots  the manual's pictures, from the tests in a browser"
	@echo "make clean  remove the environments and what was built"

# A recipe's talk goes to stderr, so that `make -s demo DEMO_JSON=1` prints one JSON document.
demo: $(VENV_DEMO)/installed
	@$(VENV_DEMO)/bin/python -m cubicweb_leakdemo.runner --home build/demo $(DEMO_OPTIONS)

test: check pytest

check: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy cubicweb_leakwatch
	$(VENV)/bin/lint-imports
	$(VENV)/bin/check-manifest

pytest: $(VENV)/installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest $(PYTEST_OPTIONS)

test-postgresql: $(VENV)/installed
	LEAKWATCH_TEST_DB=postgres PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest $(PYTEST_OPTIONS) test/integration

$(VENV)/installed: pyproject.toml demo/pyproject.toml
	$(MAKE) --no-print-directory environment FOLDER=$(VENV) PACKAGES='-e .[test] -e ./demo'
	@touch $@

$(VENV_DEMO)/installed: pyproject.toml demo/pyproject.toml
	@$(MAKE) --no-print-directory environment FOLDER=$(VENV_DEMO) PACKAGES='-e . -e ./demo' >&2
	@touch $@

.PHONY: environment
environment:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 on the PATH: name one with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(FOLDER)
	$(FOLDER)/bin/python -m pip install --quiet $(PACKAGES)

# What is made of the commands' declarations; a test fails when it is stale.
manual: $(VENV)/installed
	$(VENV)/bin/leakwatch --manual rst >docs/commands.rst
	$(VENV)/bin/leakwatch --manual man >docs/leakwatch.1

docs: $(VENV)/installed
	$(VENV)/bin/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

# The pictures of the manual: taken by the tests in a real browser, made small, put beside the pages.
screenshots: $(VENV)/installed
	LEAKWATCH_PICTURES=1 PATH="$(CURDIR)/$(VENV)/bin:$$PATH" \
		$(VENV)/bin/python -m pytest -q test/integration/test_in_the_browser.py
	$(VENV)/bin/python test/helpers/pictures.py build/screenshots docs/images

clean:
	rm -rf $(VENV) $(VENV_DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
