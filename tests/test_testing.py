"""Checks of users' own parts: ours pass, and each rule has a part that breaks it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pandas as pd
import pytest

import recenv
from recenv import rng
from recenv.env.parallel import RecParallelEnv
from recenv.env.registration import resolve
from recenv.errors import CheckError
from recenv.recommenders import (
    ContentRecommender,
    OracleRecommender,
    PopularityRecommender,
    RandomRecommender,
    ThompsonRecommender,
)
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.testing import check_env, check_reader, check_recommender, check_user_policy
from recenv.users.user_policy import FittedUser
from recenv.world import World

GAME = recenv.GameConfig(num_candidates=12, slate_size=3)


@pytest.fixture(scope="module")
def world() -> World:
    return planted_world(PlantedConfig(num_users=30, num_items=40))


@pytest.mark.parametrize("game", [None, GAME, GAME.replace(slate_size=1)])
def test_recommenders_of_our_own_pass(world: World, game: recenv.GameConfig | None) -> None:
    learner = ThompsonRecommender(world)
    for recommender in (
        RandomRecommender(),
        PopularityRecommender(),
        ContentRecommender(world),
        OracleRecommender(),
        learner,
    ):
        check_recommender(recommender, world, game)
    assert learner.alpha.max() == 1  # a copy of it was told


def test_a_world_is_named_as_everywhere(world: World, tmp_path) -> None:
    check_recommender(RandomRecommender(), world.save(tmp_path / "world"))
    check_user_policy(FittedUser(), str(tmp_path / "world"))


class Base:
    name = "mine"

    def recommend(self, observation, keys, slate_size):
        return np.tile(np.arange(slate_size), (len(keys), 1))


class Nameless(Base):
    name = None


class Idle:
    name = "idle"


class WrongShape(Base):
    def recommend(self, observation, keys, slate_size):
        return np.zeros((len(keys), slate_size + 1), int)


class AList(Base):
    def recommend(self, observation, keys, slate_size):
        return [[0] * slate_size for _ in keys]


class Floats(Base):
    def recommend(self, observation, keys, slate_size):
        return np.zeros((len(keys), slate_size))


class ItemCodes(Base):
    def recommend(self, observation, keys, slate_size):
        return observation["candidates"][:, :slate_size] + 12


class Generator(Base):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def recommend(self, observation, keys, slate_size):
        return self.rng.integers(12, size=(len(keys), slate_size))


class ByPlace(Base):
    def recommend(self, observation, keys, slate_size):
        return (np.arange(len(keys))[:, None] + np.arange(slate_size)) % 12


class ByBatch(Base):
    def recommend(self, observation, keys, slate_size):
        popular = observation["candidate_popularity"]
        return np.argsort(popular - popular.mean(axis=0), axis=1)[:, :slate_size]


class Writes(Base):
    def recommend(self, observation, keys, slate_size):
        observation["candidate_popularity"] += 1
        return super().recommend(observation, keys, slate_size)


class Adds(Base):
    def recommend(self, observation, keys, slate_size):
        observation["mine"] = observation["round"]
        return super().recommend(observation, keys, slate_size)


class OneOnly(Base):
    def recommend(self, observation, keys, slate_size):
        if len(keys) > 1:
            raise ValueError("only one at a time")
        return super().recommend(observation, keys, slate_size)


class ManyOnly(Base):
    def recommend(self, observation, keys, slate_size):
        order = np.argsort(-observation["candidate_popularity"].squeeze(), axis=1)
        return order[:, :slate_size]


class Privileged:
    name = "privileged"

    def recommend_privileged(self, simulator, state):
        return np.zeros((len(state.key), simulator.game.slate_size), int)


class WritesState(Privileged):
    def recommend_privileged(self, simulator, state):
        state.boredom[:] = 0
        state.interest[:] = 0
        return super().recommend_privileged(simulator, state)


class UpdateRaises(Base):
    def update(self, observation, slates):
        pass


class UpdateWrites(Base):
    def update(self, observation, keys, slates, feedback):
        feedback.reward[:] = 7


class UpdateManyOnly(Base):
    def update(self, observation, keys, slates, feedback):
        if len(keys) < 2:
            raise ValueError("a batch, please")


class BreaksAfterUpdate(Base):
    best = 0

    def update(self, observation, keys, slates, feedback):
        self.best = 99

    def recommend(self, observation, keys, slate_size):
        return np.full((len(keys), slate_size), self.best)


class NoCopy(Base):
    def update(self, observation, keys, slates, feedback): ...

    def __deepcopy__(self, memo):
        raise TypeError("no copies")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Nameless, "name must be a string"),
        (Idle, "neither recommend"),
        (WrongShape, r"must return an array of shape \(16, 3\).*shape \(16, 4\)"),
        (AList, "but returned list"),
        (Floats, "must return integers, but returned dtype float64"),
        (ItemCodes, "Wanted is a candidate index from 0 to 11"),
        (Generator, "asked twice the same, answered differently"),
        (ByPlace, "one and the same visit gets"),
        (ByBatch, "one and the same visit gets"),
        (Writes, "changed 'candidate_popularity'"),
        (Adds, "added or removed 'mine'"),
        (OneOnly, "for a batch of 16 visits raised ValueError: only one at a time"),
        (ManyOnly, "for a batch of 1 visit raised"),
        (WritesState, "recommend_privileged has changed '(boredom|interest)'"),
        (UpdateRaises, "update for a batch of 16 visits raised TypeError"),
        (UpdateWrites, "update has changed 'recommender_reward'"),
        (UpdateManyOnly, "update for a batch of 1 visit raised ValueError: a batch"),
        (BreaksAfterUpdate, "recommend after update returned 99"),
        (NoCopy, "copy.deepcopy raised TypeError: no copies"),
    ],
)
def test_wrong_recommenders(part: type, message: str, world: World) -> None:
    with pytest.raises(CheckError, match=message):
        check_recommender(part(), world, GAME)


def test_the_base_of_the_wrong_recommenders_is_right(world: World) -> None:
    check_recommender(Base(), world, GAME)
    check_recommender(Privileged(), world, GAME)


class User:
    name = "mine"

    def answer(self, observation, keys):
        rounds = observation["round"][:, 0]
        slots = observation["slate"].shape[1]
        answers = np.zeros((len(keys), slots + 1), np.int64)
        answers[:, :slots] = rng.uniforms(keys, rounds, rng.POLICY, slots) < 0.3
        return answers


class Mute:
    name = "mute"


class LeavesTwice(User):
    def answer(self, observation, keys):
        return super().answer(observation, keys) + 2


class NoLeaving(User):
    def answer(self, observation, keys):
        return super().answer(observation, keys)[:, :-1]


class Moody(User):
    def __init__(self):
        self.calls = 0

    def answer(self, observation, keys):
        self.calls += 1
        return super().answer(observation, keys) * 0 + self.calls % 2


class LooksItemUp(User):
    def answer(self, observation, keys):
        table = dict.fromkeys(range(40), 1)
        answers = super().answer(observation, keys)
        answers[:, :-1] = [[table[int(code)] for code in slate] for slate in observation["slate"]]
        return answers


class Rewrites(User):
    def answer(self, observation, keys):
        keys += np.uint64(1)
        return super().answer(observation, keys)


@pytest.mark.parametrize("game", [None, GAME, GAME.replace(slate_size=1)])
def test_user_policies_that_pass(world: World, game: recenv.GameConfig | None) -> None:
    check_user_policy(FittedUser(), world, game)
    check_user_policy(User(), world, game)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Mute, "no answer"),
        (LeavesTwice, "0 stay or 1 leave in the last column"),
        (NoLeaving, r"shape \(16, 4\).*shape \(16, 3\)"),
        (Moody, "asked twice"),
        (LooksItemUp, "raised KeyError: -1"),
        (Rewrites, "changed 'keys'"),
    ],
)
def test_wrong_user_policies(part: type, message: str, world: World) -> None:
    with pytest.raises(CheckError, match=message):
        check_user_policy(part(), world, GAME)


@pytest.fixture
def shop(tmp_path):
    table = pd.DataFrame({"user": [0, 1, 0], "item": [0, 1, 1], "time": [0, 10, 20]})
    table.to_csv(tmp_path / "events.csv", index=False)
    return tmp_path


def read(folder):
    from recenv.schema import EVENT_COLUMNS, Catalog, InteractionLog

    events = pd.read_csv(folder / "events.csv").assign(response=1).astype(EVENT_COLUMNS)
    ids = np.array(["a", "b"], object)
    prices = np.zeros(2, np.float32)
    catalog = Catalog(ids, ids, np.zeros(2, np.int32), ("all",), prices)
    return InteractionLog(events[list(EVENT_COLUMNS)], np.array(["u", "v"], object)), catalog


def changed(part, **values):
    def wrong(folder):
        log, catalog = read(folder)
        made = {"log": log, "catalog": catalog}
        vars(made[part]).update(values)
        return log, catalog

    return wrong


def unsorted(folder):
    log, catalog = read(folder)
    vars(log)["events"] = log.events[::-1]
    return log, catalog


def by_chance(folder):
    log, catalog = read(folder)
    vars(log)["events"] = log.events.assign(time=log.events.time + np.random.default_rng().random())
    return log, catalog


def tidies_up(folder):
    (folder / "cache.bin").write_bytes(b"1")
    return read(folder)


def test_a_reader_that_passes(shop, world):
    check_reader(read, shop)
    check_reader(lambda: (world.train, world.catalog))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda folder: read(folder)[0], "must return .*returned InteractionLog"),
        (lambda folder: read(folder)[::-1], r"a tuple of \['Catalog', 'InteractionLog'\]"),
        (lambda folder: read(folder / "no"), "raised FileNotFoundError"),
        (unsorted, "must be sorted by time"),
        (changed("catalog", price=np.full(2, np.nan, np.float32)), "is not a price"),
        (changed("log", user_ids=np.array([1, 2], object)), "user_ids must be strings, but 1"),
        (changed("log", user_ids=np.array(["u", "u"], object)), "user_ids has 'u' twice"),
        (by_chance, "the log read again differs"),
        (tidies_up, "changed the folder"),
    ],
)
def test_wrong_readers(reader, message, shop):
    with pytest.raises(CheckError, match=message):
        check_reader(reader, shop)


@pytest.mark.parametrize("form", [{}, {"observation": "flat", "slate_size": 1}], ids=str)
@pytest.mark.parametrize(
    "make", [recenv.parallel_env, recenv.aec_env, recenv.single_env, recenv.vector_env]
)
def test_environments_of_our_own_pass(make, form, world):
    check_env(make(world, **form))


def test_a_wrapped_environment_passes(world):
    check_env(gymnasium.make("recenv/World-v0", world=world))


class Fickle(gymnasium.Wrapper):
    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, reward + np.random.default_rng().random(), *rest


class Shared(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return self.env.unwrapped.visit.seen["recommender_0"] and {
            name: leaf[0] for name, leaf in self.env.unwrapped.visit.seen["recommender_0"].items()
        }


class Outside(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return {**observation, "round": np.array([99], np.int32)}


class NoInfos(RecParallelEnv):
    def step(self, actions):
        return super().step(actions)[:-1]


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (Fickle, r"played twice from reset\(seed=0\)"),
        (Shared, "has changed since"),
        (Outside, "lies outside its space"),
    ],
)
def test_wrong_wrappers(wrapper, message, world):
    with pytest.raises(CheckError, match=message):
        check_env(wrapper(recenv.single_env(world)))


def test_wrong_environments(world):
    with pytest.raises(CheckError, match="is no environment"):
        check_env(object())
    env = NoInfos(*resolve(world))
    with pytest.raises(
        CheckError, match="NoInfos in PettingZoo.*raised ValueError: not enough values"
    ):
        check_env(env)
    vector = recenv.vector_env(world, num_envs=2, copy=False)
    with pytest.raises(CheckError, match="has changed since"):
        check_env(vector)
