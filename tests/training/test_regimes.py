"""Who plays whom: fixed players, alternation, populations; and the member that evaluates."""

import numpy as np
import pytest
import torch

from recenv.config import GameConfig, WorldConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ArtifactError, ConfigError, UnknownNameError
from recenv.sim.simulator import Simulator
from recenv.sim.state import LIVE
from recenv.world import build_world
from training.config import NetworkConfig, TrainConfig
from training.env import TurnEnv
from training.episodes import chunks
from training.fragments import fragment
from training.opponents import make_fixed_user, make_opponent
from training.policy import NetworkRecommender, NetworkUser, make_network, save_policy
from training.regimes import Pool, past, sides_learning
from training.rollout import Rollout, Turn
from training.seats import PRESENT, Seats

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
        ({"game": {"reward": {"behaviour_weight": 1.0}}}, "--behaviour-weight"),
        ({"pool_size": 0}, "pool_size"),
        ({"behaviour_weight": -1.0}, "behaviour_weight"),
        ({"behaviour_weight": float("inf")}, "finite"),
        ({"evaluation_member": -1}, "evaluation_member"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


# --- the pool


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_a_pool_stays_spread_over_all_that_was(size):
    pool = Pool(size)
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
    pool = Pool(4)
    for iteration in (0, 7):
        sides = ("recommender", "user")
        pool.add(iteration, {s: weights(iteration + 1, world, game, s) for s in sides})
    pool.save(tmp_path / "pool")
    again = Pool.load(tmp_path / "pool", 4)
    assert list(again.members) == [0, 7]
    for iteration, sides in pool.members.items():
        assert set(again.members[iteration]) == {"recommender", "user"}
        for side, arrays in sides.items():
            assert arrays.keys() == again.members[iteration][side].keys()
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, again.members[iteration][side][name])
    with pytest.raises(ArtifactError):
        Pool.load(tmp_path / "none", 4)


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


# --- seats


def marked(game, number, seed=0):
    """Actors that draw anything, and leave their number beside every action."""
    rng = np.random.default_rng(seed)

    def turn(observation, action):
        batch = len(observation["round"])
        inputs = np.stack([np.full(batch, number), rng.random(batch)], axis=1)
        return Turn(observation, action, rng.random(batch), inputs)

    def recommend(observation):
        batch = len(observation["round"])
        action = rng.permuted(np.tile(np.arange(12), (batch, 1)), axis=1)[:, : game.slate_size]
        return turn(observation, action)

    def answer(observation):
        batch = len(observation["round"])
        response = rng.integers(3, size=(batch, game.slate_size))
        leave = rng.random((batch, 1)) < 0.2
        return turn(observation, np.concatenate([response, leave], 1).astype(np.int64))

    return {RECOMMENDER_AGENT: recommend, USER_AGENT: answer}


def pool_of(game, *numbers):
    actors = {number: marked(game, number, seed=number + 2) for number in numbers}
    return {agent: {n: actors[n][agent] for n in numbers} for agent in BOTH}


def test_every_visit_draws_one_side_uniformly_and_never_both():
    seats, rng = Seats(8), np.random.default_rng(0)
    seats.put({agent: {3: None, 5: None} for agent in BOTH}, rng)
    drawn = {agent: [] for agent in BOTH}
    for _ in range(3000):
        seats.draw(np.arange(8), rng)
        for agent, member in seats.member.items():
            drawn[agent].append(member.copy())
    users, ours = (np.array(drawn[a]) for a in (USER_AGENT, RECOMMENDER_AGENT))
    assert (users[:, 1::2] == PRESENT).all()
    assert (ours[:, ::2] == PRESENT).all()
    for chosen in (users[:, ::2], ours[:, 1::2]):
        counts = np.array([(chosen == m).sum() for m in (PRESENT, 3, 5)])
        assert counts.sum() == 12000
        assert np.abs(counts - 4000).max() < 5 * np.sqrt(12000 * 2 / 9)


def test_seats_without_a_pool_are_all_present():
    seats, rng = Seats(6), np.random.default_rng(0)
    seats.draw(np.arange(6), rng)
    assert all(seats.learns(agent).all() for agent in BOTH)


def test_a_visit_whose_past_policy_is_dropped_goes_on_with_another_past_one():
    seats, rng = Seats(400), np.random.default_rng(0)
    seats.put({agent: {1: None, 2: None} for agent in BOTH}, rng)
    seats.draw(np.arange(400), rng)
    before = {agent: member.copy() for agent, member in seats.member.items()}
    seats.put({agent: {2: None, 4: None} for agent in BOTH}, rng)
    for agent, member in seats.member.items():
        lost = before[agent] == 1
        assert lost.sum() > 20
        np.testing.assert_array_equal(member[~lost], before[agent][~lost])
        assert set(member[lost]) == {2, 4}


def test_each_row_is_played_by_its_own_member(game):
    seats, rng = Seats(9), np.random.default_rng(0)
    seats.put(pool_of(game, 3, 5), rng)
    member = rng.choice([PRESENT, 3, 5], 40)
    seen = {"round": rng.integers(9, size=(40, 1)), "mark": rng.random((40, 2))}
    present = marked(game, PRESENT)[RECOMMENDER_AGENT]

    def echo(observation):
        turn = present(observation)
        return turn._replace(logp=observation["mark"][:, 0])

    turn = seats.act(RECOMMENDER_AGENT, echo, seen, member)
    np.testing.assert_array_equal(turn.inputs[:, 0], member)
    mine = member == PRESENT
    np.testing.assert_array_equal(turn.logp[mine], seen["mark"][mine, 0])  # each its own row
    assert turn.observation is seen


