"""skrl IPPO, or MAPPO whose critics read the environment's `state()`; both agents learn.

python skrl_ppo.py --observation flat --slate-size 5 --algorithm mappo
"""

import argparse
import json
from importlib.metadata import version

import gymnasium
import torch
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model, MultiCategoricalMixin
from skrl.multi_agents.torch.ippo import IPPO, IPPO_CFG
from skrl.multi_agents.torch.mappo import MAPPO, MAPPO_CFG
from skrl.trainers.torch import SequentialTrainer

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=256, help="turns: a round has two")
parser.add_argument("--algorithm", choices=["ippo", "mappo"], default="ippo")
args = parser.parse_args()


def mlp(inputs, outputs):
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 64), torch.nn.Tanh(), torch.nn.Linear(64, outputs)
    )


class Policy(Model):
    """Logits of every action; skrl has made one vector of an observation, a dict too."""

    def __init__(self, spaces):
        Model.__init__(self, **spaces, device="cpu")
        self.net = mlp(self.num_observations, self.num_actions)

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {}


class OneItem(CategoricalMixin, Policy):
    def __init__(self, spaces):
        Policy.__init__(self, spaces)
        CategoricalMixin.__init__(self)


class Slate(MultiCategoricalMixin, Policy):
    def __init__(self, spaces):
        Policy.__init__(self, spaces)
        MultiCategoricalMixin.__init__(self)


class Critic(DeterministicMixin, Model):
    """IPPO's critic reads what its agent sees, MAPPO's the state."""

    def __init__(self, spaces):
        Model.__init__(self, **spaces, device="cpu")
        DeterministicMixin.__init__(self)
        self.reads = "states" if args.algorithm == "mappo" else "observations"
        self.net = mlp(self.num_states if self.reads == "states" else self.num_observations, 1)

    def compute(self, inputs, role=""):
        return self.net(inputs[self.reads]), {}


env = wrap_env(
    recenv.parallel_env(args.env, observation=args.observation, slate_size=args.slate_size),
    wrapper="pettingzoo",
)
models, memories = {}, {}
for agent in env.possible_agents:
    spaces = {
        "observation_space": env.observation_space(agent),
        "state_space": env.state_space(agent),
        "action_space": env.action_space(agent),
    }
    discrete = isinstance(spaces["action_space"], gymnasium.spaces.Discrete)
    models[agent] = {"policy": (OneItem if discrete else Slate)(spaces), "value": Critic(spaces)}
    memories[agent] = RandomMemory(memory_size=64, num_envs=env.num_envs, device="cpu")

algorithm, config = (IPPO, IPPO_CFG()) if args.algorithm == "ippo" else (MAPPO, MAPPO_CFG())
config.rollouts = 64
for field in (  # skrl 2.1 wants these for each agent, empty ones too
    "learning_rate_scheduler_kwargs",
    "observation_preprocessor_kwargs",
    "state_preprocessor_kwargs",
    "value_preprocessor_kwargs",
):
    setattr(config, field, {agent: {} for agent in env.possible_agents})
config.experiment.write_interval = config.experiment.checkpoint_interval = 0
learner = algorithm(
    possible_agents=env.possible_agents,
    models=models,
    memories=memories,
    cfg=config,
    observation_spaces=env.observation_spaces,
    state_spaces=env.state_spaces,
    action_spaces=env.action_spaces,
    device="cpu",
)


def parameters():
    return [p for agent in models.values() for model in agent.values() for p in model.parameters()]


before = [parameter.detach().clone() for parameter in parameters()]
settings = {"timesteps": args.steps, "headless": True, "close_environment_at_exit": False}
SequentialTrainer(env=env, agents=learner, cfg=settings).train()
changed = sum(not torch.equal(a, b) for a, b in zip(before, parameters(), strict=True))

assert changed == len(before), f"only {changed} of {len(before)} parameters have changed"
print(
    json.dumps(
        {
            "library": "skrl",
            "version": version("skrl"),
            "algorithm": args.algorithm,
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": args.steps,
            "parameters_changed": changed,
        }
    )
)
