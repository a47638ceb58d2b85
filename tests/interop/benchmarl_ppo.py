"""BenchMARL's IPPO or MAPPO, on a task of one's own as its documentation asks for one.

python benchmarl_ppo.py --observation flat --slate-size 1 --algorithm mappo
"""

import argparse
import json
import tempfile
from importlib.metadata import version

import torch
from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.envs import PettingZooWrapper

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=256, help="turns: a round has two")
parser.add_argument("--algorithm", choices=["ippo", "mappo"], default="ippo")
args = parser.parse_args()


class Visit(PettingZooClass):
    """What BenchMARL asks of a task; the rest is as for PettingZoo's own environments."""

    def get_env_fun(self, num_envs, continuous_actions, seed, device):
        return lambda: PettingZooWrapper(
            recenv.parallel_env(**self.config), return_state=True, seed=seed, device=device
        )

    def supports_continuous_actions(self):
        return False

    def supports_discrete_actions(self):
        return True

    def has_state(self):
        return True

    def has_render(self, env):
        return False

    def max_steps(self, env):
        return 2 * env.game.max_rounds


config = ExperimentConfig.get_from_yaml()
config.max_n_frames = args.steps
config.on_policy_collected_frames_per_batch = 64
config.on_policy_n_envs_per_worker = 1
config.on_policy_minibatch_size = 32
config.on_policy_n_minibatch_iters = 2
config.evaluation = False
config.loggers = []
config.create_json = False

with tempfile.TemporaryDirectory() as folder:
    config.save_folder = folder
    experiment = Experiment(
        task=Visit(
            "visit",
            {
                "source": args.env,
                "observation": args.observation,
                "slate_size": args.slate_size,
            },
        ),
        algorithm_config=(IppoConfig if args.algorithm == "ippo" else MappoConfig).get_from_yaml(),
        model_config=MlpConfig.get_from_yaml(),
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=0,
        config=config,
    )

    def parameters():
        return [p for loss in experiment.losses.values() for p in loss.parameters()]

    before = [parameter.detach().clone() for parameter in parameters()]
    experiment.run()
    changed = sum(not torch.equal(a, b) for a, b in zip(before, parameters(), strict=True))
    steps = experiment.total_frames

assert steps >= args.steps, f"only {steps} steps were taken"
assert changed == len(before), f"only {changed} of {len(before)} parameters have changed"
print(
    json.dumps(
        {
            "library": "benchmarl",
            "version": version("benchmarl"),
            "algorithm": args.algorithm,
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": steps,
            "parameters_changed": changed,
        }
    )
)
