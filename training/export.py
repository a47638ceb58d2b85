"""Export of a trained policy to one ONNX or torch file: ``recenv export RUN``.

``--format onnx`` writes a model for any ONNX runtime, ``--format torch`` a ``torch.export``
program for torch alone. Inputs are the leaves of the side's observation by name, with any number
of visits B and, for the recommender, any number of candidates C from the slate's size K on; the
length of the history is the game's. What the network looks up of the world is inside. Outputs:

- recommender: ``scores`` (B, C), or (B, K * C) where slots are independent, and ``slate`` (B, K),
  the greedy choice of candidates, best first.
- user: ``logits`` (B, 3K + 2): per slot ignore, click, purchase, then stay, leave; for K = 1
  (B, 6) over response x leaving.

What was written is run beside the network it came from, and must agree.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recenv.arguments import Parser
from recenv.config import GameConfig
from recenv.errors import MissingDependencyError, RecenvError
from recenv.sim.simulator import Simulator
from recenv.world import World
from training.config import Side
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.observations import RECOMMENDER_LEAVES, USER_LEAVES
from training.runs.folder import Which
from training.runs.load_policy import load, load_user, policy_meta
from training.world import load_world

Format = Literal["onnx", "torch"]

LEAVES: dict[Side, tuple[str, ...]] = {"recommender": RECOMMENDER_LEAVES, "user": USER_LEAVES}
OUTPUTS: dict[Side, tuple[str, ...]] = {"recommender": ("scores", "slate"), "user": ("logits",)}
TOLERANCE = 1e-4
"""Largest difference to the network's own scores or logits, per unit of their size."""

_SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
_Run = Callable[[tuple[Tensor, ...]], list[np.ndarray]]


class ExportError(RecenvError):
    """The exported program and the network disagree."""


class Positional(nn.Module):
    """A network that takes its leaves in the order of ``LEAVES`` and gives ``OUTPUTS``.

    Args:
        network: of a side.
    """

    def __init__(self, network: RecommenderNetwork | UserNetwork) -> None:
        super().__init__()
        self.network = network.eval()

    @property
    def side(self) -> Side:
        """Whose network it is."""
        return "user" if isinstance(self.network, UserNetwork) else "recommender"

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """See the module's head."""
        observation = dict(zip(LEAVES[self.side], leaves, strict=True))
        if isinstance(self.network, UserNetwork):
            return (self.network(observation).logits,)
        scores = self.network(observation).scores
        return scores, self.network.best_slates(scores, self.network.slots)


def export(
    path: Path,
    out: Path,
    *,
    side: Side = "recommender",
    file_format: Format = "onnx",
    checkpoint: Which | None = None,
    world: World | None = None,
) -> float:
    """Write a trained policy's network as one file and check it.

    Args:
        path: of a run or a policy, as for ``training.runs.load_policy.load``.
        out: the file to write.
        side: whose policy.
        file_format: see the module's head.
        checkpoint: "best" or "last" of a run instead of what it ended with.
        world: that it was trained in, if it is not found by itself.

    Returns:
        The largest difference to the network's own scores or logits on observations of visits.

    Raises:
        ArtifactError: there is no such policy.
        ExportError: what was written computes something else.
        MissingDependencyError: ONNX is not installed.
    """
    make = load if side == "recommender" else load_user
    network = make(path, world, checkpoint=checkpoint).network
    meta = policy_meta(path, side, checkpoint)
    world = world or load_world(meta["env"])
    game = GameConfig.from_dict(meta["game"])
    module = Positional(network)
    about = {
        key: json.dumps(meta[key]) if key == "game" else str(meta[key])
        for key in ("world", "world_name", "env", "algorithm", "rounds", "game")
        if key in meta
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".part-{os.getpid()}-{out.stem}{_SUFFIX[file_format]}")
    try:
        write_module(module, example_leaves(side, world, game, visits=4), part, file_format, about)
        run = _runner(part, file_format)
        gaps = [
            difference(module, run, example_leaves(side, world, other, visits, rounds=rounds))
            for visits, rounds in ((1, 0), (7, 2))
            for other in _games(side, world, game)
        ]
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return max(gaps)


def write_module(
    module: Positional,
    example: tuple[Tensor, ...],
    out: Path,
    file_format: Format,
    about: dict[str, str],
) -> None:
    """Write a network with any number of visits, and of candidates if it scores them.

    Args:
        module: to write.
        example: leaves of two visits or more.
        out: the file.
        file_format: see the module's head.
        about: kept in the file.

    Raises:
        MissingDependencyError: ONNX is not installed.
    """
    batch = torch.export.Dim("batch")
    slots = module.network.slots
    candidates = torch.export.Dim("candidates", min=max(2, slots))
    own = {"candidates": {0: batch, 1: candidates}}
    shapes = (tuple(own.get(name, {0: batch}) for name in LEAVES[module.side]),)
    with torch.no_grad(), _quiet():
        program = torch.export.export(module, example, dynamic_shapes=shapes)
        if file_format == "torch":
            torch.export.save(program, out, extra_files={"about.json": json.dumps(about)})
            return
        try:
            written: Any = torch.onnx.export(
                program,
                input_names=list(LEAVES[module.side]),
                output_names=list(OUTPUTS[module.side]),
                dynamo=True,
                verbose=False,
            )
        except ImportError as error:
            raise MissingDependencyError("onnxscript", "export", "ONNX export") from error
        written.model.metadata_props.update(about)
        written.save(str(out))


