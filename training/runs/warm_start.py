"""Warm starts: networks initialised with another run's policies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recenv.errors import ConfigError
from training.config import Side, TrainConfig
from training.models.weights import Weights
from training.runs.load_policy import has_policy, load, load_user, policy_meta

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm

_BEGINNINGS = {"interest_weight", "popularity_weight", "slates"}
"""Settings of ``NetworkConfig`` that say where training begins, or how slates are drawn."""


_KINDS = {
    "soft": "a policy",
    "slots": "action values that add up over slots",
    "slateq": "action values of items",
}
"""What a network is, by ``ValueConfig.kind``; sac's actors are policies as all others are."""


def warm_weights(config: TrainConfig) -> dict[Side, Weights]:
    """Weights of ``config.warm_start``'s policies, for those learning sides that it has.

    Raises:
        ArtifactError: its policy is damaged, or of another world.
        ConfigError: it has no policy of a learning side, or one of another network.
    """
    path = Path(config.warm_start)
    found: list[Side] = [side for side in config.trained if has_policy(path, side)]
    if not found:
        sides = " or ".join(config.trained)
        raise ConfigError(
            f"TrainConfig.warm_start is {config.warm_start!r}, which holds no trained {sides}. "
            "Give the folder of a run that trained one to its end."
        )
    return {side: _weights(side, path, config) for side in found}


def _weights(side: Side, path: Path, config: TrainConfig) -> Weights:
    world, _ = config.resolve()
    network = (load if side == "recommender" else load_user)(path, world).network
    meta = policy_meta(path, side)
    theirs, ours = meta["network"], config.network.to_dict()
    apart = sorted(n for n in ours.keys() - _BEGINNINGS if theirs.get(n) != ours[n])
    if apart:
        told = ", ".join(f"{n} {theirs.get(n)!r} (here {ours[n]!r})" for n in apart)
        flags = " ".join(f"--network.{n.replace('_', '-')} {theirs.get(n)}" for n in apart)
        raise ConfigError(
            f"The {side} of {path} is a network with {told}. Train the same network: {flags}."
        )
    kind, wanted = meta.get("values", {}).get("kind", "soft"), "soft"
    if config.values is not None:
        wanted = config.values.kind
    if kind != wanted:
        raise ConfigError(
            f"The {side} of {path} is a network of {_KINDS[kind]}, but {config.algorithm} learns "
            f"{_KINDS[wanted]}. Start from a run of an algorithm of the same kind."
        )
    return {n: value.detach().numpy().copy() for n, value in network.state_dict().items()}


def start_warm(algorithm: Algorithm, weights: dict[Side, Weights]) -> None:
    """Give these weights to an algorithm's learners and runners; critics begin as they are.

    Raises:
        ConfigError: they do not fit, as those of slates of another size or kind may not.
    """
    learners, runners = algorithm.learner_group, algorithm.env_runner_group
    assert learners is not None
    take: Any = partial(_take_over, weights=weights)
    for told in learners.foreach_learner(take):
        if error := told.get():
            raise ConfigError(str(error))
    if runners is not None:
        runners.sync_weights(from_worker_or_learner_group=learners, inference_only=True)


def _take_over(learner: Any, weights: dict[Side, Weights]) -> str:
    """Set a learner's networks and their late copies; an error's text if one does not fit."""
    for side, arrays in weights.items():
        module = learner.module[side].unwrapped()
        own = {name: tuple(value.shape) for name, value in module.network.state_dict().items()}
        given = {name: array.shape for name, array in arrays.items()}
        apart = sorted(n for n in own.keys() | given.keys() if own.get(n) != given.get(n))
        if apart:
            first = apart[0]
            return (
                f"The {side} to start from does not fit this run's network: {first} has shape "
                f"{given.get(first, 'none')}, but {own.get(first, 'none')} is wanted "
                f"({len(apart)} such). Use the same --game and --network settings in both runs."
            )
        module.network.load_state_dict({n: torch.as_tensor(a) for n, a in arrays.items()})
        late = getattr(module, "target_network", None) or getattr(module, "target", None)
        if late is not None:
            late.load_state_dict(module.network.state_dict())
    return ""
