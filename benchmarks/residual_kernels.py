"""What does one active cell cost, as a share of a cell of a dense convolution? Ways to convolve a few cells here and there.

    python benchmarks/residual_kernels.py --write

Cells are drawn anywhere in a layer of the net's shape; each time against oneDNN with packed weights on the whole layer.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import common
import numpy as np
import torch
from numba import njit
from torch import nn

from everyframe.operators.detectors.packed import PackedConv
from everyframe.operators.residual import cells, kernel
from everyframe.operators.residual.executor import FAST
from everyframe.operators.residual.graph import pack
from everyframe.operators.residual.steps import RUN

LAYERS = ((96, 160, 32, 32), (96, 160, 32, 16), (48, 80, 64, 64), (24, 40, 128, 128), (12, 20, 256, 256), (48, 80, 128, 128))
"""Rows, columns, input and output channels."""
SHARE = 0.2
ROUNDS = 15


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.one_thread()
    torch.set_num_threads(1)
    lines = []
    with torch.inference_mode():
        for layer in LAYERS:
            gather, product, ours, whole = costs(*layer)
            rows, cols, inputs, outputs = layer
            lines.append((
                f"{rows} x {cols}, {inputs} to {outputs}", f"{gather:.2f}", f"{product:.2f}", f"{ours:.2f}", f"{whole:.2f}"
            ))  # fmt: skip
    heads = ("layer", "gather (numba)", "torch.mm", "kernel", "kernel, compared and stored")
    text = f"{SHARE:.0%} of the cells, time of each against a dense convolution's; medians of {ROUNDS}."
    common.publish("residual kernels", f"{text}\n\n{common.markdown(heads, lines)}", options.write)


def costs(rows: int, cols: int, inputs: int, outputs: int) -> list[float]:
    """Of gathering, multiplying, the kernel, and the kernel with what follows; per cell, relative to dense."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + 2, cols + 2, inputs)).astype(np.float32)
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    dense_in = torch.from_numpy(np.ascontiguousarray(x[1:-1, 1:-1]))[None].permute(0, 3, 1, 2)
    packed = PackedConv(conv, 0.1, list(dense_in.shape))
    n = round(SHARE * rows * cols)
    y, c = np.divmod(np.sort(rng.permutation(rows * cols)[:n]), cols)
    weight = conv.weight.detach().permute(2, 3, 1, 0).reshape(9 * inputs, outputs).contiguous()
    windows, product = np.empty((n, 9 * inputs), np.float32), torch.empty(n, outputs)
    ours, whole = kernels(x, weight.numpy(), conv.bias.detach().numpy(), y, c)
    calls = [
        lambda: packed(dense_in),
        lambda: gather(x, y, c, windows),
        lambda: torch.mm(torch.from_numpy(windows), weight, out=product),
        ours,
        whole,
    ]
    dense, *parts = medians(calls)
    return [part / (SHARE * dense) for part in parts]


def kernels(x, weight, bias, y, c):  # type: ignore[no-untyped-def]
    """The kernel alone, and with comparing and storing, as calls."""
    rows, cols, inputs = x.shape
    outputs, n = weight.shape[1], len(y)
    tile = next(t for t in (kernel.WIDE, kernel.MID, kernel.THIN) if outputs >= kernel.BLOCKS[t])
    lengths = [min(RUN, 3 * inputs - at) for at in range(0, 3 * inputs, RUN)]
    starts = [dy * cols * inputs + at for dy in range(3) for at in range(0, 3 * inputs, RUN)]
    ends = np.cumsum(lengths * 3)
    runs = np.array([(s, e - k, k) for s, e, k in zip(starts, ends, lengths * 3, strict=True)], np.int64)
    packed = pack(weight, lengths, kernel.BLOCKS[tile])
    found = y << 16 | c
    size = cells.BATCH + kernel.MOST_CELLS
    at, results = np.zeros(size, np.int64), np.zeros((size, outputs), np.float32)
    stored, marks = np.zeros((rows, cols, outputs), np.float32), np.zeros((rows, cols), np.uint8)
    window = np.array((cols * inputs, inputs, 0), np.int64)
    all_at = np.concatenate((y * cols + c, np.full(kernel.MOST_CELLS, y[-1] * cols + c[-1]))) * inputs
    group, weigh = len(runs) if len(packed) <= FAST else 1, np.ones(outputs, np.float32)

    def alone() -> None:
        for first in range(0, n, cells.BATCH):
            m = min(cells.BATCH, n - first)
            kernel.convolve(
                x.reshape(-1), all_at[first : first + m + kernel.MOST_CELLS], m, runs, group, packed, bias, results.reshape(-1), tile
            )

    def whole() -> None:
        cells.conv(
            x, window, runs, group, packed, bias, tile, found, n, at, results, np.float32(0), weigh, np.float32(0.1),
            stored, 0, outputs, marks,
        )  # fmt: skip

    return alone, whole


@njit(cache=True, nogil=True)
def gather(x, y, c, windows):  # type: ignore[no-untyped-def]
    length = 3 * x.shape[2]
    for i in range(y.shape[0]):
        for dy in range(3):
            row = x[y[i] + dy, c[i] : c[i] + 3].reshape(length)
            out = windows[i, dy * length : (dy + 1) * length]
            for k in range(length):
                out[k] = row[k]


def medians(calls: list[Callable[[], object]]) -> list[float]:
    """Median CPU time of each call, all in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for spent, call in zip(times, calls, strict=True):
            start = process_time()
            call()
            spent.append(process_time() - start)
    return [float(np.median(spent)) for spent in times]


if __name__ == "__main__":
    main()