def with_seats(world, game, batch=16, **more):
    seats = Seats(batch)
    rollout = Rollout(Simulator(world, game), batch, BOTH, None, seats=seats, **more)
    rollout.reset(np.random.SeedSequence(3))
    return rollout, seats


def test_only_the_present_policies_steps_are_learned_and_all_of_them(world, game):
    rollout, seats = with_seats(world, game)
    seats.put(pool_of(game, 3, 5), rollout.generator)
    actors = marked(game, PRESENT)
    taken = {agent: [] for agent in BOTH}
    learned = {agent: [] for agent in BOTH}
    shares = []
    for _ in range(5):
        played = rollout.play(actors, rounds=7)
        shares.append(played.learns[USER_AGENT].mean())
        for agent in BOTH:
            whole = np.concatenate([t.inputs for t in played.turns[agent]])
            np.testing.assert_array_equal(whole[:, 0] == PRESENT, played.learns[agent].reshape(-1))
            taken[agent] += whole[whole[:, 0] == PRESENT, 1].tolist()
            piece = fragment(played, agent)
            assert (piece.inputs[:, 0] == PRESENT).all()
            learned[agent] += piece.inputs[:, 1].tolist()
            going = ~piece.terminated
            now = piece.observations["round"][: len(piece)][going]
            then = piece.observations["round"][piece.following[going]]
            np.testing.assert_array_equal(then, now + 1)
    last = set(played.turns[USER_AGENT][-1].inputs[:, 1])
    assert sorted(learned[RECOMMENDER_AGENT]) == sorted(taken[RECOMMENDER_AGENT])
    assert len(learned[USER_AGENT]) == len(set(learned[USER_AGENT]))
    assert set(taken[USER_AGENT]) - set(learned[USER_AGENT]) < last  # they wait
    assert 0.5 < np.mean(shares) < 0.9  # 2/3: half the rows, and a third of the others


def test_episodes_hold_the_same_steps(world, game):
    rollout, seats = with_seats(world, game, every_final=True)
    seats.put(pool_of(game, 3, 5), rollout.generator)
    actors = marked(game, PRESENT)
    for _ in range(4):
        played = rollout.play(actors, rounds=7)
        pieces = list(chunks(played))
        for agent in BOTH:
            marks = [c.steps[agent].inputs for c in pieces if agent in c.steps]
            flat = fragment(played, agent).inputs
            assert len(flat) > 30
            assert (flat[:, 0] == PRESENT).all()
            assert sorted(np.concatenate(marks)[:, 1]) == sorted(flat[:, 1])


def test_a_visit_has_one_opponent_from_its_begin_to_its_end(world, game):
    rollout, seats = with_seats(world, game, batch=8)
    seats.put(pool_of(game, 3, 5, 8), rollout.generator)
    actors, who = marked(game, PRESENT), {}
    for _ in range(24):
        before = rollout.state.session.copy()
        played = rollout.play(actors, rounds=1)
        for agent in BOTH:
            for row, session in enumerate(before.tolist()):
                who.setdefault((row, session, agent), set()).add(
                    played.turns[agent][0].inputs[row, 0]
                )
    assert all(len(players) == 1 for players in who.values())
    assert len({(row, *sorted(players)) for (row, _, _), players in who.items()}) > 12


def test_the_slate_that_would_have_followed_is_the_opponents(world, game):
    """What a truncated visit's user is bootstrapped from was shown by who recommended in it."""
    rollout, seats = with_seats(world, game)

    def fixed(slot):
        def recommend(observation):
            batch = len(observation["round"])
            slates = np.tile(slot + np.arange(3), (batch, 1))
            return Turn(observation, slates, np.zeros(batch), np.full((batch, 2), slot))

        return recommend

    def stay(observation):
        batch = len(observation["round"])
        return Turn(observation, np.zeros((batch, 4), np.int64), np.zeros(batch),
                    np.zeros((batch, 2)))  # fmt: skip

    actors = {RECOMMENDER_AGENT: fixed(0), USER_AGENT: stay}
    seats.put({RECOMMENDER_AGENT: {4: fixed(4)}, USER_AGENT: {}}, rollout.generator)
    seats.draw(np.arange(16), rollout.generator)
    member = seats.member[RECOMMENDER_AGENT].copy()
    assert {PRESENT, 4} == set(member)
    played = rollout.play(actors, rounds=6)  # to the limit: nobody leaves
    (end,) = played.ends
    assert not end.left.any()
    finals = {agent: {k: v[end.final] for k, v in played.finals[agent].items()} for agent in BOTH}
    first = np.where(member[end.rows] == 4, 4, 0)
    candidates = finals[RECOMMENDER_AGENT]["candidates"]
    expected = np.take_along_axis(candidates, first[:, None] + np.arange(3), axis=1)
    np.testing.assert_array_equal(finals[USER_AGENT]["slate"], expected)


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
        rollout = Rollout(Simulator(world, game), 8, {RECOMMENDER_AGENT}, None, fixed_user=fixed)
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

    rollout = Rollout(Simulator(world, game), 8, {RECOMMENDER_AGENT}, None, fixed_user=Leaver())
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
        rollout = Rollout(Simulator(world, game), 16, BOTH, None, limit_ends=limit_ends)
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
    from training.train import _Evaluator

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
            return _Evaluator(config)._simulator.tables.item_vectors
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
        rollout = Rollout(Simulator(world, own), 16, BOTH, None)
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
