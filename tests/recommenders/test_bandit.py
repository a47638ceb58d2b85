"""Recommenders that learn while they are used: what they are told, and Thompson sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recenv.benchmark import compare
from recenv.cli import main
from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.evaluation import rollout
from recenv.recommenders import (
    Feedback,
    LearningRecommender,
    OracleRecommender,
    PopularityRecommender,
    RandomRecommender,
    ThompsonRecommender,
)
from recenv.sim import EMPTY, Simulator
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.world import World

GAME = GameConfig(num_candidates=20)


@pytest.fixture(scope="module")
def world() -> World:
    return planted_world()


class Diary:
    """Notes all that ``update`` brings."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.pages: list[tuple] = []

    def update(self, observation, keys, slates, feedback) -> None:
        self.pages.append((observation, keys.copy(), slates.copy(), feedback))


class RandomDiary(Diary, RandomRecommender): ...


class OracleDiary(Diary, OracleRecommender): ...


@pytest.mark.parametrize("kind", [RandomDiary, OracleDiary])
def test_every_answer_is_told_and_the_last_of_a_visit_too(kind: type, world: World) -> None:
    diary = kind()
    assert isinstance(diary, LearningRecommender)
    played = rollout(
        Simulator(world, GAME), diary, users="heldout", episodes_per_user=2, batch_size=30
    )
    rounds = {}
    reward, clicks, ends = 0.0, 0, 0
    impressions = np.zeros(len(world.catalog), np.int64)
    for observation, keys, slates, told in diary.pages:
        batch = len(keys)
        assert slates.shape == told.items.shape == told.responses.shape == (batch, 5)
        assert all(len(leaf) == batch for leaf in observation.values())
        assert observation["turn"].max() == 0  # what the slate was chosen from
        shown = np.take_along_axis(observation["candidates"], slates, axis=1)
        np.testing.assert_array_equal(told.items, shown)
        for key, number in zip(keys, observation["round"][:, 0], strict=True):
            assert rounds.get(int(key), 0) == number
            rounds[int(key)] = number + 1
        reward += told.reward.sum(dtype=np.float64)
        clicks += (told.responses > 0).sum()
        ends += (told.terminated | told.truncated).sum()
        impressions += np.bincount(told.items.ravel(), minlength=len(impressions))
    assert ends == len(rounds) == len(played)
    assert sum(rounds.values()) == played.rounds.sum()
    assert clicks == played.clicks.sum()
    assert reward == pytest.approx(played.recommender_reward.sum(), abs=1e-3)
    np.testing.assert_array_equal(impressions, played.impressions)


def test_being_told_changes_nothing_for_who_does_not_learn(world: World) -> None:
    simulator = Simulator(world, GAME)
    plain, noting = (
        rollout(simulator, r, users="heldout", episodes_per_user=2)
        for r in (RandomRecommender(), RandomDiary())
    )
    np.testing.assert_array_equal(plain.recommender_reward, noting.recommender_reward)
    assert not isinstance(PopularityRecommender(), LearningRecommender)


def test_an_empty_slot_is_told_as_empty(world: World) -> None:
    class Stutter(RandomDiary):
        def recommend(self, observation, keys, slate_size):
            return np.zeros((len(keys), slate_size), np.int64)

    diary = Stutter()
    rollout(Simulator(world, GAME), diary, users=[0], episodes_per_user=1)
    told = diary.pages[0][3]
    assert (told.items[:, 1:] == EMPTY).all()
    assert (told.responses[:, 1:] == 0).all()
    bandit = ThompsonRecommender(world)
    bandit.update(*diary.pages[0])
    assert bandit.alpha.sum() + bandit.beta.sum() == 2 * len(world.catalog) + 1


def test_play_tells_the_recommender(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    diary = RandomDiary()
    monkeypatch.setattr("recenv.recommenders.baselines", lambda world: [diary])
    assert main(["play", "recenv/Toy-v0", "--seed", "3", "--recommender", "random"]) == 0
    printed = capsys.readouterr().out
    assert len(diary.pages) == printed.count("Round ")
    ended = [bool(told.terminated[0] | told.truncated[0]) for *_, told in diary.pages]
    assert ended == [False] * (len(ended) - 1) + [True]


def test_the_posterior_by_hand() -> None:
    world = planted_world(PlantedConfig(num_users=4, num_items=6))
    bandit = ThompsonRecommender(world, prior_clicks=2.0, prior_ignores=3.0)
    none = np.zeros(2, bool)
    for items, responses in (
        ([[0, 1], [0, 2]], [[1, 0], [2, 0]]),
        ([[0, 3], [3, EMPTY]], [[0, 1], [0, 0]]),
    ):
        feedback = Feedback(
            np.array(items, np.int32), np.array(responses, np.int8), np.zeros(2), none, none
        )
        bandit.update({}, np.zeros(2, np.uint64), np.zeros((2, 2), int), feedback)
    np.testing.assert_array_equal(bandit.alpha, [4, 2, 2, 3, 2, 2])
    np.testing.assert_array_equal(bandit.beta, [4, 4, 4, 4, 3, 3])


def test_draws_follow_the_posterior_and_not_the_batch() -> None:
    world = planted_world(PlantedConfig(num_users=20, num_items=2))
    bandit = ThompsonRecommender(world)
    bandit.alpha[:], bandit.beta[:] = (3, 2), (4, 2)
    simulator = Simulator(world, GameConfig(num_candidates=2, slate_size=1))
    state = simulator.reset(np.arange(4000))
    seen = simulator.recommender_observation(state)
    slates = bandit.recommend(seen, state.key, 1)
    first = np.take_along_axis(seen["candidates"], slates, axis=1)[:, 0] == 0
    # P(Beta(3, 4) > Beta(2, 2)), by quadrature
    x = (np.arange(4000) + 0.5) / 4000
    expected = np.mean(stats.beta.pdf(x, 3, 4) * stats.beta.cdf(x, 2, 2))
    assert abs(first.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / len(first))
    for row in (0, 17):
        alone = {name: leaf[[row]] for name, leaf in seen.items()}
        np.testing.assert_array_equal(bandit.recommend(alone, state.key[[row]], 1)[0], slates[row])


def test_thompson_sampling_beats_random(world: World) -> None:
    contenders = [RandomRecommender(), ThompsonRecommender(world)]
    found = compare(world, GAME, contenders, users="all", episodes_per_user=10, batch_size=50)
    gain = found.against("random")["Thompson"]
    assert gain.low > 0
    rates = contenders[1].alpha / (contenders[1].alpha + contenders[1].beta)
    assert np.corrcoef(rates, world.user_model.item_click_bias)[0, 1] > 0.5


@pytest.mark.parametrize("prior", [{"prior_clicks": 0.0}, {"prior_ignores": float("nan")}])
def test_wrong_priors(prior: dict, world: World) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(prior))} must be positive"):
        ThompsonRecommender(world, **prior)
