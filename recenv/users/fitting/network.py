"""The click and purchase laws as a torch module, for fitting only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recenv.config import UserModelConfig
from recenv.schema import CLICK, PURCHASE
from recenv.users.repeat_law import HALF_LIVES

_TINY = 1e-6


class Batch(NamedTuple):
    """Columns of n rows; see ``recenv.users.fitting.training_rows.Rows``."""

    user: Tensor  # (n,) codes
    item: Tensor  # (n,) codes
    response: Tensor  # (n,) IGNORE, CLICK or PURCHASE
    slot: Tensor  # (n,) position from 0
    offset: Tensor  # (n,) fixed log-odds
    weight: Tensor  # (n,)
    tenure: Tensor  # (n,) centred
    repeat: Tensor  # (n, H) features of the personal past
    per_user: Tensor  # (n,) copies / rows of this user
    per_item: Tensor  # (n,) 1 / rows of this item

    def take(self, rows: Tensor) -> Batch:
        """The given rows."""
        return Batch(*(column[rows] for column in self))


class LawsNetwork(nn.Module):
    """Parameters of both laws; see ``recenv.users.fitting.pipeline`` for the formula.

    Args:
        users: (U, D) language-model vectors.
        items: (N, D) language-model vectors.
        price: (N,) standardised log price, zeros where unknown.
        examination: (S,) P(slot is looked at) to start from, 1 for the first slot; with one
            slot nothing is fitted.
        fit_user_click_bias: whether users' click levels are identified.
        fit_repeat: whether the personal past counts.
        fit_purchase: whether the purchase law is told apart from the click law.
        content: so many of the last dimensions hold what the encoder tells of items that the log
            tells little of. Nothing is corrected there, biases do not depend on them, and one
            weight, the mean of the others, serves all.
    """

    users: Tensor
    items: Tensor
    price: Tensor
    prior: Tensor
    identified: Tensor
    free: Tensor

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        price: Tensor,
        examination: Tensor,
        *,
        fit_user_click_bias: bool,
        fit_repeat: bool,
        fit_purchase: bool,
        content: int = 0,
    ) -> None:
        super().__init__()
        dim = users.shape[1]
        self.register_buffer("users", users)
        self.register_buffer("items", items)
        self.register_buffer("price", price)
        self.user_residual = nn.Parameter(torch.zeros_like(users))
        self.item_residual = nn.Parameter(torch.zeros_like(items))
        self.user_bias = nn.Parameter(torch.zeros(len(users), 2))  # click, purchase
        self.item_bias = nn.Parameter(torch.zeros(len(items), 2))
        self.bias_map = nn.Parameter(torch.zeros(2, dim))
        self.price_weight = nn.Parameter(torch.zeros(2))
        self.own_weight = nn.Parameter(torch.ones(2, dim))
        self.register_buffer("free", (torch.arange(dim) < dim - content).float())
        self.intercept = nn.Parameter(torch.zeros(2))
        self.tenure_weight = nn.Parameter(torch.zeros(()))
        self.repeat_weight = nn.Parameter(torch.zeros(len(HALF_LIVES)), requires_grad=fit_repeat)
        prior = torch.logit(examination[1:].clamp(0.01, 0.99))
        self.register_buffer("prior", prior)
        self.slot_logit = nn.Parameter(prior.clone(), requires_grad=len(prior) > 0)
        self.register_buffer("identified", torch.tensor([float(fit_user_click_bias), 1.0]))
        self.fit_purchase = fit_purchase

    def freeze_shared(self) -> None:
        """Freeze all parameters but the users' vectors and biases."""
        own = {"user_residual", "user_bias"}
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in own)

    @property
    def weight(self) -> Tensor:
        """(2, D) of click and purchase."""
        common = (self.own_weight * self.free).sum(1, keepdim=True) / self.free.sum()
        return torch.where(self.free > 0, self.own_weight, common)

    @property
    def examination(self) -> Tensor:
        """(S,) P(slot is looked at); the first slot's is 1 by convention."""
        return torch.cat([torch.ones(1), torch.sigmoid(self.slot_logit)])

    def examined(self, slot: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """(n,) probability that each of (n,) slots, counted from 0, is looked at."""
        return self.examination.detach().numpy()[np.minimum(slot, len(self.prior))]

    def item_biases(self, item: Tensor) -> Tensor:
        """(n, 2) what the items' texts, prices and residuals add."""
        return (
            self.items[item] @ (self.free * self.bias_map).T
            + self.price[item, None] * self.price_weight
            + F.embedding(item, self.item_bias)
        )

    def logits(self, batch: Batch) -> Tensor:
        """(n, 2) click and purchase logits, offsets included."""
        user, item = batch.user, batch.item
        theta = self.users[user] + self.free * F.embedding(user, self.user_residual)
        v = self.items[item] + self.free * F.embedding(item, self.item_residual)
        biases = F.embedding(user, self.user_bias) * self.identified
        out = (theta * v) @ self.weight.T + biases + self.item_biases(item) + self.intercept
        click = batch.repeat @ self.repeat_weight + batch.offset
        return out + torch.stack([click, self.tenure_weight * batch.tenure], dim=1)

    def loss(self, batch: Batch, config: UserModelConfig, per_row: float) -> Tensor:
        """Mean penalised negative log-likelihood of a batch of n rows.

        Args:
            batch: the rows.
            config: the L2 weights.
            per_row: 1 / rows of an epoch, so that an epoch penalises shared parameters once.
        """
        fit = self.negative_log_likelihood(batch)
        user, item = batch.user, batch.item
        l2 = config.user_l2, config.item_l2, config.bias_l2
        penalty = (
            l2[0] * F.embedding(user, self.user_residual).square().sum(1) * batch.per_user
            + l2[1] * F.embedding(item, self.item_residual).square().sum(1) * batch.per_item
            + l2[2] * F.embedding(user, self.user_bias).square().sum(1) * batch.per_user
            + l2[2] * F.embedding(item, self.item_bias).square().sum(1) * batch.per_item
        )
        shared = (
            config.map_l2
            * sum(p.square().sum() for p in (self.own_weight, self.bias_map, self.price_weight))
            + config.examination_l2 * (self.slot_logit - self.prior).square().sum()
        )
        return (fit.sum() + 0.5 * penalty.sum()) / len(user) + 0.5 * per_row * shared

    def negative_log_likelihood(self, batch: Batch) -> Tensor:
        """(n,) weighted, of click and of purchase given click."""
        logits = self.logits(batch)
        clicked = batch.response >= CLICK
        p = torch.sigmoid(logits[:, 0])
        if len(self.prior):
            p = F.embedding(batch.slot, self.examination[:, None])[:, 0] * p
        p = p.clamp(_TINY, 1 - _TINY)
        out = F.binary_cross_entropy(p, clicked.float(), reduction="none")
        if self.fit_purchase:
            bought = (batch.response == PURCHASE).float()
            purchase = F.binary_cross_entropy_with_logits(logits[:, 1], bought, reduction="none")
            out = out + torch.where(clicked, purchase, 0)
        return out * batch.weight

    @torch.no_grad()
    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """The fitted arrays of a ``UserModel``, intercepts folded into the item biases."""
        user_bias = self.user_bias * self.identified
        item_bias = self.item_biases(torch.arange(len(self.items))) + self.intercept
        tensors = {
            "user_vectors": self.users + self.free * self.user_residual,
            "item_vectors": self.items + self.free * self.item_residual,
            "user_click_bias": user_bias[:, 0],
            "user_purchase_bias": user_bias[:, 1],
            "item_click_bias": item_bias[:, 0],
            "item_purchase_bias": item_bias[:, 1],
            "click_weight": self.weight[0],
            "purchase_weight": self.weight[1],
        }
        return {k: np.ascontiguousarray(v.numpy(), dtype=np.float32) for k, v in tensors.items()}
