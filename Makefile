# make demo   the whole line on this machine: data, training, bucket, API (ONCE=1, PORT=8080)
# make test   every test
# make lint   ruff and mypy
# make bench  this project beside its peers: table, picture, figures (QUICK=1: two minutes)
# make build  the deployable package (ARCHITECTURE=arm64 or x86_64)

PYTHON ?= python3
PORT ?= 8080
ARCHITECTURE ?= arm64
TO ?= dev

BIN := .venv/bin
INSTALLED := .venv/.installed
SAM := SAM_CLI_TELEMETRY=0 $(BIN)/uv tool run --from aws-sam-cli==1.170.0 sam

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint format openapi validate build deploy clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13 ...'; exit 1; }
	@echo 'Installing requirements.txt into .venv: about 1.2 GB, a minute or two, once ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--requirement requirements.txt --constraint constraints.txt
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python -m local demo --port $(PORT) $(if $(ONCE),--once)

test: $(INSTALLED)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks.speed $(if $(QUICK),--quick)

lint: $(INSTALLED)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(INSTALLED)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# The committed document is the contract; tests/contract fails when it drifts from the code.
openapi: $(INSTALLED)
	@$(BIN)/python -m local openapi > openapi.json

validate: $(INSTALLED)
	@$(SAM) validate --lint

build: $(INSTALLED)
	@PATH="$(CURDIR)/$(BIN):$$PATH" ARCHITECTURE=$(ARCHITECTURE) $(SAM) build \
		--parameter-overrides Architecture=$(ARCHITECTURE)

# TO=prod deploys the prod environment of samconfig.toml. The stack must be told what the package
# was built for, and an option replaces what samconfig.toml says: hence its parameters once more.
deploy: PARAMETERS = $(shell \
	sed -n '/^\[$(TO)\./,/^\[/ s/^parameter_overrides = "\(.*\)"/\1/p' samconfig.toml)
deploy: build
	@$(SAM) deploy --config-env $(TO) \
		--parameter-overrides "$(PARAMETERS) Architecture=$(ARCHITECTURE)"

clean:
	@rm -rf .venv .venv-bench .aws-sam runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info \
		functions/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
