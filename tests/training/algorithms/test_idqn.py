"""Q-learning: known values of a tiny game, values over slots and branches, exploration."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.marked_play import played
from torch import nn

from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT
from recenv.sim.simulator import Simulator
from training.algorithms.idqn import (
    answer_losses,
    answer_target,
    answer_value,
    slate_losses,
    slate_target,
    slate_value,
)
from training.algorithms.replay_buffer import ReplayBuffer
from training.config import TrainConfig
from training.config.algorithms import IDQN
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.models.distributions import MASKED
from training.models.exploration import answers_explored, slates_explored
from training.models.observations import USER_LEAVES
from training.models.value_modules import frozen_copy
from training.models.value_networks import AnswerValues, SlotValues, make_value_network
from training.runs.load_policy import NetworkUser, load_user, save_policy
from training.sampling.env import TurnEnv
from training.sampling.fragments import Fragment, Fragments, fragment
from training.session import algorithm_config

GAMMA = 0.9
CONFIG = NetworkConfig(hidden=8)


class Tabular(nn.Module):
    """A value for each state and item of a game with one slot."""

    gains = torch.ones(1)

    def __init__(self, states, items):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(states, items))

    def slot_values(self, observation):
        own = self.table[observation["state"][:, 0].long()]
        return SlotValues(own, torch.zeros_like(own), torch.zeros(len(own)))


# state, item, reward, following state, whether the user left
GAME = [
    (0, 0, 1.0, 1, False),  # the lesser reward now leads to the greater later
    (0, 1, 2.0, 2, False),
    (0, 2, 3.0, 0, True),  # the most at once, but the user leaves
    (1, 0, 0.0, 0, True),
    (1, 1, 5.0, 0, True),
    (1, 2, 1.0, 0, True),
    (2, 0, 0.5, 1, False),  # cut off by the round limit: goes on as state 1 would
    (2, 1, 4.0, 0, True),
    (2, 2, 0.0, 0, True),
]
Q = [
    [1 + GAMMA * 5, 2 + GAMMA * (0.5 + GAMMA * 5), 3],
    [0, 5, 1],
    [0.5 + GAMMA * 5, 4, 0],
]
"""By hand: state 1 is worth 5 and state 2 is worth 0.5 + 0.9 * 5 = 5."""


def test_its_learner_learns_the_values_of_a_game_known_in_closed_form(env_config, monkeypatch):
    config = TrainConfig(
        env=env_config["env"],
        game={**env_config["game"], "slate_size": 1},
        algorithm="idqn",
        train="recommender",
        idqn=IDQN(
            rounds_per_iteration=128,
            updates=100,
            minibatch_size=32,
            learning_rate=0.1,
            target_rate=0.2,
            gamma=GAMMA,
            slot_credit=False,
        ),
    )
    monkeypatch.setattr(
        "training.models.value_modules.make_value_network", lambda *a, **k: Tabular(3, 3)
    )
    monkeypatch.setattr("training.algorithms.idqn.SlotQNetwork", Tabular)
    learner = algorithm_config(config).build_learner(env=TurnEnv(config.env_config))
    learner.build()
    state, item, reward, following, left = (np.array(c) for c in zip(*GAME, strict=True))
    n = len(GAME)
    piece = Fragment(
        observations={"state": np.concatenate([state, following])[:, None].astype(np.int32)},
        actions=item,
        rewards=reward.astype(np.float32),
        logp=np.zeros(n, np.float32),
        inputs=np.zeros((n, 1), np.float32),
        following=n + np.arange(n),
        terminated=left,
        edges=np.array([0, n]),
        slot_rewards=np.zeros((n, 1), np.float32),
    )
    sampled = SimpleNamespace(
        episodes=[Fragments({"recommender": piece}, n)] * 8, solve_refs=lambda: None
    )
    for _ in range(15):
        learner.update(training_data=sampled, timesteps={})
    module = learner.module["recommender"]
    assert Q[0] == pytest.approx([5.5, 6.5, 3])  # the best first item is neither extreme
    for table in (module.network.table, module.target.table):
        torch.testing.assert_close(table.detach(), torch.tensor(Q), rtol=0, atol=0.05)


def make(side, world, game, kl_weight=0.0):
    """A network with weights drawn at random, and another like it."""
    both = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        values = ValueConfig("slots", kl_weight=kl_weight)
        both.append(make_value_network(side, world, game, CONFIG, values))
        for parameter in both[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return both


def replayed(world, game, agent):
    replay = ReplayBuffer(10_000, seed=0)
    for whole in played(world, game, times=2):
        replay.add(fragment(whole, agent))
    return replay.sample(30)


def test_a_slates_value_and_target_are_sums_over_slots(world, game):
    network, target = make("recommender", world, game)
    batch = replayed(world, game, RECOMMENDER_AGENT)
    with torch.no_grad():
        ours, theirs = (n.slot_values(batch["next_obs"]) for n in (network, target))
        values = slate_value(target, theirs, batch["actions"])
    gains, their_gains = network.gains.tolist(), target.gains.tolist()
    assert gains[0] == 1

    def value(slots, gains, row, slate):
        each = [float(slots.own[row, i] + slots.rest[row, i]) for i in slate]
        return float(slots.idle[row]) + sum(g * v for g, v in zip(gains, each, strict=True))

    following = slate_target(network, target, batch)
    slates = list(itertools.permutations(range(game.num_candidates), game.slate_size))
    for row in range(30):
        order = sorted(slates, key=lambda s: value(ours, gains, row, s))
        best = sorted(order[-1], key=lambda i: -float(ours.own[row, i] + ours.rest[row, i]))
        expected = 0.0 if batch["terminated"][row] else value(theirs, their_gains, row, best)
        assert float(following[row]) == pytest.approx(expected, abs=1e-4)
        given = batch["actions"][row]
        assert float(values[row]) == pytest.approx(value(theirs, their_gains, row, given), abs=1e-4)


def test_credit_by_slot_and_the_rest_add_up_to_the_whole(world, game):
    """At the truth of one, the other is at its truth, too; away from it, only with a loss."""
    network, _ = make("recommender", world, game)
    batch = replayed(world, game, RECOMMENDER_AGENT)
    following = torch.zeros(30)
    with torch.no_grad():
        slots = network.slot_values(batch["obs"])
        slates = batch["actions"]
        own, rest = (network.gains * v.gather(-1, slates) for v in (slots.own, slots.rest))
        batch["slot_rewards"] = own
        batch["rewards"] = own.sum(-1) + slots.idle + rest.sum(-1)
        for slot_credit in (True, False):
            losses = slate_losses(network, batch, following, gamma=GAMMA, slot_credit=slot_credit)
            assert float(sum(losses.values())) == pytest.approx(0, abs=1e-8)
        batch["slot_rewards"] = own + 1  # slots earned more, the whole as much
        split = slate_losses(network, batch, following, gamma=GAMMA, slot_credit=True)
        assert float(split["reward_loss"]) == pytest.approx(game.slate_size, rel=1e-4)
        assert float(split["q_loss"]) == pytest.approx(game.slate_size**2, rel=1e-4)
        whole = slate_losses(network, batch, following, gamma=GAMMA, slot_credit=False)
        assert float(whole["q_loss"]) == pytest.approx(0, abs=1e-8)


def every_answer(slots):
    """All joint answers, as the action space has them."""
    if slots == 1:
        return [[a] for a in range(6)]
    return [list(a) for a in itertools.product(*[range(3)] * slots, range(2))]


def by_answer(answers: AnswerValues, row, answer):
    """(value, fitted log-probability) of one joint answer, branch by branch."""
    parts = [(v, f) for v, f in zip(answers.branches, answers.fitted, strict=True)]
    flat = [(v[row, k], f[row, k]) for v, f in parts for k in range(v.shape[1])]
    value = float(answers.idle[row]) + sum(
        float(v[a]) for (v, _), a in zip(flat, answer, strict=True)
    )
    return value, sum(float(f[a]) for (_, f), a in zip(flat, answer, strict=True))


@pytest.mark.parametrize("kl_weight", [0.0, 0.7])
@pytest.mark.parametrize("slots", [1, 3])
def test_an_answers_value_and_target_are_over_all_joint_answers(world, slots, kl_weight):
    game = GameConfig(slate_size=slots, num_candidates=12, max_rounds=6)
    network, target = make("user", world, game, kl_weight)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(20))
    simulator.show(state, np.tile(np.arange(slots), (20, 1)))
    leaves = simulator.user_observation(state)
    seen = {name: torch.from_numpy(leaves[name]) for name in USER_LEAVES}
    ended = torch.arange(20) % 4 == 0
    answers = every_answer(slots)
    given = torch.tensor([answers[i % len(answers)] for i in range(20)])
    actions = given[:, 0] if slots == 1 else given
    batch = {
        "obs": seen,
        "next_obs": seen,
        "terminated": ended,
        "actions": actions,
        "rewards": torch.linspace(-1, 1, 20),
    }
    with torch.no_grad():
        ours, theirs = network.answers(seen), target.answers(seen)
        following = answer_target(network, target, batch)
        loss = answer_losses(network, batch, following, gamma=GAMMA)["q_loss"]
        logits = network(seen).logits
    wanted = 0.0
    for row in range(20):
        mine = [by_answer(ours, row, a) for a in answers]
        other = [by_answer(theirs, row, a) for a in answers]
        assert sum(math.exp(f) for _, f in mine) == pytest.approx(1, abs=1e-4)
        if kl_weight:
            idle = float(theirs.idle[row])
            soft = [f + (v - idle) / kl_weight for v, f in other]
            expected = idle + kl_weight * math.log(sum(math.exp(x) for x in soft))
        else:
            best = max(range(len(answers)), key=lambda i: mine[i][0])
            expected = other[best][0]
        assert float(following[row]) == pytest.approx(0 if ended[row] else expected, abs=1e-4)
        value = by_answer(ours, row, given[row].tolist())[0]
        assert float(answer_value(ours, actions)[row]) == pytest.approx(value, abs=1e-4)
        wanted += (value - float(batch["rewards"][row]) - GAMMA * float(following[row])) ** 2 / 20
        policy = answer_probabilities(logits[row], slots)
        if kl_weight:
            odds = [math.exp(f + v / kl_weight) for v, f in mine]
            np.testing.assert_allclose(policy, np.array(odds) / sum(odds), atol=1e-5)
        else:
            assert policy.argmax() == max(range(len(answers)), key=lambda i: mine[i][0])
            assert policy.max() == pytest.approx(1)
    assert float(loss) == pytest.approx(wanted, rel=1e-4)


def answer_probabilities(logits, slots):
    """[answers] probabilities of all joint answers by a policy's logits."""
    if slots == 1:
        return torch.softmax(logits, -1).numpy()
    each = [torch.softmax(p, -1) for p in logits.split([*[3] * slots, 2])]
    return np.array(
        [
            math.prod(float(p[a]) for p, a in zip(each, answer, strict=True))
            for answer in every_answer(slots)
        ]
    )


