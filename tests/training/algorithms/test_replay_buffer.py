"""Replayed transitions against the episodes they were played in, cut by other code."""

import numpy as np
import pytest
import torch
from helpers.marked_play import BOTH, played

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ConfigError
from training.algorithms.replay_buffer import ReplayBuffer
from training.sampling.episodes import chunks
from training.sampling.fragments import fragment


def mark(values):
    """What a distribution's inputs are in random play: a number of each turn's own."""
    return [float(v) for v in values[:, 0]]


def by_episodes(whole, agent):
    """Every transition of an agent, by the mark of its turn."""
    out = {}
    for chunk in chunks(whole):
        if agent not in chunk.steps:
            continue
        steps = chunk.steps[agent]
        last = len(steps.rewards) - 1
        for t, key in enumerate(mark(steps.inputs)):
            out[key] = {
                "obs": {k: v[t] for k, v in steps.observations.items()},
                "next_obs": {k: v[t + 1] for k, v in steps.observations.items()},
                "actions": steps.actions[t],
                "rewards": steps.rewards[t],
                "terminated": chunk.terminated and t == last,
                "slot_rewards": None if steps.slot_rewards is None else steps.slot_rewards[t],
            }
    return out


def same(kept, row, expected):
    for name in ("obs", "next_obs"):
        if name == "next_obs" and expected["terminated"]:
            continue  # nothing follows
        for leaf, value in expected[name].items():
            np.testing.assert_array_equal(kept[name][leaf][row].numpy(), value)
    for name in ("actions", "rewards", "terminated"):
        np.testing.assert_array_equal(kept[name][row].numpy(), expected[name])
    if expected["slot_rewards"] is not None:
        np.testing.assert_array_equal(kept["slot_rewards"][row].numpy(), expected["slot_rewards"])


def keyed(piece):
    """A fragment whose leaves tell which turn a row is of."""
    rows = len(next(iter(piece.observations.values())))
    key = np.full(rows, np.nan)
    key[: len(piece)] = mark(piece.inputs)
    piece.observations["key"] = key
    return piece


@pytest.mark.parametrize("trained", [BOTH, {RECOMMENDER_AGENT}, {USER_AGENT}])
def test_transitions_are_those_of_the_episodes(world, game, trained):
    for agent in trained:
        replay, expected = ReplayBuffer(100_000, seed=0), {}
        for whole in played(world, game, trained=trained):
            replay.add(keyed(fragment(whole, agent)))
            expected |= by_episodes(whole, agent)
        kept = replay.read(replay.steps)
        keys = kept["obs"]["key"].tolist()
        assert len(keys) == len(set(keys)) == len(replay)
        assert set(keys) == set(expected)
        for row, key in enumerate(keys):
            same(kept, row, expected[key])
        ended = kept["terminated"]
        assert 0 < ended.sum() < len(ended)


def test_the_oldest_give_way_and_the_rest_stay_whole(world, game):
    pieces = list(played(world, game))
    rows = [len(fragment(p, USER_AGENT).observations["round"]) for p in pieces]
    replay, expected = ReplayBuffer(max(rows) + 17, seed=0), {}
    for whole in pieces:  # each time over the ring's end, at another place
        replay.add(keyed(fragment(whole, USER_AGENT)))
        newest = by_episodes(whole, USER_AGENT)
        expected |= newest
        kept = replay.read(replay.steps)
        keys = kept["obs"]["key"].tolist()
        assert set(newest) <= set(keys) <= set(expected)
        for row, key in enumerate(keys):
            same(kept, row, expected[key])
    assert len(set(keys) - set(newest)) <= 17


def test_every_step_is_as_likely_and_a_seed_repeats_the_draws(world, game):
    replays = [
        ReplayBuffer(100_000, seed=3),
        ReplayBuffer(100_000, seed=3),
        ReplayBuffer(100_000, seed=4),
    ]
    for whole in played(world, game):
        for replay in replays:
            replay.add(keyed(fragment(whole, RECOMMENDER_AGENT)))
    draws = [replay.sample(20_000)["obs"]["key"] for replay in replays]
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert not torch.equal(draws[0], draws[2])
    counts = torch.unique(draws[0], return_counts=True)[1].double()
    assert len(counts) == len(replays[0])
    expected = 20_000 / len(counts)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    spread = (2 * (len(counts) - 1)) ** 0.5
    assert abs(chi_square - (len(counts) - 1)) < 4 * spread


def test_a_ring_too_small_is_told(world, game):
    whole = next(iter(played(world, game)))
    with pytest.raises(ConfigError, match=r"replay_size is 5.*takes \d+ rows"):
        ReplayBuffer(5, seed=0).add(fragment(whole, RECOMMENDER_AGENT))
