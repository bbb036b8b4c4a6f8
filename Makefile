# What this repository can do; `make help` lists it.

PYTHON ?= python3
PORT ?= 8080
ARCHITECTURE ?= arm64
TO ?= dev

BIN := .venv/bin
INSTALLED := .venv/.installed
SAMCONFIG := .aws-sam/samconfig.yaml
SAM := SAM_CLI_TELEMETRY=0 $(BIN)/uv tool run --from aws-sam-cli==1.170.0 sam

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast bench lint format openapi docs schema validate build deploy clean always

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
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

test-fast: $(INSTALLED)  ## unit, property and contract tests: under a minute on two cores
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile \
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

schema: $(INSTALLED)  ## write the watch file's schema for editors from the code
	@$(BIN)/ops-anomaly watch --schema > docs/watch.schema.json

# With --quiet, warnings would not count.
docs: $(INSTALLED)  ## the documentation as a site in .site, every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/uv run --isolated --no-project --quiet \
		--with-requirements docs/requirements.txt mkdocs build --strict
	@echo 'Built .site; to read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory .site'

validate: $(INSTALLED)  ## check the template, what SAM makes of it, and its policies
	@$(SAM) validate --lint
	@$(BIN)/python -m pytest --quiet tests/contract/test_template*.py

build: $(INSTALLED)  ## the deployable packages (ARCHITECTURE=arm64 or x86_64)
	@PATH="$(CURDIR)/$(BIN):$$PATH" ARCHITECTURE=$(ARCHITECTURE) $(SAM) build \
		--parameter-overrides Architecture=$(ARCHITECTURE)

# The stack has to know what the package was built for, but an option --parameter-overrides would
# replace all that samconfig.toml has. So the parameter is added to a copy, where SAM reads the
# others in whatever form they are written. TO=prod deploys the prod environment.
deploy: build $(SAMCONFIG)  ## build and deploy (TO=dev or prod)
	@$(SAM) deploy --config-file $(CURDIR)/$(SAMCONFIG) --config-env $(TO)

define ADD_ARCHITECTURE
import json, tomllib
config = tomllib.load(open("samconfig.toml", "rb"))
deploy = config["$(TO)"]["deploy"]["parameters"]
deploy["parameter_overrides"] = [deploy.get("parameter_overrides"), "Architecture=$(ARCHITECTURE)"]
print(json.dumps(config, indent=2))
endef
export ADD_ARCHITECTURE

# YAML to SAM, which takes no JSON file, though JSON is YAML.
$(SAMCONFIG): samconfig.toml always
	@mkdir -p $(@D)
	@$(BIN)/python -c "$$ADD_ARCHITECTURE" > $@

clean:  ## remove all that these targets made
	@rm -rf .venv .venv-bench .aws-sam .site runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
