"""Replay buffer of transitions, sampled uniformly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recenv.errors import ConfigError
from training.sampling.fragments import Fragment

_STEPS = ("actions", "rewards", "terminated", "slot_rewards", "responses", "fitted_clicks")


class ReplayBatch(dict[str, Any]):
    """Columns of B transitions.

    ``obs`` and ``next_obs`` are dicts of (B, ...) leaves; ``actions``, ``rewards`` and
    ``terminated`` (nothing followed: the user left) are (B, ...); a recommender's ``slot_rewards``,
    ``responses`` and ``fitted_clicks`` are (B, K). Where the round limit cut a visit off,
    ``next_obs`` is what would have followed.
    """


class ReplayBuffer:
    """A ring of observations, and of the steps that lead from one to a later one.

    Uniform sampling (Lin 1992; Mnih et al. 2015). What a step led to is seldom stored twice: it
    is the row of the next step. A step takes a row, and so does what follows the last step of each
    visit in a fragment. Memory is allocated when the first fragment comes; ``bytes_per_row``
    tells how much. It is in no checkpoint: a run that goes on begins with an empty one.

    Args:
        capacity: rows; the oldest give way.
        seed: of the sampling.
        device: where rows are kept.

    Attributes:
        steps: (len,) rows that are steps.
    """

    def __init__(self, capacity: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.capacity = capacity
        self._device = torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)
        self._leaves: dict[str, Tensor] = {}
        self._columns: dict[str, Tensor] = {}
        self._following = torch.full((capacity,), -1, dtype=torch.long)  # -1: no step
        self.steps = torch.zeros(0, dtype=torch.long)
        self._next = 0

    def __len__(self) -> int:
        """Steps that can be drawn."""
        return len(self.steps)

    @property
    def bytes_per_row(self) -> int:
        """Memory of one row; 0 before the first fragment."""
        return sum(
            t[0].numel() * t.element_size()
            for t in (*self._leaves.values(), *self._columns.values())
        )

    def add(self, piece: Fragment) -> None:
        """Keep the steps of a fragment.

        Raises:
            ConfigError: it does not fit into the ring.
        """
        steps = len(piece)
        rows = len(next(iter(piece.observations.values())))
        if rows > self.capacity:
            raise ConfigError(
                f"replay_size is {self.capacity}, but what was sampled at once takes {rows} rows. "
                f"Set replay_size to at least that, or sample fewer rounds at once."
            )
        if not self._leaves:
            self._allocate(piece)
        at = (self._next + torch.arange(rows)) % self.capacity
        for name, values in piece.observations.items():
            self._leaves[name][at] = self._tensor(values)
        for name, column in self._columns.items():
            column[at[:steps]] = self._tensor(getattr(piece, name))
        self._following[at[:steps]] = at[torch.from_numpy(piece.following)]
        self._following[at[steps:]] = -1
        self._next = (self._next + rows) % self.capacity
        self.steps = torch.nonzero(self._following >= 0)[:, 0]

    def sample(self, size: int) -> ReplayBatch:
        """``size`` transitions, drawn with repeats."""
        drawn = torch.randint(len(self.steps), (size,), generator=self._generator)
        return self.read(self.steps[drawn])

    def read(self, rows: Tensor) -> ReplayBatch:
        """The transitions that begin in these rows, which are some of ``steps``."""
        following = self._following[rows].to(self._device)
        rows = rows.to(self._device)
        return ReplayBatch(
            obs={name: leaf[rows] for name, leaf in self._leaves.items()},
            next_obs={name: leaf[following] for name, leaf in self._leaves.items()},
            **{name: column[rows] for name, column in self._columns.items()},
        )

    def _allocate(self, piece: Fragment) -> None:
        def ring(values: np.ndarray) -> Tensor:
            like = torch.from_numpy(values[:0].copy())
            return torch.zeros(
                self.capacity, *values.shape[1:], dtype=like.dtype, device=self._device
            )

        self._leaves = {name: ring(values) for name, values in piece.observations.items()}
        present = {name: getattr(piece, name) for name in _STEPS}
        self._columns = {name: ring(v) for name, v in present.items() if v is not None}

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(
            np.ascontiguousarray(values) if values.flags.writeable else values.copy()
        ).to(self._device)
