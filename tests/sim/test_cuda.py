"""The GPU against the CPU: the same draws, the same laws, the same visits.

Without a GPU these are skipped here and run in numba's simulator by ``test_cuda_simulated.py``.
"""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest

from recenv import rng
from recenv.config import GameConfig
from recenv.errors import ActionError, ConfigError
from recenv.sim import EMPTY, Simulator
from recenv.users.duration_law import DurationLaw
from recenv.users.repeat_law import RepeatLaw

torch = pytest.importorskip("torch")
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
if not SIMULATED and not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)

from recenv.sim import cuda as sim_cuda
from recenv.sim.cuda import CudaSimulator

DEVICE = "cpu" if SIMULATED else "cuda"
B = 8 if SIMULATED else 4096
ROUNDS = 7 if SIMULATED else 40
TOLERANCE = 1e-5
GAME = GameConfig(slate_size=4, num_candidates=12, max_rounds=6, history_length=7)
SPICY = GAME.replace(
    reward={"purchase_by_value": True, "behaviour_weight": 0.3, "cooperation": -0.6}
)
GAMES = {  # and whether the world has every law
    "default": (GAME, False),
    "every law, all rewards": (SPICY, True),
    "every law, codes, int8": (GAME.replace(vectors=False, item_table="int8"), True),
}
PLAYED = [  # each is compiled anew, which takes a minute or two
    pytest.param(*GAMES[name], id=name, marks=[pytest.mark.slow] if "int8" in name else [])
    for name in GAMES
]


def every_law(world):
    """The world with visits that need something, personal pasts and a funnel."""
    users, draw = world.num_users, np.random.default_rng(0)
    past = draw.integers(0, [[users], [len(world.catalog)], [5]], size=(3, 3000))
    length = DurationLaw(np.full(6, -1.5, np.float32), np.zeros(users, np.float32), first=1, l2=1.0)
    model = dataclasses.replace(
        world.user_model,
        repeat=RepeatLaw.at_end(*past, users, weights=(0.7,), half_lives=(5.0,)),
        visit_length=length,
        dynamics=world.user_model.dynamics._replace(
            drift_rate=0.2, boredom_weight=1.5, again=-0.5, funnel=0.8
        ),
    )
    return dataclasses.replace(world, user_model=model)


@pytest.fixture
def row_by_row(monkeypatch):
    """Plays a little without threads, so that the simulator of a GPU finds all compiled.

    It waits for its threads in a loop that takes half of the time of one that compiles.
    """

    def play(world, game, *, step):
        if not SIMULATED:
            return
        with monkeypatch.context() as patch:
            patch.setattr(sim_cuda, "_launch", launch)
            gpu = CudaSimulator(world, game)
            state = gpu.reset(np.arange(B))
            slates = torch.zeros((B, game.slate_size), dtype=torch.int64)
            if step:
                gpu.step(state, slates)
            gpu.show(state, slates)
            gpu.respond_fitted(state)
            gpu.next_visits(state, np.arange(B))

    def launch(kernel, count, *args):
        own = kernel.fn.__globals__
        for row in range(count):
            with monkeypatch.context() as patch:
                patch.setitem(own, "cuda", SimpleNamespace(grid=lambda _, row=row: row))
                kernel.fn(count, *args)

    return play


def on_host(state):
    names = state.tensors._fields
    return {n: t.cpu().numpy() for n, t in zip(names, state.tensors, strict=True)}


def differing(cpu, gpu):
    """(B,) whether a row differs: any in whole numbers, beyond the tolerance in fractions."""
    rows = np.zeros(len(cpu.key), bool)
    for name, expected in cpu._asdict().items():
        got = gpu[name].view(expected.dtype)
        if expected.dtype.kind == "f":
            close = np.abs(got - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))
        else:
            close = got == expected
        rows |= ~close.reshape(len(rows), -1).all(axis=1)
    return rows


def near_a_draw(state):
    """(B,) whether one of the answer's probabilities lies within the tolerance of its draw."""
    slots = state.slate.shape[1]
    chance = state.behaviour[:, :-2].reshape(len(state.key), slots, 3)
    edges = np.stack([chance[..., 2], chance[..., 2] + chance[..., 1]], axis=-1)
    draws = rng.uniforms(state.key, state.round, rng.ANSWER, slots)[..., None]
    leave = rng.uniforms(state.key, state.round, rng.LEAVE, 1)[:, 0]
    near = (np.abs(edges - draws) <= 2 * TOLERANCE).any(axis=(1, 2))
    return near | (np.abs(state.behaviour[:, -1] - leave) <= 2 * TOLERANCE)


@pytest.mark.parametrize(("game", "lawful"), PLAYED)
def test_visits_are_those_of_the_cpu(toy, game, lawful, row_by_row, record_property):
    world = every_law(toy) if lawful else toy
    row_by_row(world, game, step=False)
    cpu, gpu = Simulator(world, game), CudaSimulator(world, game)
    seeds = np.arange(B)
    a, b = cpu.reset(seeds), gpu.reset(seeds)
    draw = np.random.default_rng(1)
    apart = differing(a, on_host(b))
    assert not apart.any()  # nothing is computed yet but draws
    flipped = 0
    for _ in range(ROUNDS):
        slates = draw.integers(-1, game.num_candidates, size=(B, game.slate_size))
        cpu.show(a, slates)
        gpu.show(b, torch.from_numpy(slates).to(DEVICE))
        assert not (differing(a, on_host(b)) & ~apart).any()
        near = near_a_draw(a)
        cpu.respond_fitted(a)
        gpu.respond_fitted(b)
        now = differing(a, on_host(b)) & ~apart
        assert not (now & ~near).any()  # only a rounded probability may change an answer
        flipped += int(now.sum())
        apart |= now
        ended = np.flatnonzero(a.ended)
        cpu.next_visits(a, ended)
        gpu.next_visits(b, np.flatnonzero(on_host(b)["ended"]))
    record_property("rows that an answer near its draw led apart", f"{flipped} of {B}")
    print(f"{flipped} of {B} rows led apart in {ROUNDS} rounds by an answer near its draw")
    assert flipped <= B * ROUNDS * GAME.slate_size * 1e-4
    if SIMULATED:
        assert flipped == 0


