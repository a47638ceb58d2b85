"""Recordings play back exactly, cloning finds a planted policy, and runs start from it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.launched import finish, start

from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ArtifactError, ConfigError
from recenv.recommenders import OracleRecommender, PopularityRecommender, RandomRecommender
from recenv.schema import InteractionLog
from recenv.sim.simulator import Simulator
from recenv.synthetic.world import PlantedConfig, planted_world
from training import record as command
from training.algorithms.bc import held_out
from training.config import TrainConfig
from training.models.observations import observe
from training.runs.folder import RunFolder
from training.runs.load_policy import load
from training.runs.recording import RecordedVisits, record, save
from training.runs.recording import load as load_recording
from training.runs.warm_start import warm_weights
from training.sampling.demonstrations import Demonstrations, check_recording, logged_visits, plant


class Watched:
    """A recommender that keeps what both sides saw and did, straight from the simulator."""

    name = "watched"

    def __init__(self, simulator, inner):
        self.simulator, self.inner = simulator, inner
        self.rows = {RECOMMENDER_AGENT: [], USER_AGENT: []}

    def play(self, visits, seed):
        """As ``record``, visit by visit, one at a time; (visits, 2) rewards."""
        sessions = record(self.simulator, self.inner, visits=visits, seed=seed).session
        rewards = np.zeros((visits, 2))
        for visit in range(visits):
            state = self.simulator.reset([seed], sessions=sessions[visit : visit + 1])
            round_ = 0
            while state.ended[0] == 0:
                slate = self.inner.recommend(
                    self.simulator.recommender_observation(state),
                    state.key,
                    self.simulator.game.slate_size,
                )
                self._keep(RECOMMENDER_AGENT, visit, round_, state, slate)
                self.simulator.show(state, slate)
                seen = observe(self.simulator, USER_AGENT, state, central=False)
                outcome = self.simulator.respond_fitted(state)
                self.rows[USER_AGENT].append((visit, round_, seen, outcome.answers[0]))
                rewards[visit] += [outcome.recommender_reward[0], outcome.user_reward[0]]
                round_ += 1
        return rewards

    def _keep(self, agent, visit, round_, state, action):
        seen = observe(self.simulator, agent, state, central=False)
        self.rows[agent].append((visit, round_, seen, action[0].copy()))


@pytest.mark.parametrize("saved", [False, True])
def test_recorded_visits_play_back_bit_for_bit(world, game, tmp_path, saved):
    simulator = Simulator(world, game)
    watched = Watched(simulator, RandomRecommender())
    rewards = watched.play(12, seed=5)
    visits = record(simulator, watched.inner, visits=12, seed=5, batch_size=5)
    if saved:
        path = save(tmp_path / "a" / "visits.parquet", visits, {"who": "test"})
        visits, meta = load_recording(path)
        assert meta["who"] == "test"
    np.testing.assert_array_equal(visits.rewards, rewards)
    chosen = np.array([7, 1, 8, 0])
    assert len(set(visits.lengths[chosen])) == 3  # they end in different rounds
    steps = Demonstrations(world, game, visits).steps(chosen)
    for side, agent in (("recommender", RECOMMENDER_AGENT), ("user", USER_AGENT)):
        rows = [r for r in watched.rows[agent] if r[0] in chosen]
        rows.sort(key=lambda r: (r[1], chosen.tolist().index(r[0])))  # round, then visit
        got = steps[side]
        assert len(got) == len(rows) == visits.lengths[chosen].sum()
        np.testing.assert_array_equal(got.actions, np.stack([r[3] for r in rows]))
        for name, leaf in got.observations.items():
            expected = np.concatenate([r[2][name] for r in rows])
            assert leaf.dtype == expected.dtype
            np.testing.assert_array_equal(leaf, expected)


def test_of_a_single_slot_actions_are_those_of_discrete_spaces(world):
    game = GameConfig(slate_size=1, num_candidates=12, max_rounds=6)
    visits = record(Simulator(world, game), PopularityRecommender(), visits=30)
    steps = Demonstrations(world, game, visits).steps(np.arange(30))
    seen = steps["recommender"]
    shown = np.take_along_axis(seen.observations["candidates"], seen.actions[:, None], 1)
    assert sorted(shown[:, 0]) == sorted(visits.slates[:, 0])
    counts = np.bincount(2 * visits.answers[:, 0] + visits.answers[:, 1], minlength=6)
    np.testing.assert_array_equal(np.bincount(steps["user"].actions, minlength=6), counts)


def test_a_round_takes_few_bytes(world, game, tmp_path):
    simulator = Simulator(world, game)
    visits = record(simulator, OracleRecommender(), visits=3000)
    path = save(tmp_path / "visits.parquet", visits, {})
    assert path.stat().st_size / visits.starts[-1] < 16
    seen = observe(simulator, RECOMMENDER_AGENT, simulator.reset([0]), central=False)
    assert sum(leaf.nbytes for leaf in seen.values()) > 100


def test_visits_that_do_not_happen_again_are_told(world, game):
    visits = record(Simulator(world, game), PopularityRecommender(), visits=5)
    every = np.arange(5)
    for changed, told in (
        ({"slates": (visits.slates + 1) % 50}, "had other candidates"),
        ({"rewards": visits.rewards + 1}, "paid other rewards"),
        ({"answers": np.ones_like(visits.answers)}, "ended earlier"),
    ):
        other = dataclasses.replace(visits, **changed)
        with pytest.raises(ArtifactError, match=told):
            Demonstrations(world, game, other).steps(every)
    other = dataclasses.replace(visits, rewards=visits.rewards + 1)
    Demonstrations(world, game, other, same_rewards=False).steps(every)


def test_recordings_of_other_worlds_and_games_are_refused(world, game):
    meta = {"world": world.hash, "world_name": world.name, "game": game.to_dict()}
    assert check_recording(meta, world, game, "f")
    other = game.replace(reward={"click": 3.0})
    assert not check_recording(meta, world, other, "f")  # what is seen and done is the same
    with pytest.raises(ConfigError, match=r"max_rounds 6 \(here 9\).* --game.max_rounds 6"):
        check_recording(meta, world, game.replace(max_rounds=9), "f")
    with pytest.raises(ConfigError, match="recorded in the world"):
        check_recording({**meta, "world": "abc"}, world, game, "f")


def test_files_that_hold_no_recording_are_told(tmp_path):
    with pytest.raises(ArtifactError, match="There is no recording"):
        load_recording(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ArtifactError, match="no Parquet file"):
        load_recording(tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="no recorded visits"):
        load_recording(tmp_path / "other.parquet")


def test_rounds_with_an_empty_slot_teach_no_slate(world, game):
    visits = record(Simulator(world, game), PopularityRecommender(), visits=20)
    slates, answers = visits.slates.copy(), visits.answers.copy()
    slates[visits.starts[:-1], 0] = -1
    answers[visits.starts[:-1], 0] = 0
    other = dataclasses.replace(visits, slates=slates, answers=answers, rewards=None)
    steps = Demonstrations(world, game, other).steps(np.arange(20))
    assert len(steps["recommender"]) == len(steps["user"]) - 20
    assert (steps["recommender"].actions >= 0).all()


def test_what_was_logged_becomes_a_candidate(world, game):
    state = Simulator(world, game).reset(np.arange(40))
    before = state.candidates.copy()
    generator = np.random.default_rng(0)
    slates = np.stack([generator.permutation(50)[:3] for _ in range(40)]).astype(np.int32)
    slates[3] = before[3, [4, 0, 9]]  # all of them candidates already
    slates[5, 1] = -1
    plant(state, slates)
    for row in range(40):
        shown = slates[row][slates[row] >= 0]
        assert np.isin(shown, state.candidates[row]).all()
        assert len(set(state.candidates[row])) == 12
        gone = ~np.isin(before[row], state.candidates[row])
        assert gone.sum() == (~np.isin(shown, before[row])).sum()
        kept = before[row] == state.candidates[row]
        assert kept[np.isin(before[row], shown)].all()
    np.testing.assert_array_equal(state.candidates[3], before[3])


def test_logged_visits_are_the_logs(world, game):
    """Against a loop over the log's own table."""
    visits = logged_visits(world, game)
    log = pd.DataFrame({c: world.train.column(c) for c in world.train.events.columns})
    pool = set(world.pool("train").tolist())
    at = 0
    for (user, _), rows in log.groupby(["user", "session"]):
        if user not in pool:
            continue
        rounds = [r.sort_values("position") for _, r in rows.groupby("time")]
        last = len(rounds) - 1
        rounds = rounds[: game.max_rounds]
        start, stop = visits.starts[at : at + 2]
        assert visits.user[at] == user
        assert stop - start == len(rounds)
        for number, (slate, answer, logged) in enumerate(
            zip(visits.slates[start:stop], visits.answers[start:stop], rounds, strict=True)
        ):
            np.testing.assert_array_equal(slate, logged["item"].to_numpy()[:3])
            np.testing.assert_array_equal(answer[:3], logged["response"].to_numpy()[:3])
            assert answer[3] == (number == last and number < game.max_rounds - 1)
        at += 1
    assert at == len(visits) > 50
    steps = Demonstrations(world, game, visits, planted=True).steps(np.arange(len(visits)))
    for side in ("recommender", "user"):
        assert len(steps[side]) == visits.starts[-1]
    seen = steps["recommender"]
    shown = np.take_along_axis(seen.observations["candidates"], seen.actions, 1)
    assert sorted(map(tuple, shown.tolist())) == sorted(map(tuple, visits.slates.tolist()))
    # in the second round the first one's slate is what was seen last
    second = seen.observations["round"][:, 0] == 1
    history = seen.observations["history_items"][second][:, :3]
    longer = visits.lengths > 1
    expected = visits.slates[visits.starts[:-1][longer]]
    np.testing.assert_array_equal(np.sort(history, 1), np.sort(expected, 1))


