"""APPO: its surrogate off-policy, its clip, its target network, and a run."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers.launched import check_whole, finish, folder, start
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED_LIFETIME

from recenv.env.visit import RECOMMENDER_AGENT
from training.algorithms.appo import AppoLearner
from training.config import TrainConfig
from training.models.rl_modules import module_specs
from training.sampling.env import TurnEnv

CLIP = SimpleNamespace(clip_param=0.2, target_worker_clipping=2.0)


def surrogate(now, target, behaviour, credit=1.0):
    """(loss, its gradient with respect to the log-probability now) of one step of one slot."""
    leaf = torch.tensor([[now]], requires_grad=True)
    loss = AppoLearner._policy_loss(
        object.__new__(AppoLearner),
        CLIP,
        torch.tensor([[credit]]),
        leaf,
        torch.tensor([[target]]),
        torch.tensor([[behaviour]]),
    )
    loss.backward()
    return loss.item(), leaf.grad.item()


def test_ratios_to_the_target_network_are_clipped():
    loss, gradient = surrogate(now=-1.0, target=-1.0, behaviour=-1.3)
    assert (loss, gradient) == (pytest.approx(-1), pytest.approx(-1))
    # beyond the clip there is nothing to gain, but a loss still pulls back
    assert surrogate(now=-0.7, target=-1.0, behaviour=-1.3)[1] == 0
    assert surrogate(now=-1.3, target=-1.0, behaviour=-1.3)[1] < 0
    assert surrogate(now=-1.3, target=-1.0, behaviour=-1.3, credit=-1.0)[1] == 0
    # whoever sampled is left out of the ratio, unless it was twice as likely to do this
    assert surrogate(-1.0, -1.0, -0.5)[0] == pytest.approx(-1)
    assert surrogate(-1.0, -1.0, -0.1)[0] == pytest.approx(-2 * torch.exp(torch.tensor(-0.9)))


def test_the_late_copy_follows_only_when_told(world, game, env_config):
    config = TrainConfig(
        env=env_config["env"], game=env_config["game"], algorithm="appo", train="recommender"
    )
    env = TurnEnv(config.env_config)
    spec = module_specs(config)
    one = spec.rl_module_specs["recommender"]
    one.observation_space = env.observation_spaces[RECOMMENDER_AGENT]
    one.action_space = env.action_spaces[RECOMMENDER_AGENT]
    module = spec.build()["recommender"]
    assert isinstance(module, TargetNetworkAPI)
    own = sum(p.numel() for p in module.network.parameters())
    before = copy.deepcopy(module.network.state_dict())
    module.make_target_networks()
    assert not any(p.requires_grad for p in module.target_network.parameters())
    assert sum(p.numel() for p in module.target_network.parameters()) == own
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(1.0)
    for name, value in module.target_network.state_dict().items():
        torch.testing.assert_close(value, before[name])
    [(main, late)] = module.get_target_network_pairs()
    assert main is module.network
    assert late is module.target_network
    runners = module.get_state(inference_only=True)
    assert runners
    assert all(name.startswith("network.") for name in runners)


def test_its_age_counts_batches_however_often_each_is_passed_over(monkeypatch):
    ages = []
    monkeypatch.setattr(
        APPOTorchLearner,
        "after_gradient_based_update",
        lambda self, timesteps: ages.append(timesteps[NUM_ENV_STEPS_TRAINED_LIFETIME]),
    )
    learner = object.__new__(AppoLearner)
    learner.config = SimpleNamespace(train_batch_size_per_learner=100)
    for trained in (0, 400, 800):
        learner.after_gradient_based_update(timesteps={NUM_ENV_STEPS_TRAINED_LIFETIME: trained})
    assert ages == [100, 200, 300]


APPO = (
    "--algorithm", "appo", "--appo.rounds-per-iteration", "128", "--appo.batch-rounds", "4",
    "--appo.passes", "2", "--rounds", "256", "--evaluation-every", "2", "--no-report",
)  # fmt: skip


@pytest.mark.timeout(600)
def test_appo_trains_both_sides(tmp_path):
    output = finish(start(tmp_path, *APPO), tmp_path)
    assert len(check_whole(folder(tmp_path))) == 3
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--num-env-runners", "1"), ("--num-learners", "1")])
def test_appo_in_other_ways(tmp_path, flags):
    finish(start(tmp_path, *APPO, *flags), tmp_path)
    assert [row["rounds"] for row in folder(tmp_path).read_metrics()] == [0, 128, 256]


@pytest.mark.slow
def test_appo_resumes_with_its_target_network(tmp_path):
    finish(start(tmp_path, *APPO), tmp_path)
    run = folder(tmp_path)
    finish(
        start(tmp_path, "--resume", str(run.path), "--rounds", "512", "--no-report",
              "--no-progress", new=False), tmp_path)  # fmt: skip
    assert [row["rounds"] for row in check_whole(run)] == [0, 128, 256, 384, 512]
