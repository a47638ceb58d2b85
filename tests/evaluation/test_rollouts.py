"""Rollouts: pairing, independence of the batch, and closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recenv import rng
from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.evaluation import Rollout, mean_interval, rollout
from recenv.evaluation.rollouts import answer_log_likelihood
from recenv.recommenders import OracleRecommender, PopularityRecommender, RandomRecommender
from recenv.sim import Simulator
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.users.user_policy import FittedUser
from recenv.world import World

GAME = GameConfig(num_candidates=20)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(planted_world(), GAME)


def assert_same(first: Rollout, second: Rollout) -> None:
    for field in dataclasses.fields(Rollout):
        left, right = getattr(first, field.name), getattr(second, field.name)
        if field.name != "user_policy":
            np.testing.assert_array_equal(left, right, err_msg=field.name)


@pytest.mark.parametrize("recommender", [RandomRecommender(), OracleRecommender()])
def test_results_do_not_depend_on_the_batch(
    simulator: Simulator, recommender: RandomRecommender | OracleRecommender
) -> None:
    whole = rollout(simulator, recommender, users="heldout", episodes_per_user=3)
    parts = rollout(simulator, recommender, users="heldout", episodes_per_user=3, batch_size=7)
    assert_same(whole, parts)
    few = rollout(simulator, recommender, users=whole.user[3:6:3], episodes_per_user=2)
    np.testing.assert_array_equal(few.recommender_reward, whole.recommender_reward[3:5])


def test_the_fitted_user_as_a_policy_is_the_fitted_user(simulator: Simulator) -> None:
    inside = rollout(simulator, RandomRecommender(), users="heldout", episodes_per_user=2)
    outside = rollout(
        simulator, RandomRecommender(), FittedUser(), users="heldout", episodes_per_user=2
    )
    assert_same(inside, outside)
    assert outside.user_policy == "fitted user"


def test_policies_meet_the_same_users_keys_and_candidates(simulator: Simulator) -> None:
    class Spy(RandomRecommender):
        def __init__(self, order: int) -> None:
            super().__init__("spy")
            self.order = order
            self.seen: dict[tuple[int, int], list[int]] = {}

        def recommend(
            self, observation: dict[str, np.ndarray], keys: np.ndarray, slate_size: int
        ) -> np.ndarray:
            for key, round_, candidates in zip(
                keys, observation["round"][:, 0], observation["candidates"], strict=True
            ):
                self.seen[int(key), int(round_)] = candidates.tolist()
            return super().recommend(observation, keys, slate_size)[:, :: self.order]

    spies = Spy(1), Spy(-1)  # the same items in opposite orders
    for spy in spies:
        rollout(simulator, spy, users=[3, 5], episodes_per_user=20)
    first, second = (spy.seen for spy in spies)
    both = first.keys() & second.keys()
    assert len({key for key, _ in both}) == 40
    assert all(first[at] == second[at] for at in both)


def test_no_visit_of_an_environment_shares_the_draws(simulator: Simulator) -> None:
    drawn: list[int] = []

    class Spy(RandomRecommender):
        def recommend(
            self, observation: dict[str, np.ndarray], keys: np.ndarray, slate_size: int
        ) -> np.ndarray:
            drawn.extend(keys.tolist())
            return super().recommend(observation, keys, slate_size)

    rollout(simulator, Spy(), users="all", episodes_per_user=5, seed=0)
    sessions = np.arange(100_000, dtype=np.uint64)
    counted = rng.session_keys(np.zeros(len(sessions), np.uint64), sessions)
    assert len(set(drawn)) == 5 * simulator.world.num_users
    assert not set(drawn) & set(counted.tolist())


def test_totals_agree_with_the_rules(simulator: Simulator) -> None:
    played = rollout(simulator, RandomRecommender(), users="heldout", episodes_per_user=4)
    assert len(played) == 4 * simulator.world.heldout.sum()
    assert played.impressions.sum() == GAME.slate_size * played.rounds.sum()
    assert played.rounds.min() >= 1
    assert played.rounds.max() <= GAME.max_rounds
    assert (played.terminated | (played.rounds == GAME.max_rounds)).all()
    reward = played.clicks + played.purchases - played.terminated  # all weights are 1
    np.testing.assert_allclose(played.recommender_reward, reward, atol=1e-5)
    other = rollout(simulator, RandomRecommender(), users="heldout", episodes_per_user=4, seed=1)
    assert (other.recommender_reward != played.recommender_reward).mean() > 0.5


def one_candidate_world() -> tuple[World, float, float, float]:
    """A world of one item without memory; P(click), P(purchase | click), P(leave) per round."""
    world = planted_world(PlantedConfig(num_users=300, num_items=1, num_categories=1, dim=2))
    model = world.user_model
    users = len(model.user_vectors)
    constant = dataclasses.replace(
        model,
        user_vectors=np.zeros((users, 2), np.float32),
        item_vectors=np.zeros((1, 2), np.float32),
        user_click_bias=np.zeros(users, np.float32),
        user_purchase_bias=np.zeros(users, np.float32),
        item_click_bias=np.array([-0.5], np.float32),
        item_purchase_bias=np.array([0.3], np.float32),
        dynamics=model.dynamics._replace(
            leave_intercept=-1.5,
            leave_length=0.0,
            leave_satisfaction=0.0,
            leave_boredom=0.0,
            boredom_weight=0.0,
        ),
    )
    click, buy, leave = (1 / (1 + np.exp(-x)) for x in (-0.5, 0.3, -1.5))
    return dataclasses.replace(world, user_model=constant), click, buy, leave


def test_closed_form_of_a_world_with_one_candidate() -> None:
    """Rounds are geometric, cut at T: E = (1 - (1 - h)**T) / h; all else follows from it.

    300 users x 20 visits; each mean must lie within 4 standard errors (missed once in 16000).
    """
    world, click, buy, leave = one_candidate_world()
    game = GameConfig(slate_size=1, num_candidates=1, max_rounds=8)
    played = rollout(
        Simulator(world, game), PopularityRecommender(), users="all", episodes_per_user=20
    )
    rounds = (1 - (1 - leave) ** 8) / leave
    left = 1 - (1 - leave) ** 8
    for values, expected in (
        (played.rounds, rounds),
        (played.terminated, left),
        (played.clicks, rounds * click),
        (played.purchases, rounds * click * buy),
        (played.recommender_reward, rounds * click * (1 + buy) - left),
    ):
        error = np.std(values) / np.sqrt(len(played))
        assert abs(np.mean(values) - expected) < 4 * error
    shares = [1 - click, click * (1 - buy), click * buy, 1 - leave, leave]
    surprise = -sum(p * np.log(p) for p in shares)  # the entropy of an answer, nats per round
    assert abs(played.surprise.mean() - surprise) < 0.02
    np.testing.assert_allclose(played.expected_log_likelihood, -surprise * played.rounds, rtol=1e-5)


def test_excess_surprise_is_zero_for_the_fitted_user_and_not_for_another(
    simulator: Simulator,
) -> None:
    class Contrary(FittedUser):
        name = "contrary"

        def answer(self, observation: dict[str, np.ndarray], keys: np.ndarray) -> np.ndarray:
            answers = super().answer(observation, keys)
            answers[:, :-1] = 2 - answers[:, :-1]
            return answers

    fitted = rollout(simulator, RandomRecommender(), users="all", episodes_per_user=10)
    other = rollout(simulator, RandomRecommender(), Contrary(), users="all", episodes_per_user=10)
    low, high = mean_interval(fitted.excess_surprise, fitted.user)[1:3]
    assert low - (high - low) / 2 < 0 < high + (high - low) / 2  # 4 standard errors
    assert mean_interval(other.excess_surprise, other.user).low > 1


def test_log_likelihood_by_hand() -> None:
    behaviour = np.array([[0.5, 0.3, 0.2, 1.0, 0.0, 0.0, 0.9, 0.1]], np.float32)
    filled = np.array([[True, False]])
    log, expected = answer_log_likelihood(behaviour, np.array([[2, 0, 1]]), filled)
    np.testing.assert_allclose(log, np.log(0.2) + np.log(0.1), rtol=1e-6)
    parts = [0.5, 0.3, 0.2, 0.9, 0.1]
    np.testing.assert_allclose(expected, sum(p * np.log(p) for p in parts), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": []}, "one or more different user codes"),
        ({"users": [1, 1]}, "Give each user once"),
        ({"users": [10_000]}, "There is no user 10000"),
        ({"users": [1], "episodes_per_user": 0}, "episodes_per_user must be at least 1"),
        ({"users": [1], "batch_size": 0}, "batch_size must be at least 1"),
        ({"users": [1], "seed": -1}, "seed must be zero or more"),
    ],
)
def test_wrong_arguments(simulator: Simulator, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rollout(simulator, RandomRecommender(), **arguments)
