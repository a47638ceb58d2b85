"""Prefetching of array rows into a CPU's caches.

A batch that does not fit the caches is read row by row from thirty arrays at once, more streams
than a processor follows by itself.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from recenv.jit.compiled import INLINED, intrinsic, overload

_LINE = 64  # bytes of a line of cache


def prefetch(array: Any, start: int, stop: int) -> None:
    """Ask for the lines that hold ``array[start:stop]``, to be written.

    Changes nothing but the time of a step.
    """


def prefetch_row(array: Any, row: int) -> None:
    """Ask for the lines that hold ``array[row]``, to be read: other threads may keep theirs."""


def _asking(array: Any, write: int) -> tuple[Any, Any]:
    signature = types.void(array, types.intp, types.intp)

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        made = context.make_array(signature.args[0])(context, builder, args[0])
        row = builder.extract_value(made.strides, 0)
        byte, i32, index = ir.IntType(8), ir.IntType(32), args[1].type
        pointer = builder.bitcast(made.data, byte.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), i32, i32, i32])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        to_write, to_all_caches, data = (
            ir.Constant(i32, write),
            ir.Constant(i32, 3),
            ir.Constant(i32, 1),
        )
        low, high = builder.mul(args[1], row), builder.mul(args[2], row)
        step = ir.Constant(index, _LINE)
        with cgutils.for_range_slice(builder, low, high, step, index) as (offset, _):
            place = builder.gep(pointer, [offset])
            builder.call(ask, [place, to_write, to_all_caches, data])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _lines(typingctx, array, start, stop):  # noqa: ANN001, ANN202
    return _asking(array, 1)


@intrinsic
def _lines_to_read(typingctx, array, start, stop):  # noqa: ANN001, ANN202
    return _asking(array, 0)


@overload(prefetch, target="cpu", jit_options=INLINED, strict=False)
def _prefetch_cpu(array, start, stop):  # noqa: ANN001, ANN202
    if array.layout != "C":
        return prefetch

    def ask(array, start, stop):  # noqa: ANN001, ANN202
        _lines(array, start, stop)

    return ask


@overload(prefetch, target="cuda", strict=False)
def _prefetch_cuda(array, start, stop):  # noqa: ANN001, ANN202
    return prefetch


@overload(prefetch_row, target="cpu", jit_options=INLINED, strict=False)
def _prefetch_row_cpu(array, row):  # noqa: ANN001, ANN202
    if array.layout != "C":
        return prefetch_row

    def ask(array, row):  # noqa: ANN001, ANN202
        _lines_to_read(array, row, row + 1)

    return ask


@overload(prefetch_row, target="cuda", strict=False)
def _prefetch_row_cuda(array, row):  # noqa: ANN001, ANN202
    return prefetch_row