def test_one_pass_is_show_and_respond(toy, row_by_row):
    row_by_row(toy, GAME, step=True)
    gpu = CudaSimulator(toy, GAME)
    a, b = gpu.reset(np.arange(B)), gpu.reset(np.arange(B))
    slates = torch.arange(4, device=DEVICE).repeat(B, 1)
    for _ in range(4):
        gpu.step(a, slates)
        gpu.show(b, slates)
        gpu.respond_fitted(b)
        for x, y in zip(a.tensors, b.tensors, strict=True):
            assert torch.equal(x, y)
        for x, y in zip(gpu.outcome(a), gpu.outcome(b), strict=True):
            assert torch.equal(x, y)


def test_autoreset_begins_the_next_visit(toy):
    cpu, gpu = Simulator(toy, GAME), CudaSimulator(toy, GAME)
    a, b = cpu.reset(np.arange(B)), gpu.reset(np.arange(B))
    slates = np.tile(np.arange(4), (B, 1))
    for _ in range(9):
        cpu.step(a, slates, autoreset=True)
        gpu.step(b, torch.from_numpy(slates).to(DEVICE), autoreset=True)
    together = ~differing(a, on_host(b))
    assert together.mean() > 0.99
    assert a.session.max() > 0


def test_observations_are_the_state(toy):
    cpu, gpu = Simulator(toy, GAME), CudaSimulator(toy, GAME)
    a, b = cpu.reset(np.arange(B)), gpu.reset(np.arange(B))
    slates = np.tile(np.arange(4), (B, 1))
    cpu.show(a, slates)
    gpu.show(b, torch.from_numpy(slates).to(DEVICE))
    for name in ("recommender_observation", "user_observation"):
        expected, got = getattr(cpu, name)(a), getattr(gpu, name)(b)
        assert expected.keys() == got.keys()
        for leaf, values in expected.items():
            np.testing.assert_allclose(got[leaf].cpu().numpy(), values, atol=TOLERANCE)
        shared = getattr(gpu, name)(b, copy=False)
        assert shared["round"].data_ptr() == b.tensors.round.data_ptr()
        assert got["round"].data_ptr() != b.tensors.round.data_ptr()


def test_chosen_users_and_answers(toy):
    cpu, gpu = Simulator(toy, GAME), CudaSimulator(toy, GAME)
    users = np.arange(B) % 7
    a, b = cpu.reset([5] * B, users, sessions=9), gpu.reset([5] * B, users, sessions=9)
    slates = np.tile([3, 1, -1, 1], (B, 1))
    answers = np.tile([1, 2, 0, 2, 0], (B, 1))
    cpu.show(a, slates)
    cpu.respond(a, answers)
    gpu.show(b, torch.from_numpy(slates).to(DEVICE))
    gpu.respond(b, torch.from_numpy(answers).to(DEVICE))
    assert not differing(a, on_host(b)).any()
    assert (on_host(b)["last_slate"][:, 3] == EMPTY).all()


def test_wrong_input_is_named(toy):
    gpu = CudaSimulator(toy, GAME)
    state = gpu.reset([0, 1])
    with pytest.raises(ActionError, match=r"shape \(2, 4\)"):
        gpu.show(state, torch.zeros((2, 3), dtype=torch.int64, device=DEVICE))
    with pytest.raises(ActionError, match="float32"):
        gpu.show(state, torch.zeros((2, 4), device=DEVICE))
    with pytest.raises(ActionError, match=r"lie in \[-1, 11\], but reach from 0 to 12"):
        gpu.show(state, torch.tensor([[0, 1, 2, 12]] * 2, device=DEVICE))
    with pytest.raises(ActionError, match="last column"):
        gpu.respond(state, torch.tensor([[0, 0, 0, 0, 2]] * 2, device=DEVICE))
    with pytest.raises(ConfigError, match="There is no user 200"):
        gpu.reset([0], [200])


@pytest.mark.skipif(SIMULATED, reason="the simulator has no graphs")
def test_steps_can_be_captured_in_a_graph(toy):
    gpu = CudaSimulator(toy, GAME)
    a, b = gpu.reset(np.arange(B)), gpu.reset(np.arange(B))
    slates = torch.arange(4, device=DEVICE).repeat(B, 1)
    gpu.step(a, slates, autoreset=True, check=False)  # compiled before it is captured
    gpu.step(b, slates, autoreset=True, check=False)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gpu.step(a, slates, autoreset=True, check=False)
    for _ in range(5):
        graph.replay()
        gpu.step(b, slates, autoreset=True, check=False)
    torch.cuda.synchronize()
    for x, y in zip(a.tensors, b.tensors, strict=True):
        assert torch.equal(x, y)