def test_a_visit_is_cut_where_the_log_shows_too_little(world, game):
    log = world.train.events
    whole = logged_visits(world, game)
    visit = int(np.argmax(whole.lengths > 3))
    user = whole.user[visit]
    own = (log["user"] == user).to_numpy()
    number = int((whole.user[:visit] == user).sum())  # of the user's visits
    session = np.unique(log["session"].to_numpy()[own])[number]
    rounds = own & (log["session"] == session).to_numpy()
    second = np.unique(log["time"].to_numpy()[rounds])[1]
    gap = rounds & (log["time"] == second).to_numpy() & (log["position"] == 2).to_numpy()
    assert gap.sum() == 1
    train = InteractionLog(
        log[~gap].reset_index(drop=True), world.train.user_ids, name="gap", has_impressions=True
    )
    visits = logged_visits(dataclasses.replace(world, train=train), game)
    expected = whole.lengths.copy()
    expected[visit] = 1
    np.testing.assert_array_equal(visits.lengths, expected)
    first = visits.starts[visit]
    np.testing.assert_array_equal(visits.slates[first], whole.slates[whole.starts[visit]])
    assert visits.answers[first, 3] == 0  # the visit went on, though what it saw is unknown


def test_a_log_without_slates_is_refused(world, game):
    blind = dataclasses.replace(world.train, has_impressions=False)
    with pytest.raises(ConfigError, match="has no impressions"):
        logged_visits(dataclasses.replace(world, train=blind), game)


