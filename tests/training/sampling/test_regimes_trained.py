"""What a few iterations of training do to both sides, in each regime, free or held by the KL."""

import json

import numpy as np
import pytest
import torch
from helpers.launched import train_each

from recenv.config import GameConfig
from recenv.env.registration import load_world
from recenv.sim.simulator import Simulator
from training.config.algorithms import ALGORITHMS
from training.models.observations import USER_LEAVES
from training.runs.load_policy import load, load_user
from training.sampling.regimes import Population

GAME = {"slate_size": 3, "max_rounds": 5}
FEW = {"rounds_per_iteration": 128, "learning_rate": 0.01}
SETTINGS = {
    "ippo": {**FEW, "minibatch_size": 64},
    "mappo": {**FEW, "minibatch_size": 64},
    "impala": FEW,
    "appo": FEW,
    "idqn": {**FEW, "minibatch_size": 64, "updates": 16},
    "sac": {**FEW, "minibatch_size": 64, "updates": 16},
}
"""Of every algorithm that trains users."""
USERS = [a for a, settings in ALGORITHMS.items() if "user" in settings.sides and a != "bc"]


def job(iterations, algorithm="ippo", *, each=False, resume=None, **settings):
    config = {
        "env": "recenv/Toy-v0",
        "game": GAME,
        "num_envs_per_env_runner": 16,
        "rounds": 128 * iterations,
        "network": {"hidden": 8},
        "algorithm": algorithm,
        algorithm: SETTINGS[algorithm],
        **settings,
    }
    return {"config": config, "each": each, "resume": resume}


def train(folder, jobs):
    train_each(folder, jobs, 500)
    return folder


def told(folder, name):
    return json.loads((folder / name / "rows.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("trained"),
        {
            "population": job(
                5,
                each=True,
                resume=3,
                num_env_runners=1,
                regime="population",
                snapshot_every=2,
                pool_size=2,
            ),
            "alternating": job(6, each=True, regime="alternating", alternate_every=2),
            "free-ippo": job(8, train="user", kl_weight=0.0),
            "near-ippo": job(8, train="user", kl_weight=1e6),
            "stock": job(2, batched_runner=False, num_envs_per_env_runner=4),
        },
    )


def weights(folder, side):
    network = (load if side == "recommender" else load_user)(folder).network
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def same(one, other):
    return all(np.array_equal(array, other[name]) for name, array in one.items())


# --- regimes


def test_the_side_whose_turn_it_is_not_is_held_still(trained):
    for iteration in range(6):
        folders = [trained / "alternating" / f"after-{i}" for i in (iteration, iteration + 1)]
        changed = {s: not same(*(weights(f, s) for f in folders)) for s in ("recommender", "user")}
        turn = "recommender" if iteration // 2 % 2 == 0 else "user"
        assert changed == {"recommender": turn == "recommender", "user": turn == "user"}
        row = told(trained, "alternating")["rows"][iteration]
        assert f"{turn}_steps_trained" in row
        assert sum(key.endswith("_steps_trained") for key in row) == 1


def test_a_population_is_what_the_policies_were_and_survives_going_on(trained):
    pools = told(trained, "population")["pools"]
    assert pools == [[0], [0], [0, 2], [0, 2], [0, 4]]
    for iteration in (0, 4):
        for side in ("recommender", "user"):
            then = weights(trained / "population" / f"after-{iteration}", side)
            assert same(weights(trained / "population" / f"past-{iteration}", side), then)
            assert not same(weights(trained / "population", side), then)
    assert list(
        Population.load(trained / "population" / "checkpoint" / "population", 2).members
    ) == [
        0,
        2,
    ]


def test_in_a_population_either_side_learns_from_part_of_the_turns(trained):
    rows = told(trained, "population")["rows"]
    assert all(row["user_steps_trained"] > 0 < row["recommender_steps_trained"] for row in rows)


# --- the weight of the KL


def distance(folder):
    """Greatest and mean difference of the answers' probabilities from the fitted user's."""
    world = load_world("recenv/Toy-v0")
    game = GameConfig.from_dict(GAME)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(200))
    slates = np.random.default_rng(0).permuted(np.tile(np.arange(20), (200, 1)), axis=1)[:, :3]
    apart = []
    user = load_user(folder).network
    for _ in range(3):
        simulator.show(state, slates)
        seen = simulator.user_observation(state)
        with torch.no_grad():
            leaves = {name: torch.from_numpy(seen[name]) for name in USER_LEAVES}
            logits = user(leaves).logits
        p = torch.cat(
            [torch.softmax(logits[:, :-2].reshape(-1, 3, 3), -1).flatten(1),
             torch.softmax(logits[:, -2:], -1)], -1
        )  # fmt: skip
        apart.append(np.abs(p.numpy() - seen["behaviour"]))
        simulator.respond_fitted(state)
    return np.max(apart), np.mean(apart)


def assert_near_the_fitted_user(folder, algorithm):
    """Free, the user goes its own way; with a weight beyond all rewards it stays what it was."""
    rows = {name: told(folder, f"{name}-{algorithm}")["rows"] for name in ("free", "near")}
    for name in ("free", "near"):
        assert rows[name][-1]["user_steps_trained"] > 0
        assert all(np.isfinite(list(row.values())).all() for row in rows[name])
    moved = rows["free"][-1]["user_kl_from_fitted"]
    kept = rows["near"][-1]["user_kl_from_fitted"]
    assert moved > 0.02
    assert abs(kept) < 1e-3
    assert distance(folder / f"free-{algorithm}")[0] > 0.1
    assert distance(folder / f"near-{algorithm}")[0] < 0.01


def test_a_free_user_moves_and_a_tied_one_stays(trained):
    assert_near_the_fitted_user(trained, "ippo")


def test_rllibs_own_runner_tells_the_divergence_too(trained):
    rows = told(trained, "stock")["rows"]
    assert rows[0]["user_kl_from_fitted"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["user_kl_from_fitted"] > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [a for a in USERS if a != "ippo"])
def test_every_algorithm_can_tie_its_user(tmp_path, algorithm):
    jobs = {
        f"free-{algorithm}": job(8, algorithm, train="user", kl_weight=0.0),
        f"near-{algorithm}": job(8, algorithm, train="user", kl_weight=1e6),
    }
    assert_near_the_fitted_user(train(tmp_path, jobs), algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [a for a in USERS if a != "ippo"])
def test_every_algorithm_knows_every_regime(tmp_path, algorithm):
    jobs = {
        "alternating": job(4, algorithm, each=True, regime="alternating", alternate_every=1),
        "population": job(4, algorithm, regime="population", snapshot_every=1, pool_size=2),
    }
    folder = train(tmp_path, jobs)
    for iteration in range(4):
        folders = [folder / "alternating" / f"after-{i}" for i in (iteration, iteration + 1)]
        changed = [not same(*(weights(f, s) for f in folders)) for s in ("recommender", "user")]
        assert changed == [iteration % 2 == 0, iteration % 2 == 1]
    assert told(folder, "population")["pools"][-1] == [0, 3]
    assert told(folder, "population")["rows"][-1]["user_steps_trained"] > 0
