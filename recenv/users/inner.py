"""Weighted inner products whose additions have one order, on every machine.

Floating-point addition is not associative, so a compiler may use vector instructions for a sum
only if it may choose the order of its terms, and then the last bits depend on the processor.
Here the order is fixed: term d goes to running sum ``d % LANES``, the running sums are added as a
tree, and the terms left over come last. Eight running sums are what vector units want, so this is
also as fast as an unordered sum.

``weighted_sums`` is that rule in plain Python: what numba-cuda compiles for a GPU, and what runs
without a compiler. On a CPU numba replaces it by the same additions in vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from recenv.compiled import INLINED

LANES = 8
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
    """``sum_d weight[d] * (interests[visitor, d] * items[item, d])`` for two weights.

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
        x = interests[visitor, d] * np.float32(items[item, d])
        a0, b0 = a0 + first[d] * x, b0 + second[d] * x
        x = interests[visitor, d + 1] * np.float32(items[item, d + 1])
        a1, b1 = a1 + first[d + 1] * x, b1 + second[d + 1] * x
        x = interests[visitor, d + 2] * np.float32(items[item, d + 2])
        a2, b2 = a2 + first[d + 2] * x, b2 + second[d + 2] * x
        x = interests[visitor, d + 3] * np.float32(items[item, d + 3])
        a3, b3 = a3 + first[d + 3] * x, b3 + second[d + 3] * x
        x = interests[visitor, d + 4] * np.float32(items[item, d + 4])
        a4, b4 = a4 + first[d + 4] * x, b4 + second[d + 4] * x
        x = interests[visitor, d + 5] * np.float32(items[item, d + 5])
        a5, b5 = a5 + first[d + 5] * x, b5 + second[d + 5] * x
        x = interests[visitor, d + 6] * np.float32(items[item, d + 6])
        a6, b6 = a6 + first[d + 6] * x, b6 + second[d + 6] * x
        x = interests[visitor, d + 7] * np.float32(items[item, d + 7])
        a7, b7 = a7 + first[d + 7] * x, b7 + second[d + 7] * x
    a = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
    b = ((b0 + b4) + (b2 + b6)) + ((b1 + b5) + (b3 + b7))
    for d in range(whole, interests.shape[1]):
        x = interests[visitor, d] * np.float32(items[item, d])
        a, b = a + first[d] * x, b + second[d] * x
    return a, b


@intrinsic
def _vector_sums(typingctx, interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    """``weighted_sums`` in LLVM vectors of eight, without leave to reorder or to fuse."""
    whole = types.intp
    signature = types.UniTuple(types.float32, 2)(interests, whole, items, whole, first, second)
    element = items.dtype

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        f32, intp = ir.FloatType(), args[1].type
        lanes = ir.VectorType(f32, LANES)
        users, table, first, second = (
            context.make_array(signature.args[n])(context, builder, args[n]) for n in (0, 2, 4, 5)
        )
        count = builder.extract_value(users.shape, 1)
        u = builder.gep(users.data, [builder.mul(args[1], count)])
        start = builder.gep(table.data, [builder.mul(args[3], count)])
        w, v = first.data, second.data
        stored = table.data.type.pointee

        def wide(pointer, at, kind):  # noqa: ANN001, ANN202
            place = builder.bitcast(
                builder.gep(pointer, [at]), ir.VectorType(kind, LANES).as_pointer()
            )
            return builder.load(place, align=element.bitwidth // 8 if kind is stored else 4)

        def narrow(pointer, at):  # noqa: ANN001, ANN202
            return builder.load(builder.gep(pointer, [at]))

        def as_float(value, kind):  # noqa: ANN001, ANN202
            return value if element is types.float32 else builder.sitofp(value, kind)

        one, step = ir.Constant(intp, 1), ir.Constant(intp, LANES)
        blocks = builder.sdiv(count, step)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in range(2)]
        with cgutils.for_range(builder, blocks) as loop:
            d = builder.mul(loop.index, step)
            item = as_float(wide(start, d, stored), lanes)
            x = builder.fmul(wide(u, d, f32), item)
            for total, weight in zip(sums, (w, v), strict=True):
                term = builder.fmul(wide(weight, d, f32), x)
                builder.store(builder.fadd(builder.load(total), term), total)
        scalars = []
        for total in sums:
            value = builder.load(total)
            width = LANES
            while width > 1:
                width //= 2
                kind = ir.VectorType(ir.IntType(32), width)
                low = ir.Constant(kind, list(range(width)))
                high = ir.Constant(kind, list(range(width, 2 * width)))
                value = builder.fadd(
                    builder.shuffle_vector(value, value, low),
                    builder.shuffle_vector(value, value, high),
                )
            scalar = builder.extract_element(value, ir.Constant(ir.IntType(32), 0))
            scalars.append(cgutils.alloca_once_value(builder, scalar))
        with cgutils.for_range_slice(builder, builder.mul(blocks, step), count, one, intp) as (
            d,
            _,
        ):
            x = builder.fmul(narrow(u, d), as_float(narrow(start, d), f32))
            for total, weight in zip(scalars, (w, v), strict=True):
                term = builder.fmul(narrow(weight, d), x)
                builder.store(builder.fadd(builder.load(total), term), total)
        return context.make_tuple(
            builder, signature.return_type, [builder.load(total) for total in scalars]
        )

    return signature, codegen


@overload(weighted_sums, target="cpu", jit_options=INLINED)
def _weighted_sums_cpu(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    contiguous = all(
        isinstance(a, types.Array) and a.layout == "C" for a in (interests, items, first, second)
    )
    if not contiguous:
        return weighted_sums

    def vectorised(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
        return _vector_sums(interests, visitor, items, item, first, second)

    return vectorised


@overload(weighted_sums, target="cuda")
def _weighted_sums_cuda(interests, visitor, items, item, first, second):  # noqa: ANN001, ANN202
    return weighted_sums
