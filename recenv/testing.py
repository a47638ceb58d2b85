"""Checks of parts that users write: recommenders, user policies, readers and environments.

Each function returns None, or raises one ``CheckError`` that says which rule was broken, by what
value, and what to do. They take seconds and belong in a test of the part::

    from recenv.testing import check_recommender

    def test_my_recommender():
        check_recommender(MyRecommender(), "recenv/Toy-v0")
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from recenv.config import GameConfig
from recenv.env.registration import game_of, load_world
from recenv.errors import CheckError, RecenvError
from recenv.evaluation import rollout
from recenv.recommenders import (
    LearningRecommender,
    PrivilegedRecommender,
    RandomRecommender,
    Recommender,
)
from recenv.recommenders.base import Recommendation, recommend, tell
from recenv.schema import Catalog, InteractionLog
from recenv.sim.simulator import Simulator
from recenv.sim.state import EMPTY, LIVE, State, rows_of
from recenv.users.user_policy import UserPolicy
from recenv.world import World

_BATCH = 16  # visits that a policy is asked about
_ROUNDS = 3  # of them, with answers in between
_CYCLES = 100  # steps of an environment

# PettingZoo's test of AEC environments prefers one flat Box and the same space for every agent;
# it exempts its own environments from that by name. These messages are that preference.
_PREFERENCES = (
    "Observation is not a NumPy array",
    "Observations are different shapes",
    "Observation space for each agent probably should be",
    "Action space for each agent probably should be",
    "Agents have different observation space sizes",
)

Call = Callable[[State], tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]]


def check_recommender(
    recommender: Recommender | PrivilegedRecommender,
    world: str | Path | World,
    game: GameConfig | None = None,
    *,
    seed: int = 0,
) -> None:
    """Check that a recommender keeps to its protocol.

    Slates are integers of shape (B, K) in [-1, C). Asked again, it gives the same ones: what it
    draws, it draws from the keys. A visit gets the same slate alone, in another order and among
    others. What it is given stays as it was. Privileged recommenders are checked on the true
    state likewise. One with ``update`` is told of answers (a deep copy of it, so that it has
    learned nothing afterwards), must take batches of one and of many, and must still keep to
    all this. At last it plays whole visits.

    Args:
        recommender: see ``recenv.recommenders``.
        world: an id, the folder of a saved world, or a world.
        game: rules; by default those of the world. Give those that the recommender is made for.
        seed: of the visits.

    Raises:
        CheckError: a rule is broken.
    """
    simulator = _simulator(world, game)
    what = type(recommender).__name__
    _check_name(recommender, what)
    if not isinstance(recommender, Recommender | PrivilegedRecommender):
        raise CheckError(
            f"{what} has neither recommend(observation, keys, slate_size) nor "
            "recommend_privileged(simulator, state). Give it one of them."
        )
    if callable(getattr(recommender, "update", None)):
        try:
            recommender = copy.deepcopy(recommender)
        except Exception as error:
            raise CheckError(
                f"{what} has update, so a copy of it is checked, but copy.deepcopy raised "
                f"{_told(error)}. Let it be copied (__deepcopy__)."
            ) from error
    player = recommender  # for the closures below, of one type

    def call(state: State) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
        if isinstance(player, PrivilegedRecommender):
            given = state._asdict()
            before = _copied(given)
            return player.recommend_privileged(simulator, state), before, given
        given = {**simulator.recommender_observation(state), "keys": state.key.copy()}
        before = _copied(given)
        observation = {name: leaf for name, leaf in given.items() if name != "keys"}
        slates = player.recommend(observation, given["keys"], simulator.game.slate_size)
        return slates, before, {**observation, "keys": given["keys"]}

    privileged = isinstance(player, PrivilegedRecommender)
    method = "recommend_privileged" if privileged else "recommend"
    c, k = simulator.game.num_candidates, simulator.game.slate_size
    top = np.full(k, c - 1)
    hint = f"a candidate index from 0 to {c - 1}, or -1 for an empty slot"
    for state in _visits(simulator, seed):
        slates = _check_policy(call, state, f"{what}.{method}", (EMPTY, top), hint)
        if isinstance(player, LearningRecommender):
            _check_update(simulator, player, state, slates, what)
            _check_policy(call, state, f"{what}.{method} after update", (EMPTY, top), hint)
    with _broken(f"{what} in a rollout of whole visits"):
        rollout(simulator, player, users=[0], episodes_per_user=3, seed=seed, progress=False)


def check_user_policy(
    policy: UserPolicy,
    world: str | Path | World,
    game: GameConfig | None = None,
    *,
    seed: int = 0,
) -> None:
    """Check that a user policy keeps to its protocol.

    Answers are integers of shape (B, K + 1): per slot 0 ignore, 1 click, 2 purchase, then 0 stay
    or 1 leave. The other rules are those of ``check_recommender``: the same answers when asked
    again, for each visit whatever the batch, and nothing that was given is written to. Slates
    with empty slots are among those it must answer.

    Args:
        policy: see ``recenv.users.user_policy``.
        world: an id, the folder of a saved world, or a world.
        game: rules; by default those of the world.
        seed: of the visits.

    Raises:
        CheckError: a rule is broken.
    """
    simulator = _simulator(world, game)
    what = type(policy).__name__
    _check_name(policy, what)
    if not callable(getattr(policy, "answer", None)):
        raise CheckError(f"{what} has no answer(observation, keys). Give it that method.")

    def call(state: State) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
        observation, keys = simulator.user_observation(state), state.key.copy()
        before = {**_copied(observation), "keys": keys.copy()}
        return policy.answer(observation, keys), before, {**observation, "keys": keys}

    top = np.array([2] * simulator.game.slate_size + [1])
    hint = "0 ignore, 1 click or 2 purchase in a slot, 0 stay or 1 leave in the last column"
    for state in _visits(simulator, seed):
        slates = RandomRecommender().recommend(
            simulator.recommender_observation(state), state.key, simulator.game.slate_size
        )
        slates[::4, -1] = EMPTY
        simulator.show(state, slates)
        _check_policy(call, state, f"{what}.answer", (0, top), hint)
    with _broken(f"{what} in a rollout of whole visits"):
        rollout(
            simulator,
            RandomRecommender(),
            policy,
            users=[0],
            episodes_per_user=3,
            seed=seed,
            progress=False,
        )


def check_reader(
    read: Callable[..., tuple[InteractionLog, Catalog]], folder: str | Path | None = None
) -> None:
    """Check that a reader of logs gives a log and a catalogue that a world can be built from.

    Both keep to the schema (``recenv.schema``): columns, dtypes, ranges, order of time. Ids are
    strings and stand once. Read again, all is the same, and the folder is as it was.

    Args:
        read: called with the folder, or with nothing if none is named.
        folder: with the files to read.

    Raises:
        CheckError: a rule is broken.
    """
    what = getattr(read, "__name__", type(read).__name__)
    place = None if folder is None else Path(folder)

    def ask() -> tuple[InteractionLog, Catalog]:
        with _broken(f"{what}()"):
            found: Any = read() if place is None else read(place)
        kinds = [type(part).__name__ for part in found] if isinstance(found, tuple) else []
        if kinds != ["InteractionLog", "Catalog"]:
            raise CheckError(
                f"{what} must return (InteractionLog, Catalog), but returned "
                f"{f'a tuple of {kinds}' if kinds else type(found).__name__}."
            )
        return found

    files = _listing(place)
    log, catalog = ask()
    with _broken(f"The catalogue that {what} returned"):
        catalog.validate()
    with _broken(f"The log that {what} returned"):
        log.validate(catalog)
    for name, ids in (("user_ids", log.user_ids), ("item_ids", catalog.item_ids)):
        wrong = [value for value in ids if not isinstance(value, str)]
        if wrong:
            raise CheckError(
                f"{what}: {name} must be strings, but {wrong[0]!r} is of type "
                f"{type(wrong[0]).__name__}. Convert ids with str."
            )
        if len(set(ids)) < len(ids):
            seen: set[str] = set()
            twice = next(value for value in ids if value in seen or seen.add(value))
            raise CheckError(f"{what}: {name} has {twice!r} twice. Give each id one code.")
    again, same_catalog = ask()
    for name, first, second in (
        ("log", log.hash, again.hash),
        ("catalogue", catalog.hash, same_catalog.hash),
    ):
        if first != second:
            raise CheckError(
                f"{what}: the {name} read again differs (hash {first}, then {second}), so a world "
                "built from it could not be found again. Read in a fixed order, without chance."
            )
    if _listing(place) != files:
        changed = sorted(set(_listing(place)) ^ set(files))
        raise CheckError(
            f"{what} changed the folder {place}: {changed[0][0]}. Leave the files as they are."
        )


def check_env(env: object, *, seed: int = 0) -> None:
    """Check an environment by its library's own tests and by two rules of recenv's.

    Those of the libraries are PettingZoo's ``parallel_api_test`` and ``api_test`` and Gymnasium's
    ``check_env``. The rules: after ``reset(seed=s)`` the same actions bring the same
    observations, rewards and ends (numbers to the bit), and an observation once given does not
    change when the environment goes on.

    Args:
        env: a PettingZoo parallel or AEC environment, a Gymnasium one, or a Gymnasium vector
            environment that gives observations in arrays of their own.
        seed: of the resets and the actions.

    Raises:
        CheckError: a rule is broken.
    """
    what = type(env).__name__
    if isinstance(env, ParallelEnv):
        from pettingzoo.test import parallel_api_test

        with _broken(f"{what} in PettingZoo's parallel_api_test"), _quiet():
            parallel_api_test(env, num_cycles=_CYCLES)
        _check_play(env, _parallel_steps, seed)
    elif isinstance(env, AECEnv):
        from pettingzoo.test import api_test

        with _broken(f"{what} in PettingZoo's api_test"), _quiet(), warnings.catch_warnings():
            for message in _PREFERENCES:
                warnings.filterwarnings("ignore", message)
            api_test(env, num_cycles=_CYCLES)
        _check_play(env, _aec_steps, seed)
    elif isinstance(env, gymnasium.Env):
        from gymnasium.utils.env_checker import check_env as gymnasium_check

        with _broken(f"{what} in Gymnasium's check_env"):
            gymnasium_check(env.unwrapped, skip_render_check=True, skip_close_check=True)
        _check_play(env, _single_steps, seed)
    elif isinstance(env, gymnasium.vector.VectorEnv):
        _check_play(env, _vector_steps, seed)
    else:
        raise CheckError(
            f"{what} is no environment: a pettingzoo.ParallelEnv, a pettingzoo.AECEnv, a "
            "gymnasium.Env or a gymnasium.vector.VectorEnv is wanted."
        )


def _simulator(world: str | Path | World, game: GameConfig | None) -> Simulator:
    return Simulator(load_world(world), game_of(world) if game is None else game)


def _visits(simulator: Simulator, seed: int) -> Iterator[State]:
    """Visits on the recommender's turn: new, and some rounds old."""
    codes = np.resize(np.arange(simulator.world.num_users), 8 * _BATCH)
    state = simulator.reset(np.full(len(codes), seed), codes, sessions=np.arange(len(codes)))
    chance = RandomRecommender("others")
    for _ in range(_ROUNDS):
        live = np.flatnonzero(state.ended == LIVE)
        if len(live) < 2:
            return
        state = rows_of(state, live)
        yield rows_of(state, np.arange(min(_BATCH, len(live))))
        simulator.show(state, recommend(chance, simulator, state).slates)
        simulator.respond_fitted(state)


