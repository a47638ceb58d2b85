"""Slates against enumeration, finite differences and RLlib's own distributions."""

import itertools

import numpy as np
import pytest
import torch
from ray.rllib.core.distribution.torch.torch_distribution import TorchMultiCategorical

from training.models.distributions import (
    MASKED,
    GreedySlates,
    IndependentSlots,
    PlackettLuce,
    answer_distribution,
    epsilon_greedy,
    slate_distribution,
)

SCORES = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
OTHERS = torch.tensor([0.0, 0.3, 1.0, -0.2], dtype=torch.float64)


def slates(candidates, slots):
    return torch.tensor(list(itertools.permutations(range(candidates), slots)))


def enumerated(scores, slots):
    """(S,) log-probabilities of all slates, by the definition and with its gradient."""
    every = slates(len(scores), slots)
    out = []
    for slate in every.tolist():
        left, log_p = list(range(len(scores))), 0.0
        for index in slate:
            log_p = log_p + scores[index] - torch.logsumexp(scores[left], 0)
            left.remove(index)
        out.append(log_p)
    return torch.stack(out)


def exact_entropy(scores, slots):
    log_p = enumerated(scores, slots)
    return -(log_p.exp() * log_p).sum()


def exact_kl(scores, others, slots):
    log_p, log_q = enumerated(scores, slots), enumerated(others, slots)
    return (log_p.exp() * (log_p - log_q)).sum()


def gradient(function, scores):
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def assert_unbiased(estimates, exact):
    """(S, ...) estimates have the exact mean, within 4.5 of their own standard errors."""
    error = estimates.std(0) / np.sqrt(len(estimates))
    assert ((estimates.mean(0) - exact).abs() < 4.5 * error + 1e-6).all()


@pytest.mark.parametrize(("candidates", "slots"), [(4, 1), (4, 2), (5, 3), (4, 4)])
def test_log_probabilities_are_the_definition_and_sum_to_one(candidates, slots):
    scores = torch.randn(candidates, generator=torch.Generator().manual_seed(1)) * 2
    every = slates(candidates, slots)
    log_p = PlackettLuce(scores.expand(len(every), -1), slots).logp(every)
    torch.testing.assert_close(log_p, enumerated(scores, slots), rtol=1e-4, atol=1e-5)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_log_probabilities_are_right_where_one_candidate_outweighs_all_others():
    """A sum over all minus what was picked would be zero in single precision."""
    scores = torch.tensor([60.0, 0.0, -30.0, -31.0, 1.0])
    every = slates(5, 3)
    log_p = PlackettLuce(scores.expand(len(every), -1), 3).logp(every)
    wanted = enumerated(scores.double(), 3)
    np.testing.assert_allclose(log_p, wanted, rtol=1e-5, atol=1e-5)


def test_a_slate_with_a_repeat_is_impossible():
    log_p = PlackettLuce(torch.randn(2, 5), 3).logp(torch.tensor([[1, 2, 1], [3, 3, 3]]))
    assert (log_p <= MASKED).all()


def test_samples_have_the_enumerated_frequencies():
    torch.manual_seed(0)
    scores = torch.tensor([1.0, 0.0, -0.5, 0.7])
    every = slates(4, 2)
    probability = enumerated(scores, 2).exp().numpy()
    drawn = PlackettLuce(scores, 2).sample(sample_shape=(60_000,))
    codes = (drawn[:, 0] * 4 + drawn[:, 1]).numpy()
    counts = np.bincount(codes, minlength=16)[(every[:, 0] * 4 + every[:, 1]).numpy()]
    assert counts.sum() == 60_000  # never a repeat
    chi2 = ((counts - 60_000 * probability) ** 2 / (60_000 * probability)).sum()
    assert chi2 < 31.3  # 99.9 % of chi-squared with 11 degrees of freedom


@pytest.mark.parametrize("slots", [1, 3, 6])
def test_gradient_is_the_finite_difference(slots):
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    slate = torch.stack([torch.randperm(6)[:slots] for _ in range(2)])
    assert torch.autograd.gradcheck(lambda s: PlackettLuce(s, slots).slot_logp(slate), scores)


def test_gradient_of_entropy_and_kl_along_a_slate_is_the_finite_difference(monkeypatch):
    """Without what the draw depends on: that is tested against enumeration below."""
    slate = torch.tensor([[3, 0, 5], [1, 2, 4]])
    monkeypatch.setattr(PlackettLuce, "_drawn", lambda self: slate)
    monkeypatch.setattr("training.models.distributions._chained", lambda values, log_p: values)
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    others = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: PlackettLuce(s, 3).entropy(), scores)
    assert torch.autograd.gradcheck(
        lambda s, o: PlackettLuce(s, 3).kl(PlackettLuce(o, 3)), (scores, others)
    )


