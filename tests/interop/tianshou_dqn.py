"""Tianshou's DQN for both agents, turn by turn: SuperSuit pads the AEC environment's spaces.

python tianshou_dqn.py --observation flat --slate-size 1
"""

import argparse
import json
from importlib.metadata import version

import supersuit
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.multiagent.marl import MultiAgentOffPolicyAlgorithm
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, PettingZooEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=256, help="turns: a round has two")
args = parser.parse_args()


def make():
    env = recenv.aec_env(args.env, observation=args.observation, slate_size=args.slate_size)
    return PettingZooEnv(supersuit.pad_action_space_v0(supersuit.pad_observations_v0(env)))


env = make()
networks, learners = [], []
for _ in env.agents:
    network = Net(
        state_shape=env.observation_space.shape,
        action_shape=env.action_space.n,
        hidden_sizes=[64],
    )
    policy = DiscreteQLearningPolicy(model=network, action_space=env.action_space, eps_training=0.1)
    networks.append(network)
    learners.append(DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3)))
algorithm = MultiAgentOffPolicyAlgorithm(algorithms=learners, env=env)
collector = Collector[object](
    algorithm, DummyVectorEnv([make] * 2), VectorReplayBuffer(1000, 2), exploration_noise=True
)
collector.reset()

before = [p.detach().clone() for network in networks for p in network.parameters()]
algorithm.run_training(
    OffPolicyTrainerParams(
        training_collector=collector,
        max_epochs=1,
        epoch_num_steps=args.steps,
        collection_step_num_env_steps=32,
        batch_size=32,
        update_step_num_gradient_steps_per_sample=0.25,
        verbose=False,
        show_progress=False,
    )
)
after = [p for network in networks for p in network.parameters()]
changed = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))

assert collector.collect_step >= args.steps, f"only {collector.collect_step} steps were taken"
assert changed == len(after), f"only {changed} of {len(after)} parameters have changed"
print(
    json.dumps(
        {
            "library": "tianshou",
            "version": version("tianshou"),
            "algorithm": "dqn",
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": collector.collect_step,
            "parameters_changed": changed,
        }
    )
)
