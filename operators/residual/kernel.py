"""Convolution of chosen cells: as many multiplications a second as a dense convolution, for any list of cells.

Libraries want rectangles: gathered tiles pay for their borders, and a matrix product of gathered cells for the gather.
Here the innermost loop reads each cell where it lies, through a list of addresses, so that one active cell costs as much as
one cell of a dense picture. numba gives no hold on vector registers, so this loop is written in LLVM's own terms: a tile
of a few cells by a few vectors of output channels stays in registers while the inputs go by.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import llvmlite.ir  # type: ignore[import-untyped]
import numba.core.cgutils
from numba import njit, types
from numba.extending import intrinsic

ir: Any = llvmlite.ir
cgutils: Any = numba.core.cgutils


def _features() -> dict[str, bool]:
    try:
        return dict(llvmlite.binding.get_host_cpu_features())
    except RuntimeError:  # LLVM can't tell on this machine
        return {}


_FEATURES = _features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4
"""float32 in one vector register."""

# Cells and vectors of a tile: what fits into the registers, 32 with AVX-512 and 16 without.
_WIDE = (6, 4) if LANES == 16 else (6, 2)
_MID = (8, 2) if LANES == 16 else (6, 2)
_THIN = (12, 1) if LANES == 16 else (6, 2)
MOST_CELLS = 12
WIDE, MID, THIN, STEM = range(4)
BLOCKS = tuple(vectors * LANES for _, vectors in (_WIDE, _MID, _THIN, _MID))
"""Output channels that each of the tiles `WIDE`, `MID`, `THIN` and `STEM` makes at a time."""
STEPS = (4, 4, 4, 3)
"""What the length of a run is a multiple of, for each of them: a row of three colours is 9 long."""

_POINTER: Any = types.CPointer
_F32P, _I64P = _POINTER(types.float32), _POINTER(types.int64)


def _address_of(typing: Any, array: Any, index: Any) -> Any:
    """Address of an element of a contiguous array, in elements from its start."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return _POINTER(array.dtype)(array, types.int64), code


address: Any = intrinsic(_address_of)


def _tile_of(
    typing: Any, x: Any, at: Any, runs: Any, count: Any, weight: Any, column: Any, first: Any, apart: Any, out: Any,
    channels: Any, cells: Any, vectors: Any, steps: Any,
) -> Any:  # fmt: skip
    """out[c, :] = first[c, :] + x[at[c] + k] * weight[k, :] summed over the k of some runs.

    For `cells` cells and `vectors` vectors of channels. x, weight: addresses; at: those of the cells relative to x. runs: the
    first of `count` rows (see `convolve`). column: first channel. first, out: addresses; rows of out are `channels` apart,
    those of first `apart`. steps: how far the loop is unrolled; the last three are known when it is compiled.
    """
    shape = (cells.literal_value, vectors.literal_value, steps.literal_value)
    i64 = types.int64
    signature = types.void(
        _F32P, _I64P, _I64P, i64, _F32P, i64, _F32P, i64, _F32P, i64, cells, vectors, steps
    )
    return signature, lambda context, builder, signature, args: _emit(context, builder, args, *shape)


_tile: Any = intrinsic(prefer_literal=True)(_tile_of)


def _emit(context: Any, b: Any, args: Any, cells: int, vectors: int, steps: int) -> Any:
    x, at, runs, count, weight, column, start, apart, out, channels = args[:10]
    i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)

    def number(value: int) -> Any:
        return ir.Constant(i64, value)

    def places(base: Any, stride: Any) -> list[Any]:
        rows = [b.gep(base, [b.mul(stride, number(c))]) for c in range(cells)]
        return [b.bitcast(b.gep(r, [number(v * LANES)]), vector.as_pointer()) for r in rows for v in range(vectors)]

    begin = [b.load(place, align=4) for place in places(start, apart)]
    inputs = [b.gep(x, [b.load(b.gep(at, [number(c)]))]) for c in range(cells)]
    entry, head, loop = b.block, b.append_basic_block("run"), b.append_basic_block("depth")
    tail, after = b.append_basic_block("next"), b.append_basic_block("done")
    b.branch(head)

    b.position_at_end(head)
    q = b.phi(i64)
    sums = [b.phi(vector) for _ in begin]
    offset, row, depth = (b.load(b.gep(runs, [b.add(b.mul(q, number(3)), number(i))])) for i in range(3))
    part = b.gep(weight, [b.add(b.mul(row, channels), b.mul(column, depth))])
    here = [b.gep(place, [offset]) for place in inputs]
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(i64)
    inner = [b.phi(vector) for _ in begin]
    now = _products(b, k, here, part, inner, vectors, steps)
    following = b.add(k, number(steps))
    b.cbranch(b.icmp_signed("<", following, depth), loop, tail)

    b.position_at_end(tail)
    q_next = b.add(q, number(1))
    b.cbranch(b.icmp_signed("<", q_next, count), head, after)

    b.position_at_end(after)
    for place, value in zip(places(out, channels), now, strict=True):
        b.store(value, place, align=4)
    _join(q, (number(0), entry), (q_next, tail))
    _join(k, (number(0), head), (following, loop))
    for first, outer, within, last in zip(begin, sums, inner, now, strict=True):
        _join(outer, (first, entry), (last, tail))
        _join(within, (outer, head), (last, loop))
    return context.get_dummy_value()


