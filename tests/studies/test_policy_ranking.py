"""Policy ranking: agreement against hand-computed cases, and a tiny study end to end."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.evaluation import paired_difference, rollout
from recenv.plots import RankingPoint, ranking_plot
from recenv.recommenders import OracleRecommender
from recenv.sim import Simulator
from recenv.studies.policy_ranking import study
from recenv.studies.policy_ranking.agreement import (
    agreement,
    kendall,
    regret,
    surely_ranked,
    visit_error,
)
from recenv.studies.policy_ranking.cells import (
    TRUE_SEED,
    RankingConfig,
    code_hash,
    draw_log,
    fit_model,
    measure_truth,
    play,
)
from recenv.studies.policy_ranking.policies import (
    ScoreRecommender,
    candidate_policies,
    click_values,
)
from recenv.studies.policy_ranking.study import main
from recenv.synthetic.log import PopularityLogging
from recenv.world import World

GAME = GameConfig(num_candidates=20)
TINY = RankingConfig(
    events=1_500, num_users=20, num_items=40, visits=3, true_visits=3, build=study.QUICK_BUILD
)


def test_kendall_of_small_cases() -> None:
    """Counted by hand: one of six pairs turned round; a tie on one side only."""
    true = np.array([1.0, 2.0, 3.0, 4.0])
    assert kendall(true, true) == pytest.approx(1)
    assert kendall(-true, true) == pytest.approx(-1)
    assert kendall(np.array([1.0, 3.0, 2.0, 4.0]), true) == pytest.approx((5 - 1) / 6)
    assert kendall(np.array([1.0, 2.0, 2.0, 4.0]), true) == pytest.approx(5 / np.sqrt(5 * 6))


def test_regret_of_small_cases() -> None:
    true = np.array([1.0, 5.0, 4.0])
    assert regret(np.array([0.0, 2.0, 1.0]), true) == 0
    assert regret(np.array([0.0, 1.0, 2.0]), true) == 1
    assert regret(np.array([9.0, 1.0, 2.0]), true) == 4


def test_agreement_counts_sure_pairs_and_the_better_half() -> None:
    """Four policies, true means 0, 2, 3, 3.1; the last pair is no sure one, and turned round."""
    users = np.linspace(-0.1, 0.1, 5)
    true = np.array([0.0, 2.0, 3.0, 3.1])[:, None] + users
    fitted = np.array([0.5, 1.0, 2.5, 2.4])[:, None] + users
    error = np.full((4, 4), 0.05)
    np.testing.assert_array_equal(
        surely_ranked(true, error)[np.triu_indices(4, 1)], [True, True, True, True, True, False]
    )
    found = agreement(fitted, true, error)
    assert found["tau"] == pytest.approx((5 - 1) / 6)
    assert found["sure_tau"] == 1
    assert found["better_tau"] == -1
    assert found["regret"] == pytest.approx(0.1)
    assert found["share"] == pytest.approx(0.1 / 3.1)
    assert found["favourite"] == 2
    x, y = true.mean(axis=1), fitted.mean(axis=1)
    assert found["slope"] == pytest.approx(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    # users move all policies alike, so every resample has the same ranking
    assert set(np.round(found["tau_draws"], 3)) == {0.667}
    assert found["share_draws"] == pytest.approx([0.1 / 3.1] * 400, abs=1e-4)


def test_visit_error_is_that_of_a_mean_of_visits() -> None:
    """One user: the error of a paired mean. And simulated: users' own levels do not count."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2, 1, 400))
    difference = one[0, 0] - one[1, 0]
    assert visit_error(one)[0, 1] == pytest.approx(difference.std(ddof=1) / 20)
    levels = 10 * rng.normal(size=(2, 30, 1))
    means = [
        (levels + rng.normal(size=(2, 30, 50))).mean(axis=(1, 2)) @ [1, -1] for _ in range(400)
    ]
    error = visit_error(levels + rng.normal(size=(2, 30, 50)))
    assert error[0, 1] == pytest.approx(np.std(means), rel=0.15)  # 0.035 is its own error
    assert error[0, 0] == 0
    with pytest.raises(ConfigError, match="at least 2 visits"):
        visit_error(one[:, :, :1])


def test_a_log_has_the_wanted_size_and_whole_visits(toy: World) -> None:
    log = draw_log(toy, GAME, PopularityLogging(), 3_000, seed=2).validate(toy.catalog)
    assert len(log) == 3_000
    # the policy of the study logs the same visits, of which this is a part, whole but one
    whole = draw_log(toy, GAME, PopularityLogging(), 6_000, seed=2)
    count, full = (np.bincount(x.column("session"), minlength=10_000) for x in (log, whole))
    assert (full[: len(count)][count > 0] >= count[count > 0]).all()
    assert (full[count > 0] > count[count > 0]).sum() <= 1
    # one visit of some users, none of the others: early sessions come first, users at random
    users = np.unique(log.column("user"))
    assert len(users) < toy.num_users
    assert 60 < users.mean() < 140


def test_policies_order_candidates_as_their_names_say(toy: World) -> None:
    scores = np.arange(10.0)[None].repeat(2, axis=0)
    category = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    observation = {
        "user": np.array([[0], [1]]),
        "candidates": np.array([[4, 9, 8, 5, 7, 0], [0, 1, 2, 3, 4, 5]]),
        "round": np.zeros((2, 1), np.int32),
    }
    keys = np.array([1, 2], np.uint64)
    plain = ScoreRecommender("plain", scores).recommend(observation, keys, 3)
    assert plain.tolist() == [[1, 2, 4], [5, 4, 3]]
    apart = ScoreRecommender("apart", scores, category=category)
    assert apart.recommend(observation, keys, 3).tolist() == [[1, 4, 0], [5, 4, 3]]
    observation = {k: np.repeat(v[:1], 4_000, axis=0) for k, v in observation.items()}
    keys = np.arange(4_000, dtype=np.uint64)
    mixed = ScoreRecommender("mixed", scores, random_share=0.5)
    got = mixed.recommend(observation, keys, 3)
    # half of the rounds are greedy, and a random slate is the greedy one in 1 of 120 orders
    assert np.mean((got == [1, 2, 4]).all(axis=1)) == pytest.approx(0.5 + 0.5 / 120, abs=0.03)
    assert all(len(set(slate)) == 3 for slate in got)


