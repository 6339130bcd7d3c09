# Two commands matter: `make demo` and `make test`. Both set up what they need.
# DEMO: MOTIONS=path[,path...] adds motions, TRAIN_MINUTES=n raises the training budget.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint ui isaaclab clean

VENV := .venv
PY := $(VENV)/bin/python
export OMP_WAIT_POLICY := PASSIVE
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## build .venv from the constraints file

$(VENV)/.ready: pyproject.toml requirements/mujoco.txt scripts/setup.sh
	@PYTHON="$(PYTHON)" bash scripts/setup.sh mujoco $(VENV)

demo: setup ## the whole graph at preset quick, on synthesised motions and MOTIONS
	$(VENV)/bin/beyondmimic run --preset quick $(if $(MOTIONS),--motions "$(MOTIONS)") $(if $(TRAIN_MINUTES),--train-minutes $(TRAIN_MINUTES))

test: setup ## every test, in two processes
	$(PY) -m pytest -n 2 --dist loadfile

lint: setup ## ruff, mypy and dg
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	mkdir -p .dagster
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" BEYONDMIMIC_STATE="$(CURDIR)/.dagster" $(VENV)/bin/dg check defs

ui: setup ## the Dagster UI on 127.0.0.1:3000
	$(VENV)/bin/beyondmimic ui

isaaclab: .venv-isaaclab/.ready .venv-usd/.ready ## build the second simulator's environment and its robot
	.venv-usd/bin/python -m beyondmimic_data.robots.g1_usd

.venv-isaaclab/.ready: pyproject.toml requirements/isaaclab.txt scripts/setup.sh
	@PYTHON="$(PYTHON)" bash scripts/setup.sh isaaclab .venv-isaaclab

.venv-usd/.ready: requirements/usd.txt scripts/setup.sh
	@PYTHON="$(PYTHON)" bash scripts/setup.sh usd .venv-usd

clean: ## remove the environments; data/ stays
	rm -rf $(VENV) .venv-isaaclab .venv-usd .usd
