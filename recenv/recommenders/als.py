"""Matrix factorisation for implicit feedback, fitted by alternating least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recenv.config import Config
from recenv.errors import MissingDependencyError
from recenv.recommenders.base import Observation, top_candidates
from recenv.schema import CLICK
from recenv.world import World


@dataclass(frozen=True)
class ALSConfig(Config):
    """Settings of the factorisation.

    The confidence of a user-item cell is ``1 + click_confidence * clicks +
    purchase_confidence * purchases`` where it has a click (a purchase is a click too), and 1
    elsewhere. The defaults were the best compromise of a grid (8 to 64 factors, regularization
    0.1 to 50, confidence 1 to 16) on the reward from held-out users of three planted worlds and
    of MovieLens 100K. Choosing them there favours ALS: it is the baseline to beat.

    Attributes:
        factors: values of a user's or an item's vector, 1 or more.
        regularization: weight of the vectors' squared length, 0 or more.
        iterations: rounds of least squares, 1 or more.
        click_confidence: what a click adds to a cell's confidence, positive.
        purchase_confidence: what a purchase adds beside its click, 0 or more.
        seed: of the first vectors.
    """

    factors: int = 8
    regularization: float = 10.0
    iterations: int = 20
    click_confidence: float = 1.0
    purchase_confidence: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """See ``Config.check``."""
        for name in ("factors", "iterations", "click_confidence"):
            self.require(getattr(self, name) > 0, name, "positive")
        for name in ("regularization", "purchase_confidence"):
            self.require(getattr(self, name) >= 0, name, "zero or more")


def require_implicit() -> None:
    """Check that the library is there.

    Raises:
        MissingDependencyError: ``implicit`` is not installed.
    """
    try:
        import implicit.cpu.als  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("implicit", "benchmark", "ALSRecommender") from error


class ALSRecommender:
    """Implicit-feedback ALS (Hu, Koren & Volinsky, ICDM 2008), by the library ``implicit``.

    Item factors are fitted on the training events of the users not held out. Every user,
    held-out ones too, is then folded in: its factors are the least-squares solution for its
    own training history, with the item factors fixed. It does not learn within a visit. Items
    that a user consumed before stay eligible, as simulated users consume again.

    Args:
        world: its training log is fitted on.
        config: see ``ALSConfig``.
        name: for reports.

    Raises:
        MissingDependencyError: ``implicit`` is not installed.
    """

    def __init__(self, world: World, config: ALSConfig | None = None, name: str = "ALS") -> None:
        require_implicit()
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        config = config or ALSConfig()
        self.name = name
        cells = _confidences(world, config)
        with threadpool_limits(1, "blas"):  # one thread: the same bits everywhere, and faster
            model = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization,
                iterations=config.iterations,
                random_state=config.seed,
                num_threads=1,
            )
            fitted_on = np.flatnonzero(~world.heldout)
            model.fit(cells[fitted_on], show_progress=False)
            users = np.arange(world.num_users)
            self.user_factors = np.asarray(model.recalculate_user(users, cells))  # (U, F)
        self.item_factors = np.asarray(model.item_factors)  # (N, F)

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """(B, K) candidates by predicted preference; see ``Recommender``."""
        users = self.user_factors[observation["user"][:, 0]]
        items = self.item_factors[observation["candidates"]]
        return top_candidates(np.einsum("bf,bcf->bc", users, items), slate_size)


def _confidences(world: World, config: ALSConfig) -> sparse.csr_matrix:
    """(U, N) confidences of the cells with a click; ``implicit`` takes 1 for all others."""
    response = world.train.column("response")
    seen = response >= CLICK
    weight = config.click_confidence + config.purchase_confidence * (response[seen] > CLICK)
    user, item = world.train.column("user")[seen], world.train.column("item")[seen]
    shape = (world.num_users, len(world.catalog))
    # cells named more than once are summed
    cells = sparse.csr_matrix((weight.astype(np.float32), (user, item)), shape=shape)
    cells.data += 1
    return cells