def test_the_policies_are_spread_between_worst_and_best(toy: World) -> None:
    """Greedy by the true parameters is nearly the privileged oracle; noise costs, more more."""
    policies = {p.name: p for p in candidate_policies(toy)}
    assert len(policies) >= 8
    simulator = Simulator(toy, GAME)
    found = {
        p.name: rollout(simulator, p, users="all", episodes_per_user=10)
        for p in (*policies.values(), OracleRecommender())
    }
    values = {name: r.recommender_reward.mean() for name, r in found.items()}
    for worse, better in itertools.pairwise(
        ["least popular", "random", "true clicks, noise 4", "true clicks, noise 2",
         "true clicks, noise 1", "true value"]
    ):  # fmt: skip
        a, b = found[better], found[worse]
        assert paired_difference(a.recommender_reward, b.recommender_reward, a.user).low > 0
    assert values["oracle (greedy)"] < 1.1 * values["true value"]


def test_the_planted_model_ranks_as_itself() -> None:
    """The same model on the same draws: tau is 1, nothing is lost, fitted is true."""
    world = TINY.world()
    policies = candidate_policies(world)
    first, again = (play(world, TINY.game, policies, 3, seed=4) for _ in range(2))
    found = agreement(first.mean(axis=2), again.mean(axis=2), visit_error(again))
    assert found["tau"] == pytest.approx(1)
    assert found["regret"] == 0
    assert found["slope"] == pytest.approx(1)
    assert set(found["share_draws"]) == {0}
    truth = measure_truth(TINY)
    assert np.shape(truth["values"]) == (len(policies), 20)
    expected = play(world, TINY.game, policies, 3, TRUE_SEED).mean(axis=2)
    np.testing.assert_allclose(truth["values"], expected, atol=1e-5)


def test_the_fit_learns_the_ranking() -> None:
    """Many looks at each pair: near the true probabilities, unless a wrong level is stated."""
    cell = TINY.replace(
        events=20_000,
        log="uniform",
        build={"user_model": {"min_updates": 200, "max_updates": 200, "learning_rate": 0.02}},
    )
    world = cell.world()
    log = draw_log(world, cell.game, cell.policy, cell.events, seed=1)
    users, items = (x.ravel() for x in np.indices((20, 40)))
    true = world.user_model.click_probs(users, items)
    errors = {}
    for change in ("none", "clicks only, level 0.4"):
        model, split = fit_model(world, log, cell.replace(change=change))
        errors[change] = np.sqrt(np.mean((model.click_probs(users, items) - true) ** 2))
        assert split.heldout.sum() == 4
    assert errors["none"] < 0.6 * errors["clicks only, level 0.4"]
    assert errors["none"] < 0.6 * true.std()
    assert click_values(world.user_model).shape == (20, 40)


def test_a_study_runs_goes_on_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--quick", "--jobs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert first.strip() == (tmp_path / "policy-ranking.md").read_text().strip()
    for wanted in (
        "Kendall's τ between the two rankings is **",
        "| 500 | 1 |",
        "| the planted model itself | 1 |",
        "python -m recenv.studies.policy_ranking --quick",
        code_hash(),
    ):
        assert wanted in first
    folder = tmp_path / "policy-ranking"
    assert (folder / "size.png").read_bytes()[1:4] == b"PNG"
    assert (folder / "narrowness.png").exists()
    record = json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)
    cell = record["parts"]["size"][0]
    assert cell["config"]["events"] == 500
    tau = kendall(np.array(cell["fitted"]), np.array(cell["true"]))
    assert cell["all"]["tau"] == pytest.approx(tau, abs=1e-4)

    # what is there is read; a cell that is gone is measured again, to the same numbers
    measured = []
    original = study.measure_cell

    def spy(cell: RankingConfig, truth: dict) -> dict:
        measured.append(cell)
        return original(cell, truth)

    monkeypatch.setattr(study, "measure_cell", spy)
    next((folder / "cells").glob("cell-*.json")).unlink()
    assert main(arguments) == 0
    assert len(measured) == 1
    assert capsys.readouterr().out == first


def test_ranking_plot_names_its_settings(tmp_path: Path) -> None:
    point = RankingPoint("wide", None, (0.9, 0.8, 1.0), (0.1, 0.0, 0.2), [(0.9, 0.1)])
    other = RankingPoint("narrow", None, (0.5, 0.4, 0.6), (0.3, 0.2, 0.4), [(0.5, 0.3)])
    text = ranking_plot([point, other], tmp_path / "f.svg", xlabel="logging", target=0.9)
    for wanted in ("wide", "narrow", "logging", "Kendall"):
        assert f"<!-- {wanted}" in text.read_text()
    placed = RankingPoint("1k", 1000.0, (0.9, 0.8, 1.0), (0.1, 0.0, 0.2), [])
    assert ranking_plot([placed], tmp_path / "g.svg", xlabel="size").exists()
    with pytest.raises(ConfigError, match="both kinds"):
        ranking_plot([point, placed], tmp_path / "f.svg", xlabel="")
    with pytest.raises(ConfigError, match="0 points"):
        ranking_plot([], tmp_path / "f.svg", xlabel="")