def test_a_greedy_user_answers_best_and_a_large_kl_weight_makes_it_the_fitted_one(
    world, game, tmp_path
):
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(50))
    simulator.show(state, np.tile(np.arange(3), (50, 1)))
    seen, keys = simulator.user_observation(state), state.key
    greedy, _ = make("user", world, game)
    leaves = {name: torch.from_numpy(seen[name]) for name in USER_LEAVES}
    with torch.no_grad():
        best = greedy.answers(leaves).branches
    best = torch.cat([b.argmax(-1) for b in best], -1).numpy()
    np.testing.assert_array_equal(NetworkUser(greedy).answer(seen, keys), best)
    save_policy(tmp_path, "user", greedy, world, game, CONFIG, {})
    np.testing.assert_array_equal(load_user(tmp_path, world).answer(seen, keys), best)
    heavy, _ = make("user", world, game, kl_weight=1e6)
    with torch.no_grad():
        logits, fitted = heavy(leaves).logits, heavy.fitted_logits(leaves)
    torch.testing.assert_close(logits, fitted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("slots", [1, 3])
def test_slates_are_explored_as_often_as_epsilon_says(slots):
    epsilon, n, c = 0.3, 40_000, 5
    scores = torch.tensor([0.1, 2.0, -1.0, 0.5, 0.4])
    drawn = slates_explored(slots, epsilon).from_logits(scores.expand(n, c)).sample()
    drawn = drawn.reshape(n, slots)
    best = torch.tensor([1, 3, 4][:slots])
    slates = math.perm(c, slots)
    share = float((drawn == best).all(-1).double().mean())
    assert share == pytest.approx(1 - epsilon + epsilon / slates, abs=0.01)
    others = drawn[(drawn != best).any(-1)]
    assert all(len(set(s)) == slots for s in others[:500].tolist())
    counts = torch.unique(others, dim=0, return_counts=True)[1].double()
    assert len(counts) == slates - 1
    assert counts.std() / counts.mean() < 0.25  # uniform among the others


@pytest.mark.parametrize("slots", [1, 3])
def test_answers_are_explored_as_often_as_epsilon_says(slots):
    epsilon, n = 0.3, 40_000
    choices = [6] if slots == 1 else [3] * slots + [2]
    best = [c - 1 - i % 2 for i, c in enumerate(choices)]
    logits = torch.cat(
        [
            torch.full((c,), MASKED).index_fill(0, torch.tensor(b), 0.0)
            for c, b in zip(choices, best, strict=True)
        ]
    )
    distribution = answers_explored(slots, epsilon).from_logits(logits.expand(n, -1))
    drawn = distribution.sample()
    logp = distribution.logp(drawn)
    drawn = drawn.reshape(n, -1)
    answers = math.prod(choices)
    greedy = (drawn == torch.tensor(best)).all(-1)
    share = float(greedy.double().mean())
    expected = 1 - epsilon + epsilon / answers
    assert share == pytest.approx(expected, abs=0.01)
    assert float(logp[greedy][0].exp()) == pytest.approx(expected, rel=1e-4)
    assert float(logp[~greedy][0].exp()) == pytest.approx(epsilon / answers, rel=1e-4)
    assert len(torch.unique(drawn, dim=0)) == answers
    sure = distribution.to_deterministic().sample().reshape(n, -1)
    assert (sure == torch.tensor(best)).all()


def test_exploration_falls_on_a_straight_line():
    settings = IDQN(epsilon_start=0.9, epsilon=0.1, epsilon_rounds=1000)
    assert [settings.exploration(r) for r in (0, 500, 1000, 9000)] == pytest.approx(
        [0.9, 0.5, 0.1, 0.1]
    )
    assert IDQN(epsilon_rounds=0).exploration(0) == IDQN().epsilon


def test_target_networks_share_fixed_tables_and_nothing_else(world, game):
    network, _ = make("recommender", world, game)
    target = frozen_copy(network)
    for (name, ours), theirs in zip(network.named_buffers(), target.buffers(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr(), name
    for (name, ours), theirs in zip(network.named_parameters(), target.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr() or ours.numel() == 0, name
        assert not theirs.requires_grad
