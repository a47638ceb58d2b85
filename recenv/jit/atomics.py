"""Atomic operations of compiled code: shared words in memory, locks, jobs for threads.

A board is a (n,) int64 array that several threads read and write. All changes are atomic and in
one order for everyone (sequentially consistent), so what a thread wrote before it changed a word
is there for a thread that has seen the change.

A job is a compiled function of rows [low, high) with all its other arguments: two addresses. Its
arguments lie on the stack of the function that made it, so it lives as long as that call; those of
a kept job lie in memory that is handed over, and it lives as long as that memory and the arrays.

Nothing here needs or releases Python's global lock.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import Status, excinfo_ptr_t

from recenv.jit.compiled import intrinsic, overload

_WORD, _BYTE, _CODE, _NOTHING = ir.IntType(64), ir.IntType(8), ir.IntType(32), ir.VoidType()
_ADDRESS = _BYTE.as_pointer()
_ORDER = "seq_cst"
_YIELD = 1  # number of Arm's hint
_PAUSES: dict[str, tuple[str, list[int]]] = {
    **dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", [])),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [_YIELD])),
}
_BOARD = types.Array(types.int64, 1, "C")
_FAILURE = ir.LiteralStructType([_ADDRESS, _CODE])
_PLAY = ir.FunctionType(_CODE, [_ADDRESS, _WORD, _WORD])


def _place(context: Any, builder: Any, board: Any, at: Any) -> Any:
    array = context.make_array(_BOARD)(context, builder, board)
    return builder.gep(array.data, [at])


@intrinsic
def look(typingctx, board, at):  # noqa: ANN001, ANN201
    """The word ``board[at]``."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        return builder.load_atomic(_place(context, builder, *args), _ORDER, 8)

    return types.int64(_BOARD, types.intp), codegen


@intrinsic
def swap(typingctx, board, at, new):  # noqa: ANN001, ANN201
    """Write ``board[at]``; the word that was there."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        place = _place(context, builder, *args[:2])
        return builder.atomic_rmw("xchg", place, args[2], _ORDER)

    return types.int64(_BOARD, types.intp, types.int64), codegen


@intrinsic
def add(typingctx, board, at, more):  # noqa: ANN001, ANN201
    """Add to ``board[at]``; the word that was there."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        place = _place(context, builder, *args[:2])
        return builder.atomic_rmw("add", place, args[2], _ORDER)

    return types.int64(_BOARD, types.intp, types.int64), codegen


