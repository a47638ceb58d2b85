"""SuperSuit pads both agents to the same spaces and makes a vector environment of them;
Stable-Baselines3 PPO trains one policy that plays both.

python supersuit_ppo.py --observation flat --slate-size 1
"""

import argparse
import json
from importlib.metadata import version

import numpy as np
import supersuit
import torch
from stable_baselines3 import PPO

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=512, help="turns of both agents, all visits")
parser.add_argument("--visits", type=int, default=2, help="visits played at once")
parser.add_argument("--processes", type=int, default=0)
args = parser.parse_args()

env = recenv.parallel_env(args.env, observation=args.observation, slate_size=args.slate_size)
env = supersuit.pad_observations_v0(env)
env = supersuit.pad_action_space_v0(env)
env = supersuit.pettingzoo_env_to_vec_env_v1(env)
env = supersuit.concat_vec_envs_v1(
    env, args.visits, num_cpus=args.processes, base_class="stable_baselines3"
)

seen, changing = [env.reset().copy()], 0
for _ in range(20):
    seen.append(env.step(np.zeros(env.num_envs, int))[0].copy())
    changing += int((seen[-1] != seen[-2]).any(axis=1).sum())
assert changing == 20 * env.num_envs, f"only {changing} of {20 * env.num_envs} rows changed"

model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=2, device="cpu")

before = [parameter.detach().clone() for parameter in model.policy.parameters()]
model.learn(total_timesteps=args.steps)
after = list(model.policy.parameters())
changed = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
env.close()

assert model.num_timesteps >= args.steps, f"only {model.num_timesteps} steps were taken"
assert changed == len(after), f"only {changed} of {len(after)} parameters have changed"
print(
    json.dumps(
        {
            "library": "supersuit",
            "version": version("supersuit"),
            "algorithm": f"stable-baselines3 {version('stable-baselines3')} ppo",
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": model.num_timesteps,
            "rows_changed": changing,
            "parameters_changed": changed,
        }
    )
)
