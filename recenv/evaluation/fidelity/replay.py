"""The environment rolled out beside a log: its own step answers, nothing is read off a matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig, RewardConfig
from recenv.errors import ConfigError
from recenv.evaluation.fidelity.events import Events
from recenv.evaluation.fidelity.heldout import Bools, Ints
from recenv.evaluation.fidelity.past import Past
from recenv.evaluation.fidelity.slates import Slates
from recenv.schema import PURCHASE
from recenv.sim.simulator import Simulator
from recenv.sim.state import EMPTY, LIVE, UNLIMITED, State, rows_of
from recenv.users.user_policy import draw_responses
from recenv.world import World

MakeSimulator = Callable[[World, GameConfig], Simulator]

_SESSIONS = 1 << 61
"""Replayed visits are numbered from here: no environment, and no emitted log, shares a draw."""

_BATCH = 4096
_SINGLE_BATCH = 1000  # visits whose every round is one item can be long, and remember it all


def game_for(slots: int, rounds: int, reward: RewardConfig) -> GameConfig:
    """The rules of a replay: every candidate is on screen."""
    return GameConfig(
        slate_size=slots,
        num_candidates=slots,
        max_rounds=rounds,
        history_length=1,
        reward=reward,
    )


def answer_probabilities(
    make: MakeSimulator,
    world: World,
    slates: Slates,
    users: Ints | None = None,
    *,
    batch: int = _BATCH,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the step says of logged slates, each visit led along the answers of the log.

    Args:
        make: usually ``Simulator``.
        world: its users answer.
        slates: to replay.
        users: (V,) who visits instead of the logged users.
        batch: visits at a time.

    Returns:
        (S, K, 3) P(ignore), P(click without purchase), P(purchase) after examination, boredom
        and all else, NaN where a slot is empty; and (S,) P(leave after the round).
    """
    slots = slates.items.shape[1]
    longest = int(slates.rounds.max(initial=1))
    simulator = make(world, game_for(slots, longest + 1, RewardConfig()))
    users = slates.user if users is None else users
    out = np.full((len(slates.items), slots, 3), np.nan)
    leave = np.full(len(slates.items), np.nan)
    for start in range(0, len(users), batch):
        rows = np.arange(start, min(start + batch, len(users)))
        state = simulator.reset(np.zeros(len(rows)), users[rows], sessions=_SESSIONS + rows)
        _take_any_number(state)
        for round_ in range(int(slates.rounds[rows].max())):
            live = slates.rounds[rows] > round_
            if not live.all():
                rows, state = rows[live], rows_of(state, live)
            at = slates.first[rows] + round_
            items = slates.items[at]
            _show(simulator, state, items)
            filled = state.slate != EMPTY
            behaviour = state.behaviour.astype(float)
            out[at] = behaviour[:, : 3 * slots].reshape(-1, slots, 3)
            out[at[:, None], np.arange(slots)] = np.where(filled[..., None], out[at], np.nan)
            leave[at] = behaviour[:, 3 * slots + 1]
            answers = np.zeros((len(rows), slots + 1), np.int64)
            answers[:, :slots] = slates.responses[at]
            simulator.respond(state, answers)
    return out, leave


def play_slates(
    make: MakeSimulator, world: World, slates: Slates, *, seed: int, batch: int = _BATCH
) -> Events:
    """The same visits as the users of the world make them: own answers, own time to leave.

    A visit that outlasts the logged one goes on with logged slates of any user, drawn at random
    (the same user's again would be items seen before); one longer than the longest logged visit
    is cut there, as the log's own may be.
    """
    slots = slates.items.shape[1]
    simulator = make(world, game_for(slots, int(slates.rounds.max()), RewardConfig()))
    rng = np.random.default_rng(seed)
    parts: list[tuple[Ints, ...]] = []
    for start in range(0, len(slates.user), batch):
        rows = np.arange(start, min(start + batch, len(slates.user)))
        state = simulator.reset(
            np.full(len(rows), seed), slates.user[rows], sessions=2 * _SESSIONS - 1 - rows
        )
        round_ = 0
        while len(rows):
            own = slates.rounds[rows] > round_
            others = rng.integers(len(slates.items), size=len(rows))
            at = np.where(own, slates.first[rows] + round_, others)
            _show(simulator, state, slates.items[at])
            shown = state.slate.copy()
            outcome = simulator.respond_fitted(state)
            visit, slot = np.nonzero(shown != EMPTY)
            parts.append(
                (
                    rows[visit],
                    np.full(len(visit), round_),
                    slot,
                    shown[visit, slot],
                    outcome.answers[visit, slot],
                )
            )
            live = ~(outcome.terminated | outcome.truncated)
            rows, state = rows[live], rows_of(state, live)
            round_ += 1
    return _events(parts, slates.user, world)


