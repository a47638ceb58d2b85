"""Play of whole visits: recommend, show, respond, drop what has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.recommenders.base import PrivilegedRecommender, Recommender, recommend, tell
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import LIVE, State, rows_of
from recenv.users.user_policy import UserPolicy


class Round(NamedTuple):
    """One round of the R visits that still go on.

    Attributes:
        rows: (R,) which of the visits.
        state: after the answers; ``last_slate`` is what was shown.
        behaviour: (R, 3K + 2) the fitted user's probabilities of every answer, before it came.
        outcome: what the round brought.
    """

    rows: npt.NDArray[np.intp]
    state: State
    behaviour: npt.NDArray[np.float32]
    outcome: Outcome


def play(
    simulator: Simulator,
    recommender: Recommender | PrivilegedRecommender,
    user_policy: UserPolicy | None,
    state: State,
) -> Iterator[Round]:
    """Play visits to their ends, a round of all of them at a time.

    A recommender that learns is told of every answer before its next slates.

    Args:
        simulator: of the world and the game.
        recommender: fills the slates; a privileged one is given the true state.
        user_policy: answers them; None: the fitted user.
        state: visits that have begun.

    Raises:
        ActionError: a policy gave an illegal slate or answer.
    """
    rows = np.arange(len(state.user))
    while len(rows):
        turn = recommend(recommender, simulator, state)
        simulator.show(state, turn.slates)
        behaviour = state.behaviour.copy()
        outcome = respond(user_policy, simulator, state)
        tell(recommender, turn, state, outcome)
        yield Round(rows, state, behaviour, outcome)
        live = state.ended == LIVE
        if not live.all():
            rows, state = rows[live], rows_of(state, live)


def respond(user_policy: UserPolicy | None, simulator: Simulator, state: State) -> Outcome:
    """The answers of a policy, or of the fitted user if it is None, to what is on screen."""
    if user_policy is None:
        return simulator.respond_fitted(state)
    answers = user_policy.answer(simulator.user_observation(state), state.key)
    return simulator.respond(state, answers)
