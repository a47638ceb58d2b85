"""Speed study of sampling and learning, beside RLlib's pipeline.

    python -m training.studies.speed --out docs/reports

samples the same game with the same networks through RLlib's own multi-agent runner (1, 16 and 32
environments) and through the batched one, a round being one slate and its answer, both sides
learning and both networks run. Then it learns from the same rounds through RLlib's pipeline of
episodes and through flat samples. Ratios are of medians in one run.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recenv.benchmark.tables import markdown
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ConfigError
from recenv.studies.speed.rates import Rate, short
from training.config import TrainConfig
from training.models.observations import MODULE, observe
from training.sampling.episodes import chunks, to_episode
from training.sampling.fragments import fragments
from training.sampling.turns import Turn
from training.sampling.visit_sampler import Played, VisitSampler
from training.session import algorithm_config, ray_session

STOCK = (1, 16, 32)
BATCHES = (64, 128, 256, 1024)
GPU_BATCHES = (4096, 16384)
ON_GPU = {"gpus_per_env_runner": 1.0, "gpus_per_learner": 1.0}
ITERATIONS = ((4096, 512, 128), (65_536, 8192, 4096))
"""(rounds, minibatch, visits) of whole iterations; the second suits a GPU."""
_ROUNDS = 4096


def measure(
    env: str, *, seconds: float = 2.0, repeats: int = 5, gpu: bool = False
) -> dict[str, Any]:
    """All figures, as ``docs/reports/training-speed.json`` holds them.

    Args:
        env: an environment id.
        seconds: about how long each way is timed in a repeat.
        repeats: of everything; ways take turns.
        gpu: also with the networks of runner and learner on a GPU.

    Raises:
        ConfigError: there is no GPU.
    """
    if gpu and not torch.cuda.is_available():
        raise ConfigError("--gpu wants a CUDA device, but torch sees none. Leave --gpu out.")
    base = TrainConfig(env=env, num_envs_per_env_runner=BATCHES[0])
    torch.set_num_threads(1)
    with ray_session(base, verbose=False):
        ways: dict[str, tuple[Any, int]] = {}
        for count in STOCK:
            runner = _runner(base.replace(num_envs_per_env_runner=count, batched_runner=False))
            # a sample call takes longer per step the more it samples: two rounds of each
            ways[f"RLlib's runner, {count} environments"] = (runner, 8 * count)
        for count in BATCHES:
            runner = _runner(base.replace(num_envs_per_env_runner=count))
            ways[f"batched runner, {count} visits"] = (runner, max(_ROUNDS, 16 * count))
        for count in (*BATCHES, *GPU_BATCHES) if gpu else ():
            rounds = {"rounds_per_iteration": max(_ROUNDS, count)}
            config = base.replace(num_envs_per_env_runner=count, ippo=rounds, **ON_GPU)
            runner = _runner(config)
            ways[f"batched runner, {count} visits, on the GPU"] = (runner, max(_ROUNDS, 16 * count))
        rates = _rates(ways, seconds, repeats)
        share = _shares(base.replace(num_envs_per_env_runner=128), repeats)
        learning = _learning(base.replace(num_envs_per_env_runner=128), repeats, gpu=gpu)
        training = _training(base, 5 * seconds, gpu=gpu)
    stock = {n: rates[f"RLlib's runner, {n} environments"].median for n in STOCK}
    return {
        "env": env,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch thread"
        + (f", {torch.cuda.get_device_name()}" if gpu else ""),
        "rates": {
            name: {
                "median": rate.median,
                "values": list(rate.values),
                "over_1": rate.median / stock[1],
                "over_32": rate.median / stock[32],
            }
            for name, rate in rates.items()
        },
        "shares": share,
        "learning": learning,
        "training": training,
    }


def _runner(config: TrainConfig) -> Any:
    together = config.num_envs_per_env_runner
    rounds = -(-_ROUNDS // together) * together
    return algorithm_config(config.replace(ippo={"rounds_per_iteration": rounds})).build_algo()


def _rates(ways: dict[str, tuple[Any, int]], seconds: float, repeats: int) -> dict[str, Rate]:
    """Rounds per second of each way; a round is two of RLlib's steps."""
    values: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, (algorithm, rounds) in ways.items():
            began, played = time.perf_counter(), 0
            while played == 0 or time.perf_counter() - began < seconds:
                algorithm.env_runner.sample(num_timesteps=2 * rounds)
                played += rounds
            if repeat:  # the first compiles
                values[name].append(played / (time.perf_counter() - began))
    return {name: Rate(name, 0, tuple(v)) for name, v in values.items()}


