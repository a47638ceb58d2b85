"""User-interest vectors: embeddings of users and items, learned by next-item prediction.

See ``recenv.encoders.tower`` for the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recenv import artifacts
from recenv.config import InterestConfig
from recenv.data.split import Split
from recenv.encoders.history import CLICK_WEIGHT, PURCHASE_WEIGHT
from recenv.errors import ArtifactError, MissingDependencyError, SchemaError
from recenv.schema import CLICK, InteractionLog

if TYPE_CHECKING:
    from recenv.encoders.tower import Sequences

_KIND = "interests"


@dataclass(frozen=True)
class InterestVectors:
    """Users and items in one space.

    ``users @ items.T`` estimates log P(the user's next event is on this item), up to a constant
    per user.

    Attributes:
        items: (N, D) float32.
        users: (U, D) float32; in the learned dimensions, those fitted on have the same mean
            squared length as ``items``.
        is_language_model: whether the items' vectors came from a language model.
        encoder: its name, for reports.
        content_dim: so many of the last dimensions hold what the encoder tells of items that the
            log tells little of. Items with events hardly differ there, so that a law fitted from
            these vectors learns noise if it corrects them, and new items pay for it.
    """

    items: npt.NDArray[np.float32]
    users: npt.NDArray[np.float32]
    is_language_model: bool
    encoder: str
    content_dim: int = 0

    def save(self, folder: Path) -> Path:
        """Write as an artifact."""
        meta = {
            "is_language_model": self.is_language_model,
            "encoder": self.encoder,
            "content_dim": self.content_dim,
        }
        return artifacts.save(folder, _KIND, {"items": self.items, "users": self.users}, meta)

    @classmethod
    def load(cls, folder: Path) -> InterestVectors:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: missing or damaged.
        """
        arrays, meta = artifacts.load(folder, _KIND)
        with artifacts.reading(folder):
            return cls.from_artifact(arrays, meta)

    @classmethod
    def from_artifact(
        cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
    ) -> InterestVectors:
        """Interest vectors from an artifact: ``items``, ``users`` and the settings of ``save``.

        Raises:
            ArtifactError: they do not fit together.
        """
        items = artifacts.check_array(arrays, "items", np.float32, (None, None))
        dim = items.shape[1]
        users = artifacts.check_array(arrays, "users", np.float32, (None, dim))
        known, encoder, content = (meta[k] for k in ("is_language_model", "encoder", "content_dim"))
        if not isinstance(known, bool) or not isinstance(encoder, str):
            raise ArtifactError(f"An encoder is told by its name and kind, not {meta!r}.")
        if type(content) is not int or not 0 <= content <= dim:
            raise ArtifactError(f"Of {dim} dimensions {content!r} cannot be the encoder's.")
        return cls(items, users, known, encoder, content)


def fit_interests(
    log: InteractionLog,
    split: Split,
    item_vectors: npt.NDArray[np.float32],
    config: InterestConfig,
    *,
    encoder: str,
    is_language_model: bool,
    progress: bool | None = None,
) -> InterestVectors:
    """Learn users and items from the train part of the users who are not held out.

    Each train event asks: which item is it, given the user's events before it? Items that the
    user consumed earlier are no answers, and earlier events on the asked item are left out of
    the history: consuming something again is another law than interest. A purchase counts twice
    a click. The epoch with the lowest loss on the same users' validation part is kept, or the
    last where there is none.

    Items hold a vector of their own beside what their text says. For an item without train
    events the text alone predicts it.

    Then all users, held-out ones too, are mapped from their train part; without a click there,
    that is where a user begins. Time is linear in events, memory too.

    Args:
        log: sorted by time.
        split: which events are train, and who is held out.
        item_vectors: (N, E) from an encoder.
        config: sizes and learning.
        encoder: name to report.
        is_language_model: whether it is one.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        MissingDependencyError: torch is not installed.
        SchemaError: the item vectors do not fit the log.
    """
    try:
        import torch  # noqa: F401

        from recenv.encoders.tower import Tower
    except ImportError as error:
        raise MissingDependencyError("torch", "lm", "Learning interest vectors") from error
    user, item, response = (log.column(c) for c in ("user", "item", "response"))
    if item_vectors.ndim != 2 or len(item_vectors) <= item.max():
        raise SchemaError(
            f"item_vectors must be (N, E) with N above the largest item code {item.max()}, but "
            f"has shape {item_vectors.shape}. Encode the catalogue that belongs to the log."
        )
    # centred, and of unit mean square per value: one learning rate then suits every encoder
    vectors = item_vectors - item_vectors.mean(axis=0, dtype=np.float64)
    vectors = (vectors / max(np.sqrt(np.square(vectors).mean()), 1e-12)).astype(np.float32)
    clicked = response >= CLICK
    train, valid = split.rows("train", "all") & clicked, split.rows("valid", "train") & clicked
    own = train & ~split.heldout[user]
    tower = Tower(
        vectors,
        np.bincount(item[own], minlength=len(vectors)),
        config,
        purchase_weight=PURCHASE_WEIGHT / CLICK_WEIGHT,
    )
    histories = _sequences(log, train, train)
    fitted = np.flatnonzero(~split.heldout & (np.diff(histories.start) > 0))
    with one_thread():
        tower.fit(_sequences(log, own | valid, own), fitted, progress=progress)
        tables = tower.tables()
        users, items = tower.users(histories, tables), tower.items(tables)
    # user * c and item / c have the same inner products; c evens out their lengths
    learned = slice(0, tables[1].shape[1])
    c = np.empty(users.shape[1], np.float32)
    c[learned] = _even(users[fitted, learned], items[:, learned])
    # the items' content before it fades with their events
    c[learned.stop :] = _even(users[fitted, learned.stop :], tower.content_vectors())
    return InterestVectors(
        items=(items / c).astype(np.float32),
        users=(users * c).astype(np.float32),
        is_language_model=is_language_model,
        encoder=encoder,
        content_dim=items.shape[1] - learned.stop,
    )


def _sequences(
    log: InteractionLog, kept: npt.NDArray[np.bool_], learned: npt.NDArray[np.bool_]
) -> Sequences:
    """The kept events by user; ``learned`` marks those that are learned from."""
    from recenv.encoders.tower import Sequences

    rows = np.flatnonzero(kept)
    user = log.column("user")[rows]
    rows = rows[np.argsort(user, kind="stable")]
    count = np.bincount(user, minlength=log.num_users)
    return Sequences(
        item=log.column("item")[rows].astype(np.int64),
        response=log.column("response")[rows],
        start=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        learned=np.bincount(log.column("user")[learned], minlength=log.num_users),
    )


def _even(users: npt.NDArray[np.float32], items: npt.NDArray[np.float32]) -> float:
    """What to multiply users by, and divide items by, so that both have the same mean square."""
    lengths = [_mean_square(users), _mean_square(items)]
    return (lengths[1] / lengths[0]) ** 0.25 if min(lengths) > 0 else 1.0


def _mean_square(vectors: npt.NDArray[np.float32]) -> float:
    """Mean squared length of the rows."""
    return float(np.square(vectors, dtype=np.float64).sum(axis=1).mean())


def one_thread() -> AbstractContextManager[object]:
    """Torch on one thread, so that sums have one order on any machine.

    It costs little: the matrices are small. (``torch.set_num_threads`` there and back left later
    matrix products up to 30 times slower, measured with torch 2.13.)

    Raises:
        MissingDependencyError: threadpoolctl is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError("threadpoolctl", "lm", "Fitting") from error
    return threadpool_limits(limits=1)