def _products(b: Any, k: Any, inputs: list[Any], weight: Any, sums: list[Any], vectors: int, steps: int) -> list[Any]:
    """The sums after some steps of the depth."""
    i64, i32, vector = ir.IntType(64), ir.IntType(32), ir.VectorType(ir.FloatType(), LANES)
    kind = ir.FunctionType(vector, [vector] * 3)
    multiply_add = cgutils.get_or_insert_function(b.module, kind, f"llvm.fmuladd.v{LANES}f32")
    undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)
    now = list(sums)
    for step in range(steps):
        at = b.add(k, ir.Constant(i64, step))
        row = b.gep(weight, [b.mul(at, ir.Constant(i64, vectors * LANES))])
        columns = [b.gep(row, [ir.Constant(i64, v * LANES)]) for v in range(vectors)]
        weights = [b.load(b.bitcast(column, vector.as_pointer()), align=4) for column in columns]
        for c, place in enumerate(inputs):
            one = b.insert_element(undefined, b.load(b.gep(place, [at])), ir.Constant(i32, 0))
            spread = b.shuffle_vector(one, undefined, zeros)
            for v in range(vectors):
                now[c * vectors + v] = b.call(multiply_add, [spread, weights[v], now[c * vectors + v]])
    return now


def _join(phi: Any, *sources: tuple[Any, Any]) -> None:
    for value, block in sources:
        phi.add_incoming(value, block)


def _loops(cells: int, vectors: int, steps: int) -> Any:
    """The loops around one kind of tile: over groups of runs, blocks of output channels, cells."""

    @njit(cache=True, nogil=True)
    def loops(x, at, n, runs, group, weight, bias, out):  # type: ignore[no-untyped-def]
        channels = bias.shape[0]
        for q in range(0, runs.shape[0], group):
            count = min(group, runs.shape[0] - q)
            for c in range(0, channels, vectors * LANES):
                for i in range(0, n, cells):
                    to = address(out, i * channels + c)
                    first, apart = (to, channels) if q else (address(bias, c), 0)
                    _tile(
                        address(x, 0), address(at, i), address(runs, 3 * q), count, address(weight, 0), c,
                        first, apart, to, channels, cells, vectors, steps,
                    )  # fmt: skip

    return loops


_wide, _mid = _loops(*_WIDE, STEPS[WIDE]), _loops(*_MID, STEPS[MID])
_thin, _stem = _loops(*_THIN, STEPS[THIN]), _loops(*_MID, STEPS[STEM])


@njit(cache=True, nogil=True)
def convolve(x, at, n, runs, group, weight, bias, out, tile):  # type: ignore[no-untyped-def]
    """The convolution of n cells, written to `out`.

    x (any) float32: the input, flat. at (n + MOST_CELLS,) int64: where in x each cell's window begins; those past n are
    read too, and their rows of `out` are rubbish. runs (r, 3) int64: the windows as runs of neighbouring numbers: where
    one begins in x relative to the window, its first row of the weights, its length. group: how many of them are summed up
    in registers; their weights should fit into the fastest cache. weight: flat, packed by `graph.pack`. bias: as many
    as there are outputs, made up to whole blocks. out (at least n + MOST_CELLS, outputs) float32, flat. tile: WIDE, MID,
    THIN or STEM.
    """
    if tile == WIDE:
        _wide(x, at, n, runs, group, weight, bias, out)
    elif tile == MID:
        _mid(x, at, n, runs, group, weight, bias, out)
    elif tile == THIN:
        _thin(x, at, n, runs, group, weight, bias, out)
    else:
        _stem(x, at, n, runs, group, weight, bias, out)
