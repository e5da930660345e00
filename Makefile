PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXAMPLE := examples/trigger_training.py
PARALLEL := 3
BEFORE := a62de9a
ROUNDS := 5
SECONDS := 3600
PYTHONS := 3.12 3.13 3.14

.DEFAULT_GOAL := help
.PHONY: help install pythons serve test check format bench bench-peers crash powerloss faults saves soak clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with hfhooks and what developing it needs

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "hfhooks needs Python 3.11 or newer: make PYTHON=python3.12 install"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "python3 cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	@echo "Installing hfhooks into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

pythons: $(INSTALLED) ## Let the tests of `python app.py` use the other Pythons of this machine
	@for version in $(PYTHONS); do \
		for python in $$(command -v python$$version) $(HOME)/.pyenv/versions/$$version.*/bin/python; do \
			"$$python" -m venv $(VENV)/python$$version >/dev/null 2>&1 || continue; \
			echo "Installing hfhooks for Python $$version ..."; \
			$(VENV)/python$$version/bin/python -m pip install --quiet --disable-pip-version-check --editable . && break; \
		done; \
	done

serve: $(INSTALLED) ## Serve a script on http://127.0.0.1:7860 (EXAMPLE=app.py for another)
	@$(BIN)/hfhooks serve $(EXAMPLE) || test $$? -eq 130

test: $(INSTALLED) ## Run the tests, with coverage (PARALLEL=1 for one after the other)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(PARALLEL)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: $(INSTALLED) ## Run what CI runs before the tests: formatting, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED) ## Measure hfhooks beside its peers and an earlier one (BEFORE=commit, ROUNDS=5)
	@$(BIN)/python -m tests.benchmarks --before "$(BEFORE)" --rounds $(ROUNDS) $(BENCH)

bench-peers: $(INSTALLED) ## Add the peers that hfhooks can be measured beside to .venv
	@echo "Installing the peers into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(PYTHON) -m venv $(VENV)/robyn # it wants an older uvloop than ours
	@$(VENV)/robyn/bin/python -m pip install --quiet --disable-pip-version-check --editable . robyn

crash: $(INSTALLED) ## Kill servers 1,000 times and look for lost deliveries
	$(BIN)/python tests/campaigns/crash.py 1000 --parallel 3

powerloss: $(INSTALLED) ## Lose power between any two writes and look for lost deliveries
	$(BIN)/python -m tests.campaigns.powerloss

faults: $(INSTALLED) ## Make writes and syncs of the disk fail and look for lost deliveries
	$(BIN)/python -m tests.campaigns.faults

saves: $(INSTALLED) ## Save a script 200 times under load and look for lost deliveries
	$(BIN)/python -m tests.campaigns.saves

soak: $(INSTALLED) ## Kill, stop and save for an hour, and look for lost deliveries and leaks (SECONDS=60)
	$(BIN)/python -m tests.campaigns.soak $(SECONDS)

clean: ## Remove everything that was made
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -prune -exec rm -rf {} +
