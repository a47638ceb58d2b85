"""History encoders: the events of a visit as one vector, recurrent or by attention.

B visits, H remembered events, P dimensions of the item table, E of the vector. An event is an
item that was shown and what became of it. Events come latest first, as the recommender observes
them; where there is none, the item is -1, and such places change nothing wherever they are.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.network import History

_RESPONSES = 3  # ignored, clicked, purchased


class GRUEncoder(nn.Module):
    """The last state of a gated recurrent unit that reads events as they came.

    Cho et al., EMNLP 2014; for visits, Hidasi et al., ICLR 2016 ("GRU4Rec").

    Args:
        dims: P.
        width: E.
    """

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(dims + _RESPONSES, width, batch_first=True)

    def forward(self, vectors: Tensor, items: Tensor, responses: Tensor) -> Tensor:
        """(B, E) vectors of visits; 0 for a visit without events.

        Args:
            vectors: (B, H, P) rows of the item table; anything where there is no event.
            items: (B, H) codes, -1 where there is no event.
            responses: (B, H) 0 ignored, 1 clicked, 2 purchased.
        """
        events = _events(vectors, responses)
        (batch, length), real = items.shape, items >= 0
        count = real.sum(-1, keepdim=True)
        # oldest first, without gaps; what is no event goes behind the last place
        place = torch.where(real, count - real.cumsum(-1), length)
        place = place[..., None].expand(events.shape)
        ordered = events.new_zeros(batch, length + 1, events.shape[-1]).scatter(1, place, events)
        states, _ = self.gru(ordered[:, :length])
        last = (count - 1).clamp(min=0)[..., None].expand(-1, 1, self.width)
        return states.gather(1, last)[:, 0] * (count > 0)


class TransformerEncoder(nn.Module):
    """Attention among the events, then of one learned query over them.

    Vaswani et al., NeurIPS 2017, with normalisation before each layer (Xiong et al., ICML 2020);
    for sequences of items, Kang & McAuley, ICDM 2018 ("SASRec"). An event's place is how many
    events are newer.

    Args:
        dims: P.
        width: E, a multiple of ``HEADS``.
        length: H.
    """

    HEADS: ClassVar[int] = 2

    def __init__(self, dims: int, width: int, length: int) -> None:
        super().__init__()
        self.width = width
        self.event = nn.Linear(dims + _RESPONSES, width)
        self.age = nn.Parameter(torch.randn(length, width) * 0.3)
        self.query = nn.Parameter(torch.randn(1, width) * 0.1)
        self.among = _Block(width, self.HEADS)
        self.over = _Block(width, self.HEADS)
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, items: Tensor, responses: Tensor) -> Tensor:
        """See ``GRUEncoder.forward``."""
        real = items >= 0
        newer = (real.cumsum(-1) - 1).clamp(min=0)
        events = self.event(_events(vectors, responses)) + self.age[newer]
        # the query is there even if no event is, so that there is always something to attend to
        query = self.query.expand(items.shape[0], 1, self.width)
        shown = torch.cat([real.new_ones(items.shape[0], 1), real], -1)
        whole = torch.cat([query, events], 1)
        whole = self.among(whole, whole, shown)
        visit = self.over(whole[:, :1], whole, shown)
        return self.norm(visit[:, 0]) * real.any(-1, keepdim=True)


class _Block(nn.Module):
    """One layer of attention and one of two linear maps, both added to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, width)
        self.tell = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.maps = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, asking: Tensor, telling: Tensor, shown: Tensor) -> Tensor:
        """(B, Q, E) from (B, Q, E) that ask (B, M, E), of which (B, M) are shown."""
        ask = self._split(self.ask(self.before(asking)))
        key, value = (self._split(x) for x in self.tell(self.before(telling)).chunk(2, -1))
        told = F.scaled_dot_product_attention(ask, key, value, attn_mask=shown[:, None, None])
        asking = asking + self.out(told.transpose(1, 2).flatten(2))
        return asking + self.maps(self.between(asking))

    def _split(self, x: Tensor) -> Tensor:
        """(B, M, E) to (B, heads, M, E / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _events(vectors: Tensor, responses: Tensor) -> Tensor:
    """(B, H, P + 3)."""
    kinds = F.one_hot(responses.clamp(min=0), _RESPONSES).to(vectors.dtype)
    return torch.cat([vectors, kinds], -1)


def make_encoder(
    history: History, dims: int, hidden: int, length: int
) -> GRUEncoder | TransformerEncoder | None:
    """The encoder of ``NetworkConfig.history``; None for "mean", which needs none.

    Args:
        history: which one.
        dims: P.
        hidden: units of the network's hidden layers; E is half of it, and even.
        length: H.
    """
    width = 2 * max(1, hidden // 4)
    if history == "gru":
        return GRUEncoder(dims, width)
    if history == "transformer":
        return TransformerEncoder(dims, width, length)
    return None
