"""Who plays whom: fixed players, alternation, populations; and the member that evaluates."""

import numpy as np
import pytest
import torch
from helpers.random_play import marked

from recenv.config import GameConfig, WorldConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ArtifactError, ConfigError, UnknownNameError
from recenv.sim.simulator import Simulator
from recenv.sim.state import LIVE
from recenv.world import build_world
from training.config import NetworkConfig, TrainConfig
from training.runs.load_policy import NetworkRecommender, NetworkUser, make_network, save_policy
from training.runs.opponents import make_fixed_user, make_opponent
from training.sampling.env import TurnEnv
from training.sampling.fragments import fragment
from training.sampling.regimes import Population, past, sides_learning
from training.sampling.turns import Turn
from training.sampling.visit_sampler import VisitSampler

BOTH = {RECOMMENDER_AGENT, USER_AGENT}
NETWORK = NetworkConfig(hidden=8)


def weights(seed, world, game, side="recommender"):
    network = make_network(side, world, game, NETWORK, seed)
    torch.manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


# --- which side learns


def test_the_sides_alternate():
    config = TrainConfig(regime="alternating", alternate_every=3)
    turns = [sides_learning(config, iteration) for iteration in range(8)]
    assert turns == [("recommender",)] * 3 + [("user",)] * 3 + [("recommender",)] * 2
    for regime in ("together", "population"):
        assert sides_learning(TrainConfig(regime=regime), 5) == ("recommender", "user")
    assert sides_learning(TrainConfig(train="user"), 5) == ("user",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regime": "alternating", "train": "user"}, "train must be both, if alternating"),
        ({"regime": "population", "batched_runner": False}, "on for a population"),
        ({"fixed_user": "runs/some"}, "left out where the user learns"),
        ({"opponent": "als"}, "left out where the recommender learns"),
        ({"game": {"reward": {"behaviour_weight": 1.0}}}, "--kl-weight"),
        ({"pool_size": 0}, "pool_size"),
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"kl_weight": float("inf")}, "finite"),
        ({"evaluation_member": -1}, "evaluation_member"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


# --- the pool


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_a_pool_stays_spread_over_all_that_was(size):
    pool = Population(size)
    for iteration in range(0, 1000, 10):
        pool.add(iteration, {})
        kept = list(pool.members)
        assert kept == sorted(kept)
        assert len(kept) == min(size, iteration // 10 + 1)
        assert kept[-1] == iteration
        if len(kept) > 1:
            assert kept[0] == 0
            even = max(10, iteration / (size - 1))
            assert np.diff(kept).max() <= 2 * even


def test_a_pool_is_saved_and_read_back(tmp_path, world, game):
    pool = Population(4)
    for iteration in (0, 7):
        sides = ("recommender", "user")
        pool.add(iteration, {s: weights(iteration + 1, world, game, s) for s in sides})
    pool.save(tmp_path / "pool")
    again = Population.load(tmp_path / "pool", 4)
    assert list(again.members) == [0, 7]
    for iteration, sides in pool.members.items():
        assert set(again.members[iteration]) == {"recommender", "user"}
        for side, arrays in sides.items():
            assert arrays.keys() == again.members[iteration][side].keys()
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, again.members[iteration][side][name])
    with pytest.raises(ArtifactError):
        Population.load(tmp_path / "none", 4)


def test_a_past_network_has_its_own_weights_and_shares_the_worlds_tables(world, game):
    network = make_network("recommender", world, game, NETWORK)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = weights(1, world, game)
    old = past(network, other)
    for name, tensor in old.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), other[name])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not any(p.requires_grad for p in old.parameters())
    tables = set(dict(network.named_buffers())) - set(before)
    assert "popularity" in tables
    for name in tables:
        assert network.get_buffer(name).data_ptr() == old.get_buffer(name).data_ptr(), name


# --- fixed players


def save_untrained(folder, side, world, game):
    network = make_network(side, world, game, NETWORK)
    save_policy(folder, side, network, world, game, NETWORK, {})
    return network


def test_a_run_can_be_the_opponent(tmp_path, world, game):
    network = save_untrained(tmp_path / "run" / "policy", "recommender", world, game)
    opponent = make_opponent(str(tmp_path / "run"), world, game)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(10))
    seen = simulator.recommender_observation(state)
    np.testing.assert_array_equal(
        opponent.recommend(seen, state.key, 3),
        NetworkRecommender(network).recommend(seen, state.key, 3),
    )
    with pytest.raises(ConfigError, match="looks back on .* --game.history_length"):
        make_opponent(str(tmp_path / "run"), world, game.replace(history_length=4))
    assert make_fixed_user("fitted", world, game) is None
    with pytest.raises(UnknownNameError, match="Did you mean 'popularity'"):
        make_opponent("popularty", world)
    with pytest.raises(UnknownNameError, match="run's folder"):
        make_fixed_user(str(tmp_path / "nowhere"), world, game)
    with pytest.raises(ArtifactError, match="no trained user"):
        make_fixed_user(str(tmp_path / "run"), world, game)
    save_untrained(tmp_path / "run" / "policy", "user", world, game)
    with pytest.raises(ConfigError, match="--game.slate_size 3"):
        make_fixed_user(str(tmp_path / "run"), world, game.replace(slate_size=2))