def _check_policy(
    call: Call,
    state: State,
    what: str,
    bounds: tuple[int, npt.NDArray[np.integer]],
    meaning: str,
) -> npt.NDArray[np.integer]:
    """The actions for all visits of a state, if all rules are kept.

    Args:
        call: actions for a state, with what the policy was given, before and after.
        state: B visits.
        what: the method, for messages.
        bounds: least action, and (A,) the most in each column.
        meaning: of the actions, in words.
    """

    def ask(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.integer]:
        batch = "1 visit" if len(rows) == 1 else f"{len(rows)} visits"
        with _broken(f"{what} for a batch of {batch}"):
            actions, before, after = call(rows_of(state, rows))
        _check_kept(before, after, what)
        low, high = bounds
        shape = (len(rows), len(high))
        if not isinstance(actions, np.ndarray) or actions.shape != shape:
            came = getattr(actions, "shape", None)
            raise CheckError(
                f"{what} for a batch of {batch} must return an array of shape {shape}, but "
                f"returned {type(actions).__name__}{'' if came is None else f' of shape {came}'}."
            )
        if actions.dtype.kind not in "iu":
            raise CheckError(
                f"{what} must return integers, but returned dtype {actions.dtype}. "
                "Convert with astype(np.int64)."
            )
        bad = (actions < low) | (actions > high)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise CheckError(
                f"{what} returned {actions[row, column]} in row {row}, column {column}. "
                f"Wanted is {meaning}."
            )
        return actions.copy()

    whole = np.arange(len(state.key))
    actions = ask(whole)
    if not np.array_equal(ask(whole), actions):
        raise CheckError(
            f"{what}, asked twice the same, answered differently. Draw from the visits' keys "
            "(recenv.rng.uniforms), not from a generator that goes on."
        )
    for rows in (whole[::-1], whole[:1], whole[-1:], whole[: len(whole) // 2]):
        found = ask(rows)
        if not np.array_equal(found, actions[rows]):
            row = int(np.flatnonzero((found != actions[rows]).any(axis=1))[0])
            raise CheckError(
                f"{what}: one and the same visit gets {found[row].tolist()} in a batch of "
                f"{len(rows)} and {actions[rows[row]].tolist()} in a batch of {len(whole)} in "
                "another order. A row's action must depend on that row alone."
            )
    return actions


def _check_update(
    simulator: Simulator,
    recommender: LearningRecommender,
    state: State,
    slates: npt.NDArray[np.integer],
    what: str,
) -> None:
    """Tell a recommender of the answers of many visits, and of one."""
    for rows in (np.arange(len(slates)), np.arange(1)):
        some = rows_of(state, rows)
        seen = simulator.recommender_observation(some)
        turn = Recommendation(slates[rows], seen, some.key.copy())
        simulator.show(some, turn.slates)
        outcome = simulator.respond_fitted(some)
        answers = outcome._asdict()
        told = {**seen, "keys": turn.keys, "slates": turn.slates, **answers}
        before, seen_names = _copied(told), set(seen)
        batch = "1 visit" if len(rows) == 1 else f"{len(rows)} visits"
        with _broken(f"{what}.update for a batch of {batch}"):
            tell(recommender, turn, some, outcome)  # type: ignore[arg-type]
        after = {**{name: told[name] for name in told if name not in seen_names}, **seen}
        _check_kept(before, after, f"{what}.update")


def _check_kept(before: dict[str, np.ndarray], after: dict[str, np.ndarray], what: str) -> None:
    if set(before) != set(after):
        name = sorted(set(before) ^ set(after))[0]
        raise CheckError(f"{what} added or removed {name!r} of the observation. Copy it first.")
    for name, values in before.items():
        if not _equal(values, after[name]):
            raise CheckError(
                f"{what} has changed {name!r}, which it was given. Work on a copy of it."
            )


def _check_name(part: Any, what: str) -> None:
    name = getattr(part, "name", None)
    if not isinstance(name, str) or not name:
        raise CheckError(
            f"{what}.name must be a string for reports, but is {name!r}. Set it in __init__."
        )


@contextlib.contextmanager
def _broken(what: str) -> Iterator[None]:
    """Whatever is raised inside becomes a CheckError that begins with ``what``."""
    try:
        yield
    except CheckError:
        raise
    except RecenvError as error:
        raise CheckError(f"{what}: {error}") from error
    except Exception as error:
        raise CheckError(f"{what} raised {_told(error)}.") from error


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    return contextlib.redirect_stdout(io.StringIO())


def _copied(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.copy(value) for name, value in values.items()}


def _listing(folder: Path | None) -> set[tuple[str, int, int]]:
    if folder is None:
        return set()
    files = [path for path in folder.rglob("*") if path.is_file()]
    stats = [(str(path), path.stat()) for path in files]
    return {(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def _equal(first: Any, second: Any) -> bool:
    """Whether two nests of dicts, sequences and arrays are the same, NaN being itself."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(_equal, first, second))
    left, right = np.asarray(first), np.asarray(second)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))


def _check_play(env: Any, play: Callable[[Any, int], Iterator[Any]], seed: int) -> None:
    """The same play twice, of which every step stays as it was given."""
    what = type(env).__name__
    runs: list[list[Any]] = []
    for _ in range(2):
        given, kept = [], []
        with _broken(f"{what} played with random actions"):
            for step in play(env, seed):
                given.append(step)
                kept.append(copy.deepcopy(step))
        for number, (now, then) in enumerate(zip(given, kept, strict=True)):
            if not _equal(now, then):
                raise CheckError(
                    f"{what}: what step {number} gave has changed since. Give observations in "
                    "arrays of their own (copies)."
                )
        runs.append(kept)
    for number, (first, second) in enumerate(zip(*runs, strict=False)):
        if not _equal(first, second):
            raise CheckError(
                f"{what}: played twice from reset(seed={seed}) with the same actions, step "
                f"{number} differs. Let all that is random come from the seed."
            )


def _parallel_steps(env: ParallelEnv[Any, Any, Any], seed: int) -> Iterator[Any]:
    chosen = {agent: _seeded(env.action_space(agent), seed) for agent in env.possible_agents}
    observations, _ = env.reset(seed=seed)
    yield observations
    for _ in range(_CYCLES):
        if not env.agents:
            return
        observations, rewards, terminated, truncated, _ = env.step(
            {agent: chosen[agent].sample() for agent in env.agents}
        )
        for agent, observation in observations.items():
            _check_inside(observation, env.observation_space(agent), agent)
        yield observations, rewards, terminated, truncated


def _aec_steps(env: AECEnv[Any, Any, Any], seed: int) -> Iterator[Any]:
    chosen = {agent: _seeded(env.action_space(agent), seed) for agent in env.possible_agents}
    env.reset(seed=seed)
    for _ in range(_CYCLES):
        if not env.agents:
            return
        agent = env.agent_selection
        observation, reward, terminated, truncated, _ = env.last()
        _check_inside(observation, env.observation_space(agent), agent)
        yield agent, observation, reward, terminated, truncated
        env.step(None if terminated or truncated else chosen[agent].sample())


def _single_steps(env: gymnasium.Env[Any, Any], seed: int) -> Iterator[Any]:
    chosen = _seeded(env.action_space, seed)
    yield env.reset(seed=seed)[0]
    for _ in range(_CYCLES):
        observation, reward, terminated, truncated, _ = env.step(chosen.sample())
        _check_inside(observation, env.observation_space, "step()")
        yield observation, reward, terminated, truncated
        if terminated or truncated:
            return


def _vector_steps(env: gymnasium.vector.VectorEnv[Any, Any, Any], seed: int) -> Iterator[Any]:
    chosen = _seeded(env.action_space, seed)
    yield env.reset(seed=seed)[0]
    for _ in range(_CYCLES // 4):
        observation, reward, terminated, truncated, _ = env.step(chosen.sample())
        _check_inside(observation, env.observation_space, "step()")
        yield observation, reward, terminated, truncated


def _seeded(space: spaces.Space[Any], seed: int) -> spaces.Space[Any]:
    own = copy.deepcopy(space)
    own.seed(seed)
    return own


def _check_inside(observation: Any, space: spaces.Space[Any], who: str) -> None:
    if not space.contains(observation):
        raise CheckError(
            f"The observation of {who} lies outside its space {space}. Check its shape, dtype and "
            "bounds."
        )
