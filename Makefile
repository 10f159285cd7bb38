# Each target sets up by itself what it needs; a second run redoes nothing. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help train test lint format setup clean
PYTHON := .venv/bin/python
ARGS ?=
unexport PYTHONDONTWRITEBYTECODE  # compiling Prefect anew at every start costs five seconds

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done
	@echo '  ARGS="..." passes arguments on, as in: make train ARGS="--seed 1"'

train: setup ## run the main job: from the base model to an archive of the trained one
	@exec $(PYTHON) flows/train.py $(ARGS)

test: setup ## run the tests
	@exec $(PYTHON) -m pytest $(ARGS)

lint: setup ## check style and types
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m mypy

format: setup ## put the style right, where that can be done by itself
	@$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

setup: ## make the locked environment and find or get a Chromium, once
	@command -v python3 >/dev/null || { echo 'error: python3 is missing: install Python 3.11 or 3.12' >&2; exit 2; }
	@python3 scripts/bootstrap.py

clean: ## remove what was set up here (.venv, caches); runs and archives stay
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
