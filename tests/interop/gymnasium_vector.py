"""Gymnasium's vector environments: several visits at once, in processes of their own ("async"),
one after the other ("sync"), or stepped as one batch by recenv ("vector_entry_point").

Nothing is trained here: it shows that a learner which takes a vector environment gets what it
expects, and that each mode plays the same visits as "sync".

python gymnasium_vector.py --mode async --num-envs 3
"""

import argparse
import json
from importlib.metadata import version

import gymnasium
import numpy as np

import recenv  # noqa: F401  registers the ids

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="dict")
parser.add_argument("--slate-size", type=int, default=5)
parser.add_argument("--steps", type=int, default=300, help="rounds, over all environments")
parser.add_argument("--mode", choices=["sync", "async", "vector_entry_point"], default="async")
parser.add_argument("--num-envs", type=int, default=3)


def play(args, mode):
    """Random slates; every reward, and the numbers of steps and of ended visits."""
    envs = gymnasium.make_vec(
        args.env,
        num_envs=args.num_envs,
        vectorization_mode=mode,
        observation=args.observation,
        slate_size=args.slate_size,
    )
    envs.action_space.seed(0)
    observation, _ = envs.reset(seed=0)
    rewards, ended = [], 0
    for _ in range(-(-args.steps // args.num_envs)):
        assert observation in envs.observation_space
        observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        rewards.append(reward)
        ended += int((terminated | truncated).sum())
    envs.close()
    return np.array(rewards), ended


if __name__ == "__main__":  # the processes of "async" import this file
    args = parser.parse_args()
    rewards, ended = play(args, args.mode)
    alone, _ = play(args, "sync")
    assert rewards.size >= args.steps, f"only {rewards.size} steps were taken"
    assert ended > args.num_envs, f"only {ended} visits ended: no visit followed another"
    assert np.array_equal(rewards, alone), "the visits differ from those of sync"
    print(
        json.dumps(
            {
                "library": "gymnasium",
                "version": version("gymnasium"),
                "mode": args.mode,
                "observation": args.observation,
                "slate_size": args.slate_size,
                "steps": rewards.size,
                "visits_ended": ended,
            }
        )
    )