def test_mode_is_the_best_candidates_best_first():
    scores = torch.tensor([[0.1, 3.0, -1.0, 2.0]])
    assert PlackettLuce(scores, 3).to_deterministic().sample().tolist() == [[1, 3, 0]]


def test_masked_candidates_are_never_drawn_and_gradients_stay_finite():
    scores = torch.tensor([[0.3, MASKED, 0.1, 0.2]]).expand(500, -1).clone().requires_grad_()
    distribution = PlackettLuce(scores, 3)
    drawn = distribution.sample()
    assert not (drawn == 1).any()
    kl = distribution.kl(PlackettLuce(torch.zeros_like(scores).add(scores.detach() * 2), 3))
    (distribution.logp(drawn).sum() + distribution.entropy().sum() + kl.sum()).backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[:, 1] == 0).all()


def test_masked_candidates_count_for_nothing():
    """As many slates, entropy and divergence as without them."""
    mask = torch.tensor([True, False, True, True, True])
    scores = torch.full((5,), MASKED, dtype=torch.float64).masked_scatter(mask, SCORES)
    others = torch.full((5,), MASKED, dtype=torch.float64).masked_scatter(mask, OTHERS)
    every = slates(5, 2)
    p = PlackettLuce(scores.expand(len(every), -1), 2).logp(every).exp()
    assert (p[(every == 1).any(-1)] == 0).all()
    torch.testing.assert_close(p[(every != 1).all(-1)], enumerated(SCORES, 2).exp())
    torch.manual_seed(0)
    many = PlackettLuce(scores.expand(4000, -1), 2)
    assert_unbiased(many.entropy(), exact_entropy(SCORES, 2))
    estimates = many.kl(PlackettLuce(others.expand(4000, -1), 2))
    assert_unbiased(estimates, exact_kl(SCORES, OTHERS, 2))


def test_entropy_and_kl_are_exact_for_one_slot():
    one = PlackettLuce(SCORES[None], 1)
    assert one.entropy().item() == pytest.approx(exact_entropy(SCORES, 1).item(), abs=1e-12)
    kl = one.kl(PlackettLuce(OTHERS[None], 1)).item()
    assert kl == pytest.approx(exact_kl(SCORES, OTHERS, 1).item(), abs=1e-12)
    assert (
        PlackettLuce(SCORES.expand(9, -1), 3).kl(PlackettLuce(SCORES.expand(9, -1), 3)).eq(0).all()
    )


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_entropy_is_unbiased_in_value_and_gradient(slots):
    torch.manual_seed(slots)
    leaf = SCORES.expand(30_000, -1).clone().requires_grad_()
    estimates = PlackettLuce(leaf, slots).entropy()
    assert_unbiased(estimates.detach(), exact_entropy(SCORES, slots))
    each = torch.autograd.grad(estimates.sum(), leaf)[0]  # of 30 000 estimates
    assert_unbiased(each, gradient(lambda s: exact_entropy(s, slots), SCORES))


def test_the_gradient_of_entropy_is_not_lost_in_noise():
    """With 50 candidates what the draw depends on is small; without a baseline its noise is not."""
    torch.manual_seed(0)
    leaf = torch.randn(50).expand(4000, -1).clone().requires_grad_()
    each = torch.autograd.grad(PlackettLuce(leaf, 5).entropy().sum(), leaf)[0]
    noise = (each - each.mean(0)).square().sum(-1).mean().sqrt()
    assert noise < 3 * each.mean(0).norm()  # without the baseline more than ten times


@pytest.mark.parametrize("slots", [2, 3])
def test_kl_is_unbiased_in_value_and_gradients(slots):
    torch.manual_seed(slots)
    leaf = SCORES.expand(30_000, -1).clone().requires_grad_()
    other = OTHERS.expand(30_000, -1).clone().requires_grad_()
    estimates = PlackettLuce(leaf, slots).kl(PlackettLuce(other, slots))
    assert_unbiased(estimates.detach(), exact_kl(SCORES, OTHERS, slots))
    mine, theirs = torch.autograd.grad(estimates.sum(), (leaf, other))
    assert_unbiased(mine, gradient(lambda s: exact_kl(s, OTHERS, slots), SCORES))
    assert_unbiased(theirs, gradient(lambda s: exact_kl(SCORES, s, slots), OTHERS))


def by_slot(slots=3, candidates=4, batch=6):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, slots * candidates, generator=generator, dtype=torch.float64)


