"""Stable-Baselines3 PPO, or DQN where a slate is one item, on the Gymnasium environment.

python sb3.py --observation dict --slate-size 5
python sb3.py --observation flat --slate-size 1 --algorithm dqn
"""

import argparse
import json
from importlib.metadata import version

import gymnasium
import torch
from stable_baselines3 import DQN, PPO

import recenv  # noqa: F401  registers the ids

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="dict")
parser.add_argument("--slate-size", type=int, default=5)
parser.add_argument("--steps", type=int, default=256, help="a step is a whole round")
parser.add_argument("--algorithm", choices=["ppo", "dqn"], default="ppo")
args = parser.parse_args()

env = gymnasium.make(args.env, observation=args.observation, slate_size=args.slate_size)
policy = "MultiInputPolicy" if args.observation == "dict" else "MlpPolicy"
if args.algorithm == "ppo":
    model = PPO(policy, env, n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu")
else:
    model = DQN(policy, env, learning_starts=32, buffer_size=1000, seed=0, device="cpu")

trained = model.policy if args.algorithm == "ppo" else model.q_net
before = [parameter.detach().clone() for parameter in trained.parameters()]
model.learn(total_timesteps=args.steps)
after = list(trained.parameters())
changed = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))

assert model.num_timesteps >= args.steps, f"only {model.num_timesteps} steps were taken"
assert changed == len(after), f"only {changed} of {len(after)} parameters have changed"
print(
    json.dumps(
        {
            "library": "stable-baselines3",
            "version": version("stable-baselines3"),
            "algorithm": args.algorithm,
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": model.num_timesteps,
            "parameters_changed": changed,
        }
    )
)
