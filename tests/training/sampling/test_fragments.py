"""Flat samples: their links, and their advantages against RLlib's own pipeline."""

import numpy as np
import pytest
import torch
from helpers.marked_play import BOTH, played
from ray.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate, GeneralAdvantageEstimation
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from training.algorithms.gae import AdvantageConnector
from training.config import TrainConfig
from training.models.observations import MODULE
from training.models.rl_modules import module_specs
from training.sampling.env import TurnEnv
from training.sampling.episodes import chunks, to_episode
from training.sampling.fragments import advantages, fragment, fragments, joined
from training.session import algorithm_config

GAMMA, LAMBDA = 0.9, 0.6


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_targets_and_advantages_are_those_of_the_stock_pipeline(world, game, env_config, algorithm):
    config = TrainConfig(
        env=env_config["env"],
        game=env_config["game"],
        algorithm=algorithm,
        batched_runner=False,
        num_envs_per_env_runner=1,
    ).replace(**{algorithm: {"gamma": GAMMA, "gae_lambda": LAMBDA}})
    env = TurnEnv(config.env_config)
    spec = module_specs(config)
    for side, one in spec.rl_module_specs.items():
        agent = RECOMMENDER_AGENT if side == "recommender" else USER_AGENT
        one.observation_space = env.observation_spaces[agent]
        one.action_space = env.action_spaces[agent]
    torch.manual_seed(0)
    modules = spec.build()
    for side in MODULE.values():  # values of an untrained critic are zero
        for parameter in modules[side].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    whole = played(world, game, central=algorithm == "mappo")[-1]  # with steps that waited
    assert whole.waiting is not None
    assert any(end.left.any() for end in whole.ends)
    assert any((~end.left).any() for end in whole.ends)

    stock = algorithm_config(config).build_learner_connector(None, None)
    stock.prepend(AddOneTsToEpisodesAndTruncate())
    stock.append(GeneralAdvantageEstimation(gamma=GAMMA, lambda_=LAMBDA))
    episodes = [to_episode(c, env.observation_spaces, env.action_spaces, 2) for c in chunks(whole)]
    theirs = stock(rl_module=modules, batch={}, episodes=episodes, shared_data={})
    ours = AdvantageConnector(gamma=GAMMA, gae_lambda=LAMBDA)(
        rl_module=modules, batch={}, episodes=list(fragments(whole, MODULE, parts=2))
    )
    for side, rows in theirs.items():
        steps = rows[Columns.LOSS_MASK]
        own = ours[side]

        def ordered(batch, name, keep=None):
            marks = batch[Columns.ACTION_DIST_INPUTS][:, 0]
            values = batch[name]
            if keep is not None:
                marks, values = marks[keep], values[keep]
            return values[torch.argsort(marks)].double()

        assert len(own[Columns.REWARDS]) == steps.sum() > 30
        for name in (Columns.REWARDS, Postprocessing.VALUE_TARGETS, Columns.ACTION_LOGP):
            torch.testing.assert_close(
                ordered(own, name), ordered(rows, name, steps), rtol=1e-4, atol=1e-4
            )
        mine = ordered(own, Postprocessing.ADVANTAGES)
        stocks = ordered(rows, Postprocessing.ADVANTAGES, steps)
        standard = (stocks - stocks.mean()) / stocks.std(unbiased=False)
        torch.testing.assert_close(mine, standard, rtol=1e-3, atol=1e-3)
        for name, leaf in own[Columns.OBS].items():
            torch.testing.assert_close(
                leaf[torch.argsort(own[Columns.ACTION_DIST_INPUTS][:, 0])],
                rows[Columns.OBS][name][steps][
                    torch.argsort(rows[Columns.ACTION_DIST_INPUTS][steps][:, 0])
                ],
            )


@pytest.mark.parametrize("trained", [BOTH, {RECOMMENDER_AGENT}, {USER_AGENT}])
def test_links_lead_to_what_was_seen_next(world, game, trained):
    """Every linked observation is the same visit's, one round on."""
    some = 0
    for whole in played(world, game, trained=trained):
        for agent in trained:
            piece = fragment(whole, agent)
            going = ~piece.terminated
            now = {k: v[: len(piece)][going] for k, v in piece.observations.items()}
            then = {k: v[piece.following[going]] for k, v in piece.observations.items()}
            np.testing.assert_array_equal(then["round"], now["round"] + 1)
            if agent == RECOMMENDER_AGENT:
                np.testing.assert_array_equal(then["user"], now["user"])
            assert (piece.following > np.arange(len(piece)))[going].all()
            some += len(piece)
    assert some > 100


def test_a_users_step_waits_until_its_next_turn_and_none_is_lost(world, game):
    marks = []
    rounds = played(world, game, times=4)
    for whole in rounds:
        marks += fragment(whole, USER_AGENT).inputs[:, 0].tolist()
    assert len(marks) == len(set(marks))
    every = {m for whole in rounds for t in whole.turns[USER_AGENT] for m in t.inputs[:, 0]}
    missing = every - set(marks)
    last = set(rounds[-1].turns[USER_AGENT][-1].inputs[:, 0])
    assert missing < last  # only those that still wait


def test_parts_join_to_the_whole(world, game):
    whole = played(world, game)[-1]
    for agent in BOTH:
        one = fragment(whole, agent)
        parts = [f.sides[MODULE[agent]] for f in fragments(whole, MODULE, parts=4)]
        assert all(len(p) < len(one) for p in parts)
        again = joined(parts)
        order, other = np.argsort(one.inputs[:, 0]), np.argsort(again.inputs[:, 0])
        for name in ("rewards", "actions", "terminated", "logp"):
            np.testing.assert_array_equal(getattr(one, name)[order], getattr(again, name)[other])

        def estimates(piece):
            values = piece.observations["round"][:, 0] * 0.1 + 0.05
            return advantages(piece, values.astype(np.float32), GAMMA, LAMBDA)

        np.testing.assert_allclose(estimates(one)[order], estimates(again)[other], rtol=1e-6)


def test_advantages_are_the_definition(world, game):
    """Summed out of the discounted errors, step by step along the links."""
    whole = played(world, game)[-1]
    piece = fragment(whole, USER_AGENT)
    rng = np.random.default_rng(1)
    values = rng.normal(size=len(piece.observations["round"])).astype(np.float32)
    got = advantages(piece, values, GAMMA, LAMBDA)
    for at in range(len(piece)):
        total, weight, row = 0.0, 1.0, at
        while row < len(piece):
            then = 0.0 if piece.terminated[row] else values[piece.following[row]]
            total += weight * (piece.rewards[row] + GAMMA * then - values[row])
            if piece.terminated[row]:
                break
            weight, row = weight * GAMMA * LAMBDA, piece.following[row]
        assert got[at] == pytest.approx(total, abs=1e-4)
