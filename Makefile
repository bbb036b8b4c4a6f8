# What this repository can do; `make help` lists it.

PYTHON ?= python3
PORT ?= 8080
ARCHITECTURE ?= arm64
TO ?= dev

BIN := .venv/bin
INSTALLED := .venv/.installed
SAM := SAM_CLI_TELEMETRY=0 $(BIN)/uv tool run --from aws-sam-cli==1.170.0 sam

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast bench lint format openapi validate build deploy clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED)  ## the virtual environment .venv, once (PYTHON=python3.13)

$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13 ...'; exit 1; }
	@echo 'Installing requirements.txt into .venv: about 1.2 GB, a minute or two, once ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--requirement requirements.txt
	@touch $@

demo: $(INSTALLED)  ## train, publish, serve and watch on this machine (ONCE=1 ends after it, PORT=8080)
	@$(BIN)/python -m local demo --port $(PORT) $(if $(ONCE),--once)

test: $(INSTALLED)  ## every test
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-fast: $(INSTALLED)  ## unit, property and contract tests: under a minute on two cores
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		tests/unit tests/property tests/contract

bench: $(INSTALLED)  ## how fast this project is, beside its peers (QUICK=1: two minutes)
	@$(BIN)/python -m benchmarks speed $(if $(QUICK),--quick)

lint: $(INSTALLED)  ## ruff, mypy and the layers of the packages
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED)  ## let ruff fix and format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# The committed document is the contract; tests/contract fails when it drifts from the code.
openapi: $(INSTALLED)  ## write openapi.json from the code
	@$(BIN)/python -m local openapi > openapi.json

validate: $(INSTALLED)  ## check the template with SAM's linter
	@$(SAM) validate --lint

build: $(INSTALLED)  ## the deployable package (ARCHITECTURE=arm64 or x86_64)
	@PATH="$(CURDIR)/$(BIN):$$PATH" ARCHITECTURE=$(ARCHITECTURE) $(SAM) build \
		--parameter-overrides Architecture=$(ARCHITECTURE)

# TO=prod deploys the prod environment of samconfig.toml. The stack has to know what the package
# was built for, and the option replaces samconfig.toml's parameters: hence they are repeated.
deploy: PARAMETERS = $(shell \
	sed -n '/^\[$(TO)\./,/^\[/ s/^parameter_overrides = "\(.*\)"/\1/p' samconfig.toml)
deploy: build  ## build and deploy (TO=dev or prod)
	@$(SAM) deploy --config-env $(TO) \
		--parameter-overrides "$(PARAMETERS) Architecture=$(ARCHITECTURE)"

clean:  ## remove all that these targets made
	@rm -rf .venv .venv-bench .aws-sam runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
