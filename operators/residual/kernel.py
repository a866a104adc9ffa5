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
_FEATURES: dict[str, bool] = dict(llvmlite.binding.get_host_cpu_features())
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


_address: Any = intrinsic(_address_of)


def _tile_of(
    typing: Any, x: Any, at: Any, weight: Any, out: Any, channels: Any, depth: Any, cells: Any, vectors: Any, steps: Any
) -> Any:
    """out[c, :] += x[at[c] + k] * weight[k, :] over k < depth, for `cells` cells and `vectors` vectors of channels.

    x: the input's address; at: those of the cells relative to it. out: rows `channels` apart. depth: a multiple of
    `steps`, which is how far the loop is unrolled. The last three are known when it is compiled.
    """
    shape = (cells.literal_value, vectors.literal_value, steps.literal_value)
    signature = types.void(_F32P, _I64P, _F32P, _F32P, types.int64, types.int64, cells, vectors, steps)
    return signature, lambda context, builder, signature, args: _emit(context, builder, args, *shape)


_tile: Any = intrinsic(prefer_literal=True)(_tile_of)


def _emit(context: Any, b: Any, args: Any, cells: int, vectors: int, steps: int) -> Any:
    x, at, weight, out, channels, depth = args[:6]
    i64, i32, vector = ir.IntType(64), ir.IntType(32), ir.VectorType(ir.FloatType(), LANES)

    def number(value: int) -> Any:
        return ir.Constant(i64, value)

    def as_vector(pointer: Any) -> Any:
        return b.bitcast(pointer, vector.as_pointer())

    kind = ir.FunctionType(vector, [vector] * 3)
    multiply_add = cgutils.get_or_insert_function(b.module, kind, f"llvm.fmuladd.v{LANES}f32")
    undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)

    inputs = [b.gep(x, [b.load(b.gep(at, [number(c)]))]) for c in range(cells)]
    rows = [b.gep(out, [b.mul(channels, number(c))]) for c in range(cells)]
    outs = [as_vector(b.gep(row, [number(v * LANES)])) for row in rows for v in range(vectors)]
    first = [b.load(place, align=4) for place in outs]
    before, loop, after = b.block, b.append_basic_block("depth"), b.append_basic_block("done")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(i64)
    k.add_incoming(number(0), before)
    sums = [b.phi(vector) for _ in outs]
    for total, value in zip(sums, first, strict=True):
        total.add_incoming(value, before)
    now = list(sums)
    for step in range(steps):
        here = b.add(k, number(step))
        row = b.gep(weight, [b.mul(here, number(vectors * LANES))])
        weights = [b.load(as_vector(b.gep(row, [number(v * LANES)])), align=4) for v in range(vectors)]
        for c in range(cells):
            one = b.insert_element(undefined, b.load(b.gep(inputs[c], [here])), ir.Constant(i32, 0))
            spread = b.shuffle_vector(one, undefined, zeros)
            for v in range(vectors):
                now[c * vectors + v] = b.call(multiply_add, [spread, weights[v], now[c * vectors + v]])
    following = b.add(k, number(steps))
    k.add_incoming(following, loop)
    for total, value in zip(sums, now, strict=True):
        total.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<", following, depth), loop, after)
    b.position_at_end(after)
    for place, value in zip(outs, now, strict=True):
        b.store(value, place, align=4)
    return context.get_dummy_value()


def _loops(cells: int, vectors: int, steps: int) -> Any:
    """The loops around one kind of tile: over the runs, blocks of output channels, cells."""

    @njit(cache=True, nogil=True)
    def loops(x, at, n, runs, weight, out, channels):  # type: ignore[no-untyped-def]
        for q in range(runs.shape[0]):
            for c in range(0, channels, vectors * LANES):
                part = _address(weight, runs[q, 1] * channels + c * runs[q, 2])
                for i in range(0, n, cells):
                    _tile(
                        _address(x, runs[q, 0]), _address(at, i), part, _address(out, i * channels + c),
                        channels, runs[q, 2], cells, vectors, steps,
                    )  # fmt: skip

    return loops


_wide, _mid = _loops(*_WIDE, STEPS[WIDE]), _loops(*_MID, STEPS[MID])
_thin, _stem = _loops(*_THIN, STEPS[THIN]), _loops(*_MID, STEPS[STEM])


@njit(cache=True, nogil=True)
def convolve(x, at, n, runs, weight, out, channels, tile):  # type: ignore[no-untyped-def]
    """Adds the convolution of n cells to `out`.

    x (any) float32: the input, flat. at (n + MOST_CELLS,) int64: where in x each cell's window begins; those past n are
    read too, and their rows of `out` are rubbish. runs (r, 3) int64: the windows as runs of neighbouring numbers: where
    one begins in x relative to the window, its first row of the weights, its length. weight: flat, packed by
    `graph.pack`. out (at least n + MOST_CELLS, channels) float32, flat. tile: WIDE, MID, THIN or STEM.
    """
    if tile == WIDE:
        _wide(x, at, n, runs, weight, out, channels)
    elif tile == MID:
        _mid(x, at, n, runs, weight, out, channels)
    elif tile == THIN:
        _thin(x, at, n, runs, weight, out, channels)
    else:
        _stem(x, at, n, runs, weight, out, channels)
