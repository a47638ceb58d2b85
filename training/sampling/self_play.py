"""Self-play: each side of a visit is the learning policy or one of its snapshots."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.observation import Observation
from training.sampling.turns import Actor, Turn

PRESENT = -1
"""Member that is the policy as it is now, which learns."""


class Seats:
    """Past policies in B visits, drawn anew for each visit.

    In even rows the user is drawn, in odd rows the recommender, each from the past policies of
    its side and the present one, all equally likely; the other side is the present policy. So
    every side learns against the mean of what the other has been: fictitious self-play (Heinrich,
    Lanctot & Silver, ICML 2015). Whoever the draw makes present on both sides learns on both.

    Args:
        batch: B.
    """

    def __init__(self, batch: int) -> None:
        self.member = {
            agent: np.full(batch, PRESENT, np.int64) for agent in (RECOMMENDER_AGENT, USER_AGENT)
        }
        """Of each agent, (B,) who plays: a past policy's number, or ``PRESENT``."""
        self._players: dict[str, Mapping[int, Actor]] = {agent: {} for agent in self.member}
        even = np.arange(batch) % 2 == 0
        self._drawn = {USER_AGENT: even, RECOMMENDER_AGENT: ~even}

    def put(
        self, players: Mapping[str, Mapping[int, Actor]], generator: np.random.Generator
    ) -> None:
        """Take another pool; visits whose past policy is no longer in it go on with another.

        Args:
            players: past policies of each agent, by number.
            generator: draws who goes on.
        """
        self._players = dict(players)
        for agent, member in self.member.items():
            known = np.array([PRESENT, *self._players[agent]])
            lost = np.flatnonzero(~np.isin(member, known))
            if len(lost) and len(known) == 1:
                member[lost] = PRESENT
            elif len(lost):
                member[lost] = generator.choice(known[1:], len(lost))

    def draw(self, rows: npt.NDArray[np.intp], generator: np.random.Generator) -> None:
        """Draw who plays the visits that begin in some rows."""
        for agent, drawn in self._drawn.items():
            known = np.array([PRESENT, *self._players[agent]])
            choice = generator.choice(known, len(rows))
            self.member[agent][rows] = np.where(drawn[rows], choice, PRESENT)

    def learns(self, agent: str) -> npt.NDArray[np.bool_]:
        """(B,) where the present policy plays an agent, so that it learns from its steps."""
        return self.member[agent] == PRESENT

    def act(
        self, agent: str, present: Actor, observation: Observation, member: npt.NDArray[np.int64]
    ) -> Turn:
        """One turn, in which each row is played by its own member.

        Args:
            agent: whose turn it is.
            present: plays the rows of ``PRESENT``.
            observation: (R, ...) leaves.
            member: (R,) who plays each row.
        """
        players = {PRESENT: present, **self._players[agent]}
        who = np.unique(member)
        if len(who) == 1:
            return players[int(who[0])](observation)
        rows = [np.flatnonzero(member == one) for one in who]
        turns = [
            players[int(one)]({name: leaf[at] for name, leaf in observation.items()})
            for one, at in zip(who, rows, strict=True)
        ]
        order = np.argsort(np.concatenate(rows))
        return turns[0]._replace(
            observation=observation,
            action=np.concatenate([t.action for t in turns])[order],
            logp=np.concatenate([t.logp for t in turns])[order],
            inputs=np.concatenate([t.inputs for t in turns])[order],
        )
