"""Soft actor-critic: expectations over policies against the enumeration of all actions."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recenv.config import GameConfig
from recenv.sim.simulator import Simulator
from training.algorithms.sac import SACLearner, soft_answers, soft_slates
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.models.distributions import PlackettLuce
from training.models.observations import RECOMMENDER_LEAVES, USER_LEAVES
from training.models.value_modules import SoftModule
from training.models.value_networks import make_value_network
from training.runs.load_policy import make_network

CONFIG = NetworkConfig(hidden=8)


def jittered(network):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def networks(side, world, game):
    """A policy and two critics, with weights drawn at random."""
    torch.manual_seed(0)
    actor = jittered(make_network(side, world, game, CONFIG))
    critics = [
        jittered(make_value_network(side, world, game, CONFIG, ValueConfig("slots")))
        for _ in range(2)
    ]
    return actor, critics


def test_expected_values_of_drawn_slates_and_their_gradient():
    """One drawn slate each: unbiased in value, and nearly so in gradient."""
    torch.manual_seed(0)
    scores = torch.tensor([0.5, -0.3, 1.0, 0.0, 0.2, -0.5], dtype=torch.double)
    values = torch.tensor([1.0, 3.0, -2.0, 0.5, 0.0, 1.5], dtype=torch.double)
    gains = torch.tensor([1.0, 0.7, 0.4], dtype=torch.double)
    slates = torch.tensor(list(itertools.permutations(range(6), 3)))
    exact = scores.clone().requires_grad_()
    p = PlackettLuce(exact.expand(len(slates), -1), 3).logp(slates).exp()
    expected = (p * (gains * values[slates]).sum(-1)).sum()
    (gradient,) = torch.autograd.grad(expected, exact)
    drawn = scores.clone().requires_grad_()
    each = PlackettLuce(drawn.expand(40_000, -1), 3).expected(values.expand(40_000, -1), gains)
    (estimate,) = torch.autograd.grad(each.mean(), drawn)
    assert float(each.detach().mean()) == pytest.approx(float(expected.detach()), abs=0.02)
    assert torch.nn.functional.cosine_similarity(estimate, gradient, dim=0) > 0.98
    assert estimate.argmax() == gradient.argmax()
    assert estimate.argmin() == gradient.argmin()
    assert gradient.abs().max() > 0.2
    one = PlackettLuce(exact, 1).expected(values, gains[:1])
    assert float(one.detach()) == pytest.approx(float((torch.softmax(scores, 0) * values).sum()))


def test_soft_value_of_slates_is_the_expectation_over_all_of_them(world):
    game = GameConfig(slate_size=2, num_candidates=4, max_rounds=6)
    actor, critics = networks("recommender", world, game)
    simulator = Simulator(world, game)
    leaves = simulator.recommender_observation(simulator.reset(np.arange(3)))
    seen = {name: torch.from_numpy(leaves[name]) for name in RECOMMENDER_LEAVES}
    slates = torch.tensor(list(itertools.permutations(range(4), 2)))
    with torch.no_grad():
        scores = actor(seen).scores
        valued = [(c.gains, c.slot_values(seen)) for c in critics]
        many = {name: leaf.repeat_interleave(20_000, 0) for name, leaf in seen.items()}
        soft = soft_slates(actor, critics, many)
    for row in range(3):
        p = PlackettLuce(scores[row].expand(len(slates), -1), 2).logp(slates).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-5)
        cut = slice(20_000 * row, 20_000 * (row + 1))
        entropy = -float((p * p.log()).sum())
        assert float(soft.entropy[cut].mean()) == pytest.approx(entropy, abs=0.01)
        totals = []
        for gains, slots in valued:
            each = (gains * (slots.own + slots.rest)[row][slates]).sum(-1)
            totals.append(float(slots.idle[row]) + float((p * each).sum()))
        # the lower of two estimates from one draw is a little lower than the lower of the two
        assert float(soft.value[cut].mean()) == pytest.approx(min(totals), abs=0.05)
        assert abs(totals[0] - totals[1]) > 0.1
    assert (soft.kl == 0).all()


@pytest.mark.parametrize("slots", [1, 2])
def test_soft_value_of_answers_is_the_expectation_over_all_of_them(world, slots):
    game = GameConfig(slate_size=slots, num_candidates=12, max_rounds=6)
    actor, critics = networks("user", world, game)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(5))
    simulator.show(state, np.tile(np.arange(slots), (5, 1)))
    leaves = simulator.user_observation(state)
    seen = {name: torch.from_numpy(leaves[name]) for name in USER_LEAVES}
    with torch.no_grad():
        soft = soft_answers(actor, critics, seen)
        logits, fitted = actor(seen).logits, actor.fitted_logits(seen)
        valued = [c.answers(seen) for c in critics]
    sizes = [6] if slots == 1 else [3] * slots + [2]
    for row in range(5):
        log_p, log_f = (
            [torch.log_softmax(x, -1) for x in given[row].split(sizes)]
            for given in (logits, fitted)
        )
        totals, entropy, kl = [0.0, 0.0], 0.0, 0.0
        for answer in itertools.product(*[range(s) for s in sizes]):
            lp = sum(float(x[a]) for x, a in zip(log_p, answer, strict=True))
            lf = sum(float(x[a]) for x, a in zip(log_f, answer, strict=True))
            entropy -= math.exp(lp) * lp
            kl += math.exp(lp) * (lp - lf)
            for i, answers in enumerate(valued):
                flat = [b[row, k] for b in answers.branches for k in range(b.shape[1])]
                value = sum(float(q[a]) for q, a in zip(flat, answer, strict=True))
                totals[i] += math.exp(lp) * (float(answers.idle[row]) + value)
        assert float(soft.value[row]) == pytest.approx(min(totals), abs=1e-3)
        assert float(soft.entropy[row]) == pytest.approx(entropy, abs=1e-3)
        assert float(soft.kl[row]) == pytest.approx(kl, abs=1e-3)


def soft_module(env_config, side, kl_weight=0.0):
    values = ValueConfig("soft", kl_weight=kl_weight)
    return SoftModule(
        observation_space=None,
        action_space=None,
        inference_only=False,
        model_config={
            **env_config,
            "network": CONFIG.to_dict(),
            "values": values.to_dict(),
            "side": side,
        },
    )


def test_most_entropy_is_that_of_uniform_actions(env_config):
    slates = len(list(itertools.permutations(range(12), 3)))
    assert soft_module(env_config, "recommender").most_entropy == pytest.approx(math.log(slates))
    assert soft_module(env_config, "user").most_entropy == pytest.approx(math.log(27 * 2))


def test_the_policy_follows_its_critics_and_the_temperature_its_target(world, game, env_config):
    """The policy moves to the slate that both critics find best, the temperature against that."""
    module = soft_module(env_config, "recommender")
    simulator = Simulator(world, game)
    leaves = simulator.recommender_observation(simulator.reset(np.arange(30)))
    seen = {name: torch.from_numpy(leaves[name]) for name in RECOMMENDER_LEAVES}
    torch.manual_seed(0)
    for critic in module.critics:
        with torch.no_grad():
            critic.rest.weight.normal_()
            critic.rest.weight *= 3
    module.critics[1].load_state_dict(module.critics[0].state_dict())
    batch = {
        "obs": seen,
        "next_obs": seen,
        "terminated": torch.ones(30, dtype=torch.bool),
        "rewards": torch.zeros(30),
        "slot_rewards": torch.zeros(30, 3),
        "actions": torch.zeros(30, 3, dtype=torch.long),
    }
    learner = object.__new__(SACLearner)
    settings = SimpleNamespace(gamma=0.9, slot_credit=True, entropy_target=0.8)
    learner.config = SimpleNamespace(learner_config_dict={"settings": settings})
    learner._module = {"recommender": SimpleNamespace(unwrapped=lambda: module)}
    logged = {}
    learner.metrics = SimpleNamespace(log_dict=lambda d, key, window: logged.update(d))
    optimiser = torch.optim.Adam(module.network.parameters(), lr=0.02)  # critics stand still

    def worth():
        with torch.no_grad():
            slots = module.critics[0].slot_values(seen)
            best = module.network(seen).scores.topk(3, -1).indices
            values = slots.own + slots.rest
            share = (module.critics[0].gains * values.gather(-1, best)).sum(-1)
            most = (module.critics[0].gains * values.topk(3, -1).values).sum(-1)
            least = (module.critics[0].gains * values.topk(3, -1, largest=False).values).sum(-1)
        return float(((share - least) / (most - least)).mean())

    before, pushes = worth(), []
    for _ in range(80):
        loss = learner.compute_loss_for_module(
            module_id="recommender", config=None, batch=batch, fwd_out=None
        )
        optimiser.zero_grad()
        module.log_temperature.grad = None
        loss.backward()
        optimiser.step()
        short = float(logged["entropy"].detach()) < 0.8 * module.most_entropy
        pushes.append((short, float(module.log_temperature.grad) < 0))  # less loss: warmer
    assert worth() > max(0.85, before + 0.1)
    assert {short for short, _ in pushes} == {False, True}
    assert all(short == warmer for short, warmer in pushes)


def test_a_tied_user_policy_pays_for_divergence(world, game, env_config):
    module = soft_module(env_config, "user", kl_weight=2.0)
    actor, critics = module.network, list(module.critics)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(10))
    simulator.show(state, np.tile(np.arange(3), (10, 1)))
    leaves = simulator.user_observation(state)
    seen = {name: torch.from_numpy(leaves[name]) for name in USER_LEAVES}
    with torch.no_grad():
        assert float(soft_answers(actor, critics, seen).kl.abs().max()) < 1e-5  # begins as fitted
        jittered(actor)
        kl = soft_answers(actor, critics, seen).kl.mean()
    assert kl > 0.01
    batch = {
        "obs": seen,
        "next_obs": seen,
        "terminated": torch.ones(10, dtype=torch.bool),
        "rewards": torch.zeros(10),
        "actions": torch.zeros(10, 4, dtype=torch.long),
    }
    losses = []
    for kl_weight in (0.0, 2.0):
        module.values = ValueConfig("soft", kl_weight=kl_weight)
        learner = object.__new__(SACLearner)
        settings = SimpleNamespace(gamma=0.9, slot_credit=True, entropy_target=0.5)
        learner.config = SimpleNamespace(learner_config_dict={"settings": settings})
        learner._module = {"user": SimpleNamespace(unwrapped=lambda: module)}
        logged = {}
        learner.metrics = SimpleNamespace(
            log_dict=lambda d, key, window, logged=logged: logged.update(d)
        )
        learner.compute_loss_for_module(module_id="user", config=None, batch=batch, fwd_out=None)
        losses.append(float(logged["policy_loss"].detach()))
    assert losses[1] - losses[0] == pytest.approx(2 * float(kl), rel=1e-3)