def _play(config: TrainConfig) -> tuple[Any, VisitSampler, dict[str, Callable[..., Turn]]]:
    algorithm = _runner(config)
    runner = algorithm.env_runner
    rollout: VisitSampler = runner._rollout
    rollout.reset(np.random.SeedSequence(0))
    return algorithm, rollout, {agent: runner._actor(agent, True) for agent in rollout.trained}


def _shares(config: TrainConfig, repeats: int) -> dict[str, float]:
    """Microseconds per round of each part of sampling, medians."""
    _, rollout, actors = _play(config)
    batch, simulator = rollout.batch, rollout.simulator
    k = simulator.game.slate_size
    state = simulator.reset(np.arange(batch))
    slates = np.tile(np.arange(k), (batch, 1))
    simulator.show(state, slates)
    seen = {a: observe(simulator, a, state, central=False) for a in actors}
    fixed = {agent: actors[agent](seen[agent]) for agent in actors}
    played = rollout.play(actors, rounds=_ROUNDS // batch)

    def unlearned() -> Played:
        same = {agent: partial(_again, turn) for agent, turn in fixed.items()}
        return rollout.play(same, rounds=_ROUNDS // batch)

    parts: dict[str, tuple[Callable[[], object], int]] = {
        "all": (lambda: rollout.play(actors, rounds=_ROUNDS // batch), _ROUNDS),
        "simulator, observations and bookkeeping": (unlearned, _ROUNDS),
        "recommender's network and draw": (
            lambda: actors[RECOMMENDER_AGENT](seen[RECOMMENDER_AGENT]),
            batch,
        ),
        "user's network and draw": (lambda: actors[USER_AGENT](seen[USER_AGENT]), batch),
        "flat samples": (lambda: list(fragments(played, MODULE)), _ROUNDS),
    }
    took: dict[str, list[float]] = {name: [] for name in parts}
    for repeat in range(repeats + 1):
        for name, (call, rounds) in parts.items():
            count = max(1, 4 * _ROUNDS // rounds)
            began = time.perf_counter()
            for _ in range(count):
                call()
            if repeat:
                took[name].append((time.perf_counter() - began) / (count * rounds) * 1e6)
    return {name: float(np.median(v)) for name, v in took.items()}


def _again(turn: Turn, observation: Any) -> Turn:
    """The same actions whatever is seen, in order, for as many visits as are asked about."""
    take = np.arange(len(observation["round"])) % len(turn.action)
    return Turn(observation, turn.action[take], turn.logp[take], turn.inputs[take])


def _learning(
    config: TrainConfig, repeats: int, *, gpu: bool = False
) -> dict[str, dict[str, float]]:
    """Seconds of an update (4096 rounds, the default epochs) from episodes and flat samples."""
    flat, rollout, actors = _play(config)
    rollout.every_final = True
    rollout.play(actors, rounds=8)
    played = rollout.play(actors, rounds=_ROUNDS // rollout.batch)
    observations, actions = flat.env_runner._spaces
    samples = {
        "flat samples": (flat, list(fragments(played, MODULE))),
        "RLlib's episodes": (
            _runner(config.replace(batched_runner=False)),
            [to_episode(chunk, observations, actions, 2) for chunk in chunks(played)],
        ),
    }
    if gpu:
        samples["flat samples, on the GPU"] = (
            _runner(config.replace(**ON_GPU)),
            samples["flat samples"][1],
        )
    settings = config.ippo
    out: dict[str, dict[str, list[float]]] = {n: {"batch": [], "whole": []} for n in samples}
    for repeat in range(repeats + 1):
        for name, (algorithm, sampled) in samples.items():
            group = algorithm.learner_group
            learner = group._learner
            began = time.perf_counter()
            learner._learner_connector(
                rl_module=learner.module, batch={}, episodes=sampled, shared_data={}
            )
            middle = time.perf_counter()
            group.update(
                episodes=sampled,
                timesteps={"num_env_steps_sampled_lifetime": 0},
                num_epochs=settings.epochs,
                minibatch_size=settings.minibatch_size,
                shuffle_batch_per_epoch=True,
            )
            if gpu:
                torch.cuda.synchronize()
            if repeat:
                out[name]["batch"].append(middle - began)
                out[name]["whole"].append(time.perf_counter() - middle)
    return {n: {k: float(np.median(v)) for k, v in parts.items()} for n, parts in out.items()}


def _training(base: TrainConfig, seconds: float, *, gpu: bool) -> dict[str, dict[str, float]]:
    """Whole iterations, sampling and learning: rounds per second, and how busy the GPU was."""
    ways = {}
    for rounds, minibatch, visits in ITERATIONS:
        settings = {"rounds_per_iteration": rounds, "minibatch_size": minibatch}
        ways[f"{rounds} rounds, {visits} visits, minibatches of {minibatch}"] = base.replace(
            num_envs_per_env_runner=visits, ippo=settings
        )
    if gpu:
        ways |= {f"{name}, on the GPU": c.replace(**ON_GPU) for name, c in ways.items()}
    out = {}
    for name, config in ways.items():
        algorithm = algorithm_config(config).build_algo()
        algorithm.train()
        done = 0
        with _Utilisation(gpu) as busy:
            began = time.perf_counter()
            while not done or time.perf_counter() - began < seconds:
                algorithm.train()
                done += config.settings.rounds_per_iteration
            took = time.perf_counter() - began
        out[name] = {"rounds_per_second": done / took}
        if gpu:
            out[name]["gpu_busy"] = busy.mean
        algorithm.stop()
    return out


class _Utilisation:
    """Share of time in which kernels ran on the GPU, by nvidia-smi, while inside."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self.mean = 0.0

    def __enter__(self) -> _Utilisation:
        if self._wanted:
            self._process = subprocess.Popen(
                ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits",
                 "--loop-ms=200"],
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
        return self

    def __exit__(self, *exception: object) -> None:
        if self._wanted:
            self._process.terminate()
            lines = (self._process.communicate()[0] or "").split()
            seen = [float(line) for line in lines if line.isdigit()]
            self.mean = float(np.mean(seen)) / 100 if seen else float("nan")


def report(result: dict[str, Any], command: str) -> str:
    """The figures as Markdown."""
    rates, learning = result["rates"], result["learning"]
    lines = [
        [
            name,
            Rate(name, 0, tuple(rate["values"])).spread,
            f"{rate['over_1']:.1f}",
            f"{rate['over_32']:.1f}",
        ]
        for name, rate in rates.items()
    ]
    whole = result["shares"]["all"]
    shares = [[n, f"{v:.2f}", f"{v / whole:.0%}"] for n, v in result["shares"].items()]
    learned = [
        [n, f"{1e3 * v['batch']:.0f}", f"{1e3 * v['whole']:.0f}", short(_ROUNDS / v["whole"])]
        for n, v in learning.items()
    ]
    trained = [
        [n, short(v["rounds_per_second"]), f"{v['gpu_busy']:.0%}" if "gpu_busy" in v else ""]
        for n, v in result["training"].items()
    ]
    return "\n\n".join(
        [
            "# How fast training is",
            f"`{command}` ({result['env']}; {result['machine']}). A round is one slate and its "
            "answer, with both sides' networks run. Medians over repeats that take turns, least "
            "and most in brackets; ratios are of medians.",
            "## Sampling",
            markdown(["", "rounds/s", "times RLlib's, 1", "times RLlib's, 32"], lines),
            "## Where the batched runner's time goes (128 visits)",
            markdown(["part", "us a round", "of all"], shares),
            "Parts are timed by themselves, so they need not add up.",
            "## Learning from 4096 rounds (IPPO, both sides, default epochs)",
            markdown(["samples", "batch, ms", "whole update, ms", "rounds/s"], learned),
            "## Whole iterations (IPPO, both sides)",
            markdown(["", "rounds/s", "GPU busy"], trained),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--env", default="recenv/MovieLens100K-v0", help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each repeat [%(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--out", type=Path, help="folder for training-speed.{json,md}")
    parser.add_argument("--gpu", action="store_true", help="also with networks on a GPU")
    shown = sys.argv[1:] if argv is None else argv
    return command.run(lambda stop: _run(parser.parse_args(argv), shown))


def _run(arguments: argparse.Namespace, shown: Sequence[str]) -> int:
    result = measure(
        arguments.env,
        seconds=arguments.seconds,
        repeats=arguments.repeats,
        gpu=arguments.gpu,
    )
    text = report(result, " ".join(["python -m training.studies.speed", *shown]))
    name = "training-speed-gpu" if arguments.gpu else "training-speed"
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (arguments.out / f"{name}.md").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
