"""A visit as text that one can follow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv.schema import CLICK, PURCHASE
from recenv.sim.simulator import Outcome
from recenv.sim.state import EMPTY
from recenv.world import World

_WORDS = {CLICK: "click", PURCHASE: "click and purchase"}


def render_round(
    world: World, round_: int, rounds: int, shown: npt.NDArray[np.int32], outcome: Outcome
) -> str:
    """Who was shown what, what was answered, and both rewards.

    Args:
        world: for the items' texts.
        round_: rounds completed, this one included.
        rounds: the most rounds of a visit.
        shown: (K,) item codes, EMPTY for empty slots.
        outcome: of a batch of one.
    """
    lines = [f"Round {round_} of at most {rounds}"]
    for slot, (item, response) in enumerate(zip(shown, outcome.answers[0], strict=False), 1):
        text = "(empty)" if item == EMPTY else world.catalog.text[item]
        if len(text) > 60:
            text = text[:57] + "..."
        lines.append(f"  {slot}. {text:<60} {_WORDS.get(int(response), '-')}")
    if outcome.terminated[0]:
        lines.append("  The user leaves.")
    elif outcome.truncated[0]:
        lines.append("  The round limit is reached.")
    lines.append(
        f"  reward: recommender {outcome.recommender_reward[0]:+.2f}, "
        f"user {outcome.user_reward[0]:+.2f}"
    )
    return "\n".join(lines) + "\n"
