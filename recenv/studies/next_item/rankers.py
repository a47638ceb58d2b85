"""Rankers of the next item: classical methods, and the fitted user model.

A ranker learns from the users that are not held out and scores every item for any user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recenv.config import InterestConfig, SplitConfig, UserModelConfig
from recenv.data.split import Split, make_split
from recenv.encoders.history import history_weights, user_means
from recenv.encoders.interest_vectors import InterestVectors, fit_interests, one_thread
from recenv.errors import MissingDependencyError
from recenv.schema import PURCHASE, Catalog, InteractionLog
from recenv.users.fitting import fit_user_model
from recenv.users.model import UserModel

Scores = npt.NDArray[np.floating]
"""(n, N) of n users, higher is better."""

EASE_RIDGE = 500.0
ALS_FACTORS, ALS_REGULARIZATION, ALS_CONFIDENCE, ALS_ITERATIONS = 32, 1.0, 10.0, 15
HALF_LIFE = 50.0  # likes, of the recency-weighted mean
VALID_SHARE = 0.125
POPULARITY_WEIGHT = 0.15  # of log(1 + likes) beside a cosine


class Task(NamedTuple):
    """Inputs of a ranker.

    Attributes:
        log: histories, of learning and of held-out users; nothing of the targets.
        catalog: N items.
        vectors: (N, E) float32 of the items, what our users are learned from.
        heldout: (U,) bool, users that nothing may be learned from.
        queries: (n,) codes of the users to score.
        text: (N, E') float32 of the items' texts alone.
    """

    log: InteractionLog
    catalog: Catalog
    vectors: npt.NDArray[np.float32]
    heldout: npt.NDArray[np.bool_]
    queries: npt.NDArray[np.integer]
    text: npt.NDArray[np.float32]


class Settings(NamedTuple):
    """Settings of the user model's fits, and the seed of the random ranker and of ALS."""

    interest: InterestConfig
    user_model: UserModelConfig
    encoder: str
    is_language_model: bool
    seed: int = 0


def liked(task: Task) -> sparse.csr_matrix:
    """(U, N) 1 where the user has liked the item."""
    likes = task.log.column("response") == PURCHASE
    user, item = task.log.column("user")[likes], task.log.column("item")[likes]
    shape = (task.log.num_users, len(task.catalog))
    cells = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
    cells.data[:] = 1
    return cells


def popularity(task: Task) -> npt.NDArray[np.float64]:
    """(N,) users not held out who liked the item."""
    return np.asarray(liked(task)[~task.heldout].sum(axis=0), np.float64).ravel()


def ease(likes: sparse.csr_matrix, ridge: float) -> npt.NDArray[np.float64]:
    """(N, N) weights of the linear autoencoder without self-similarity.

    Each column is the ridge regression of one item on all others. Source: Steck 2019,
    "Embarrassingly Shallow Autoencoders for Sparse Data", WWW.
    """
    gram = np.asarray((likes.T @ likes).todense(), np.float64)
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def content(task: Task, vectors: npt.NDArray[np.float32]) -> Scores:
    """Recency-weighted mean of the (N, E) vectors of the liked items, by inner product."""
    vectors = vectors - vectors.mean(axis=0)
    likes = task.log.column("response") == PURCHASE
    weights = history_weights(task.log, likes, HALF_LIFE)
    means = user_means(task.log, weights, vectors)[task.queries]
    return means @ vectors.T


def cosine(task: Task) -> Scores:
    """The same mean, of the texts' vectors, which are not centred, by cosine."""
    likes = task.log.column("response") == PURCHASE
    weights = history_weights(task.log, likes, HALF_LIFE)
    means = user_means(task.log, weights, task.text)[task.queries]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    lengths = np.maximum(np.linalg.norm(task.text, axis=1), 1e-9)
    return means @ (task.text / lengths[:, None]).T


def als(task: Task, settings: Settings) -> Scores:
    """Implicit-feedback ALS (Hu, Koren & Volinsky 2008), held-out users folded in.

    Raises:
        MissingDependencyError: ``implicit`` is not installed.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError("implicit", "benchmark", "ALS") from error
    likes = liked(task)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=ALS_FACTORS,
            regularization=ALS_REGULARIZATION,
            alpha=ALS_CONFIDENCE,
            iterations=ALS_ITERATIONS,
            random_state=settings.seed,
            num_threads=1,
        )
        model.fit(likes[np.flatnonzero(~task.heldout)], show_progress=False)
        users = np.arange(len(task.queries))
        factors = model.recalculate_user(users, likes[task.queries])
    return np.asarray(factors) @ np.asarray(model.item_factors).T


def classical(task: Task, settings: Settings) -> dict[str, Callable[[], Scores]]:
    """The methods to compare with, by name."""
    count, shape = popularity(task), (len(task.queries), len(task.catalog))
    rng = np.random.default_rng(settings.seed)

    def blended() -> Scores:
        return cosine(task) + POPULARITY_WEIGHT * np.log1p(count)

    def autoencoder() -> Scores:
        likes = liked(task)
        with one_thread():
            return likes[task.queries] @ ease(likes[np.flatnonzero(~task.heldout)], EASE_RIDGE)

    return {
        "random": lambda: rng.random(shape),
        "popularity": lambda: np.tile(count, (shape[0], 1)),
        "text, mean of history": lambda: content(task, task.text),
        "text and features, mean of history": lambda: content(task, task.vectors),
        "text + popularity": blended,
        f"ALS, {ALS_FACTORS} factors": lambda: als(task, settings),
        "EASE": autoencoder,
    }


def fit_users(
    log: InteractionLog,
    catalog: Catalog,
    vectors: npt.NDArray[np.float32],
    heldout: npt.NDArray[np.bool_],
    settings: Settings,
    *,
    by: Literal["user", "time"] = "user",
    progress: bool | None,
) -> tuple[InterestVectors, UserModel]:
    """Interest vectors and users, fitted twice as in a world.

    First without the last ``VALID_SHARE`` of the events, which choose the strength of the
    penalties and calibrate, then with the same choices on all.

    Args:
        log: what may be known.
        catalog: its N items.
        vectors: (N, E) float32.
        heldout: (U,) bool, users that nothing may be learned from; only their own vectors and
            biases are fitted.
        settings: of the fits.
        by: the last events of each user, or of all.
        progress: False for silence; see ``recenv.progress``.
    """
    inner = SplitConfig(by=by, valid_fraction=VALID_SHARE, test_fraction=0.0, heldout_users=0.0)
    late = make_split(log, inner).rows("valid", "all") & ~heldout[log.column("user")]

    def fit(
        known: InteractionLog, valid: InteractionLog | None, chosen: UserModel | None
    ) -> tuple[InterestVectors, UserModel]:
        split = Split(np.zeros(len(known), np.int8), known.column("user"), heldout, known.hash)
        interests = fit_interests(
            known,
            split,
            vectors,
            settings.interest,
            encoder=settings.encoder,
            is_language_model=settings.is_language_model,
            progress=progress,
        )
        model = fit_user_model(
            known,
            catalog,
            interests,
            settings.user_model,
            valid=valid,
            chosen=chosen,
            folded=heldout,
            progress=progress,
        )
        return interests, model

    _, chosen = fit(log.take(~late), log.take(late), None)
    return fit(log, None, chosen)


def ours(task: Task, settings: Settings, *, progress: bool | None) -> dict[str, Scores]:
    """Scores by our interest vectors, and by the user model fitted from them.

    The interest vectors rank by inner product. The user model ranks by log P(click | looked at),
    the probability that the item is consumed at all, and by that plus log P(purchase | click),
    that it is consumed and liked.
    """
    interests, model = fit_users(
        task.log, task.catalog, task.vectors, task.heldout, settings, progress=progress
    )
    shape = (len(task.queries), len(task.catalog))
    users = np.repeat(task.queries, shape[1])
    items = np.tile(np.arange(shape[1]), shape[0])
    tiny = np.finfo(np.float32).tiny
    click = np.log(np.maximum(model.click_probs(users, items), tiny)).reshape(shape)
    like = np.log(np.maximum(model.purchase_probs(users, items), tiny)).reshape(shape)
    return {
        "interest vectors": interests.users[task.queries] @ interests.items.T,
        "user model, click": click,
        "user model, click and purchase": click + like,
    }
