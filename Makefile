# acoustic-sms-runner: `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# Any Python from 3.11 on; set PYTHON to choose one.
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3 2>/dev/null))
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is renewed whenever what is pinned or declared changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt "pip>=25.1"
	PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

.PHONY: setup
setup: $(VENV)/.installed  ## make the virtual environment with the pinned packages

.PHONY: demo
demo: setup  ## send a sample file to the sandbox; results are left in demo/
	@rm -rf demo && mkdir demo && cp sample_csv/campaign.csv demo/
	@cd demo && ../$(BIN)/sms-runner send campaign.csv --sandbox --latency-ms 400 --yes
	@cd demo && ../$(BIN)/sms-runner show --sandbox
	@echo "Look at demo/campaign.results.csv; a second send of the same file would send nothing."

.PHONY: test
test: setup  ## run the whole test suite
	@$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

SOAK_SECONDS ?= 600
.PHONY: soak
soak: setup  ## try to break the promises for SOAK_SECONDS (600): simulation, then kills
	@$(BIN)/python tests/simulation/soak.py --seconds $$(($(SOAK_SECONDS) / 2))
	@$(BIN)/python tests/chaos/soak.py --seconds $$(($(SOAK_SECONDS) / 2))

.PHONY: bench-setup
bench-setup: setup  ## install the peers the benchmarks run against (apt and npm)
	@bash benchmarks/setup.sh

.PHONY: bench
bench: setup  ## measure, and renew docs/performance.md; takes most of an hour
	@$(BIN)/python -m benchmarks.run --publish

.PHONY: lint
lint: setup  ## check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: setup  ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: clean
clean:  ## remove the virtual environment and what the tools left behind
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
