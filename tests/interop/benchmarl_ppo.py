"""BenchMARL's IPPO or MAPPO, on a task of one's own as its documentation asks for one.

python benchmarl_ppo.py --observation flat --slate-size 1 --algorithm mappo

With --compare it trains the recommender alone, in earnest, while the fitted user answers, and
compares it with random slates on held-out users:

python benchmarl_ppo.py --observation flat --slate-size 1 --steps 12000 --compare 50 --action-mask
"""

import argparse
import json
import tempfile
from dataclasses import MISSING, dataclass
from importlib.metadata import version

import torch
from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.common import EnsembleModelConfig, Model, ModelConfig
from benchmarl.models.mlp import MlpConfig
from learned import Clock, FittedAnswers, against_random, mean_and_deviation
from tensordict import TensorDict
from torchrl.envs import PettingZooWrapper
from torchrl.envs.transforms import ObservationNorm

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=256, help="turns: a round has two")
parser.add_argument("--algorithm", choices=["ippo", "mappo"], default="ippo")
parser.add_argument("--action-mask", action="store_true", help="tell whose turn it is")
parser.add_argument("--compare", type=int, default=0, help="visits of each held-out user")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
if args.compare and (args.observation, args.slate_size) != ("flat", 1):
    parser.error("--compare is for --observation flat --slate-size 1")
if args.compare and args.algorithm == "mappo":
    parser.error("--compare is for --algorithm ippo")
clock = Clock()
centralized = args.algorithm == "mappo"
told = {
    "source": args.env,
    "observation": args.observation,
    "slate_size": args.slate_size,
    "action_mask": "info" if args.action_mask else None,
}


class Visit(PettingZooClass):
    """What BenchMARL asks of a task; the rest is as for PettingZoo's own environments."""

    def get_env_fun(self, num_envs, continuous_actions, seed, device):
        return lambda: PettingZooWrapper(
            recenv.parallel_env(**self.config), return_state=centralized, seed=seed, device=device
        )

    def supports_continuous_actions(self):
        return False

    def supports_discrete_actions(self):
        return True

    def has_state(self):
        return centralized

    def has_render(self, env):
        return False

    def max_steps(self, env):
        return 2 * env.game.max_rounds

    def get_env_transforms(self, env):
        if scale is None:
            return []
        seen = ("recommender", "observation")
        return [ObservationNorm(*scale, in_keys=[seen], standard_normal=True)]


class UserModel(Model):
    """``FittedAnswers`` as BenchMARL asks for a model."""

    def __init__(self, behaviour, **kwargs):
        super().__init__(**kwargs)
        self.network = FittedAnswers(slice(*behaviour))

    def _forward(self, tensordict):
        return tensordict.set(self.out_key, self.network(tensordict.get(self.in_keys[0])))


@dataclass
class UserModelConfig(ModelConfig):
    behaviour: tuple[int, int] = MISSING

    @staticmethod
    def associated_class():
        return UserModel


config = ExperimentConfig.get_from_yaml()
config.max_n_frames = args.steps
config.on_policy_collected_frames_per_batch = 64
config.on_policy_n_envs_per_worker = 1
config.on_policy_minibatch_size = 32
config.on_policy_n_minibatch_iters = 2
config.evaluation = False
config.loggers = []
config.create_json = False

if args.compare:
    config.lr = 1e-3
    config.gamma = 0.9  # nearly all that a slate earns comes with its answer
    config.on_policy_collected_frames_per_batch = 1000
    config.on_policy_minibatch_size = 250
    config.on_policy_n_minibatch_iters = 10
model = MlpConfig.get_from_yaml()
scale = None
if args.compare:
    played = recenv.parallel_env(**told)
    scale = mean_and_deviation(played)
    where = played.layout("user_0")["behaviour"]
    user = UserModelConfig(behaviour=(where.start, where.stop))
    model = EnsembleModelConfig({"recommender": model, "user": user})

with tempfile.TemporaryDirectory() as folder:
    config.save_folder = folder
    experiment = Experiment(
        task=Visit("visit", told),
        algorithm_config=(IppoConfig if args.algorithm == "ippo" else MappoConfig).get_from_yaml(),
        model_config=model,
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=args.seed,
        config=config,
    )
    if args.compare:
        del experiment.train_group_map["user"]  # it answers as the fitted user does

    def parameters():
        groups = experiment.train_group_map
        return [p for group in groups for p in experiment.losses[group].parameters()]

    before = [parameter.detach().clone() for parameter in parameters()]
    experiment.run()
    changed = sum(not torch.equal(a, b) for a, b in zip(before, parameters(), strict=True))
    steps = experiment.total_frames


def logits(seen):
    seen = seen[:, None]  # (B, 1 agent, F)
    allowed = torch.ones(len(seen), 1, candidates, dtype=torch.bool)
    given = {"observation": seen, "action_mask": allowed}
    group = TensorDict({"recommender": TensorDict(given, [len(seen), 1])}, [len(seen)])
    return experiment.group_policies["recommender"](group)["recommender", "logits"][:, 0]


compared = clock.read()
if args.compare:
    candidates = played.game.num_candidates
    compared |= against_random(logits, played, scale, args.compare)

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
            **compared,
        }
    )
)
