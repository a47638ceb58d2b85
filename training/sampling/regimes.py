"""Training regimes: which side learns when, and the pool of past policies that it meets.

``TrainConfig.regime`` says how two sides that both learn meet:

- "together": each against the other as it is now (independent learning).
- "alternating": one learns for ``alternate_every`` iterations while the other is held still, then
  the other; the recommender begins. Each turn approximates a best response, so the whole is
  iterated best response (fictitious play's older cousin: Cournot 1838).
- "population": each against past policies of the other. Snapshots are taken every
  ``snapshot_every`` iterations, and every visit is played by one drawn from all that are kept
  (``training.sampling.self_play``): fictitious self-play (Heinrich, Lanctot & Silver, ICML 2015),
  and a policy-space response oracle whose meta-strategy is uniform (Lanctot et al., NeurIPS 2017).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recenv import artifacts
from training.config import MODULES, Side, TrainConfig
from training.models.weights import Weights

_KIND = "population"


def sides_learning(config: TrainConfig, iteration: int) -> tuple[Side, ...]:
    """The sides that learn in an iteration.

    Args:
        config: of the run.
        iteration: counted from 0.
    """
    if config.regime != "alternating":
        return config.trained
    return (MODULES[iteration // config.alternate_every % 2],)


@dataclass
class Population:
    """Snapshots of both sides' networks, spread evenly over the iterations so far.

    Attributes:
        size: snapshots that are kept.
        members: iteration of each snapshot to each side's weights, oldest first.
    """

    size: int
    members: dict[int, dict[Side, Weights]] = field(default_factory=dict)

    def add(self, iteration: int, weights: dict[Side, Weights]) -> None:
        """Take a snapshot; if there are too many, drop the one that leaves the smallest gap.

        Args:
            iteration: after which it was taken; later than all others.
            weights: of each side.
        """
        self.members[iteration] = weights
        if len(self.members) > self.size:
            del self.members[superfluous(list(self.members))]

    def save(self, folder: Path) -> None:
        """Write all snapshots as one artifact."""
        arrays = {
            f"{iteration}.{side}.{name}": np.ascontiguousarray(array)
            for iteration, sides in self.members.items()
            for side, weights in sides.items()
            for name, array in weights.items()
        }
        artifacts.save(folder, _KIND, arrays, {"iterations": list(self.members)})

    @classmethod
    def load(cls, folder: Path, size: int) -> Population:
        """Read snapshots back.

        Raises:
            ArtifactError: there are none, or they are damaged.
        """
        arrays, meta = artifacts.load(folder, _KIND)
        pool = cls(size, {iteration: {} for iteration in meta["iterations"]})
        for key, array in arrays.items():
            iteration, side, name = key.split(".", 2)
            sides = pool.members[int(iteration)]
            sides.setdefault("user" if side == "user" else "recommender", {})[name] = array
        return pool


def past(network: nn.Module, weights: Weights) -> nn.Module:
    """A copy of a network with other weights; fixed tables are shared with the original."""
    own = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    shared = {id(b): b for b in network.buffers() if id(b) not in own}
    copied = copy.deepcopy(network, shared).requires_grad_(False)
    copied.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})
    return copied


def superfluous(iterations: list[int]) -> int:
    """The snapshot whose loss leaves the smallest gap; the first and the last stay.

    Of equal gaps the oldest. Of two snapshots, the first goes.

    Args:
        iterations: two or more, ascending.
    """
    if len(iterations) == 2:
        return iterations[0]
    inner = range(1, len(iterations) - 1)
    return iterations[min(inner, key=lambda i: iterations[i + 1] - iterations[i - 1])]
