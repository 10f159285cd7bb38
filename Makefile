# Each target sets up by itself what it needs; a second run redoes nothing. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help train server deploy worker serve test faults lint format audit setup clean
PYTHON := .venv/bin/python
ARGS ?=
WORKERS ?= 2
POOL ?= local
LIMIT ?= $(if $(filter gpu,$(POOL)),1)
deploy worker serve: export PREFECT_API_URL ?= http://127.0.0.1:4200/api
worker serve: export BROWSER_CONTROL_HOME := $(CURDIR)
# Loopback goes through no proxy. No empty name among them, which httpx takes for all.
comma := ,
spared := $(if $(no_proxy),$(no_proxy)$(comma))$(if $(NO_PROXY),$(NO_PROXY)$(comma))localhost,127.0.0.1,::1
server deploy worker serve: export NO_PROXY := $(spared)
server deploy worker serve: export no_proxy := $(spared)
unexport PYTHONDONTWRITEBYTECODE  # compiling Prefect anew at every start costs five seconds

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done
	@echo '  ARGS="..." passes arguments on, as in: make train ARGS="--seed 1"'

train: setup ## run the main job: from the base model to an archive of the trained one
	@exec $(PYTHON) flows/train.py $(ARGS)

# By itself a server that starts again forgets whom it waited for: a run that died with it would be Running for ever.
server: export PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER ?= P30D
server: export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
server: setup ## start a Prefect server with its UI on this machine
	@exec .venv/bin/prefect server start $(ARGS)

deploy: setup ## set up work pools, deployments and automations; NIGHTLY=on|off GPUS=n
	@exec $(PYTHON) deployments/setup.py $(if $(NIGHTLY),--nightly $(NIGHTLY)) $(if $(GPUS),--gpus $(GPUS))

worker: setup ## work off the runs of a pool: POOL=local (the default) or gpu, LIMIT=n at a time (gpu: 1)
	@exec .venv/bin/prefect worker start --type process --pool $(POOL) $(if $(LIMIT),--limit $(LIMIT)) $(ARGS)

serve: setup ## serve the flows of this machine without a worker
	@exec $(PYTHON) deployments/serve.py

test: setup ## run the tests, in two processes; WORKERS=0: in one
	@exec $(PYTHON) -m pytest --numprocesses $(WORKERS) $(ARGS)

faults: setup ## disturb a run in every way of docs/reliability.md, and write its table (hours; goes on where it was stopped)
	@$(PYTHON) tests/faults/run.py $(ARGS)

lint: setup ## check style and types
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m mypy

format: setup ## put the style right, where that can be done by itself
	@$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

audit: setup ## ask the package index for known holes of the locked packages
	@test -x .cache/audit/bin/pip-audit || { $(PYTHON) -m venv --clear .cache/audit && .cache/audit/bin/pip install --quiet 'pip-audit>=2.10,<3'; }
	@.cache/audit/bin/pip-audit --requirement .cache/bootstrap/requirements.txt --disable-pip --require-hashes $(ARGS)

setup: ## make the locked environment and find or get a Chromium, once
	@command -v python3 >/dev/null || { echo 'error: python3 is missing: install Python 3.11 or 3.12' >&2; exit 2; }
	@python3 scripts/bootstrap.py

clean: ## remove what was set up here (.venv, caches); runs and archives stay
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
