"""Runs of the algorithms that learn values, from the command line."""

import numpy as np
import pytest
from helpers.launched import check_whole, finish, folder, kill, start, wait_for_iteration

from recenv.env.registration import load_world
from recenv.errors import ConfigError
from training.config import TrainConfig
from training.config.algorithms import ALGORITHMS, IDQN
from training.models.networks import RecommenderNetwork
from training.models.value_networks import AnswerQNetwork, SlateQNetwork, SlotQNetwork
from training.runs.load_policy import load, load_user
from training.session import algorithm_config

VALUES = ("slateq", "idqn", "sac")


def tiny(algorithm, *flags):
    return (
        *("--algorithm", algorithm, f"--{algorithm}.rounds-per-iteration", "128"),
        *(f"--{algorithm}.updates", "4", f"--{algorithm}.minibatch-size", "64"),
        *(f"--{algorithm}.replay-size", "400", *flags),
    )


@pytest.mark.timeout(600)
def test_slateq_trains_evaluates_and_saves_its_policy(tmp_path):
    flags = tiny("slateq", "--train", "recommender", "--rounds", "640", "--evaluation-every", "2",
                 "--slateq.epsilon-rounds", "256")  # fmt: skip
    output = finish(start(tmp_path, *flags), tmp_path)
    rows = check_whole(folder(tmp_path))
    assert [row["recommender_epsilon"] for row in rows[1:4]] == pytest.approx([0.5, 0.275, 0.05])
    assert rows[1]["recommender_replayed_steps"] == 128
    assert 128 < rows[-1]["recommender_replayed_steps"] <= 400  # the ring is full
    for name in ("q_loss", "choice_loss", "reward_loss", "q_mean"):
        assert np.isfinite([row[f"recommender_{name}"] for row in rows[1:]]).all()
    policy = load(folder(tmp_path).path, load_world("recenv/Toy-v0"))
    assert isinstance(policy.network, SlateQNetwork)
    assert policy.network.values.kind == "slateq"
    for line in ("SLATEQ recommender", "seeded, untrained", "oracle"):
        assert line in output
    assert "Traceback" not in output


@pytest.mark.timeout(600)
def test_idqn_trains_both_sides(tmp_path):
    finish(start(tmp_path, *tiny("idqn", "--rounds", "384", "--no-report")), tmp_path)
    rows = check_whole(folder(tmp_path))
    assert all(np.isfinite(row["user_q_loss"]) for row in rows[1:])
    assert all(row["user_kl_from_fitted"] >= 0 for row in rows[1:])
    world = load_world("recenv/Toy-v0")
    assert isinstance(load(folder(tmp_path).path, world).network, SlotQNetwork)
    user = load_user(folder(tmp_path).path, world).network
    assert isinstance(user, AnswerQNetwork)
    assert user.values.kl_weight == TrainConfig().kl_weight


@pytest.mark.slow
def test_sac_trains_both_sides_and_saves_policies_without_critics(tmp_path):
    finish(start(tmp_path, *tiny("sac", "--rounds", "384", "--no-report")), tmp_path)
    rows = check_whole(folder(tmp_path))
    for side in ("recommender", "user"):
        assert np.isfinite([row[f"{side}_entropy"] for row in rows[1:]]).all()
    network = load(folder(tmp_path).path, load_world("recenv/Toy-v0")).network
    assert type(network) is RecommenderNetwork


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("slateq", "--train", "recommender", "--num-env-runners", "1", "--num-learners", "1"),
        ("slateq", "--train", "recommender", "--slateq.choice", "single", "--slateq.search",
         "exact", "--slateq.labels", "fitted"),
        ("idqn", "--game.slate_size", "1", "--no-idqn.slot-credit", "--kl-weight", "0"),
        ("idqn", "--train", "user", "--opponent", "content"),
        ("idqn", "--regime", "alternating", "--alternate-every", "1"),
        ("sac", "--game.slate_size", "1"),
    ],
)  # fmt: skip
def test_other_ways_to_train(tmp_path, flags):
    finish(start(tmp_path, *tiny(*flags), "--rounds", "512", "--no-report"), tmp_path)
    run = folder(tmp_path)
    rows = run.read_metrics()
    for side in run.config().trained:
        steps = [row[f"{side}_steps_trained"] for row in rows if f"{side}_steps_trained" in row]
        assert len(steps) >= 2
        assert (np.diff(steps) > 0).all()


@pytest.mark.slow
def test_a_killed_run_goes_on_learning_at_once_with_its_exploration(tmp_path):
    flags = tiny("slateq", "--train", "recommender", "--rounds", "1280000", "--no-report",
                 "--checkpoint-every", "2", "--slateq.epsilon-rounds", "512")  # fmt: skip
    first = start(tmp_path, *flags)
    run = folder(tmp_path)
    wait_for_iteration(run, 6, first)
    kill(first)
    at = run.checkpoint().iteration
    rounds = str(128 * (at + 2))
    resume = ("--resume", str(run.path), "--rounds", rounds, "--no-report", "--no-progress")
    finish(start(tmp_path, *resume, new=False), tmp_path)
    rows = check_whole(run)
    assert len(rows) == at + 3
    assert rows[at + 1]["recommender_replayed_steps"] == 128  # the replay begins anew
    assert rows[at + 1]["recommender_epsilon"] == pytest.approx(0.05)  # exploration does not


@pytest.mark.parametrize("algorithm", VALUES)
@pytest.mark.parametrize(
    ("change", "message"),
    [({"num_learners": 2}, "num_learners.*one replay"), ({"batched_runner": False}, "episodes")],
)
def test_what_a_replay_cannot_do_is_told(algorithm, change, message):
    config = TrainConfig(env="recenv/Toy-v0", algorithm=algorithm, train="recommender", **change)
    with pytest.raises(ConfigError, match=message):
        algorithm_config(config)


@pytest.mark.parametrize("algorithm", VALUES)
def test_settings_out_of_range_are_told(algorithm):
    for name, value in (("updates", 0), ("gamma", 1.5), ("target_rate", 0.0), ("replay_size", 1)):
        with pytest.raises(ConfigError, match=name):
            ALGORITHMS[algorithm](**{name: value})
    with pytest.raises(ConfigError, match="epsilon"):
        IDQN(epsilon=2.0)


def test_slateq_trains_the_recommender_alone():
    with pytest.raises(ConfigError, match="something that slateq can train: recommender"):
        TrainConfig(env="recenv/Toy-v0", algorithm="slateq")
    with pytest.raises(ConfigError, match="both are exact"):
        ALGORITHMS["slateq"](search="exact")
