"""Paired comparison of several recommenders, or several users, on common random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recenv.config import GameConfig
from recenv.errors import ConfigError, UnknownNameError
from recenv.evaluation import (
    Estimate,
    Pool,
    Rollout,
    Row,
    difference,
    position,
    rollout,
    summarise,
)
from recenv.evaluation.rollouts import IntArray
from recenv.recommenders import PrivilegedRecommender, RandomRecommender, Recommender
from recenv.sim.simulator import Simulator
from recenv.users.user_policy import UserPolicy
from recenv.world import World

Kind = Literal["random", "baseline", "untrained", "trained", "privileged"]
_ORDER: tuple[Kind, ...] = ("random", "baseline", "untrained", "trained", "privileged")

POOL_WORDS: dict[Pool, str] = {
    "heldout": "held-out",
    "train": "training",
    "all": "training and held-out",
}
"""Pools of users, as reports say them."""


@dataclass(frozen=True)
class Contender:
    """A recommender and how it came to be: the mark it has in tables.

    Attributes:
        recommender: its name is the row's.
        kind: "trained"; "untrained" for a policy seeded with interest vectors but not trained;
            "baseline", "random" and "privileged" are told by themselves.
    """

    recommender: Recommender | PrivilegedRecommender
    kind: Kind

    @classmethod
    def of(cls, recommender: Recommender | PrivilegedRecommender) -> Contender:
        """A baseline, the random floor, or a privileged frame, by its class."""
        if isinstance(recommender, PrivilegedRecommender):
            return cls(recommender, "privileged")
        return cls(
            recommender, "random" if isinstance(recommender, RandomRecommender) else "baseline"
        )


@dataclass(frozen=True)
class Comparison:
    """Recommenders on the same visits: random first, privileged last.

    Attributes:
        world, game: where they were compared.
        visitors: who came, in words.
        episodes_per_user, seed: of the rollouts.
        user_policy: name of who answered.
        kinds: (P,) kind of each policy.
        rollouts: (P,) in the same order.
    """

    world: World
    game: GameConfig
    visitors: str
    episodes_per_user: int
    seed: int
    user_policy: str
    kinds: tuple[Kind, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def names(self) -> list[str]:
        """Names of the policies, in order."""
        return [r.recommender for r in self.rollouts]

    def rollout(self, name: str) -> Rollout:
        """The rollout of a policy.

        Raises:
            UnknownNameError: no policy of that name was compared.
        """
        if name not in self.names:
            raise UnknownNameError("policy", name, self.names)
        return self.rollouts[self.names.index(name)]

    def of_kind(self, *kinds: Kind) -> list[Rollout]:
        """The rollouts of these kinds, in order."""
        return [r for r, kind in zip(self.rollouts, self.kinds, strict=True) if kind in kinds]

    def rows(self) -> list[Row]:
        """One row per policy, in order."""
        pairs = zip(self.rollouts, self.kinds, strict=True)
        return [summarise(r, kind=kind) for r, kind in pairs]

    def against(self, reference: str, metric: str = "recommender reward") -> dict[str, Estimate]:
        """Paired differences of every other policy from ``reference``, by name.

        Raises:
            UnknownNameError: no policy of that name was compared.
        """
        base = self.rollout(reference)
        return {r.recommender: difference(r, base, metric) for r in self.rollouts if r is not base}

    def positions(
        self, low: str, high: str, metric: str = "recommender reward"
    ) -> dict[str, Estimate]:
        """Normalised score of every other policy: 0 is as good as ``low``, 1 as ``high``.

        Raises:
            UnknownNameError: no policy of that name was compared.
        """
        ends = self.rollout(low), self.rollout(high)
        return {r.recommender: position(r, *ends, metric) for r in self.rollouts if r not in ends}


@dataclass(frozen=True)
class UserComparison:
    """User policies on the same visits under one recommender, the fitted user first.

    Attributes:
        world, game: where they were compared.
        visitors: who came, in words.
        episodes_per_user, seed: of the rollouts.
        recommender: name of who filled the slates.
        names: of the user policies; the first is the fitted user.
        rollouts: in the same order.
    """

    world: World
    game: GameConfig
    visitors: str
    episodes_per_user: int
    seed: int
    recommender: str
    names: tuple[str, ...]
    rollouts: tuple[Rollout, ...]

    def rows(self) -> list[Row]:
        """One row per user policy, in order."""
        pairs = zip(self.names, self.rollouts, strict=True)
        return [summarise(r, name=name, kind="user") for name, r in pairs]

    def against_fitted(self, metric: str = "user reward") -> dict[str, Estimate]:
        """Paired differences of every other user policy from the fitted user, by name."""
        pairs = zip(self.names[1:], self.rollouts[1:], strict=True)
        return {name: difference(r, self.rollouts[0], metric) for name, r in pairs}


def compare(
    world: World,
    game: GameConfig,
    recommenders: Sequence[Recommender | PrivilegedRecommender | Contender],
    *,
    users: Pool | IntArray | Sequence[int] = "heldout",
    episodes_per_user: int = 10,
    seed: int = 0,
    user_policy: UserPolicy | None = None,
    batch_size: int = 4096,
    progress: bool | None = None,
) -> Comparison:
    """Roll every recommender out on the same visits.

    Args:
        world: users, items and laws.
        game: rules of a visit; its own pool of users is not used here.
        recommenders: baselines as they are, others in a ``Contender``; names must differ.
        users: a pool, or codes; see ``rollout``, as for the arguments below.
        episodes_per_user: visits per user.
        seed: of the draws.
        user_policy: who answers; the fitted user by default.
        batch_size: visits at a time.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        ConfigError: no recommender, two with one name, or see ``rollout``.
    """
    contenders = [r if isinstance(r, Contender) else Contender.of(r) for r in recommenders]
    contenders.sort(key=lambda c: _ORDER.index(c.kind))
    _check_names([c.recommender.name for c in contenders], "recommenders")
    simulator = Simulator(world, game)
    rollouts = tuple(
        rollout(
            simulator,
            c.recommender,
            user_policy,
            users=users,
            episodes_per_user=episodes_per_user,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
        )
        for c in contenders
    )
    return Comparison(
        world=world,
        game=game,
        visitors=_visitors(rollouts[0], users),
        episodes_per_user=episodes_per_user,
        seed=seed,
        user_policy=rollouts[0].user_policy,
        kinds=tuple(c.kind for c in contenders),
        rollouts=rollouts,
    )


def compare_users(
    world: World,
    game: GameConfig,
    recommender: Recommender | PrivilegedRecommender,
    user_policies: Sequence[UserPolicy],
    *,
    users: Pool | IntArray | Sequence[int] = "heldout",
    episodes_per_user: int = 10,
    seed: int = 0,
    batch_size: int = 4096,
    progress: bool | None = None,
) -> UserComparison:
    """Roll the fitted user and other user policies out under one recommender.

    Args:
        recommender: fills all slates.
        user_policies: to be compared with the fitted user, which is always there.
        world: see ``compare``.
        game: see ``compare``.
        users: see ``compare``.
        episodes_per_user: see ``compare``.
        seed: see ``compare``.
        batch_size: see ``compare``.
        progress: see ``compare``.

    Raises:
        ConfigError: no policy, two with one name, or see ``rollout``.
    """
    _check_names([policy.name for policy in user_policies], "user_policies")
    simulator = Simulator(world, game)
    rollouts = tuple(
        rollout(
            simulator,
            recommender,
            policy,
            users=users,
            episodes_per_user=episodes_per_user,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
        )
        for policy in (None, *user_policies)
    )
    return UserComparison(
        world=world,
        game=game,
        visitors=_visitors(rollouts[0], users),
        episodes_per_user=episodes_per_user,
        seed=seed,
        recommender=recommender.name,
        names=("fitted (reference)", *(policy.name for policy in user_policies)),
        rollouts=rollouts,
    )


def _visitors(played: Rollout, users: Pool | IntArray | Sequence[int]) -> str:
    which = POOL_WORDS[users] if isinstance(users, str) else "chosen"
    return f"{len(np.unique(played.user))} {which} users"


def _check_names(names: list[str], what: str) -> None:
    if not names:
        raise ConfigError(f"{what} is empty. Give at least one policy.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{what} has two policies named {twice[0]!r}. Rename one: names tell rows apart."
        )