def _games(side: Side, world: World, game: GameConfig) -> Iterator[GameConfig]:
    """The game, and for a recommender the same with fewer and with more candidates."""
    counts = [game.num_candidates]
    if side == "recommender":
        fewest, most = max(2, game.slate_size), len(world.catalog)
        counts += [fewest, min(2 * game.num_candidates + 1, most)]
    for count in dict.fromkeys(counts):
        yield game.replace(num_candidates=count)


def example_leaves(
    side: Side, world: World, game: GameConfig, visits: int, rounds: int = 1
) -> tuple[Tensor, ...]:
    """Example observations of a side after rounds of random slates, in the order of ``LEAVES``."""
    simulator, draws = Simulator(world, game), np.random.default_rng(visits)
    state = simulator.reset(np.arange(visits))
    for played in range(rounds + 1):
        order = draws.random((visits, game.num_candidates)).argsort(1)
        if played == rounds and side == "recommender":
            break
        simulator.show(state, order[:, : game.slate_size])
        if played < rounds:
            simulator.respond_fitted(state)
    if side == "recommender":
        observation = simulator.recommender_observation(state)
    else:
        observation = simulator.user_observation(state)
    return tuple(torch.from_numpy(np.array(observation[name])) for name in LEAVES[side])


def difference(module: Positional, run: _Run, leaves: tuple[Tensor, ...]) -> float:
    """The largest difference between scores or logits of a network and of what was written.

    Raises:
        ExportError: it is beyond ``TOLERANCE``, or a slate differs.
    """
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in module(*leaves)]
    got = run(leaves)
    gap = float(np.abs(got[0] - wanted[0]).max())
    size = max(1.0, float(np.abs(wanted[0]).max()))
    if got[0].shape != wanted[0].shape or not gap <= TOLERANCE * size:
        raise ExportError(
            f"The exported {module.side} differs from the network by {gap:.2g} where scores reach "
            f"{size:.2g}; at most {TOLERANCE:.0e} of that was wanted. Try the other --format, and "
            "report it with the versions of torch and onnx."
        )
    if module.side == "recommender" and not np.array_equal(got[1], wanted[1]):
        raise ExportError(
            f"The exported recommender shows {got[1].tolist()} where the network shows "
            f"{wanted[1].tolist()}, with scores that agree within {gap:.2g}: some tie. Train it "
            "longer, or take the scores and choose by yourself."
        )
    return gap


def _runner(file: Path, file_format: Format) -> _Run:
    """Runner of the exported file: ONNX Runtime, or torch alone."""
    if file_format == "torch":
        program = torch.export.load(file).module()
        return lambda leaves: [tensor.detach().numpy() for tensor in program(*leaves)]
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "export", "Checking an ONNX file") from error
    session = onnxruntime.InferenceSession(file.read_bytes())
    names = [given.name for given in session.get_inputs()]

    def run(leaves: tuple[Tensor, ...]) -> list[np.ndarray]:
        feed = {n: leaf.numpy() for n, leaf in zip(names, leaves, strict=True)}
        return [np.asarray(value) for value in session.run(None, feed)]

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the exporter's notices of packages that are not used here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = Parser("recenv export", __doc__ or "")
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_choice(
        "--side", ("recommender", "user"), default="recommender", help="whose policy [recommender]"
    )
    parser.add_choice("--format", ("onnx", "torch"), default="onnx", help="of the file [onnx]")
    parser.add_argument("--out", type=Path, help="file [RUN/policy/<side>.onnx or .pt2]")
    parser.add_choice("--checkpoint", ("best", "last"), help="whose policy [the one at the end]")
    return command.run(lambda stop: _export(parser.parsed(argv)))


def _export(arguments: argparse.Namespace) -> int:
    name = f"{arguments.side}{_SUFFIX[arguments.format]}"
    out = arguments.out or arguments.run / "policy" / name
    try:
        gap = export(
            arguments.run,
            out,
            side=arguments.side,
            file_format=arguments.format,
            checkpoint=arguments.checkpoint,
        )
    except RecenvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    candidates = " and candidates" if arguments.side == "recommender" else ""
    print(
        f"Written: {out}, for any number of visits{candidates} (differs from the network by "
        f"{gap:.1e} at most)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
