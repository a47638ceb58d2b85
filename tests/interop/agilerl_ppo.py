"""AgileRL's IPPO in its own training loop, one learner of a population of one.

python agilerl_ppo.py --observation flat --slate-size 5
"""

import argparse
import json
from importlib.metadata import version

import torch
from agilerl.algorithms import IPPO
from agilerl.training.train_multi_agent_on_policy import train_multi_agent_on_policy

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="flat")
parser.add_argument("--slate-size", type=int, default=1)
parser.add_argument("--steps", type=int, default=256, help="turns: a round has two")
args = parser.parse_args()

env = recenv.parallel_env(args.env, observation=args.observation, slate_size=args.slate_size)
learner = IPPO(
    [env.observation_space(agent) for agent in env.possible_agents],
    [env.action_space(agent) for agent in env.possible_agents],
    agent_ids=env.possible_agents,
    learn_step=64,
    batch_size=32,
)


def parameters():
    networks = [*learner.actors.values(), *learner.critics.values()]
    return [parameter for network in networks for parameter in network.parameters()]


before = [parameter.detach().clone() for parameter in parameters()]
(learner,), _ = train_multi_agent_on_policy(
    env,
    args.env,
    "IPPO",
    [learner],
    sum_scores=False,
    max_steps=args.steps,
    evo_steps=64,
    eval_steps=40,
    verbose=False,
)
changed = sum(not torch.equal(a, b) for a, b in zip(before, parameters(), strict=True))

assert learner.steps >= args.steps, f"only {learner.steps} steps were taken"
assert changed == len(before), f"only {changed} of {len(before)} parameters have changed"
print(
    json.dumps(
        {
            "library": "agilerl",
            "version": version("agilerl"),
            "algorithm": "ippo",
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": learner.steps,
            "parameters_changed": changed,
        }
    )
)
