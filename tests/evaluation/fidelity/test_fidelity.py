"""A simulator that is the truth passes every check; each broken law is caught, by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from recenv.config import GameConfig, SplitConfig
from recenv.data.split import Split, make_split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity import FidelityConfig, FidelityReport, fidelity
from recenv.schema import InteractionLog
from recenv.sim import Simulator, State
from recenv.sim.simulator import Outcome
from recenv.synthetic import emit_log, planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.users.model import UserModel
from recenv.users.provenance import Provenance
from recenv.world import World

GAME = GameConfig(num_candidates=20, max_rounds=12)
CONFIG = FidelityConfig(resamples=100)
HALF = SplitConfig(test_fraction=0.5)


@pytest.fixture(scope="module")
def world() -> World:
    """Users who drift and are bored enough for it to show in a small log."""
    made = planted_world(PlantedConfig(num_users=120, num_items=120))
    dynamics = made.user_model.dynamics._replace(drift_rate=0.15, boredom_weight=1.0)
    return with_model(made, dynamics=dynamics)


@pytest.fixture(scope="module")
def log(world: World) -> InteractionLog:
    return emit_log(world, GAME, visits_per_user=14, seed=1)


@pytest.fixture(scope="module")
def split(log: InteractionLog) -> Split:
    return make_split(log, HALF)


def with_model(world: World, **changes: object) -> World:
    model: UserModel = dataclasses.replace(world.user_model, **changes)
    return dataclasses.replace(world, user_model=model)


class TwiceSquashed(Simulator):
    """The click law's probability goes through the logistic function once more."""

    def show(self, state: State, slates: np.ndarray) -> None:
        super().show(state, slates)
        looked = self.tables.examination
        for k in range(self.game.slate_size):
            slot = state.behaviour[:, 3 * k : 3 * k + 3]
            filled = state.slate[:, k] >= 0
            click = slot[:, 1] + slot[:, 2]
            twice = looked[k] / (1 + np.exp(-click / looked[k]))
            slot[:, 1:] *= np.where(filled, twice / np.maximum(click, 1e-9), 1)[:, None]
            slot[:, 0] = 1 - slot[:, 1] - slot[:, 2]


class MovesEveryDimensionAlike(Simulator):
    """A click moves all of the interest by the mean step: an average over the wrong axis."""

    def respond_unchecked(self, state: State, answers: np.ndarray) -> None:
        before = state.interest.copy()
        super().respond_unchecked(state, answers)
        step = state.interest - before
        state.interest[:] = before + step.mean(axis=1, keepdims=True)


class AnswersOtherwise(Simulator):
    """The step says one thing and draws another: what was ignored is bought, now and then."""

    def respond_fitted(self, state: State) -> Outcome:
        keep = state.behaviour.copy()
        slots = self.game.slate_size
        for k in range(slots):
            state.behaviour[:, 3 * k : 3 * k + 3] = keep[:, 3 * k : 3 * k + 3] * [0.9, 1, 1]
            state.behaviour[:, 3 * k + 2] += 0.1 * keep[:, 3 * k]
        return super().respond_fitted(state)


