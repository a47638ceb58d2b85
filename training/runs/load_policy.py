"""Trained policies without Ray: save, load, recommend, answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recenv import artifacts
from recenv.config import GameConfig
from recenv.errors import ArtifactError, RecenvError
from recenv.sim.observation import Observation
from recenv.users.user_policy import draw_leaving, draw_responses
from recenv.world import World
from training.config import NetworkConfig, Side
from training.config.values import ValueConfig
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.observations import RECOMMENDER_LEAVES, USER_LEAVES
from training.models.value_networks import make_value_network
from training.runs.folder import RunFolder, Which, seed_folders
from training.world import load_world


class NetworkRecommender:
    """The greedy policy of a recommender network: the likeliest slate.

    Args:
        network: trained or not.
        name: for reports.
    """

    def __init__(self, network: RecommenderNetwork, name: str = "trained recommender") -> None:
        self.network = network.eval()
        self.name = name

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """See ``recenv.recommenders.Recommender``."""
        with torch.no_grad():
            scores = self.network(_tensors(observation, RECOMMENDER_LEAVES)).scores
            return self.network.best_slates(scores, slate_size).numpy()


class NetworkUser:
    """The policy of a user network.

    Args:
        network: trained or not.
        name: for reports.
        greedy: give the likeliest answer instead of drawing one.
    """

    def __init__(
        self, network: UserNetwork, name: str = "trained user", *, greedy: bool = False
    ) -> None:
        self.network = network.eval()
        self.name = name
        self.greedy = greedy

    def answer(
        self, observation: Observation, keys: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.int64]:
        """See ``recenv.users.user_policy.UserPolicy``; draws as the fitted user does."""
        with torch.no_grad():
            logits = self.network(_tensors(observation, USER_LEAVES)).logits
        batch, slots = len(logits), observation["slate"].shape[1]
        if slots == 1:  # joint over response and leaving
            joint = torch.softmax(logits, -1).reshape(batch, 3, 2).numpy()
            response = joint.sum(2)[:, None]
            leaving = joint[:, :, 1] / np.maximum(joint.sum(2), 1e-30)  # (B, 3) given the response
        else:
            response = torch.softmax(logits[:, :-2].reshape(batch, slots, 3), -1).numpy()
            leaving = torch.softmax(logits[:, -2:], -1)[:, 1:].expand(-1, 3).numpy()
        answers = np.empty((batch, slots + 1), np.int64)
        rows = np.arange(batch)
        if self.greedy:
            answers[:, :slots] = response.argmax(-1)
            answers[:, slots] = leaving[rows, answers[:, 0]] > 0.5
            return answers
        rounds = observation["round"][:, 0]
        answers[:, :slots] = draw_responses(response, keys, rounds)
        answers[:, slots] = draw_leaving(leaving[rows, answers[:, 0]], keys, rounds)
        return answers


def make_network(
    side: Side,
    world: World,
    game: GameConfig,
    config: NetworkConfig,
    seed: int = 0,
    *,
    seeded: bool = True,
    values: ValueConfig | None = None,
) -> RecommenderNetwork | UserNetwork:
    """A side's network before training.

    Args:
        side, world, game, config: whose, where and how.
        seed: draws its hidden layers, and its tables if they begin at random.
        seeded: False for a network whose weights are loaded next; see ``RecommenderNetwork``.
        values: of a network of action values; see ``training.models.value_networks``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if values is not None:
            return make_value_network(side, world, game, config, values, seeded=seeded)
        if side == "recommender":
            return RecommenderNetwork(world, game, config, seeded=seeded)
        return UserNetwork(world, game, config)