def test_independent_slots_are_rllibs_multi_categorical():
    logits, others = by_slot(), by_slot().flip(0)
    ours, theirs = IndependentSlots(logits, 3), IndependentSlots(others, 3)
    lengths = [4, 4, 4]
    stock = TorchMultiCategorical.from_logits(logits, input_lens=lengths)
    stock_others = TorchMultiCategorical.from_logits(others, input_lens=lengths)
    slate = ours.sample()
    assert slate.shape == (6, 3)
    torch.testing.assert_close(ours.logp(slate), stock.logp(slate))
    torch.testing.assert_close(ours.slot_logp(slate).sum(-1), stock.logp(slate))
    torch.testing.assert_close(ours.entropy(), stock.entropy())
    torch.testing.assert_close(ours.kl(theirs), stock.kl(stock_others))
    wanted = stock.to_deterministic().sample()
    torch.testing.assert_close(ours.to_deterministic().sample(), wanted)


def test_independent_slots_sum_to_one_over_all_slates_with_repeats():
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    logits = by_slot()[:1].expand(len(every), -1)
    assert IndependentSlots(logits, 3).logp(every).exp().sum().item() == pytest.approx(1)
    leaf = by_slot(batch=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: IndependentSlots(s, 3).logp(every[[5, 62]]), leaf)


def test_independent_slots_repeat_and_respect_masks():
    torch.manual_seed(0)
    logits = by_slot()[:1].clone()
    logits[:, [1, 5, 9]] = MASKED  # candidate 1 in every slot
    drawn = IndependentSlots(logits, 3).sample(sample_shape=(3000,))[:, 0]
    assert not (drawn == 1).any()
    assert (drawn[:, 0] == drawn[:, 1]).any()
    frequency = np.bincount(drawn[:, 2], minlength=4) / 3000
    np.testing.assert_allclose(frequency, torch.softmax(logits[0, 8:], -1), atol=0.04)


def test_greedy_slates_are_the_best_and_sometimes_any():
    torch.manual_seed(0)
    scores = torch.tensor([0.1, 3.0, MASKED, 2.0, -1.0])
    assert GreedySlates(scores, 2).sample().tolist() == [1, 3]
    assert GreedySlates(scores, 2).to_deterministic().sample().tolist() == [1, 3]
    drawn = GreedySlates(scores, 2, 0.4).sample(sample_shape=(20_000,))
    assert not (drawn == 2).any()
    every = slates(5, 2)
    every = every[(every != 2).all(-1)]  # 12 slates
    counts = torch.stack([(drawn == slate).all(-1).sum() for slate in every])
    assert counts.sum() == 20_000  # never a repeat
    expected = torch.full((12,), 20_000 * 0.4 / 12)
    expected[(every == torch.tensor([1, 3])).all(-1)] += 20_000 * 0.6
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 31.3  # 99.9 % of chi-squared with 11 degrees of freedom
    log_p = GreedySlates(scores.expand(12, -1), 2, 0.4).logp(every)
    torch.testing.assert_close(log_p.exp(), expected / 20_000)
    assert log_p.exp().sum().item() == pytest.approx(1)
    entropy = -(log_p.exp() * log_p).sum()
    torch.testing.assert_close(GreedySlates(scores, 2, 0.4).entropy(), entropy)


def test_greedy_slates_without_exploration_have_no_entropy():
    scores = torch.randn(3, 6)
    greedy = GreedySlates(scores, 2)
    assert (greedy.entropy() == 0).all()
    assert (greedy.logp(greedy.sample()) == 0).all()
    assert (greedy.logp(scores.argsort(-1)[:, :2]) == MASKED).all()  # the worst instead


def test_every_slate_has_an_epsilon_of_its_own():
    torch.manual_seed(0)
    scores = torch.randn(4000, 30)
    epsilon = torch.arange(4000) % 2 * 1.0
    best = scores.topk(3).indices
    same = (epsilon_greedy(scores, 3, epsilon) == best).all(-1)
    assert same[epsilon == 0].all()
    assert same[epsilon == 1].float().mean() < 0.01


def test_rllib_makes_them_from_logits_alone():
    logits = torch.randn(7, 9)
    drawn = slate_distribution(4).from_logits(logits).sample()
    assert drawn.shape == (7, 4)
    assert slate_distribution(1).from_logits(logits).sample().shape == (7,)
    assert slate_distribution(4, "greedy", epsilon=0.5).from_logits(logits).sample().shape == (7, 4)
    one = slate_distribution(1, "greedy", epsilon=0.5).from_logits(logits)
    assert one.logp(one.sample()).shape == one.sample().shape == (7,)
    slots = slate_distribution(3, "independent").from_logits(logits)
    assert slots.sample().shape == (7, 3)
    assert slots.sample().max() < 3
    assert slate_distribution(1, "independent") is slate_distribution(1)
    answers = answer_distribution(2).from_logits(torch.randn(7, 8)).sample()
    assert answers.shape == (7, 3)
    assert (answers[:, -1] < 2).all()
    assert answer_distribution(1).from_logits(torch.randn(7, 6)).sample().max() < 6
