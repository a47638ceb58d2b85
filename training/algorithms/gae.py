"""Generalised advantage estimation (GAE), as RLlib's learner connector."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from training.models.observations import tensors
from training.sampling.fragments import SLOT_REWARDS, advantages, joined


class AdvantageConnector(ConnectorV2):
    """Batches of ``Fragments`` with advantages and value targets, for PPO.

    Equals RLlib's own learner pipeline on the same steps, but for two things: advantages are
    standardised over the steps alone (RLlib counts the artificial one that it adds to each
    episode), and rows come in random order, so that a minibatch holds turns of all ages.

    Args:
        gamma: discount per turn of one side.
        gae_lambda: see ``training.sampling.fragments.advantages``.
    """

    def __init__(self, *, gamma: float, gae_lambda: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.gae_lambda = gae_lambda

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """See ``ConnectorV2.__call__``."""
        for side in episodes[0].sides:
            if side not in rl_module:
                continue
            module = rl_module[side].unwrapped()  # several learners wrap it
            device = next(module.parameters()).device
            piece = joined([e.sides[side] for e in episodes])
            n = len(piece)
            seen = tensors(piece.observations, device)
            with torch.no_grad():
                values = module.compute_values({Columns.OBS: seen})
            advantage = advantages(piece, values.cpu().numpy(), self.gamma, self.gae_lambda)
            columns = {
                Columns.ACTIONS: piece.actions,
                Columns.ACTION_LOGP: piece.logp,
                Columns.ACTION_DIST_INPUTS: piece.inputs,
                Columns.REWARDS: piece.rewards,
                Postprocessing.VALUE_TARGETS: advantage + values[:n].cpu().numpy(),
                Postprocessing.ADVANTAGES: (advantage - advantage.mean())
                / max(1e-4, advantage.std()),
            }
            if piece.slot_rewards is not None and piece.slot_rewards.shape[1] > 1:
                columns[SLOT_REWARDS] = piece.slot_rewards
            order = torch.randperm(n, device=device)
            batch[side] = {k: v[order] for k, v in tensors(columns, device).items()}
            batch[side][Columns.OBS] = {k: v[:n][order] for k, v in seen.items()}
        return batch
