"""Fitting of the user model to a log, by penalised maximum likelihood."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv.config import UserModelConfig
from recenv.data.continuation import Continuation
from recenv.encoders.interest_vectors import InterestVectors
from recenv.errors import MissingDependencyError
from recenv.schema import Catalog, InteractionLog
from recenv.users.model import UserModel

__all__ = ["fit_user_model"]


def fit_user_model(
    log: InteractionLog,
    catalog: Catalog,
    interests: InterestVectors,
    config: UserModelConfig | None = None,
    *,
    valid: InteractionLog | None = None,
    chosen: UserModel | None = None,
    folded: npt.NDArray[np.bool_] | None = None,
    weight: npt.NDArray[np.floating] | None = None,
    goes_on: Continuation | None = None,
    progress: bool | None = None,
) -> UserModel:
    """Fit every law that the log identifies by penalised maximum likelihood.

    Args:
        log: training events only.
        catalog: the log's items.
        interests: language-model vectors that users and items start from.
        config: default ``UserModelConfig()``.
        valid: later events of the same users, which choose the strength of the penalties,
            whether to weight by propensity and how far interest drifts, and which calibrate
            both laws; without them all of that is as the config states.
        chosen: a model fitted with validation events, whose choices are taken over (to refit
            it to more events, or to a bootstrap sample of the users).
        folded: (U,) users whose events must not touch any shared parameter; only their
            own vectors and biases are fitted, with everything else fixed.
        weight: (U,) what each user's events count (a bootstrap's multiplicities).
        goes_on: visits that go on and users who come back after the given events, so that
            their lengths and returns are censored.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        SchemaError: no event is left to fit on, or sizes differ.
        MissingDependencyError: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("torch", "lm", "Fitting a user model") from error
    from recenv.users.fitting import pipeline

    return pipeline.fit(
        log,
        catalog,
        interests,
        config or UserModelConfig(),
        valid=valid,
        chosen=chosen,
        folded=folded,
        weight=weight,
        goes_on=goes_on,
        progress=progress,
    )