@intrinsic
def change(typingctx, board, at, old, new):  # noqa: ANN001, ANN201
    """Write ``board[at]`` if ``old`` is there; whether it was."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        place = _place(context, builder, *args[:2])
        done = builder.cmpxchg(place, args[2], args[3], _ORDER, _ORDER)
        return builder.extract_value(done, 1)

    return types.boolean(_BOARD, types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):  # noqa: ANN001, ANN201
    """Tell the processor that this loop waits for another thread."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        name, given = _PAUSES.get(platform.machine(), ("", []))
        if name:
            kind = ir.FunctionType(_NOTHING, [_CODE for _ in given])
            rest = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(rest, [ir.Constant(_CODE, g) for g in given])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def lock(typingctx, address):  # noqa: ANN001, ANN201
    """Wait until a lock of Python's own (``PyThread_allocate_lock``) is free, and take it."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        kind = ir.FunctionType(_CODE, [_ADDRESS, _CODE])
        take = cgutils.get_or_insert_function(builder.module, kind, "PyThread_acquire_lock")
        builder.call(take, [builder.inttoptr(args[0], _ADDRESS), ir.Constant(_CODE, 1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def unlock(typingctx, address):  # noqa: ANN001, ANN201
    """Free a lock that any thread has taken."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        kind = ir.FunctionType(_NOTHING, [_ADDRESS])
        free = cgutils.get_or_insert_function(builder.module, kind, "PyThread_release_lock")
        builder.call(free, [builder.inttoptr(args[0], _ADDRESS)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _make_job(context, builder, signature, told, values, place_of):  # noqa: ANN001, ANN202
    """Store a kernel's arguments where ``place_of`` says; both addresses."""
    compiled = signature.args[0].dispatcher.overloads[told.args]
    context.active_code_library.add_linking_library(compiled.library)
    parts = cgutils.unpack_tuple(builder, values, len(signature.args[1].types))
    struct = ir.LiteralStructType([_FAILURE, *(p.type for p in parts)])
    place = place_of(struct)
    for n, part in enumerate(parts):
        builder.store(part, cgutils.gep_inbounds(builder, place, 0, n + 1))

    name = builder.function.name + ".job"
    function = ir.Function(builder.module, _PLAY, builder.module.get_unique_name(name))
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    given = inner.bitcast(function.args[0], struct.as_pointer())
    rest = [inner.load(cgutils.gep_inbounds(inner, given, 0, n + 1)) for n in range(len(parts))]
    callee = context.declare_function(builder.module, compiled.fndesc)
    status, _ = context.call_conv.call_function(
        inner, callee, types.none, told.args, [*function.args[1:], *rest]
    )
    with inner.if_then(status.is_error, likely=False):
        failure = cgutils.gep_inbounds(inner, given, 0, 0)
        inner.store(
            inner.bitcast(status.excinfoptr, _ADDRESS),
            cgutils.gep_inbounds(inner, failure, 0, 0),
        )
        inner.store(status.code, cgutils.gep_inbounds(inner, failure, 0, 1))
        inner.ret(status.code)
    inner.ret(ir.Constant(_CODE, 0))
    addresses = [builder.ptrtoint(p, _WORD) for p in (function, place)]
    return context.make_tuple(builder, signature.return_type, addresses)


@intrinsic
def job(typingctx, kernel, args):  # noqa: ANN001, ANN201
    """(function, arguments): addresses of ``kernel(low, high, *args)`` for ``play``."""
    told = typingctx.resolve_function_type(kernel, (types.int64, types.int64, *args.types), {})

    def codegen(context, builder, signature, values):  # noqa: ANN001, ANN202
        def place_of(struct):  # noqa: ANN001, ANN202
            return cgutils.alloca_once(builder, struct)

        return _make_job(context, builder, signature, told, values[1], place_of)

    return types.UniTuple(types.int64, 2)(kernel, args), codegen


@intrinsic
def kept_job(typingctx, kernel, args, memory):  # noqa: ANN001, ANN201
    """``job`` whose arguments lie in ``memory``, (n,) words; see ``words``."""
    told = typingctx.resolve_function_type(kernel, (types.int64, types.int64, *args.types), {})

    def codegen(context, builder, signature, values):  # noqa: ANN001, ANN202
        def place_of(struct):  # noqa: ANN001, ANN202
            first = _place(context, builder, values[2], ir.Constant(_WORD, 0))
            return builder.bitcast(first, struct.as_pointer())

        return _make_job(context, builder, signature, told, values[1], place_of)

    return types.UniTuple(types.int64, 2)(kernel, args, _BOARD), codegen


def words(args: tuple[Any, ...]) -> int:
    """The most memory that a kept job with these arguments takes, in words."""
    failure = 2

    def of(value: Any) -> int:
        if isinstance(value, tuple):
            return sum(map(of, value))
        return 5 + 2 * getattr(value, "ndim", 0)  # of an array: addresses, sizes, shape, strides

    return failure + of(args)


@intrinsic
def play(typingctx, function, arguments, low, high):  # noqa: ANN001, ANN201
    """Do a job's rows [low, high); whether it failed."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        callee = builder.inttoptr(args[0], _PLAY.as_pointer())
        given = builder.inttoptr(args[1], _ADDRESS)
        code = builder.call(callee, [given, args[2], args[3]])
        return builder.icmp_signed("!=", code, ir.Constant(_CODE, 0))

    return types.boolean(*[types.int64] * 4), codegen


@intrinsic
def fail(typingctx, arguments):  # noqa: ANN001, ANN201
    """Raise what made a job fail, in whichever thread that was."""

    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        failure = builder.inttoptr(args[0], _FAILURE.as_pointer())
        told, code = (builder.load(cgutils.gep_inbounds(builder, failure, 0, n)) for n in range(2))
        parts: Any = dict.fromkeys(Status._fields)
        parts.update(code=code, excinfoptr=builder.bitcast(told, excinfo_ptr_t))
        with builder.if_then(cgutils.true_bit, likely=False):
            context.call_conv.return_status_propagate(builder, Status(**parts))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def apart() -> None:
    """Say that no two arrays among the arguments of the function that says it share memory.

    A compiler then need not look whether they do before each loop. Changes nothing but the time.
    """


@intrinsic
def _apart(typingctx):  # noqa: ANN001, ANN202
    def codegen(context, builder, signature, args):  # noqa: ANN001, ANN202
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


@overload(apart, target="cpu", inline="always", strict=False)
def _apart_cpu():  # noqa: ANN202
    def say():  # noqa: ANN202
        _apart()

    return say


@overload(apart, target="cuda", strict=False)
def _apart_cuda():  # noqa: ANN202
    return apart