def save_policy(
    folder: Path,
    side: Side,
    network: nn.Module,
    world: World,
    game: GameConfig,
    config: NetworkConfig,
    meta: dict[str, Any],
) -> Path:
    """Write a side's weights as an artifact ``<folder>/<side>``.

    Args:
        folder, side: where, and whose.
        network: of the side.
        world, game, config: that it was made with.
        meta: anything else to keep; with ``env``, an environment id or the folder of a saved
            world, ``load`` finds the world by itself.
    """
    arrays = {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    meta = {
        **meta,
        "world": world.hash,
        "world_name": world.name,
        "game": game.to_dict(),
        "network": config.to_dict(),
    }
    if isinstance(values := getattr(network, "values", None), ValueConfig):
        meta["values"] = values.to_dict()
    return artifacts.save(folder / side, f"{side}-policy", arrays, meta)


def load(
    path: str | Path,
    world: World | None = None,
    *,
    checkpoint: Which | None = None,
    name: str = "trained recommender",
) -> NetworkRecommender:
    """A trained recommender, greedy. Needs torch, but not Ray.

    Args:
        path: of a run, of its ``policy``, or of ``policy/recommender``.
        world: that it was trained in; by default the one of the environment id or folder that
            was recorded with it.
        checkpoint: "best" or "last" of a run, finished or not, instead of what it ended with.
        name: for reports.

    Raises:
        ArtifactError: there is no recommender, it is damaged, or it is of another world.
    """
    network = _load(Path(path), "recommender", world, checkpoint)
    assert isinstance(network, RecommenderNetwork)
    return NetworkRecommender(network, name)


def load_user(
    path: str | Path,
    world: World | None = None,
    *,
    checkpoint: Which | None = None,
    name: str = "trained user",
    greedy: bool = False,
) -> NetworkUser:
    """A trained user; see ``load`` and ``NetworkUser``.

    Raises:
        ArtifactError: there is no user, it is damaged, or it is of another world.
    """
    network = _load(Path(path), "user", world, checkpoint)
    assert isinstance(network, UserNetwork)
    return NetworkUser(network, name, greedy=greedy)


def has_policy(path: str | Path, side: Side) -> bool:
    """Whether a run's folder holds a trained policy of this side."""
    return any(artifacts.exists(p) for p in _places(Path(path), side))


def policy_meta(path: str | Path, side: Side, checkpoint: Which | None = None) -> dict[str, Any]:
    """Metadata of a side's saved weights; arguments and errors as of ``load``."""
    return _read(Path(path), side, checkpoint)[2]


def _places(path: Path, side: Side) -> list[Path]:
    return [path / "policy" / side, path / side, path]


def _load(path: Path, side: Side, world: World | None, checkpoint: Which | None) -> nn.Module:
    folder, arrays, meta = _read(path, side, checkpoint)
    if world is None:
        try:
            world = load_world(meta["env"])
        except RecenvError as error:
            raise ArtifactError(
                f"The world that {folder} was trained in was {meta['env']!r}, which is not here: "
                f"{error} Load the world by yourself and give it as world=."
            ) from error
    if meta["world"] != world.hash:
        raise ArtifactError(
            f"{folder} was trained in the world {meta['world_name']!r} ({meta['world']}), but "
            f"was given {world.name!r} ({world.hash}). Its tables fit only the world it knows."
        )
    game, config = GameConfig.from_dict(meta["game"]), NetworkConfig.from_dict(meta["network"])
    values = ValueConfig.from_dict(meta["values"]) if "values" in meta else None
    network = make_network(side, world, game, config, seeded=False, values=values)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    return network


def _read(
    path: Path, side: Side, checkpoint: Which | None
) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """(folder, weights, meta) of a policy."""
    kind = f"{side}-policy"
    if checkpoint is None:
        for place in _places(path, side):
            if artifacts.exists(place):
                return place, *artifacts.load(place, kind)
        raise ArtifactError(_missing(path, side))
    while (found := RunFolder(path).checkpoint(checkpoint)) is not None:
        folder = found.policy / side
        try:
            return folder, *artifacts.load(folder, kind)
        except (ArtifactError, OSError) as error:
            if RunFolder(path).checkpoint(checkpoint) != found:
                continue  # training replaced it meanwhile
            if not artifacts.exists(folder):
                raise ArtifactError(
                    f"There is no trained {side} in {found.folder}: the run trains "
                    f"{RunFolder(path).config().train}."
                ) from error
            raise
    raise ArtifactError(f"There is no checkpoint in {path}. Give the folder of a run that has one.")


def _missing(path: Path, side: Side) -> str:
    message = f"There is no trained {side} in {path}. "
    run = RunFolder(path)
    if run.exists and side not in run.config().trained:
        other, how = (
            ("user", "--side user, or load_user")
            if side == "recommender"
            else ("recommender", "--side recommender, or load")
        )
        return message + f"The run trains the {other} alone: take that ({how})."
    if run.checkpoint() is not None:
        return message + (
            "The run was not trained to its end: go on with recenv train --resume "
            f'{path}, or load what it has so far with checkpoint="last" or "best".'
        )
    seeds = [p.name for p in seed_folders(path)]
    if seeds:
        return message + f"Give the folder of one of its runs: {', '.join(seeds)}."
    return message + "Give the folder of a run that trained one to its end."


def _tensors(observation: Observation, leaves: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(observation[name])) for name in leaves}
