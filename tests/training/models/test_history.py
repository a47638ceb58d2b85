"""Encoders of a visit's events, against a cell stepped by hand and visits without padding."""

import numpy as np
import pytest
import torch
from torch import nn

from recenv.sim.simulator import Simulator
from training.config import NetworkConfig
from training.models.history import GRUEncoder, TransformerEncoder, make_encoder
from training.models.observations import RECOMMENDER_LEAVES
from training.runs.load_policy import make_network

B, H, P, E = 7, 6, 5, 4
KINDS = ("gru", "transformer")


@pytest.fixture
def events():
    """(vectors, items, responses) of visits with 0 to 6 events, latest first."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(B, H, P, generator=generator)
    items = torch.randint(40, (B, H), generator=generator)
    responses = torch.randint(3, (B, H), generator=generator)
    empty = torch.arange(H) >= torch.arange(B)[:, None]
    return vectors, items.masked_fill(empty, -1), responses.masked_fill(empty, -1)


def encoder(kind):
    torch.manual_seed(3)
    return GRUEncoder(P, E) if kind == "gru" else TransformerEncoder(P, E, H)


def test_gru_reads_a_visits_events_as_they_came(events):
    vectors, items, responses = events
    made = encoder("gru")
    cell = nn.GRUCell(P + 3, E)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(made.gru, f"{name}_l0") for name in names})
    out = made(vectors, items, responses)
    for b in range(B):
        state = torch.zeros(E)
        for h in reversed(range(b)):  # visit b has b events; the oldest is the last
            kind = torch.eye(3)[responses[b, h]]
            state = cell(torch.cat([vectors[b, h], kind]), state)
        torch.testing.assert_close(out[b], state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_visit_is_encoded_as_it_would_be_without_padding_and_alone(events, kind):
    vectors, items, responses = events
    made = encoder(kind)
    out = made(vectors, items, responses)
    for b in range(1, B):
        alone = made(vectors[b : b + 1, :b], items[b : b + 1, :b], responses[b : b + 1, :b])
        torch.testing.assert_close(out[b : b + 1], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_event_is_nothing_counts(events, kind):
    vectors, items, responses = events
    made = encoder(kind)
    out = made(vectors, items, responses)
    assert (out[0] == 0).all()
    noise = torch.where((items < 0)[..., None], torch.full_like(vectors, 9.0), vectors)
    assert torch.equal(made(noise, items, responses), out)
    # gaps among the events, in the same order
    spread = torch.tensor([3, 0, 4, 1, 5, 2])  # where each place goes: not in order ...
    spread = torch.stack([torch.cat([spread[:b].sort().values, spread[b:]]) for b in range(B)])
    moved = [torch.empty_like(x) for x in events]
    for x, y in zip(events, moved, strict=True):
        for b in range(B):
            y[b, spread[b]] = x[b]
    torch.testing.assert_close(made(*moved), out)


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_answers_matter(events, kind):
    vectors, items, responses = events
    made = encoder(kind)
    out = made(vectors, items, responses)
    swap = [1, 0, *range(2, H)]
    other = made(vectors[:, swap], items[:, swap], responses[:, swap])
    assert (other - out)[2:].abs().amax(-1).min() > 1e-4
    answered = torch.where(items >= 0, (responses + 1) % 3, -1)
    assert (made(vectors, items, answered) - out)[1:].abs().amax(-1).min() > 1e-4


def observed(world, game, rounds):
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(32))
    for start in range(rounds):
        slates = np.tile(np.arange(start, start + game.slate_size), (32, 1))
        simulator.show(state, slates)
        simulator.respond_fitted(state)
    observation = simulator.recommender_observation(state)
    return {name: torch.from_numpy(observation[name]).clone() for name in RECOMMENDER_LEAVES}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounds", [0, 3])
def test_untrained_networks_score_as_without_an_encoder(world, game, kind, rounds):
    observation = observed(world, game, rounds)
    plain = make_network("recommender", world, game, NetworkConfig())
    network = make_network("recommender", world, game, NetworkConfig(history=kind))
    assert torch.equal(network(observation).scores, plain(observation).scores)


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_learn(world, game, kind):
    """The zero map learns first; then every weight of the encoder does."""
    observation = observed(world, game, 3)
    network = make_network("recommender", world, game, NetworkConfig(history=kind, hidden=16))
    target = torch.randn(32, game.num_candidates, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for step in range(30):
        loss = (network(observation).scores - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        gradients = {n: p.grad for n, p in network.encoder.named_parameters()}
        if step == 0:
            assert network.encoded_map.weight.grad.abs().max() > 0
        if step == 2:
            for name, gradient in gradients.items():
                if name.endswith("tell.bias"):  # no key's bias moves attention
                    gradient = gradient[gradient.shape[0] // 2 :]
                assert gradient.abs().max() > 0, name
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_more_is_remembered_than_what_was_clicked(world, game, kind):
    """Ignored items change a trained encoder's scores, but not the mean of clicked ones."""
    observation = observed(world, game, 3)
    observation["history_responses"].zero_()
    other = {k: v.clone() for k, v in observation.items()}
    unseen = (other["history_items"] + 20) % len(world.catalog)
    other["history_items"] = torch.where(other["history_items"] >= 0, unseen, -1).int()
    for history, changes in (("mean", False), (kind, True)):
        network = make_network("recommender", world, game, NetworkConfig(history=history))
        if network.encoded_map is not None:
            nn.init.normal_(network.encoded_map.weight, generator=torch.manual_seed(0))
        apart = network(other).scores - network(observation).scores
        assert (apart.abs().max() > 1e-3) == changes


def test_mean_needs_no_encoder():
    assert make_encoder("mean", P, 64, H) is None
    assert make_encoder("gru", P, 1, H).width == 2
    assert make_encoder("transformer", P, 64, H).width == 32
