"""Trained policies are found, checked and played without Ray."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from recenv.env.registration import load_world
from recenv.errors import ArtifactError
from recenv.sim.simulator import Simulator
from training.config import TrainConfig
from training.runs.folder import Checkpoint, RunFolder
from training.runs.load_policy import (
    NetworkRecommender,
    has_policy,
    load,
    load_user,
    make_network,
    save_policy,
)

GAME = {"slate_size": 3, "num_candidates": 12, "max_rounds": 6}


def drawn_network(side, config, seed):
    """A network whose every weight is drawn, as after training."""
    network = make_network(side, *config.resolve(), config.network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for weight in network.parameters():
            weight.data.normal_(0, 0.3)
    return network


def save_both(folder, config, seed):
    for side in config.trained:
        network = drawn_network(side, config, seed)
        world, game = config.resolve()
        save_policy(folder, side, network, world, game, config.network, {"env": config.env})


def checkpoint(run, config, iteration, reward):
    def save(part):
        part.mkdir()
        save_both(Checkpoint(part, 0, 0, None).policy, config, seed=iteration)

    run.save_checkpoint(save, iteration, 1.0, reward)


def slates(recommender, config):
    simulator = Simulator(*config.resolve())
    state = simulator.reset(np.arange(16))
    observation = simulator.recommender_observation(state)
    return recommender.recommend(observation, state.key, 3).tolist()


def wanted(config, seed):
    return slates(NetworkRecommender(drawn_network("recommender", config, seed)), config)


@pytest.fixture
def config():
    return TrainConfig(env="recenv/Toy-v0", game=GAME, rounds=8192)


@pytest.fixture
def run(tmp_path, config):
    """A finished run: checkpoints of iterations 1 (the best) and 2, policies of seed 3."""
    run = RunFolder(tmp_path / "run")
    run.create(config)
    checkpoint(run, config, 1, 5.0)
    checkpoint(run, config, 2, 4.0)
    save_both(run.policy, config, seed=3)
    return run


def test_what_to_load_is_chosen_by_path_and_checkpoint(run, config):
    final, best, last = (wanted(config, seed) for seed in (3, 1, 2))
    assert final not in (best, last)
    assert best != last
    for path in (run.path, run.policy, run.policy / "recommender"):
        assert slates(load(path), config) == final
    assert slates(load(run.path, load_world(config.env)), config) == final
    assert slates(load(run.path, checkpoint="best"), config) == best
    assert slates(load(run.path, checkpoint="last"), config) == last
    assert slates(load(run.checkpoint("best").folder), config) == best
    assert load_user(run.path, checkpoint="best").name == "trained user"
    assert has_policy(run.path, "user")


ALONE = """
import json, sys
for name in ("ray", "ray.rllib", "ray.tune"):
    sys.modules[name] = None  # importing it raises
import numpy as np
from recenv.sim.simulator import Simulator
from training.runs.load_policy import load, load_user
from training.runs.folder import RunFolder
path, checkpoint = sys.argv[1], sys.argv[2] or None
policy, user = load(path, checkpoint=checkpoint), load_user(path, checkpoint=checkpoint)
simulator = Simulator(*RunFolder(__import__("pathlib").Path(path)).config().resolve())
state = simulator.reset(np.arange(16))
slates = policy.recommend(simulator.recommender_observation(state), state.key, 3)
simulator.show(state, slates)
simulator.respond(state, user.answer(simulator.user_observation(state), state.key))
assert not [name for name, module in sys.modules.items() if name.startswith("ray") and module]
print(json.dumps(slates.tolist()))
"""


@pytest.mark.parametrize("which", ["", "best"])
def test_policies_load_and_play_where_ray_cannot_be_imported(run, config, which):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(run.path), which],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == wanted(config, 1 if which else 3)


def test_the_report_is_written_where_ray_cannot_be_imported(run):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from training.evaluate import main\n"
        "sys.exit(main([sys.argv[1], '--episodes-per-user', '1', '--no-progress',"
        " '--checkpoint', 'best']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--checkpoint best" in (run.path / "report-best" / "report.md").read_text()


def test_a_saved_world_is_found_again_and_checked(tmp_path, config):
    folder = load_world("recenv/Toy-v0").save(tmp_path / "world")
    config = config.replace(env=str(folder))
    save_both(tmp_path / "policy", config, seed=0)
    assert slates(load(tmp_path), config) == wanted(config, 0)
    with pytest.raises(ArtifactError, match="trained in the world"):
        load(tmp_path, load_other_world())
    shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match=r"not here.*give it as world="):
        load(tmp_path)
    assert load(tmp_path, load_world("recenv/Toy-v0")).name == "trained recommender"


def load_other_world():
    from recenv.synthetic.world import PlantedConfig, planted_world

    return planted_world(PlantedConfig(num_users=60, num_items=50, seed=1))


def test_what_is_not_there_is_told_with_a_way_on(tmp_path, config):
    run = RunFolder(tmp_path / "many" / "seed-1")
    run.create(config.replace(train="recommender"))
    checkpoint(run, run.config(), 1, None)
    with pytest.raises(ArtifactError, match="not trained to its end.*--resume"):
        load(run.path)
    with pytest.raises(ArtifactError, match="seed-1"):
        load(run.path.parent)
    with pytest.raises(ArtifactError, match="no trained user"):
        load_user(run.path, checkpoint="last")
    with pytest.raises(ArtifactError, match="no checkpoint"):
        load(tmp_path, checkpoint="best")
    weights = run.checkpoint().policy / "recommender" / "arrays.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="truncated"):
        load(run.path, checkpoint="last")
