"""Visits in which past policies play: who plays what, and who learns from it."""

import numpy as np
from helpers.random_play import marked

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.simulator import Simulator
from training.sampling.episodes import chunks
from training.sampling.fragments import fragment
from training.sampling.self_play import PRESENT, Seats
from training.sampling.turns import Turn
from training.sampling.visit_sampler import VisitSampler

BOTH = {RECOMMENDER_AGENT, USER_AGENT}


def pool_of(game, *numbers):
    actors = {number: marked(game, number, seed=number + 2) for number in numbers}
    return {agent: {n: actors[n][agent] for n in numbers} for agent in BOTH}


def test_every_visit_draws_one_side_uniformly_and_never_both():
    seats, rng = Seats(8), np.random.default_rng(0)
    seats.put({agent: {3: None, 5: None} for agent in BOTH}, rng)
    drawn = {agent: [] for agent in BOTH}
    for _ in range(3000):
        seats.draw(np.arange(8), rng)
        for agent, member in seats.member.items():
            drawn[agent].append(member.copy())
    users, ours = (np.array(drawn[a]) for a in (USER_AGENT, RECOMMENDER_AGENT))
    assert (users[:, 1::2] == PRESENT).all()
    assert (ours[:, ::2] == PRESENT).all()
    for chosen in (users[:, ::2], ours[:, 1::2]):
        counts = np.array([(chosen == m).sum() for m in (PRESENT, 3, 5)])
        assert counts.sum() == 12000
        assert np.abs(counts - 4000).max() < 5 * np.sqrt(12000 * 2 / 9)


def test_seats_without_a_pool_are_all_present():
    seats, rng = Seats(6), np.random.default_rng(0)
    seats.draw(np.arange(6), rng)
    assert all(seats.learns(agent).all() for agent in BOTH)


def test_a_visit_whose_past_policy_is_dropped_goes_on_with_another_past_one():
    seats, rng = Seats(400), np.random.default_rng(0)
    seats.put({agent: {1: None, 2: None} for agent in BOTH}, rng)
    seats.draw(np.arange(400), rng)
    before = {agent: member.copy() for agent, member in seats.member.items()}
    seats.put({agent: {2: None, 4: None} for agent in BOTH}, rng)
    for agent, member in seats.member.items():
        lost = before[agent] == 1
        assert lost.sum() > 20
        np.testing.assert_array_equal(member[~lost], before[agent][~lost])
        assert set(member[lost]) == {2, 4}


def test_each_row_is_played_by_its_own_member(game):
    seats, rng = Seats(9), np.random.default_rng(0)
    seats.put(pool_of(game, 3, 5), rng)
    member = rng.choice([PRESENT, 3, 5], 40)
    seen = {"round": rng.integers(9, size=(40, 1)), "mark": rng.random((40, 2))}
    present = marked(game, PRESENT)[RECOMMENDER_AGENT]

    def echo(observation):
        turn = present(observation)
        return turn._replace(logp=observation["mark"][:, 0])

    turn = seats.act(RECOMMENDER_AGENT, echo, seen, member)
    np.testing.assert_array_equal(turn.inputs[:, 0], member)
    mine = member == PRESENT
    np.testing.assert_array_equal(turn.logp[mine], seen["mark"][mine, 0])  # each its own row
    assert turn.observation is seen


def with_seats(world, game, batch=16, **more):
    seats = Seats(batch)
    rollout = VisitSampler(Simulator(world, game), batch, BOTH, None, seats=seats, **more)
    rollout.reset(np.random.SeedSequence(3))
    return rollout, seats