def passed(report: FidelityReport) -> set[str]:
    return {check.name for check in report.checks if check.status == "pass"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_passes_every_check(world: World, seed: int) -> None:
    log = emit_log(world, GAME, visits_per_user=14, seed=seed)
    report = fidelity(world, log, make_split(log, HALF), CONFIG.replace(seed=seed))
    assert report.broken == []
    untold = {check.name for check in report.checks} - passed(report)
    assert untold == {"inter-visit time"}
    assert report.verdict.startswith("All 22 checks pass")


def test_probability_that_is_squashed_twice(
    world: World, log: InteractionLog, split: Split
) -> None:
    report = fidelity(world, log, split, CONFIG, make_simulator=TwiceSquashed)
    assert {"click: level", "click: calibration", "click: surprise"} <= set(report.failed)
    assert "purchase given click: level" in passed(report)


def test_position_bias_that_is_dropped(world: World, log: InteractionLog, split: Split) -> None:
    examination = np.ones_like(world.user_model.examination)
    report = fidelity(with_model(world, examination=examination), log, split, CONFIG)
    assert "position" in report.failed
    assert "users are themselves" in passed(report)


def test_position_bias_of_the_right_level_and_the_wrong_shape(
    world: World, log: InteractionLog, split: Split
) -> None:
    """The same overall click rate in every slot: only the figure by slot can tell."""
    slots = GAME.slate_size
    flat = np.full_like(world.user_model.examination, world.user_model.examination[:slots].mean())
    report = fidelity(with_model(world, examination=flat), log, split, CONFIG)
    assert "position" in report.failed
    assert {"click: level", "clicks per visit", "reward"} <= passed(report)


def test_users_who_are_shuffled(world: World, log: InteractionLog, split: Split) -> None:
    model = world.user_model
    order = np.random.default_rng(0).permutation(world.num_users)
    shuffled = with_model(
        world,
        user_vectors=model.user_vectors[order],
        user_click_bias=model.user_click_bias[order],
        user_purchase_bias=model.user_purchase_bias[order],
    )
    report = fidelity(shuffled, log, split, CONFIG)
    assert {"users are themselves", "click: against the trivial simulator"} <= set(report.failed)
    # no figure over all users together can tell
    assert {"click: level", "position", "item popularity", "visit length"} <= passed(report)


def test_drift_averaged_over_the_wrong_axis(
    world: World, log: InteractionLog, split: Split
) -> None:
    report = fidelity(world, log, split, CONFIG, make_simulator=MovesEveryDimensionAlike)
    assert "drift" in report.failed
    assert "users are themselves" in passed(report)


def test_item_vectors_averaged_over_the_wrong_axis(
    world: World, log: InteractionLog, split: Split
) -> None:
    vectors = world.user_model.item_vectors
    alike = np.repeat(vectors.mean(axis=1, keepdims=True), vectors.shape[1], axis=1)
    report = fidelity(with_model(world, item_vectors=alike), log, split, CONFIG)
    assert {"click: surprise", "purchase given click: surprise"} <= set(report.failed)


def test_draws_that_do_not_follow_the_probabilities(
    world: World, log: InteractionLog, split: Split
) -> None:
    report = fidelity(world, log, split, CONFIG, make_simulator=AnswersOtherwise)
    assert {"clicks per visit", "purchases per visit", "reward", "position"} <= set(report.failed)
    assert {"click: level", "click: surprise"} <= passed(report)


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        ({"leave_intercept": -1.2}, {"visit length"}),
        ({"boredom_weight": -1.0}, {"memory within a visit", "boredom"}),
        ({"boredom_weight": 0.0}, {"boredom"}),
        ({"drift_rate": 0.0}, {"drift"}),
    ],
)
def test_wrong_dynamics(
    world: World, log: InteractionLog, split: Split, change: dict[str, float], caught: set[str]
) -> None:
    dynamics = world.user_model.dynamics._replace(**change)
    report = fidelity(with_model(world, dynamics=dynamics), log, split, CONFIG)
    assert caught <= set(report.failed)


def test_a_stated_law_is_not_judged(world: World, log: InteractionLog, split: Split) -> None:
    stated = world.user_model.laws | {"examination": Provenance("prior", "stated")}
    ones = np.ones_like(world.user_model.examination)
    report = fidelity(with_model(world, examination=ones, laws=stated), log, split, CONFIG)
    assert report.check("position").status == "prior"
    assert "stated, not fitted: examination" in report.check("position").words
    assert "position" not in report.failed


def without(log: InteractionLog, *columns: str) -> InteractionLog:
    return dataclasses.replace(log, events=log.events.drop(columns=list(columns)))


@pytest.mark.parametrize(
    ("cut", "untold"),
    [
        (lambda log: without(log, "session"), {"visit length": "no sessions"}),
        (lambda log: without(log, "position"), {"position": "no positions"}),
        (
            lambda log: dataclasses.replace(
                log.take(log.column("response") > 0), has_impressions=False
            ),
            {"position": "no impressions", "click: level": "no rate"},
        ),
        (
            lambda log: dataclasses.replace(
                log.take(log.column("response") == 2), has_impressions=False, exposes_catalog=True
            ),
            {"purchase: level": "", "position": "no impressions"},
        ),
    ],
)
def test_what_a_log_cannot_tell_is_said(
    world: World,
    log: InteractionLog,
    cut: Callable[[InteractionLog], InteractionLog],
    untold: dict[str, str],
) -> None:
    less = cut(log)
    report = fidelity(world, less, make_split(less, HALF), CONFIG.replace(resamples=20))
    for name, why in untold.items():
        check = report.check(name)
        assert why in check.words
        assert check.status == ("unknown" if why else "fail")


def test_the_same_report_twice(world: World, log: InteractionLog, split: Split) -> None:
    config = CONFIG.replace(resamples=20)
    assert (
        fidelity(world, log, split, config).to_dict()
        == fidelity(world, log, split, config).to_dict()
    )


def test_wrong_log(world: World, log: InteractionLog, split: Split) -> None:
    other = planted_world(PlantedConfig(num_users=30))
    with pytest.raises(ConfigError, match="Give the log that it was built from"):
        fidelity(other, log, split, CONFIG)
    nothing = dataclasses.replace(split, part=np.zeros_like(split.part))
    with pytest.raises(ConfigError, match="fewer than two users"):
        fidelity(world, log, nothing, CONFIG)