@pytest.mark.parametrize("slate_size", [1, 3])
def test_an_untrained_user_in_the_fitted_ones_place_gives_the_same_visits(
    tmp_path, world, env_config, slate_size
):
    """In the batch and in RLlib's environment: a user network begins as the fitted user."""
    game = GameConfig(**{**env_config["game"], "slate_size": slate_size})
    network = save_untrained(tmp_path, "user", world, game)

    def first(observation):
        action = np.tile(np.arange(slate_size), (len(observation["round"]), 1))
        batch = len(action)
        action = action[:, 0] if slate_size == 1 else action
        return Turn(observation, action, np.zeros(batch), np.zeros((batch, 1)))

    rewards = []
    for fixed in (None, NetworkUser(network)):
        rollout = VisitSampler(
            Simulator(world, game), 8, {RECOMMENDER_AGENT}, None, fixed_user=fixed
        )
        rollout.reset(np.random.SeedSequence(0))
        rewards.append(rollout.play({RECOMMENDER_AGENT: first}, rounds=12).rewards)
    np.testing.assert_array_equal(*rewards)

    config = {**env_config, "game": {**env_config["game"], "slate_size": slate_size}}
    config["trained"] = ["recommender"]
    envs = [TurnEnv(config), TurnEnv({**config, "fixed_user": str(tmp_path)})]
    slate = 0 if slate_size == 1 else np.arange(slate_size)
    for seed in range(6):
        going = [env.reset(seed=seed)[0] for env in envs]
        while True:
            steps = [env.step({RECOMMENDER_AGENT: slate}) for env in envs]
            assert steps[0][1] == steps[1][1]
            assert steps[0][2] == steps[1][2]
            if steps[0][2]["__all__"] or steps[0][3]["__all__"]:
                break
    assert going


def test_a_fixed_user_that_leaves_at_once_is_the_one_who_answers(world, game, env_config):
    class Leaver:
        name = "leaver"

        def answer(self, observation, keys):
            answers = np.zeros((len(keys), game.slate_size + 1), np.int64)
            answers[:, -1] = 1
            return answers

    rollout = VisitSampler(
        Simulator(world, game), 8, {RECOMMENDER_AGENT}, None, fixed_user=Leaver()
    )
    rollout.reset(np.random.SeedSequence(0))
    played = rollout.play({RECOMMENDER_AGENT: marked(game, 0)[RECOMMENDER_AGENT]}, rounds=5)
    assert rollout.finished.visits == 40
    assert all(end.left.all() for end in played.ends)

    env = TurnEnv({**env_config, "trained": ["recommender"]})
    env.fixed_user = Leaver()
    for seed in range(5):
        env.reset(seed=seed)
        assert env.step({RECOMMENDER_AGENT: np.arange(3)})[2]["__all__"]


# --- the round limit


def test_the_limit_can_end_visits_for_learners(world, game, env_config):
    """Nothing is bootstrapped then, in the batch as in RLlib's environment."""
    for limit_ends in (False, True):
        rollout = VisitSampler(Simulator(world, game), 16, BOTH, None, limit_ends=limit_ends)
        rollout.reset(np.random.SeedSequence(0))
        played = rollout.play(marked(game, 0), rounds=12)
        rounds = {bool(left) for end in played.ends for left in end.left}
        assert rounds == ({True} if limit_ends else {True, False})
        for agent in BOTH:
            piece = fragment(played, agent)
            last = piece.observations["round"][: len(piece), 0] == game.max_rounds - 1
            assert last.any()
            assert piece.terminated[last].all() or not limit_ends
        env = TurnEnv({**env_config, "trained": ["user"], "limit_ends": limit_ends})
        env.reset(seed=0)
        for _ in range(game.max_rounds):
            _, _, terminated, truncated, _ = env.step({USER_AGENT: np.zeros(4, np.int64)})
        assert (terminated["__all__"], truncated["__all__"]) == (limit_ends, not limit_ends)


# --- members of the ensemble, cooperation


def test_training_and_evaluation_can_differ_in_the_member(tmp_path, monkeypatch, world):
    """Only a world that was fitted has members: this one is fitted to the planted users' log."""
    from training.train import Evaluator

    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    small = WorldConfig().replace(
        encoder={"model": "hashing", "hashing_dim": 32},
        interest={"dim": 6, "epochs": 2},
        user_model={"epochs": 2, "min_updates": 20},
    )
    fitted = build_world(world.train, world.catalog, small, progress=False)
    folder = fitted.save(tmp_path / "world")
    game = {"slate_size": 3, "num_candidates": 12, "member": 1}
    base = TrainConfig(env=str(folder), game=game, evaluation_visits=8)

    def vectors(config, evaluates):
        if evaluates:
            return Evaluator(config).simulator.tables.item_vectors
        return Simulator(*config.resolve()).tables.item_vectors

    trained = vectors(base, False)
    assert not np.array_equal(trained, fitted.user_model.item_vectors)
    np.testing.assert_array_equal(vectors(base, True), trained)
    other = base.replace(evaluation_member=0)
    np.testing.assert_array_equal(vectors(other, False), trained)
    np.testing.assert_array_equal(vectors(other, True), fitted.user_model.item_vectors)


def test_the_ends_of_cooperation_are_zero_sum_and_shared(world, game):
    rewards = {}
    for cooperation in (-1.0, 0.0, 1.0):
        own = game.replace(reward={"cooperation": cooperation})
        rollout = VisitSampler(Simulator(world, own), 16, BOTH, None)
        rollout.reset(np.random.SeedSequence(0))
        played = rollout.play(marked(game, 0), rounds=20)
        rewards[cooperation] = played.rewards.astype(float)
        assert (rollout.state.ended == LIVE).all()
    own, theirs = rewards[0.0][..., 0], rewards[0.0][..., 1]
    assert own.std() > 0.1
    assert theirs.std() > 0.1
    np.testing.assert_allclose(rewards[-1.0].sum(-1), 0, atol=1e-6)
    np.testing.assert_allclose(rewards[-1.0][..., 0], (own - theirs) / 2, atol=1e-6)
    for side in (0, 1):
        np.testing.assert_allclose(rewards[1.0][..., side], (own + theirs) / 2, atol=1e-6)