def test_the_command_records_and_tells(tmp_path, capsys, env_config):
    out = tmp_path / "visits.parquet"
    flags = [
        "--env",
        env_config["env"],
        "--visits",
        "40",
        "--game.slate_size",
        "3",
        "--no-progress",
    ]
    small = ["--game.num_candidates", "12", "--game.max_rounds", "6"]
    assert command.main([*flags, *small, "--policy", "oracle", "--out", str(out)]) == 0
    assert "40 visits" in capsys.readouterr().out
    visits, meta = load_recording(out)
    assert len(visits) == 40
    assert meta["recommender"] == "oracle (greedy)"
    assert command.main([*flags, *small, "--policy", "oracel", "--out", str(out)]) == 2
    assert "oracel" in capsys.readouterr().err


ROUNDS = 40_960


@pytest.fixture(scope="module")
def cloned(world, game, env_config, tmp_path_factory):
    """(folder of runs, the recording): both sides cloned, then other algorithms from there."""
    folder = tmp_path_factory.mktemp("cloned")
    visits = record(Simulator(world, game), PopularityRecommender(), visits=800)
    meta = {"world": world.hash, "world_name": world.name, "game": game.to_dict()}
    path = save(folder / "popularity.parquet", visits, meta)
    common = {
        "env": env_config["env"],
        "game": env_config["game"],
        "num_envs_per_env_runner": 32,
        "evaluation_visits": 64,
        "evaluation_every": 10,
        "network": {"hidden": 16},
    }
    bc = {"data": str(path), "heldout": 0.2}
    from_it = {**common, "rounds": 128, "warm_start": str(folder / "bc")}
    jobs = {
        "bc": {**common, "algorithm": "bc", "rounds": ROUNDS, "bc": bc},
        "ippo": {
            **from_it,
            "algorithm": "ippo",
            "ippo": {"rounds_per_iteration": 128, "minibatch_size": 64},
        },
        "appo": {**from_it, "algorithm": "appo", "appo": {"rounds_per_iteration": 128}},
    }
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).parents[2] / "helpers/train_in_turn.py"
    with (folder / "output.txt").open("w") as output:  # a pipe would wait for Ray's processes
        done = subprocess.run(
            [sys.executable, str(script), str(folder / "jobs.json"), str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            timeout=300,
        )
    assert done.returncode == 0, (folder / "output.txt").read_text()
    return folder, visits


def test_cloning_finds_the_recorded_policy(cloned, world, game):
    folder, _ = cloned
    clone, recorded = load(folder / "bc", world), PopularityRecommender()
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(1000) + 77)  # visits that were not recorded
    for _ in range(3):
        seen = simulator.recommender_observation(state)
        worth = seen["candidate_popularity"]
        slates = [p.recommend(seen, state.key, 3) for p in (clone, recorded)]
        # the same slates, or others that are exactly as popular
        same = np.equal(*(np.take_along_axis(worth, s, 1) for s in slates)).all(1)
        assert same[state.ended == 0].mean() > 0.95
        simulator.show(state, slates[0])
        simulator.respond_fitted(state)


