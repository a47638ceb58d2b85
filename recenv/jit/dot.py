"""Weighted inner products in a fixed order of additions, bit for bit alike on every machine.

Floating-point addition is not associative, so a compiler may use vector instructions for a sum
only if it may choose the order of its terms, and then the last bits depend on the processor.
Here the order is fixed: term d goes to running sum ``d % LANES``, each by a fused multiply-add
(IEEE 754-2008: one rounding), the running sums are added as a tree, and the terms left over come
last. Eight running sums are what vector units want, so this is as fast as an unordered sum.

``weighted_sums`` and ``slate_sums`` are that rule in plain Python: what numba-cuda compiles for a
GPU (which fuses ``a + x * y`` by itself), and what numba's simulator runs. On a CPU numba replaces
them by the same operations in vector instructions; a slate is taken several items at a time, which
share what they read of the user.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from recenv.jit.compiled import INLINED, intrinsic, overload

LANES = 8
_WIDE = binding.get_host_cpu_features().get("avx512vl", False)
_GROUP = 10 if _WIDE else 5
"""Items at a time: their twenty (ten) running sums fit the registers of AVX-512 (AVX2)."""
_ZERO = np.float32(0)

Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]


def weighted_sums(
    interests: Matrix,
    visitor: int,
    items: npt.NDArray[Any],
    item: int,
    first: Vector,
    second: Vector,
) -> tuple[np.float32, np.float32]:
    """``sum_d weight[d] * interests[visitor, d] * items[item, d]`` for two weights.

    Args:
        interests: (B, D) float32.
        visitor: row of ``interests``.
        items: (N, D) float32, or integers.
        item: row of ``items``.
        first: (D,) float32 weights.
        second: (D,) float32 weights.
    """
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = _ZERO
    b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = _ZERO
    whole = interests.shape[1] // LANES * LANES
    for d in range(0, whole, LANES):
        u, x = interests[visitor, d], np.float32(items[item, d])
        a0, b0 = a0 + first[d] * u * x, b0 + second[d] * u * x
        u, x = interests[visitor, d + 1], np.float32(items[item, d + 1])
        a1, b1 = a1 + first[d + 1] * u * x, b1 + second[d + 1] * u * x
        u, x = interests[visitor, d + 2], np.float32(items[item, d + 2])
        a2, b2 = a2 + first[d + 2] * u * x, b2 + second[d + 2] * u * x
        u, x = interests[visitor, d + 3], np.float32(items[item, d + 3])
        a3, b3 = a3 + first[d + 3] * u * x, b3 + second[d + 3] * u * x
        u, x = interests[visitor, d + 4], np.float32(items[item, d + 4])
        a4, b4 = a4 + first[d + 4] * u * x, b4 + second[d + 4] * u * x
        u, x = interests[visitor, d + 5], np.float32(items[item, d + 5])
        a5, b5 = a5 + first[d + 5] * u * x, b5 + second[d + 5] * u * x
        u, x = interests[visitor, d + 6], np.float32(items[item, d + 6])
        a6, b6 = a6 + first[d + 6] * u * x, b6 + second[d + 6] * u * x
        u, x = interests[visitor, d + 7], np.float32(items[item, d + 7])
        a7, b7 = a7 + first[d + 7] * u * x, b7 + second[d + 7] * u * x
    a = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
    b = ((b0 + b4) + (b2 + b6)) + ((b1 + b5) + (b3 + b7))
    for d in range(whole, interests.shape[1]):
        u, x = interests[visitor, d], np.float32(items[item, d])
        a, b = a + first[d] * u * x, b + second[d] * u * x
    return a, b


def slate_sums(
    interests: Matrix,
    visitor: int,
    items: npt.NDArray[Any],
    slate: npt.NDArray[np.int32],
    row: int,
    first: Vector,
    second: Vector,
    out: Matrix,
) -> None:
    """``weighted_sums`` of a visitor with each item of a slate.

    Args:
        interests: (B, D) float32.
        visitor: row of ``interests``.
        items: (N, D) float32, or integers.
        slate: (S, K) rows of ``items``; below 0 stands for any.
        row: of ``slate`` and ``out``.
        first: (D,) float32 weights.
        second: (D,) float32 weights.
        out: (S, 2K or more): the first sums in the first K places, the second in the next.
    """
    slots = slate.shape[1]
    for k in range(slots):
        item = max(slate[row, k], 0)
        out[row, k], out[row, slots + k] = weighted_sums(
            interests, visitor, items, item, first, second
        )


class _Emitter:
    """Emits the sums of one visitor with some items, as LLVM instructions.

    Args:
        context, builder: numba's, where the code goes.
        kinds: types of interests, items, first and second.
        values: the arrays themselves.
        visitor: row of the interests.
    """

    def __init__(self, context: Any, builder: Any, kinds: Any, values: Any, visitor: Any) -> None:
        users, table, first, second = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(kinds, values, strict=True)
        )
        self.builder, self.index = builder, visitor.type
        self.count = builder.extract_value(users.shape, 1)
        self.user = builder.gep(users.data, [builder.mul(visitor, self.count)])
        self.table, self.weights = table.data, (first.data, second.data)
        self.is_float, self.bytes = kinds[1].dtype is types.float32, kinds[1].dtype.bitwidth // 8
        self.stored = ir.FloatType() if self.is_float else ir.IntType(8 * self.bytes)

    def sums(self, items: list[Any]) -> list[list[Any]]:
        """Both sums of each item, as values."""
        builder, f32, index = self.builder, ir.FloatType(), self.index
        lanes, step = ir.VectorType(f32, LANES), ir.Constant(self.index, LANES)
        rows = [builder.gep(self.table, [builder.mul(i, self.count)]) for i in items]
        blocks = builder.sdiv(self.count, step)
        blank = ir.Constant(lanes, None)
        totals = [[cgutils.alloca_once_value(builder, blank) for _ in range(2)] for _ in items]
        for row in totals:  # the place on the stack is made once, the zero each time
            for place in row:
                builder.store(blank, place)
        with cgutils.for_range(builder, blocks) as loop:
            d = builder.mul(loop.index, step)
            self._add(totals, rows, d, lanes)
        both = [place for row in totals for place in row]
        scalars = iter(self._trees([builder.load(place) for place in both]))
        places = [
            [cgutils.alloca_once_value(builder, next(scalars)) for _ in row] for row in totals
        ]
        start, one = builder.mul(blocks, step), ir.Constant(index, 1)
        with cgutils.for_range_slice(builder, start, self.count, one, index) as (d, _):
            self._add(places, rows, d, f32)
        return [[builder.load(place) for place in row] for row in places]

    def _add(self, totals: list[list[Any]], rows: list[Any], d: Any, kind: Any) -> None:
        """Add the terms from dimension d on, as many as ``kind`` has lanes."""
        builder = self.builder
        user = self._load(self.user, d, kind, 4)
        weighted = [builder.fmul(self._load(w, d, kind, 4), user) for w in self.weights]
        wide = isinstance(kind, ir.VectorType)
        stored = ir.VectorType(self.stored, LANES) if wide else self.stored
        fused = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [kind] * 3),
            f"llvm.fma.{f'v{LANES}' if wide else ''}f32",
        )
        for row, places in zip(rows, totals, strict=True):
            item = self._load(row, d, stored, self.bytes)
            if not self.is_float:
                item = builder.sitofp(item, kind)
            for place, weight in zip(places, weighted, strict=True):
                total = builder.call(fused, [weight, item, builder.load(place)])
                builder.store(total, place)

    def _load(self, pointer: Any, d: Any, kind: Any, align: int) -> Any:
        place = self.builder.gep(pointer, [d])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=align)

    def _trees(self, vectors: list[Any]) -> list[Any]:
        """The sum of each vector: its halves are added, then the halves of that, and so on.

        Two vectors are halved into one, so that all of its lanes have work at every level.
        """
        builder, width = self.builder, LANES
        count = len(vectors)
        while width > 1:
            width //= 2
            pairs = [vectors[n : n + 2] for n in range(0, len(vectors), 2)]
            vectors = []
            for pair in pairs:
                starts = range(0, LANES * len(pair), 2 * width)  # of what is halved
                halves = []
                for half in (0, width):
                    lanes = [start + half + n for start in starts for n in range(width)]
                    kind = ir.VectorType(ir.IntType(32), LANES)
                    lanes += [0] * (LANES - len(lanes))
                    halves.append(
                        builder.shuffle_vector(pair[0], pair[-1], ir.Constant(kind, lanes))
                    )
                vectors.append(builder.fadd(*halves))
        where = [(n // LANES, n % LANES) for n in range(count)]
        return [
            builder.extract_element(vectors[of], ir.Constant(ir.IntType(32), lane))
            for of, lane in where
        ]


@intrinsic
def _one_item(typingctx, interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    """``weighted_sums`` in vectors of eight."""
    whole = types.intp
    signature = types.UniTuple(types.float32, 2)(interests, whole, items, whole, first, second)

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        kinds = [signature.args[n] for n in (0, 2, 4, 5)]
        emitter = _Emitter(context, builder, kinds, [args[n] for n in (0, 2, 4, 5)], args[1])
        (sums,) = emitter.sums([args[3]])
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, codegen


@intrinsic
def _whole_slate(  # noqa: ANN202
    typingctx,  # noqa: ANN001
    interests,  # noqa: ANN001
    visitor,  # noqa: ANN001
    items,  # noqa: ANN001
    slate,  # noqa: ANN001
    row,  # noqa: ANN001
    first,  # noqa: ANN001
    second,  # noqa: ANN001
    out,  # noqa: ANN001
):
    """``slate_sums``, ``_GROUP`` items at a time, then the rest one by one."""
    arrays = (first, second, out)
    signature = types.void(interests, types.intp, items, slate, types.intp, *arrays)

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        kinds = [signature.args[n] for n in (0, 2, 5, 6)]
        emitter = _Emitter(context, builder, kinds, [args[n] for n in (0, 2, 5, 6)], args[1])
        shown, out = (
            context.make_array(signature.args[n])(context, builder, args[n]) for n in (3, 7)
        )
        slots = builder.extract_value(shown.shape, 1)
        byte = ir.IntType(8).as_pointer()

        def row(array):  # noqa: ANN001, ANN202
            """First entry of the row, and bytes from one entry to the next."""
            of_row, of_column = cgutils.unpack_tuple(builder, array.strides)
            start = builder.bitcast(array.data, byte)
            return builder.gep(start, [builder.mul(args[4], of_row)]), of_column

        def entries(start, step, k, group, kind):  # noqa: ANN001, ANN202
            """Places of entries k to k + group of a row."""
            place = builder.gep(start, [builder.mul(k, step)])
            for _ in range(group):
                yield builder.bitcast(place, kind.as_pointer())
                place = builder.gep(place, [step])

        (codes, code_step), (sums, sum_step) = row(shown), row(out)
        seconds = builder.gep(sums, [builder.mul(slots, sum_step)])

        def play(k, group):  # noqa: ANN001, ANN202
            items = []
            for place in entries(codes, code_step, k, group, ir.IntType(32)):
                code = builder.load(place)
                empty = builder.icmp_signed("<", code, ir.Constant(code.type, 0))
                code = builder.select(empty, ir.Constant(code.type, 0), code)
                items.append(builder.sext(code, slots.type))
            both = emitter.sums(items)
            for start, n in ((sums, 0), (seconds, 1)):
                places = entries(start, sum_step, k, group, ir.FloatType())
                for of_item, place in zip(both, places, strict=True):
                    builder.store(of_item[n], place)

        size = ir.Constant(slots.type, _GROUP)
        groups = builder.sdiv(slots, size)
        with cgutils.for_range(builder, groups) as loop:
            play(builder.mul(loop.index, size), _GROUP)
        start, step = builder.mul(groups, size), ir.Constant(slots.type, 1)
        with cgutils.for_range_slice(builder, start, slots, step, slots.type) as (k, _):
            play(k, 1)
        return context.get_dummy_value()

    return signature, codegen


def _contiguous(*arrays: Any) -> bool:
    return all(isinstance(a, types.Array) and a.layout == "C" for a in arrays)


@overload(weighted_sums, target="cpu", jit_options=INLINED, strict=False)
def _weighted_sums_cpu(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    if not _contiguous(interests, items, first, second):
        return weighted_sums

    def vectorised(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
        return _one_item(interests, visitor, items, item, first, second)

    return vectorised


@overload(slate_sums, target="cpu", jit_options=INLINED, strict=False)
def _slate_sums_cpu(  # noqa: ANN202
    interests,  # noqa: ANN001
    visitor,  # noqa: ANN001
    items,  # noqa: ANN001
    slate,  # noqa: ANN001
    row,  # noqa: ANN001
    first,  # noqa: ANN001
    second,  # noqa: ANN001
    out,  # noqa: ANN001
):
    if not _contiguous(interests, items, first, second):
        return slate_sums

    def vectorised(interests, visitor, items, slate, row, first, second, out):  # noqa: ANN001, ANN202
        _whole_slate(interests, visitor, items, slate, row, first, second, out)

    return vectorised


@overload(weighted_sums, target="cuda", strict=False)
def _weighted_sums_cuda(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    return weighted_sums


@overload(slate_sums, target="cuda", strict=False)
def _slate_sums_cuda(  # noqa: ANN202
    interests,  # noqa: ANN001
    visitor,  # noqa: ANN001
    items,  # noqa: ANN001
    slate,  # noqa: ANN001
    row,  # noqa: ANN001
    first,  # noqa: ANN001
    second,  # noqa: ANN001
    out,  # noqa: ANN001
):
    return slate_sums
