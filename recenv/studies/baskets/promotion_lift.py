"""Lift of promotions in Complete Journey: purchase-rate ratios, raw and stratified.

``python -m recenv.studies.baskets.promotion_lift`` prints the ratio of P(bought | promoted) to
P(bought | not promoted), over every basket and item: raw, within each item, and within each item
and store. What sells is promoted, so the raw ratio is mostly the items'; the others compare an
item's promoted weeks with its other weeks (Mantel & Haenszel 1959, JNCI 22, risk ratio). Seasons
and prices still move together with promotions: none of these is an effect.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.data.formats import complete_journey
from recenv.data.promotions import WEEKS, Promotions
from recenv.schema import InteractionLog

Floats = npt.NDArray[np.float64]


class Lift(NamedTuple):
    """Ratios of purchase probability, promoted over not.

    Attributes:
        offers: baskets times items, in stores with promotion records.
        promoted: share of offers that were promoted.
        raw, within_item, within_item_and_store: the ratios.
    """

    offers: int
    promoted: float
    raw: float
    within_item: float
    within_item_and_store: float


def promotion_lift(log: InteractionLog, visits: pd.DataFrame, promotions: Promotions) -> Lift:
    """Ratios over all baskets in stores that have promotion records.

    Args:
        log: with session (row of ``visits``), item and promotion.
        visits: see ``recenv.data.formats.complete_journey.visits``.
        promotions: of the same items.
    """
    stores, items = promotions.store_ids, promotions.num_items
    row = np.minimum(np.searchsorted(stores, visits["store"].to_numpy()), len(stores) - 1)
    known = stores[row] == visits["store"].to_numpy()  # (V,)
    week = visits["week"].to_numpy()
    per_week = np.bincount(row[known] * WEEKS + week[known], minlength=len(stores) * WEEKS)
    per_store = per_week.reshape(len(stores), WEEKS).sum(1)
    cell, item = np.divmod(promotions.keys, items)
    shape = (len(stores), items)
    size = len(stores) * items
    offered = np.bincount((cell // WEEKS) * items + item, per_week[cell], size).reshape(shape)
    other = per_store[:, None] - offered
    session = log.column("session")
    kept = known[session]
    pair = (row[session] * items + log.column("item"))[kept]
    on = log.column("promotion")[kept] > 0
    bought = np.bincount(pair[on], minlength=size).reshape(shape)
    rest = np.bincount(pair[~on], minlength=size).reshape(shape)
    table = [a.astype(np.float64) for a in (bought, offered, rest, other)]
    return Lift(
        offers=int(per_store.sum()) * items,
        promoted=float(offered.sum() / (per_store.sum() * items)),
        raw=_ratio(*(a.sum(keepdims=True) for a in table)),
        within_item=_ratio(*(a.sum(0) for a in table)),
        within_item_and_store=_ratio(*table),
    )


def _ratio(bought: Floats, offered: Floats, rest: Floats, other: Floats) -> float:
    """Mantel and Haenszel's risk ratio over strata; strata with one side only drop out."""
    total = np.maximum(offered + other, 1)
    below = float((rest * offered / total).sum())
    return float((bought * other / total).sum()) / below if below > 0 else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ratios of the product types, or of single products."""
    parser = argparse.ArgumentParser(
        prog="python -m recenv.studies.baskets.promotion_lift",
        description="Promoted items of Complete Journey: how much more often they are bought.",
    )
    parser.add_argument("--folder", type=Path, help="the wheel's files; default: the wheel")
    parser.add_argument("--items", choices=("type", "product"), default="type")
    given = parser.parse_args(arguments)
    log, _ = complete_journey.load(given.folder, items=given.items)
    made = promotion_lift(
        log,
        complete_journey.visits(given.folder),
        complete_journey.promotions(given.folder, items=given.items),
    )
    print(f"{made.offers} offers, {100 * made.promoted:.1f} % promoted; P(bought) promoted / not:")
    print(f"raw {made.raw:.2f}")
    print(f"within an item {made.within_item:.2f}")
    print(f"within an item and store {made.within_item_and_store:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
