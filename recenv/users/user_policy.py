"""User policies: policies of ``user_0``, among them the fitted user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.errors import ConfigError

Observation = dict[str, np.ndarray]


class UserPolicy(Protocol):
    """Answers slates for a batch of B visits, from the users' observations alone."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def answer(
        self, observation: Observation, keys: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.integer]:
        """(B, K + 1) answers: per slot 0 ignore, 1 click, 2 purchase; then 0 stay, 1 leave.

        Args:
            observation: leaves of shape (B, ...).
            keys: (B,) random key of each visit, for a policy that draws.
        """
        ...


def draw_responses(
    probabilities: npt.NDArray[np.floating],
    keys: npt.NDArray[np.uint64],
    rounds: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """(B, K, 3) P(ignore, click, purchase) to (B, K) responses, by inversion as the step does.

    Args:
        probabilities: float32 sums are taken in the order of the step, so that equal
            probabilities give equal answers.
        keys: (B,) random key of each visit.
        rounds: (B,) rounds completed.
    """
    buy = probabilities[..., 2]
    click = buy + probabilities[..., 1]
    u = rng.uniforms(keys, rounds, rng.ANSWER, probabilities.shape[1])
    return (u < buy).astype(np.int64) + (u < click)


def draw_leaving(
    probability: npt.NDArray[np.floating],
    keys: npt.NDArray[np.uint64],
    rounds: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """(B,) P(leave) to (B,) whether the user leaves; see ``draw_responses``."""
    return rng.uniforms(keys, rounds, rng.LEAVE, 1)[:, 0] < probability


class FittedUser:
    """The fitted user, as a policy of the observation alone.

    It draws from ``observation["behaviour"]`` by inversion, on the visit's own random numbers:
    told of each visit, it answers exactly as ``Simulator.respond_fitted`` would.

    Args:
        info: ``infos["user_0"]`` of ``env.reset``; or call ``begin`` with it at every reset.
    """

    name = "fitted user"

    def __init__(self, info: Mapping[str, Any] | None = None) -> None:
        self._key: np.uint64 | None = None
        if info is not None:
            self.begin(info)

    def begin(self, info: Mapping[str, Any]) -> None:
        """Take up the random numbers of a new visit.

        Args:
            info: ``infos["user_0"]`` of ``env.reset``: has the visit's ``seed`` and ``session``.
        """
        self._key = rng.session_key(np.uint64(info["seed"]), np.uint64(info["session"]))

    def answer(
        self, observation: Observation, keys: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.int64]:
        """See ``UserPolicy.answer``."""
        behaviour = observation["behaviour"]
        batch, slots = len(behaviour), (behaviour.shape[1] - 2) // 3
        rounds = observation["round"][:, 0]
        response = behaviour[:, : 3 * slots].reshape(batch, slots, 3)
        answers = np.empty((batch, slots + 1), np.int64)
        answers[:, :slots] = draw_responses(response, keys, rounds)
        answers[:, slots] = draw_leaving(behaviour[:, -1], keys, rounds)
        return answers

    def act(self, observation: dict[str, Any]) -> npt.NDArray[np.int64]:
        """(K + 1,) answer to one unbatched dict observation of ``user_0``.

        With ``slate_size=1`` the environment's action is ``2 * answer[0] + answer[1]``.

        Raises:
            ConfigError: no visit was begun.
        """
        if self._key is None:
            raise ConfigError(
                "The fitted user needs to know the visit: call user.begin(infos['user_0']) after "
                "every env.reset()."
            )
        batch = {name: np.asarray(value)[None] for name, value in observation.items()}
        return self.answer(batch, np.array([self._key]))[0]
