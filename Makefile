# Switchboard. `make serve` and `make test` do all the set-up themselves.

# Debian's own interpreter is built with optimization, which those of version managers often are not: it is taken where
# it is new enough. `make PYTHON=… install` takes another.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

.PHONY: help install dev compile serve test check format lock bench docs clean
.DEFAULT_GOAL := help

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (Debian: apt-get install python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing; installing python3-venv"; \
		tools/apt-install python3-venv; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: requirements.txt pyproject.toml tools/compile.py | $(VENV)/.made
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

install: $(VENV)/.installed  ## Install the program into .venv

dev: $(VENV)/.dev  ## … and what tests and checks need

compile: $(VENV)/.installed  ## Compile anew what was compiled and has changed since
	$(BIN)/python tools/compile.py

serve: $(VENV)/.installed  ## Serve on 127.0.0.1:8000
	@PORT=$(PORT) $(BIN)/switchboard serve

tests/clients/node_modules/.installed: tests/clients/package-lock.json $(VENV)/.dev
	cd tests/clients && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

test: $(VENV)/.dev tests/clients/node_modules/.installed  ## Run all tests
	@command -v chromium >/dev/null || tools/apt-install chromium
	@command -v nginx >/dev/null || tools/apt-install nginx-light
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: $(VENV)/.dev  ## Style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev  ## Bring the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/.dev  ## Choose the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q -U $(LOCK) --extra build --extra offline pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q -U $(LOCK) --extra build --extra offline --extra dev pyproject.toml -o requirements-dev.txt
LOCK := --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal --python-version 3.11

bench: $(VENV)/.dev compile  ## Measure against nginx (takes a few minutes, needs root)
	@command -v nginx >/dev/null && command -v wrk >/dev/null || tools/apt-install nginx-light wrk
	$(BIN)/python -m bench

docs: $(VENV)/.dev  ## Make the pages that are made from code
	$(BIN)/python -m docs.make

clean:  ## Remove what was made
	find src -name "*.so" -delete; rm -rf $(VENV) build src/switchboard/compiled.json tests/clients/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/run