def test_its_likelihood_grows_on_visits_it_was_not_shown(cloned):
    folder, _ = cloned
    rows = RunFolder(folder / "bc").read_metrics()[1:]
    for side in ("recommender", "user"):
        steps = [row[f"{side}_steps_trained"] for row in rows]
        np.testing.assert_array_equal(np.diff(steps), 4096)
    heldout = [row["recommender_heldout_log_likelihood"] for row in rows]
    assert heldout[-1] > heldout[0] + 1
    # the user begins as the fitted one, which recorded: there is nothing to learn but noise
    user = [row["user_heldout_log_likelihood"] for row in rows]
    assert user[-1] > user[0] - 0.05


@pytest.mark.parametrize("algorithm", ["ippo", "appo"])
def test_a_warm_start_begins_where_the_other_run_ended(cloned, algorithm):
    folder, _ = cloned
    last = RunFolder(folder / "bc").read_metrics()[-1]
    first, after = RunFolder(folder / algorithm).read_metrics()
    assert last["rounds"] == ROUNDS
    for name in ("evaluation_recommender_reward", "evaluation_user_reward"):
        assert first[name] == last[name]
        assert after[name] != last[name]


def warm(folder, env_config, **changes):
    settings = {"env": env_config["env"], "game": env_config["game"], "network": {"hidden": 16}}
    return TrainConfig.from_dict({**settings, "warm_start": str(folder), **changes})


def test_networks_that_do_not_fit_are_told(cloned, env_config, tmp_path):
    folder, _ = cloned
    found = warm_weights(warm(folder / "bc", env_config))
    assert set(found) == {"recommender", "user"}
    assert set(warm_weights(warm(folder / "bc", env_config, train="user"))) == {"user"}
    with pytest.raises(ConfigError, match=r"hidden 16 \(here 32\).*--network.hidden 16"):
        warm_weights(warm(folder / "bc", env_config, network={"hidden": 32}))
    with pytest.raises(ConfigError, match="holds no trained recommender or user"):
        warm_weights(warm(tmp_path, env_config))
    slateq = {"algorithm": "slateq", "train": "recommender"}
    with pytest.raises(ConfigError, match="a policy, but slateq learns action values of items"):
        warm_weights(warm(folder / "bc", env_config, **slateq))
    assert set(warm_weights(warm(folder / "bc", env_config, algorithm="sac"))) == set(found)
    other = planted_world(PlantedConfig(num_users=60, num_items=50, seed=9))
    elsewhere = str(other.save(tmp_path / "other"))
    with pytest.raises(ArtifactError, match="was trained in the world"):
        warm_weights(warm(folder / "bc", env_config, env=elsewhere))


@pytest.mark.parametrize(
    ("visits", "share", "held"),
    [(800, 0.1, 80), (5, 0.01, 1), (2, 0.8, 1), (40, 0.99, 39), (9, 0, 0)],
)
def test_some_visits_are_always_learned_from(visits, share, held):
    assert held_out(visits, share) == held


def test_cloning_wants_data(env_config):
    with pytest.raises(ConfigError, match="--bc.data FILE"):
        TrainConfig.from_dict({**env_config, "algorithm": "bc"})


@pytest.mark.slow
def test_two_learners_clone_though_nothing_asks_the_critic(tmp_path):
    flags = ("--algorithm", "bc", "--bc.data", "log", "--bc.rounds-per-iteration", "128",
             "--bc.minibatch-size", "64", "--num-learners", "2", "--rounds", "384")  # fmt: skip
    finish(start(tmp_path, *flags, "--no-report"), tmp_path)
    rows = RunFolder(tmp_path / "run").read_metrics()
    assert len(rows) == 4
    for side in ("recommender", "user"):
        steps = [row[f"{side}_steps_trained"] for row in rows[1:]]
        assert (np.diff([0, *steps]) > 0).all()


def test_visits_know_their_lengths():
    visits = RecordedVisits(
        seed=np.zeros(2, np.uint64),
        session=np.arange(2, dtype=np.uint64),
        user=np.zeros(2, np.int32),
        starts=np.array([0, 3, 4]),
        slates=np.zeros((4, 2), np.int32),
        answers=np.zeros((4, 3), np.int8),
    )
    assert visits.lengths.tolist() == [3, 1]
    assert len(visits) == 2