def test_only_the_present_policies_steps_are_learned_and_all_of_them(world, game):
    rollout, seats = with_seats(world, game)
    seats.put(pool_of(game, 3, 5), rollout.generator)
    actors = marked(game, PRESENT)
    taken = {agent: [] for agent in BOTH}
    learned = {agent: [] for agent in BOTH}
    shares = []
    for _ in range(5):
        played = rollout.play(actors, rounds=7)
        shares.append(played.learns[USER_AGENT].mean())
        for agent in BOTH:
            whole = np.concatenate([t.inputs for t in played.turns[agent]])
            np.testing.assert_array_equal(whole[:, 0] == PRESENT, played.learns[agent].reshape(-1))
            taken[agent] += whole[whole[:, 0] == PRESENT, 1].tolist()
            piece = fragment(played, agent)
            assert (piece.inputs[:, 0] == PRESENT).all()
            learned[agent] += piece.inputs[:, 1].tolist()
            going = ~piece.terminated
            now = piece.observations["round"][: len(piece)][going]
            then = piece.observations["round"][piece.following[going]]
            np.testing.assert_array_equal(then, now + 1)
    last = set(played.turns[USER_AGENT][-1].inputs[:, 1])
    assert sorted(learned[RECOMMENDER_AGENT]) == sorted(taken[RECOMMENDER_AGENT])
    assert len(learned[USER_AGENT]) == len(set(learned[USER_AGENT]))
    assert set(taken[USER_AGENT]) - set(learned[USER_AGENT]) < last  # they wait
    assert 0.5 < np.mean(shares) < 0.9  # 2/3: half the rows, and a third of the others


def test_episodes_hold_the_same_steps(world, game):
    rollout, seats = with_seats(world, game, every_final=True)
    seats.put(pool_of(game, 3, 5), rollout.generator)
    actors = marked(game, PRESENT)
    for _ in range(4):
        played = rollout.play(actors, rounds=7)
        pieces = list(chunks(played))
        for agent in BOTH:
            marks = [c.steps[agent].inputs for c in pieces if agent in c.steps]
            flat = fragment(played, agent).inputs
            assert len(flat) > 30
            assert (flat[:, 0] == PRESENT).all()
            assert sorted(np.concatenate(marks)[:, 1]) == sorted(flat[:, 1])


def test_a_visit_has_one_opponent_from_its_begin_to_its_end(world, game):
    rollout, seats = with_seats(world, game, batch=8)
    seats.put(pool_of(game, 3, 5, 8), rollout.generator)
    actors, who = marked(game, PRESENT), {}
    for _ in range(24):
        before = rollout.state.session.copy()
        played = rollout.play(actors, rounds=1)
        for agent in BOTH:
            for row, session in enumerate(before.tolist()):
                who.setdefault((row, session, agent), set()).add(
                    played.turns[agent][0].inputs[row, 0]
                )
    assert all(len(players) == 1 for players in who.values())
    assert len({(row, *sorted(players)) for (row, _, _), players in who.items()}) > 12


def test_the_slate_that_would_have_followed_is_the_opponents(world, game):
    """What a truncated visit's user is bootstrapped from was shown by who recommended in it."""
    rollout, seats = with_seats(world, game)

    def fixed(slot):
        def recommend(observation):
            batch = len(observation["round"])
            slates = np.tile(slot + np.arange(3), (batch, 1))
            return Turn(observation, slates, np.zeros(batch), np.full((batch, 2), slot))

        return recommend

    def stay(observation):
        batch = len(observation["round"])
        return Turn(observation, np.zeros((batch, 4), np.int64), np.zeros(batch),
                    np.zeros((batch, 2)))  # fmt: skip

    actors = {RECOMMENDER_AGENT: fixed(0), USER_AGENT: stay}
    seats.put({RECOMMENDER_AGENT: {4: fixed(4)}, USER_AGENT: {}}, rollout.generator)
    seats.draw(np.arange(16), rollout.generator)
    member = seats.member[RECOMMENDER_AGENT].copy()
    assert {PRESENT, 4} == set(member)
    played = rollout.play(actors, rounds=6)  # to the limit: nobody leaves
    (end,) = played.ends
    assert not end.left.any()
    finals = {agent: {k: v[end.final] for k, v in played.finals[agent].items()} for agent in BOTH}
    first = np.where(member[end.rows] == 4, 4, 0)
    candidates = finals[RECOMMENDER_AGENT]["candidates"]
    expected = np.take_along_axis(candidates, first[:, None] + np.arange(3), axis=1)
    np.testing.assert_array_equal(finals[USER_AGENT]["slate"], expected)
