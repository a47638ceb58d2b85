"""Searches for slates against the enumeration of all of them."""

import itertools
import math

import pytest
import torch

from training.models.slate_search import click_probabilities, ranked, search_slates

C, K, B = 6, 3, 60
ALL = list(itertools.permutations(range(C), K))


def cases(seed, negative=False):
    """(B, C) appeals and values, and examinations that fall."""
    generator = torch.Generator().manual_seed(seed)
    appeal = 2 * torch.randn(B, C, generator=generator)
    value = 3 * torch.rand(B, C, generator=generator) - (1.5 if negative else 0)
    return appeal, value, torch.tensor([1.0, 0.7, 0.4])


def value_of(slate, appeal, value, examination, choice):
    """The value of one slate, in plain numbers from the formula."""
    if choice == "independent":
        return sum(
            e / (1 + math.exp(-appeal[i])) * value[i]
            for i, e in zip(slate, examination, strict=True)
        )
    odds = [e * math.exp(appeal[i]) for i, e in zip(slate, examination, strict=True)]
    return sum(o * value[i] for i, o in zip(slate, odds, strict=True)) / (1 + sum(odds))


def found_and_best(how, choice, seed=0, negative=False):
    """(B,) values of the slates that a search finds, and of the best ones."""
    appeal, value, examination = cases(seed, negative)
    slates = search_slates(appeal, value, examination, choice, how).tolist()
    found, best = [], []
    for slate, a, v in zip(slates, appeal.tolist(), value.tolist(), strict=True):
        assert len(set(slate)) == K
        found.append(value_of(slate, a, v, examination.tolist(), choice))
        best.append(max(value_of(s, a, v, examination.tolist(), choice) for s in ALL))
    return torch.tensor(found), torch.tensor(best)


@pytest.mark.parametrize("how", ["topk", "greedy"])
def test_of_independent_clicks_both_searches_find_the_best_slate(how):
    found, best = found_and_best(how, "independent")
    torch.testing.assert_close(found, best, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_of_a_single_choice_the_exact_search_finds_the_best_slate(seed, negative):
    found, best = found_and_best("exact", "single", seed, negative)
    torch.testing.assert_close(found, best, rtol=1e-5, atol=1e-5)


def test_exact_search_puts_the_best_where_one_looks():
    appeal, value, _ = cases(0)
    looked = torch.tensor([0.2, 1.0, 0.6])
    slates = search_slates(appeal, value, looked, "single", "exact").tolist()
    for slate, a, v in zip(slates, appeal.tolist(), value.tolist(), strict=True):
        found = value_of(slate, a, v, looked.tolist(), "single")
        best = max(value_of(s, a, v, looked.tolist(), "single") for s in ALL)
        assert found == pytest.approx(best, rel=1e-5)


def test_of_a_single_choice_greedy_is_nearly_best_and_topk_is_not():
    greedy, best = found_and_best("greedy", "single")
    topk, _ = found_and_best("topk", "single")
    for found in (greedy, topk):
        assert (found <= best + 1e-6).all()
        assert (found < best - 1e-4).any()  # heuristics both
    assert (greedy / best).mean() > 0.995
    assert 0.7 < (topk / best).mean() < 0.95
    assert (greedy >= topk - 1e-6).all()


def test_topk_of_a_single_choice_can_be_halved_by_an_item_that_steals_the_clicks():
    """A much clicked item of little value is in the top K, and takes the clicks from a better."""
    appeal = torch.tensor([[6.0, 0.0, -6.0]])
    value = torch.tensor([[0.4, 8.0, 7.9]])
    looked = torch.ones(2)
    shown = {h: search_slates(appeal, value, looked, "single", h) for h in ("topk", "exact")}
    worth = {
        h: value_of(s[0].tolist(), appeal[0].tolist(), value[0].tolist(), [1, 1], "single")
        for h, s in shown.items()
    }
    assert set(shown["topk"][0].tolist()) == {0, 1}
    assert worth["topk"] < worth["exact"] / 2


@pytest.mark.parametrize("choice", ["independent", "single"])
def test_click_probabilities_are_the_formulas(choice):
    appeal, _, examination = cases(3)
    p = click_probabilities(appeal[:, :K], examination, choice)
    for row, a in zip(p.tolist(), appeal[:, :K].tolist(), strict=True):
        ones = [[float(i == k) for i in range(K)] for k in range(K)]
        expected = [
            value_of(range(K), a, one, examination.tolist(), choice) for one in ones
        ]  # worth 1 in one slot alone
        assert row == pytest.approx(expected, rel=1e-5)


def test_click_probabilities_of_extreme_appeals_are_numbers_with_gradients():
    appeal = torch.tensor([[-80.0, 0.0, 80.0]], requires_grad=True)
    for choice in ("independent", "single"):
        p = click_probabilities(appeal, torch.ones(3), choice)
        (gradient,) = torch.autograd.grad(p.log().clamp(min=-20).sum(), appeal)
        assert torch.isfinite(p).all()
        assert torch.isfinite(gradient).all()


def test_scores_of_a_slate_rank_it_first_in_its_order():
    appeal, value, examination = cases(5)
    slates = search_slates(appeal, value, examination, "single", "greedy")
    worth = torch.sigmoid(appeal) * value
    scores = ranked(slates, worth)
    torch.testing.assert_close(scores.topk(K, -1).indices, slates, rtol=0, atol=0)
    for row in range(B):  # the others keep their order
        others = [c for c in worth[row].argsort(descending=True).tolist() if c not in slates[row]]
        assert scores[row].argsort(descending=True)[K:].tolist() == others