def consume(
    make: MakeSimulator,
    world: World,
    users: Ints,
    *,
    quota: Ints | None,
    seen: Past | None,
    least: int,
    seed: int,
    most_rounds: int = 20_000,
) -> Events:
    """Visits in which one item at a time is shown, uniformly drawn from the catalogue.

    What a log without impressions says of users is how they differ from uniform choice, so
    uniform slates are the policy under which a true simulator consumes as the log does. Users
    do not leave out of impatience, which such a log cannot tell: they leave when they have what
    they came for, which their own law says, or ``quota``.

    Args:
        make: usually ``Simulator``.
        world: its users answer.
        users: (V,) visitors; one user's visits in the order of time.
        quota: (V,) how much each visit consumes; None for what the users' law says.
        seen: what users consumed before these visits. Neither that nor what they consume in them
            is offered again; None where things are consumed again.
        least: the least response that counts as consumed.
        seed: of the draws.
        most_rounds: after which a visit is cut.

    Returns:
        The rows that were consumed.
    """
    simulator = make(world, game_for(1, most_rounds, RewardConfig()))
    offers = _Offers(np.random.default_rng(seed), world, users, seen)
    parts: list[tuple[Ints, ...]] = []
    for start in range(0, len(users), _SINGLE_BATCH):
        rows = np.arange(start, min(start + _SINGLE_BATCH, len(users)))
        state = simulator.reset(
            np.full(len(rows), seed), users[rows], sessions=2 * _SESSIONS - 1 - rows
        )
        left = np.full(len(users), UNLIMITED, np.int64)
        if quota is not None:
            _take_any_number(state)
            left = quota.astype(np.int64)
        for round_ in range(most_rounds):
            item = offers.draw(rows)
            response = _respond_to_one(simulator, state, item)
            took = response >= least
            at = rows[took]
            zero = np.zeros(len(at), np.int64)
            parts.append((at, zero + round_, zero, item[took], response[took]))
            offers.take(at, item[took])
            left[at] -= 1
            live = (left[rows] > 0) & (state.ended == LIVE)
            if not live.all():
                rows, state = rows[live], rows_of(state, live)
            if not len(rows):
                break
    return _events(parts, users, world)


class _Offers:
    """Items of the catalogue, one for each visit in a round, drawn uniformly.

    Args:
        rng: of the draws.
        world: its catalogue.
        users: (V,) visitors.
        seen: what they are not offered any more, nor what they take; None: everything, always.
    """

    _TRIES = 8

    def __init__(
        self, rng: np.random.Generator, world: World, users: Ints, seen: Past | None
    ) -> None:
        self._rng, self._users, self._seen = rng, users, seen
        self._items = len(world.catalog)
        if seen is not None:
            self._taken = np.zeros((world.num_users, self._items), bool)

    def draw(self, visits: Ints) -> npt.NDArray[np.int32]:
        """(B,) an item for each visit; EMPTY where no draw found one that may be offered."""
        item = self._rng.integers(self._items, size=len(visits)).astype(np.int32)
        if self._seen is None:
            return item
        for _ in range(self._TRIES):
            again = self._had(visits, item)
            item[again] = self._rng.integers(self._items, size=int(again.sum()))
        # two visits of a user that are played side by side may not take the same item
        key = self._users[visits].astype(np.int64) * self._items + item
        once = np.zeros(len(item), bool)
        once[np.unique(key, return_index=True)[1]] = True
        item[~once | self._had(visits, item)] = EMPTY
        return item

    def take(self, visits: Ints, item: Ints) -> None:
        """Note what (b,) visits consumed."""
        if self._seen is not None:
            self._taken[self._users[visits], item] = True

    def _had(self, visits: Ints, item: Ints) -> Bools:
        assert self._seen is not None
        users = self._users[visits]
        return self._taken[users, item] | self._seen.holds(visits, users, item)


def _respond_to_one(simulator: Simulator, state: State, item: npt.NDArray[np.int32]) -> Ints:
    """(B,) responses to a slate of one item; users leave when they have what they came for."""
    _show(simulator, state, item[:, None])
    answers = np.zeros((len(item), 2), np.int64)
    probabilities = state.behaviour[:, :3].reshape(-1, 1, 3)
    answers[:, 0] = draw_responses(probabilities, state.key, state.round)[:, 0]
    answers[:, 1] = state.need <= 0
    return simulator.respond(state, answers).answers[:, 0]


def return_days(
    make: MakeSimulator, world: World, users: Ints, *, seed: int
) -> npt.NDArray[np.int32]:
    """(V,) whole days until the next visit of each of (V,) visitors.

    Raises:
        ConfigError: the world has no law of it.
    """
    simulator = make(world, game_for(1, 1, RewardConfig()))
    rows = np.arange(len(users))
    state = simulator.reset(np.full(len(users), seed), users, sessions=2 * _SESSIONS - 1 - rows)
    days = simulator.return_days(state)
    if days is None:
        raise ConfigError(
            f"The world {world.name!r} has no law of when users return. Fit it to a log with "
            "sessions."
        )
    return days


def _show(simulator: Simulator, state: State, items: npt.NDArray[np.int32]) -> None:
    state.candidates[:] = np.maximum(items, 0)
    simulator.show(state, np.where(items == EMPTY, -1, np.arange(items.shape[1])))


def _take_any_number(state: State) -> None:
    """Nobody leaves for having enough: the log says when the visit ended."""
    state.need[:] = UNLIMITED


def _events(parts: list[tuple[Ints, ...]], users: Ints, world: World) -> Events:
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)] if parts else []
    visit, round_, slot, item, response = columns or [np.zeros(0, np.int64)] * 5
    order = np.lexsort((slot, round_, visit))
    item, response = item[order], response[order]
    return Events(
        visitor=users,
        visit=visit[order],
        round=round_[order],
        slot=slot[order],
        item=item,
        response=response,
        value=np.where(response == PURCHASE, world.catalog.price[item], 0).astype(float),
    )
