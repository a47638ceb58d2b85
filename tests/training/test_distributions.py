"""Plackett-Luce against enumeration and finite differences."""

import itertools

import numpy as np
import pytest
import torch

from training.distributions import (
    MASKED,
    PlackettLuce,
    answer_distribution,
    slate_distribution,
)


def slates(candidates, slots):
    return torch.tensor(list(itertools.permutations(range(candidates), slots)))


def direct_probability(scores, slate):
    """The definition, slot by slot, in plain float64."""
    weights = np.exp(np.asarray(scores, np.float64))
    left, out = weights.sum(), 1.0
    for index in slate:
        out *= weights[index] / left
        left -= weights[index]
    return out


@pytest.mark.parametrize(("candidates", "slots"), [(4, 1), (4, 2), (5, 3), (4, 4)])
def test_log_probabilities_are_the_definition_and_sum_to_one(candidates, slots):
    scores = torch.randn(candidates, generator=torch.Generator().manual_seed(1)) * 2
    every = slates(candidates, slots)
    log_p = PlackettLuce(scores.expand(len(every), -1), slots).logp(every)
    wanted = [direct_probability(scores, slate) for slate in every.tolist()]
    np.testing.assert_allclose(log_p.exp(), wanted, rtol=1e-4)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_samples_have_the_enumerated_frequencies():
    torch.manual_seed(0)
    scores = torch.tensor([1.0, 0.0, -0.5, 0.7])
    every = slates(4, 2)
    probability = PlackettLuce(scores.expand(len(every), -1), 2).logp(every).exp().numpy()
    drawn = PlackettLuce(scores, 2).sample(sample_shape=(60_000,))
    codes = (drawn[:, 0] * 4 + drawn[:, 1]).numpy()
    counts = np.bincount(codes, minlength=16)[(every[:, 0] * 4 + every[:, 1]).numpy()]
    assert counts.sum() == 60_000  # never a repeat
    chi2 = ((counts - 60_000 * probability) ** 2 / (60_000 * probability)).sum()
    assert chi2 < 31.3  # 99.9 % of chi-squared with 11 degrees of freedom


def test_gradient_is_the_finite_difference():
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    slate = torch.tensor([[3, 0, 5], [1, 2, 4]])
    assert torch.autograd.gradcheck(lambda s: PlackettLuce(s, 3).logp(slate), scores)


def test_mode_is_the_best_candidates_best_first():
    scores = torch.tensor([[0.1, 3.0, -1.0, 2.0]])
    assert PlackettLuce(scores, 3).to_deterministic().sample().tolist() == [[1, 3, 0]]


def test_masked_candidates_are_never_drawn_and_gradients_stay_finite():
    scores = torch.tensor([[0.3, MASKED, 0.1, 0.2]]).expand(500, -1).clone().requires_grad_()
    distribution = PlackettLuce(scores, 3)
    drawn = distribution.sample()
    assert not (drawn == 1).any()
    (distribution.logp(drawn).sum() + distribution.entropy().sum()).backward()
    assert torch.isfinite(scores.grad).all()


def exact_entropy(scores, slots):
    every = slates(len(scores), slots)
    log_p = PlackettLuce(scores.expand(len(every), -1), slots).logp(every)
    return -(log_p.exp() * log_p).sum()


def test_entropy_is_exact_for_one_slot_and_unbiased_for_more():
    torch.manual_seed(0)
    scores = torch.tensor([0.5, -1.0, 2.0, 0.0])
    one = PlackettLuce(scores[None], 1).entropy()
    assert one.item() == pytest.approx(exact_entropy(scores, 1).item(), abs=1e-5)
    estimates = PlackettLuce(scores.expand(20_000, -1), 3).entropy()
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - exact_entropy(scores, 3)) < 4 * error + 1e-4


def test_kl_is_unbiased_and_zero_for_itself():
    torch.manual_seed(0)
    p, q = torch.tensor([0.5, -1.0, 2.0, 0.0]), torch.tensor([0.0, 0.3, 1.0, -0.2])
    every = slates(4, 2)
    log_p = PlackettLuce(p.expand(len(every), -1), 2).logp(every)
    log_q = PlackettLuce(q.expand(len(every), -1), 2).logp(every)
    exact = (log_p.exp() * (log_p - log_q)).sum()
    many = PlackettLuce(p.expand(20_000, -1), 2)
    estimates = many.kl(PlackettLuce(q.expand(20_000, -1), 2))
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - exact) < 4 * error + 1e-4
    torch.testing.assert_close(many.kl(many), torch.zeros(20_000))


def test_rllib_makes_them_from_logits_alone():
    logits = torch.randn(7, 9)
    drawn = slate_distribution(4).from_logits(logits).sample()
    assert drawn.shape == (7, 4)
    assert slate_distribution(1).from_logits(logits).sample().shape == (7,)
    answers = answer_distribution(2).from_logits(torch.randn(7, 8)).sample()
    assert answers.shape == (7, 3)
    assert (answers[:, -1] < 2).all()
    assert answer_distribution(1).from_logits(torch.randn(7, 6)).sample().max() < 6
