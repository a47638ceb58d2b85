"""The click and purchase laws as a torch module, for fitting only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recenv.config import UserModelConfig
from recenv.schema import CLICK, PURCHASE

_TINY = 1e-6


class LawsNetwork(nn.Module):
    """Parameters of both laws; see ``recenv.users.fit`` for the formula.

    Args:
        users: (U, D) language-model vectors.
        items: (N, D) language-model vectors.
        fit_user_click_bias: whether users' click levels are identified.
    """

    users: Tensor
    items: Tensor

    def __init__(self, users: Tensor, items: Tensor, *, fit_user_click_bias: bool) -> None:
        super().__init__()
        dim = users.shape[1]
        self.register_buffer("users", users)
        self.register_buffer("items", items)
        self.user_residual = nn.Parameter(torch.zeros_like(users))
        self.item_residual = nn.Parameter(torch.zeros_like(items))
        self.user_bias = nn.Parameter(torch.zeros(len(users), 2))  # click, purchase
        self.item_bias = nn.Parameter(torch.zeros(len(items), 2))
        self.weight = nn.Parameter(torch.ones(2, dim))
        self.intercept = nn.Parameter(torch.zeros(2))
        self._identified = torch.tensor([float(fit_user_click_bias), 1.0])

    def freeze_shared(self) -> None:
        """Leave only the users' own vectors and biases to be fitted."""
        for parameter in (self.item_residual, self.item_bias, self.weight, self.intercept):
            parameter.requires_grad_(False)

    def logits(self, user: Tensor, item: Tensor) -> Tensor:
        """(n, 2) click and purchase logits of (n,) pairs."""
        theta = self.users[user] + F.embedding(user, self.user_residual)
        v = self.items[item] + F.embedding(item, self.item_residual)
        affinity = (theta * v) @ self.weight.T
        biases = F.embedding(user, self.user_bias) * self._identified
        return affinity + biases + F.embedding(item, self.item_bias) + self.intercept

    def loss(
        self,
        user: Tensor,
        item: Tensor,
        response: Tensor,
        examined: Tensor,
        per_user: Tensor,
        per_item: Tensor,
        config: UserModelConfig,
    ) -> Tensor:
        """Mean penalised negative log-likelihood of a batch of n rows.

        Args:
            user: (n,) codes.
            item: (n,) codes.
            response: (n,) IGNORE, CLICK or PURCHASE.
            examined: (n,) examination probability.
            per_user: (n,) 1 / rows of this user, so that an epoch penalises each user once.
            per_item: (n,) likewise.
            config: the L2 weights.
        """
        logits = self.logits(user, item)
        clicked = response >= CLICK
        p = (examined * torch.sigmoid(logits[:, 0])).clamp(_TINY, 1 - _TINY)
        click = F.binary_cross_entropy(p, clicked.float(), reduction="sum")
        bought = (response[clicked] == PURCHASE).float()
        purchase = F.binary_cross_entropy_with_logits(logits[clicked, 1], bought, reduction="sum")
        penalty = (
            config.user_l2 * F.embedding(user, self.user_residual).square().sum(1) * per_user
            + config.item_l2 * F.embedding(item, self.item_residual).square().sum(1) * per_item
            + config.bias_l2 * F.embedding(user, self.user_bias).square().sum(1) * per_user
            + config.bias_l2 * F.embedding(item, self.item_bias).square().sum(1) * per_item
        )
        return (click + purchase + 0.5 * penalty.sum()) / len(user)

    @torch.no_grad()
    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """The fitted arrays of a ``UserModel``, intercepts folded into the item biases."""
        user_bias = self.user_bias * self._identified
        item_bias = self.item_bias + self.intercept
        tensors = {
            "user_vectors": self.users + self.user_residual,
            "item_vectors": self.items + self.item_residual,
            "user_click_bias": user_bias[:, 0],
            "user_purchase_bias": user_bias[:, 1],
            "item_click_bias": item_bias[:, 0],
            "item_purchase_bias": item_bias[:, 1],
            "click_weight": self.weight[0],
            "purchase_weight": self.weight[1],
        }
        return {k: np.ascontiguousarray(v.numpy(), dtype=np.float32) for k, v in tensors.items()}
