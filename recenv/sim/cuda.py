# numba infers the types of the kernels; they are documented where they are called
# ruff: noqa: ANN001, ANN202
"""GPU simulator: the game as CUDA kernels, on memory shared with torch.

The kernels give each visit one thread, which runs the loop of ``recenv.sim.kernels`` for
one row: the very functions that the CPU runs, compiled by numba-cuda. The state's arrays lie
with the batch dimension fastest, so that neighbouring threads read neighbouring numbers.

Needs torch with CUDA and numba-cuda (``pip install recenv[cuda]``). With
``NUMBA_ENABLE_CUDASIM=1`` numba's simulator runs all of it on a CPU, thread by thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.errors import ActionError, ConfigError, MissingDependencyError
from recenv.sim import kernels
from recenv.sim.observation import RECOMMENDER_FIELDS, Leaf
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import EMPTY, LEFT, TRUNCATED, State
from recenv.world import World

try:
    import numba.cuda
    import torch
except ImportError as error:
    raise MissingDependencyError("torch and numba-cuda", "cuda", "Stepping on a GPU") from error

cuda: Any = numba.cuda

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
"""Whether numba simulates the GPU: arrays are then numpy's, tensors torch's on the CPU."""

_BLOCK = 8 if SIMULATED else 128  # threads of a block; simulated ones are slow

TensorDict = dict[str, "torch.Tensor"]


# Arrays come in tuples: the simulator would wrap those that are arguments by themselves in a type
# that the functions compiled for the CPU, which it calls, do not know.


@cuda.jit
def _begin(count, given, tables, state):
    i = cuda.grid(1)
    if i < count:
        rows, seeds, sessions, users, rules = given
        kernels.begin(i, i + 1, rows, seeds, sessions, users, tables, rules, state)


@cuda.jit
def _next_visits(count, given, tables, state):
    i = cuda.grid(1)
    if i < count:
        rows, rules = given
        kernels.next_visits(i, i + 1, rows, tables, rules, state)


@cuda.jit
def _show(count, given, tables, state):
    b = cuda.grid(1)
    if b < count:
        slates, rules = given
        kernels.show(b, b + 1, slates, tables, rules, state)


@cuda.jit
def _draw_answers(count, given, state):
    b = cuda.grid(1)
    if b < count:
        kernels.draw_answers(b, b + 1, state, given[0])


@cuda.jit
def _respond(count, given, tables, state):
    b = cuda.grid(1)
    if b < count:
        answers, rules = given
        kernels.respond(b, b + 1, answers, tables, rules, state)


@cuda.jit
def _step(count, autoreset, given, tables, state):
    b = cuda.grid(1)
    if b < count:
        slates, rules = given
        kernels.step_alone(b, b + 1, slates, autoreset, tables, rules, state)


class DeviceState(NamedTuple):
    """B visits on a GPU. The arrays that kernels step and the tensors are the same memory."""

    arrays: State
    tensors: Any
    """``State`` of torch tensors; ``seed``, ``session`` and ``key`` as int64 of the same bits."""
    slates: tuple[Any, torch.Tensor]
    """(B, K) int64 buffer, as array and tensor."""
    answers: tuple[Any, torch.Tensor]
    """(B, K + 1) int64 buffer, as array and tensor."""

    @property
    def batch(self) -> int:
        """B."""
        return len(self.tensors.user)


class CudaSimulator:
    """Steps visits on a GPU; the methods are those of ``Simulator``, with torch tensors.

    Draws are the same bits as on a CPU. Probabilities may differ in their last bits, because a
    GPU fuses multiplication and addition: an answer differs where such a difference lies between
    a probability and its draw.

    All work is queued on torch's current stream, and nothing waits for it unless ``check``
    reads actions back: with ``check=False`` steps can be captured in a ``torch.cuda.graph``,
    which takes away the time to launch them.

    Args:
        world: users, items and laws.
        game: rules of a visit.
        user_sees: see ``Simulator``.

    Raises:
        ConfigError: the game does not fit the world, or there is no GPU.
        MissingDependencyError: torch or numba-cuda is not installed (on import).
    """

    def __init__(self, world: World, game: GameConfig, *, user_sees: bool = True) -> None:
        if not SIMULATED and not cuda.is_available():
            raise ConfigError(
                "There is no GPU that numba-cuda can use here. Use Simulator, or set "
                "NUMBA_ENABLE_CUDASIM=1 before Python starts to try the code without one."
            )
        self.host = Simulator(world, game, user_sees=user_sees)
        self.world, self.game = self.host.world, game
        self.tables = type(self.host.tables)(*map(_upload, self.host.tables))
        self.rules = _upload(self.host.rules)

    @property
    def recommender_leaves(self) -> dict[str, Leaf]:
        """Entries of the recommender's observation."""
        return self.host.recommender_leaves

    @property
    def user_leaves(self) -> dict[str, Leaf]:
        """Entries of the user's observation."""
        return self.host.user_leaves

    @property
    def bytes_per_visit(self) -> int:
        """See ``Simulator``."""
        return self.host.bytes_per_visit

    def reset(
        self,
        seeds: npt.ArrayLike,
        users: npt.ArrayLike | None = None,
        *,
        sessions: npt.ArrayLike = 0,
    ) -> DeviceState:
        """See ``Simulator.reset``; seeds and users are given on the host."""
        seeds = np.atleast_1d(np.asarray(seeds))
        state = self.allocate(len(seeds))
        self.reset_rows(state, np.arange(len(seeds)), seeds, users, sessions=sessions)
        return state

    def allocate(self, batch: int) -> DeviceState:
        """State of ``batch`` visits that have not begun; ``reset_rows`` begins them."""
        arrays, tensors = {}, {}
        for name, field in self.host.fields.items():
            arrays[name], tensors[name] = _memory((batch, *field.shape), np.dtype(field.dtype))
            tensors[name].fill_(field.blank)
        k = self.game.slate_size
        whole = np.dtype(np.int64)
        return DeviceState(
            State(**arrays),
            State(**tensors),
            _memory((batch, k), whole),
            _memory((batch, k + 1), whole),
        )

    def reset_rows(
        self,
        state: DeviceState,
        rows: npt.NDArray[np.integer],
        seeds: npt.ArrayLike,
        users: npt.ArrayLike | None = None,
        *,
        sessions: npt.ArrayLike = 0,
    ) -> None:
        """See ``Simulator.reset_rows``; all is given on the host."""
        told = self.host.named_visits(rows, seeds, users, sessions)
        count = len(told[0])
        given = (*map(_upload, told), self.rules)
        _launch(_begin, count, given, self.tables, state.arrays)

    def next_visits(self, state: DeviceState, rows: npt.NDArray[np.integer]) -> None:
        """See ``Simulator.next_visits``; the rows are given on the host."""
        rows = np.ascontiguousarray(rows, np.int64)
        given = (_upload(rows), self.rules)
        _launch(_next_visits, len(rows), given, self.tables, state.arrays)

    def show(self, state: DeviceState, slates: torch.Tensor, *, check: bool = True) -> None:
        """See ``Simulator.show``.

        Args:
            state: updated in place.
            slates: (B, K) integers on the GPU.
            check: read back whether all are legal, which waits for the GPU. What lies outside
                [-1, C) and is not checked reads memory that is not its own.
        """
        self._note(state.slates[1], slates, (EMPTY, self.game.num_candidates), check)
        given = (state.slates[0], self.rules)
        _launch(_show, state.batch, given, self.tables, state.arrays)

    def respond(self, state: DeviceState, answers: torch.Tensor, *, check: bool = True) -> None:
        """See ``Simulator.respond``; ``outcome`` has what came of it."""
        self._note(state.answers[1], answers, (0, 3), check)
        if check and bool((state.answers[1][:, -1] > 1).any()):
            raise ActionError("The last column of answers is 0 (stay) or 1 (leave), but is 2.")
        self._take(state)

    def respond_fitted(self, state: DeviceState) -> None:
        """See ``Simulator.respond_fitted``; ``outcome`` has what came of it."""
        _launch(_draw_answers, state.batch, (state.answers[0],), state.arrays)
        self._take(state)

    def step(
        self,
        state: DeviceState,
        slates: torch.Tensor,
        *,
        autoreset: bool = False,
        check: bool = True,
    ) -> None:
        """See ``Simulator.step`` and ``show``."""
        self._note(state.slates[1], slates, (EMPTY, self.game.num_candidates), check)
        given = (state.slates[0], self.rules)
        _launch(_step, state.batch, autoreset, given, self.tables, state.arrays)

    @staticmethod
    def outcome(state: DeviceState) -> Outcome:
        """Outcome of the last round, as copied tensors."""
        now = state.tensors
        parts: Any = (
            now.answers.clone(),
            now.clicks.clone(),
            now.purchases.clone(),
            now.rewards[:, 0].clone(),
            now.rewards[:, 1].clone(),
            now.ended == LEFT,
            now.ended == TRUNCATED,
        )
        return Outcome(*parts)

    def recommender_observation(self, state: DeviceState, *, copy: bool = True) -> TensorDict:
        """See ``Simulator.recommender_observation``."""
        return _observe(self.recommender_leaves, RECOMMENDER_FIELDS, state.tensors, copy)

    def user_observation(self, state: DeviceState, *, copy: bool = True) -> TensorDict:
        """See ``Simulator.user_observation``."""
        self.host.check_user_sees()
        return _observe(self.user_leaves, {}, state.tensors, copy)

    def _take(self, state: DeviceState) -> None:
        given = (state.answers[0], self.rules)
        _launch(_respond, state.batch, given, self.tables, state.arrays)

    @staticmethod
    def _note(
        buffer: torch.Tensor, actions: torch.Tensor, bounds: tuple[int, int], check: bool
    ) -> None:
        if actions.shape != buffer.shape or actions.dtype.is_floating_point:
            raise ActionError(
                f"Actions must be integers of shape {tuple(buffer.shape)}, but have dtype "
                f"{actions.dtype} and shape {tuple(actions.shape)}."
            )
        low, high = bounds
        if check and bool(((actions < low) | (actions >= high)).any()):
            raise ActionError(
                f"Actions must lie in [{low}, {high - 1}], but reach from {int(actions.min())} to "
                f"{int(actions.max())}."
            )
        buffer.copy_(actions)


