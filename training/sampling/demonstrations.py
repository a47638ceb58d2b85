"""Demonstrations: observations and actions of recorded or logged visits, rebuilt by replay.

B visits, C candidates, K slots, R rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ArtifactError, ConfigError
from recenv.sim.observation import Observation
from recenv.sim.simulator import Simulator
from recenv.sim.state import EMPTY, LIVE, State, rows_of
from recenv.world import World
from training.config import Side
from training.models.observations import observe
from training.runs.recording import RecordedVisits

_WATCHED = ("slate_size", "num_candidates", "max_rounds", "history_length", "member", "item_table")
"""Settings of the game that what is seen and shown depends on."""


@dataclass(frozen=True)
class DemonstratedSteps:
    """n steps of one side: (n, ...) leaves of what it saw, and (n, ...) actions of its space."""

    observations: Observation
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)


class Demonstrations:
    """Visits to learn from.

    Args:
        world: that they took place in.
        game: that was played.
        visits: what was shown and answered.
        planted: the slates come from a log, which does not tell what else could have been shown:
            where an item is no candidate of the round, it takes the place of one at random.
            Otherwise the visits were recorded, and must happen again exactly.
        same_rewards: whether rewards, where the visits have them, must come out the same.
    """

    def __init__(
        self,
        world: World,
        game: GameConfig,
        visits: RecordedVisits,
        *,
        planted: bool = False,
        same_rewards: bool = True,
    ) -> None:
        # no agent that learns reads the vectors, and they are most of what a step writes
        self._simulator = Simulator(world, game.replace(vectors=False, observation="dict"))
        self.visits = visits
        self._planted = planted
        self._rewards = visits.rewards if same_rewards and not planted else None

    def steps(self, chosen: npt.NDArray[np.integer]) -> dict[Side, DemonstratedSteps]:
        """Both sides' steps in some visits, a round of all visits after the other.

        Rounds with an empty slot are left out of the recommender's: no candidate was chosen.

        Args:
            chosen: (B,) which of the visits.

        Raises:
            ArtifactError: recorded visits do not happen again as they were.
        """
        visits, simulator = self.visits, self._simulator
        starts, lengths = visits.starts[chosen], visits.lengths[chosen]
        state = simulator.reset(
            visits.seed[chosen], visits.user[chosen], sessions=visits.session[chosen]
        )
        rewards = np.zeros((len(chosen), 2))
        rows = np.arange(len(chosen))
        seen: dict[Side, list[Observation]] = {"recommender": [], "user": []}
        done: dict[Side, list[np.ndarray]] = {"recommender": [], "user": []}
        for now in range(int(lengths.max(initial=0))):
            going = lengths[rows] > now
            if not going.all():
                rows = rows[going]
                state = rows_of(state, going)
            self._check(state.ended == LIVE, chosen[rows], "ended earlier")
            at = starts[rows] + now
            slates, answers = visits.slates[at], visits.answers[at].astype(np.int64)
            if self._planted:
                plant(state, slates)
            places = self._places(state.candidates, slates, chosen[rows])
            full = (places != EMPTY).all(axis=1)
            before = observe(simulator, RECOMMENDER_AGENT, state, central=False)
            seen["recommender"].append({k: v[full] for k, v in before.items()})
            done["recommender"].append(places[full] if places.shape[1] > 1 else places[full, 0])
            simulator.show(state, places)
            seen["user"].append(observe(simulator, USER_AGENT, state, central=False))
            one = answers.shape[1] == 2  # a single slot: Discrete(6)
            done["user"].append(2 * answers[:, 0] + answers[:, 1] if one else answers)
            outcome = simulator.respond(state, answers)
            rewards[rows] += np.stack([outcome.recommender_reward, outcome.user_reward], axis=1)
        if self._rewards is not None:
            self._check(
                (rewards == self._rewards[chosen]).all(axis=1), chosen, "paid other rewards"
            )
        return {
            side: DemonstratedSteps(
                {k: np.concatenate([s[k] for s in parts]) for k in parts[0]},
                np.concatenate(done[side]),
            )
            for side, parts in seen.items()
        }

    def _places(
        self,
        candidates: npt.NDArray[np.int32],
        slates: npt.NDArray[np.int32],
        visits: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.int64]:
        """(B, K) candidate index of each item of the slates, ``EMPTY`` in empty slots."""
        same = candidates[:, None, :] == slates[:, :, None]  # (B, K, C)
        known = same.any(axis=2)
        self._check((known | (slates == EMPTY)).all(axis=1), visits, "had other candidates")
        return np.where(known, same.argmax(axis=2), EMPTY)

    @staticmethod
    def _check(fine: npt.NDArray[np.bool_], visits: npt.NDArray[np.integer], what: str) -> None:
        if not fine.all():
            raise ArtifactError(
                f"Played again, recorded visit {visits[~fine][0]} {what}: the simulator steps "
                "differently from when it was recorded. Record the visits again."
            )


def plant(state: State, slates: npt.NDArray[np.int32]) -> None:
    """Make the items of (B, K) slates candidates of this round.

    Those that are none yet take the places of candidates that are not in the slate, drawn by the
    visit's own random numbers.

    Args:
        state: of B visits; only ``candidates`` change, not their vectors or popularity.
        slates: items, ``EMPTY`` in empty slots.
    """
    wanted = (state.candidates[:, :, None] == slates[:, None, :]).any(axis=2)  # (B, C)
    draws = rng.uniforms(state.key, state.round, rng.POLICY, wanted.shape[1])
    free = np.argsort(np.where(wanted, 2.0, draws), axis=1)
    missing = (state.candidates[:, None, :] != slates[:, :, None]).all(axis=2) & (slates != EMPTY)
    order = np.cumsum(missing, axis=1) - 1  # (B, K) how many are missing before
    row, slot = np.nonzero(missing)
    state.candidates[row, free[row, order[row, slot]]] = slates[row, slot]


def logged_visits(world: World, game: GameConfig) -> RecordedVisits:
    """Visits in a world's log, of users of the game's pool.

    A visit is cut short where a round has no item for one of the K slots, and at the game's
    round limit; items beyond slot K are dropped. Its user leaves with its last round, unless it
    was cut or the log ends first.

    Args:
        world: whose log tells impressions, sessions and positions.
        game: for K, the round limit and the pool.

    Raises:
        ConfigError: the log does not tell them, or no visit has a whole slate.
    """
    log, k = world.train, game.slate_size
    missing = [c for c in ("session", "position") if c not in log.events]
    if not log.has_impressions or missing:
        what = "impressions" if not log.has_impressions else " and ".join(missing)
        raise ConfigError(
            f"The log of the world {world.name!r} has no {what}, so it does not tell which slates "
            "were shown. Record visits instead: recenv record."
        )
    position = log.column("position").astype(np.int64)
    kept = np.isin(log.column("user"), world.pool(game.users)) & (position <= k)
    session, time = log.column("session")[kept], log.column("time")[kept]
    user = log.column("user")[kept]
    order = np.lexsort([position[kept], time, session, user])
    user, session, time = user[order], session[order], time[order]
    position = position[kept][order]
    item, response = (log.column(c)[kept][order] for c in ("item", "response"))
    new_visit = np.ones(len(user), bool)
    new_visit[1:] = (np.diff(user) != 0) | (np.diff(session) != 0)
    new_round = new_visit.copy()
    new_round[1:] |= np.diff(time) != 0
    round_ = np.cumsum(new_round) - 1  # of each row
    rounds = int(round_[-1]) + 1 if len(round_) else 0
    slates = np.full((rounds, k), EMPTY, np.int32)
    answers = np.zeros((rounds, k + 1), np.int8)
    slates[round_, position - 1] = item
    answers[round_, position - 1] = response
    visit = (np.cumsum(new_visit) - 1)[new_round]  # of each round
    first = np.flatnonzero(np.diff(visit, prepend=-1))
    number = np.arange(rounds) - np.repeat(first, np.bincount(visit))  # within its visit
    whole = (slates != EMPTY).all(axis=1)
    broken = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(broken, visit[~whole], number[~whole])
    stays = (number < broken[visit]) & (number < game.max_rounds)
    last = np.zeros(rounds, bool)
    last[np.concatenate([first[1:], [rounds]]).astype(np.int64) - 1] = True
    names = session[new_round]
    cut = np.zeros(rounds, bool)
    if world.goes_on is not None:
        cut = np.isin(names, world.goes_on.sessions)
    leaves = last & ~cut & (number < game.max_rounds - 1)
    answers[leaves, k] = 1
    slates, answers, visit = slates[stays], answers[stays], visit[stays]
    if len(slates) == 0:
        raise ConfigError(
            f"No visit in the log of the world {world.name!r} shows {k} items in its first round. "
            "Choose a smaller --game.slate_size."
        )
    begun = np.flatnonzero(np.diff(visit, prepend=-1))
    return RecordedVisits(
        seed=np.zeros(len(begun), np.uint64),
        session=np.arange(len(begun), dtype=np.uint64),
        user=user[new_round][stays][begun].astype(np.int32),
        starts=np.concatenate([begun, [len(visit)]]).astype(np.int64),
        slates=slates,
        answers=answers,
    )


def check_recording(meta: dict, world: World, game: GameConfig, path: object) -> bool:
    """Whether recorded visits pay the rewards that this game pays.

    Args:
        meta: of the recording.
        world, game: to play it back in.
        path: of the recording, for messages.

    Raises:
        ConfigError: it was recorded in another world, or in a game with other rules.
    """
    if meta["world"] != world.hash:
        raise ConfigError(
            f"{path} was recorded in the world {meta['world_name']!r} ({meta['world']}), but this "
            f"is {world.name!r} ({world.hash}). Record visits in this world, or train in that one."
        )
    recorded = GameConfig.from_dict(meta["game"])
    apart = [n for n in _WATCHED if getattr(recorded, n) != getattr(game, n)]
    if apart:
        told = ", ".join(f"{n} {getattr(recorded, n)} (here {getattr(game, n)})" for n in apart)
        flags = " ".join(f"--game.{n} {getattr(recorded, n)}" for n in apart)
        raise ConfigError(f"{path} was recorded in a game with {told}. Play the same one: {flags}.")
    return recorded.reward == game.reward
