"""What becomes of one cell's new values: rectified, compared with what is stored, stored where they differ enough.

In LLVM's own terms, as `kernel`: a cell has few numbers, and views of arrays cost numba more than the numbers do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from everyframe.operators.residual.kernel import LANES, address, cgutils, ir

_TAIL = 4
"""Channels come in multiples of this many."""


def _settle_of(typing: Any, values: Any, stored: Any, weigh: Any, channels: Any, slope: Any, limit: Any) -> Any:
    f32, i64 = types.float32, types.int64
    return i64(values, values, values, i64, f32, f32), _emit


_settle: Any = intrinsic(_settle_of)


def _emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
    values, stored, weigh, channels, slope, limit = args
    total = ir.Constant(ir.FloatType(), 0)
    for lanes, begin, end in _ranges(b, channels):
        total = b.fadd(total, _rectify_and_compare(b, lanes, begin, end, values, stored, weigh, slope))
    is_far = b.fcmp_ordered(">", total, limit)
    with b.if_then(is_far):
        for lanes, begin, end in _ranges(b, channels):
            with cgutils.for_range_slice(b, begin, end, begin.type(lanes)) as (i, _):
                b.store(b.load(_vector(b, values, i, lanes), align=4), _vector(b, stored, i, lanes), align=4)
    return b.zext(is_far, ir.IntType(64))


def _ranges(b: Any, channels: Any) -> Iterator[tuple[int, Any, Any]]:
    """Most channels in whole registers, the others a few at a time."""
    whole = b.and_(channels, channels.type(-LANES))
    yield LANES, channels.type(0), whole
    if LANES > _TAIL:
        yield _TAIL, whole, channels


def _rectify_and_compare(
    b: Any, lanes: int, begin: Any, end: Any, values: Any, stored: Any, weigh: Any, slope: Any
) -> Any:
    """Sum of the weighed squares of the differences; values are rectified in place."""
    vector = ir.VectorType(ir.FloatType(), lanes)
    sums = cgutils.alloca_once_value(b, ir.Constant(vector, [0.0] * lanes))
    one = b.insert_element(ir.Constant(vector, ir.Undefined), slope, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    slopes = b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)
    with cgutils.for_range_slice(b, begin, end, begin.type(lanes)) as (i, _):
        place = _vector(b, values, i, lanes)
        value = b.load(place, align=4)
        below = b.fmul(value, slopes)
        value = b.select(b.fcmp_ordered(">", value, below), value, below)
        b.store(value, place, align=4)
        change = b.fsub(value, b.load(_vector(b, stored, i, lanes), align=4))
        weighed = b.fmul(b.fmul(change, change), b.load(_vector(b, weigh, i, lanes), align=4))
        b.store(b.fadd(b.load(sums), weighed), sums)
    kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), vector])
    reduce = cgutils.get_or_insert_function(b.module, kind, f"llvm.vector.reduce.fadd.v{lanes}f32")
    return b.call(reduce, [ir.Constant(ir.FloatType(), 0), b.load(sums)], fastmath=("reassoc",))


def _vector(b: Any, base: Any, index: Any, lanes: int) -> Any:
    return b.bitcast(b.gep(base, [index]), ir.VectorType(ir.FloatType(), lanes).as_pointer())


@njit(cache=True, nogil=True)
def settle(values, at, stored, to, channels, weigh, slope, limit):  # type: ignore[no-untyped-def]
    """Takes over the new values of a cell where they differ enough; 1 if so, else 0.

    values, stored: flat float32 arrays, of which `channels` numbers from `at` and `to` on are looked at; weigh (channels,)
    float32. slope float32: of what is below zero (values are changed in place). limit float32: of the weighed sum of
    squared differences; they must exceed it, as all do if it is negative.
    """
    return _settle(address(values, at), address(stored, to), address(weigh, 0), channels, slope, limit)
