"""Memory operations on rows of an array: block moves, and views as another array."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors

from recenv.jit.compiled import INLINED, intrinsic, overload


def shift(array: Any, row: int, by: int) -> None:
    """``array[row, by:] = array[row, :-by]`` with what was there before; the first ``by`` stay.

    Args:
        array: (B, H).
        row: which.
        by: places, 0 or more.
    """
    for h in range(array.shape[1] - 1, by - 1, -1):
        array[row, h] = array[row, h - by]


@intrinsic
def _move(typingctx, array, row, by, count):  # noqa: ANN001, ANN202
    """Copy ``count`` entries of a contiguous (B, H) array ``by`` places up from a row's first."""
    signature = types.void(array, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        array, (value, row, by, count) = signature.args[0], args
        made = context.make_array(array)(context, builder, value)
        start = builder.gep(made.data, [builder.mul(row, builder.extract_value(made.shape, 1))])
        size = builder.mul(count, ir.Constant(count.type, array.dtype.bitwidth // 8))
        cgutils.raw_memmove(builder, builder.gep(start, [by]), start, size, 1)
        return context.get_dummy_value()

    return signature, codegen


@overload(shift, target="cpu", jit_options=INLINED, strict=False)
def _shift_cpu(array, row, by):  # noqa: ANN001, ANN202
    if array.layout != "C":
        return shift

    def at_once(array, row, by):  # noqa: ANN001, ANN202
        count = array.shape[1] - by
        if count > 0:
            _move(array, row, by, count)

    return at_once


@overload(shift, target="cuda", strict=False)
def _shift_cuda(array, row, by):  # noqa: ANN001, ANN202
    return shift


@intrinsic
def columns(typingctx, array, low, count):  # noqa: ANN001, ANN201
    """The memory of rows ``[low, low + count)`` as another array of as many rows.

    Its columns lie side by side (Fortran's order), so that entries of neighbouring rows are
    neighbours. What was in the rows is there in another order. Only for a CPU.

    Args:
        array: (B, K), its rows in one piece.
        low: the first row.
        count: rows.
    """
    if array.layout != "C" or array.ndim != 2:
        raise errors.TypingError(
            "A step wants a state whose arrays have their rows in one piece (C's order). "
            "Copy them with numpy.ascontiguousarray."
        )
    turned = types.Array(array.dtype, 2, "F")

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        array, (value, low, count) = signature.args[0], args
        given = context.make_array(array)(context, builder, value)
        made = context.make_array(signature.return_type)(context, builder)
        width = builder.extract_value(given.shape, 1)
        size = ir.Constant(count.type, array.dtype.bitwidth // 8)
        context.populate_array(
            made,
            data=builder.gep(given.data, [builder.mul(low, width)]),
            shape=[count, width],
            strides=[size, builder.mul(size, count)],
            itemsize=size,
            meminfo=None,
        )
        return made._getvalue()

    return turned(array, types.intp, types.intp), codegen