def _launch(kernel: Any, count: int, *args: Any) -> None:
    """One thread for each of ``count`` rows, on torch's current stream."""
    if count == 0:
        return
    blocks = -(-count // _BLOCK)
    kernel[blocks, _BLOCK, _stream()](count, *args)


def _stream() -> Any:
    if SIMULATED:
        return 0
    pointer = torch.cuda.current_stream().cuda_stream
    return cuda.external_stream(pointer) if pointer else cuda.default_stream()


def _upload(array: np.ndarray) -> Any:
    return array if SIMULATED else cuda.to_device(np.ascontiguousarray(array))


def _memory(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Any, torch.Tensor]:
    """Memory with the first dimension fastest, as kernels and as torch see it."""
    signed = np.dtype(np.int64) if dtype == np.uint64 else dtype  # torch fills no uint64
    if SIMULATED:
        array = np.zeros(shape, dtype, order="F")
        return array, torch.from_numpy(array.view(signed))
    make: Callable[..., Any] = torch.empty
    tensor = make(shape[::-1], dtype=getattr(torch, signed.name), device="cuda")
    tensor = tensor.permute(*reversed(range(len(shape))))
    if tensor.numel() == 0:
        return cuda.device_array(shape, dtype, order="F"), tensor
    array = cuda.as_cuda_array(tensor)
    return array.view(dtype) if signed != dtype else array, tensor


def _observe(
    leaves: dict[str, Leaf], fields: dict[str, str], tensors: Any, copy: bool
) -> TensorDict:
    out: TensorDict = {}
    for name, leaf in leaves.items():
        values: Any = getattr(tensors, fields.get(name, name))
        if values.dim() == 1:
            values = values.unsqueeze(1)
        assert values.shape[1:] == leaf.shape
        out[name] = values.clone() if copy else values
    return out
