"""Rank agreement of two rankings of policies, and the regret of choosing by one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from recenv.errors import ConfigError

Values = npt.NDArray[np.floating]
SURE = 3.0
"""Two policies are surely ranked when they differ by this many standard errors."""
RESAMPLES = 400


def kendall(first: Values, second: Values) -> float:
    """Kendall's tau-b of (P,) values (Kendall 1945); NaN where one of them is constant."""
    found: Any = stats.kendalltau(first, second)
    return float(found.statistic)


def regret(fitted: Values, true: Values) -> float:
    """Regret of the policy with the highest fitted value against the truly best, (P,) each."""
    return float(np.max(true) - true[np.argmax(fitted)])


def visit_error(rewards: Values) -> Values:
    """(P, P) standard error of differences of mean reward, from (P, U, V) paired visits.

    Of these very users: the visits are the sample. Users have variances of their own.

    Raises:
        ConfigError: one visit per user has no variance.
    """
    policies, users, visits = rewards.shape
    if visits < 2:
        raise ConfigError(
            f"The error of a mean needs at least 2 visits per user, but there are {visits}."
        )
    out = np.zeros((policies, policies))
    for i in range(policies):
        variance = (rewards[i] - rewards).var(axis=2, ddof=1)  # (P, U)
        out[i] = np.sqrt(variance.sum(axis=1) / visits) / users
    return out


def surely_ranked(true: Values, error: Values, *, errors: float = SURE) -> npt.NDArray[np.bool_]:
    """(P, P) pairs whose true means, of (P, U) values, differ by so many standard errors."""
    mean = true.mean(axis=1)
    return np.abs(mean[:, None] - mean) > errors * error


def sure_tau(fitted: Values, true: Values, pairs: npt.NDArray[np.bool_]) -> float:
    """(Concordant - discordant) / pairs, over the (P, P) pairs that are surely ranked.

    Args:
        fitted: (P,) values; a pair of which one is NaN counts as neither.
        true: (P,) values.
        pairs: see ``surely_ranked``.

    Returns:
        NaN where no pair is.
    """
    signs = np.sign(fitted[:, None] - fitted) * np.sign(true[:, None] - true)
    upper = np.triu(pairs, 1)
    return float(np.nan_to_num(signs[upper]).mean()) if upper.any() else float("nan")


def agreement(fitted: Values, true: Values, error: Values) -> dict[str, Any]:
    """Of policies' values in a fitted and in the true world.

    Args:
        fitted: (P, U) mean reward of each user under each policy; the first policy is the
            random floor.
        true: (P, U) likewise.
        error: (P, P) see ``visit_error``.

    Returns:
        tau over all policies; sure_tau, (concordant - discordant) / pairs over the pairs that
        are surely ranked; better_tau over the truly better half; regret of the fitted
        favourite; share, the regret over what the best gains on random; slope of fitted on true
        values; draws of tau and of share over ``RESAMPLES`` bootstrap samples of users.
    """
    f, t = fitted.mean(axis=1), true.mean(axis=1)
    better = t >= np.median(t)
    rng = np.random.default_rng(0)
    users = rng.integers(fitted.shape[1], size=(RESAMPLES, fitted.shape[1]))
    draws = [(fitted[:, u].mean(axis=1), true[:, u].mean(axis=1)) for u in users]
    return {
        "tau": kendall(f, t),
        "sure_tau": sure_tau(f, t, surely_ranked(true, error)),
        "better_tau": kendall(f[better], t[better]),
        "favourite": int(np.argmax(f)),
        "regret": regret(f, t),
        "share": _share(f, t),
        "slope": float(np.polyfit(t, f, 1)[0]),
        "tau_draws": [round(kendall(a, b), 4) for a, b in draws],
        "share_draws": [round(_share(a, b), 4) for a, b in draws],
    }


def _share(fitted: Values, true: Values) -> float:
    gain = float(np.max(true) - true[0])
    return regret(fitted, true) / gain if gain > 0 else 0.0
