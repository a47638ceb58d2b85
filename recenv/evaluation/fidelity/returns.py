"""Return times: whole days from a visit to the user's next one."""

from __future__ import annotations

import numpy as np

from recenv.evaluation.fidelity.distances import distribution
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import HeldOut, Ints, limit
from recenv.evaluation.fidelity.inputs import Inputs
from recenv.evaluation.fidelity.replay import return_days
from recenv.schema import InteractionLog

DAY = 86_400.0  # seconds
_FEWEST = 20
_WHAT = "days to the next visit"
_CHECK = "inter-visit time"


def return_findings(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """Days between visits, drawn for the users whom the log saw come back."""

    def unknown(why: str) -> Findings:
        return untold("returns", [_WHAT], [_CHECK], why)

    if not inputs.sessions:
        return unknown("no sessions")
    if inputs.world.user_model.return_time is None:
        return unknown("the world has no law of when users return")
    users, days = gaps(inputs.log, inputs.held)
    some = limit(np.ones(len(users), bool), inputs.config.max_visits, rng)
    users, days = users[some], days[some]
    if len(users) < _FEWEST:
        return unknown(f"fewer than {_FEWEST} returns in the held-out part")
    seed = inputs.config.seed
    sides = [return_days(inputs.make, world, users, seed=seed) for world in inputs.worlds]
    values = [side.astype(float) for side in (days, *sides)]
    found = distribution(judge, "returns", _WHAT, values, users, ["return"], check=_CHECK)
    return Findings(counts={"returns compared": len(users)}) + found


def gaps(log: InteractionLog, held: HeldOut) -> tuple[Ints, Ints]:
    """Users, and midnights (UTC) from the start of a visit to that of the user's next one.

    Of gaps that end in a visit that ``held`` compares as a whole, and, where such visits are not
    the later ones, that begin in one, too.
    """
    start = np.full(len(held.visitor), np.inf)
    np.minimum.at(start, held.visit, log.column("time"))
    order = np.lexsort((start, held.visitor))
    user, begin = held.visitor[order], start[order]
    follows = (user[1:] == user[:-1]) & held.whole[order[1:]]
    if not held.later:
        follows &= held.whole[order[:-1]]
    days = np.diff(np.floor(begin / DAY)).astype(np.int64)
    return user[1:][follows], days[follows]
