"""What is done to cells beside the sums of a convolution: finding the active ones, resizing, writing back what changed.

Maps are (rows + 2, cols + 2, channels) float32 with a border of zeros, their marks (rows + 2, cols + 2) uint8: 1 where
the map changed in this picture, 0 in the border. A value is written, and its cell marked, only where the mean square of its
difference to what is stored exceeds a limit: stored is what the next layers have seen, so slow changes add up until
they pass. A negative limit writes and marks everything.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from everyframe.operators.residual.kernel import MOST_CELLS, convolve
from everyframe.operators.residual.settle import settle

BATCH = 384
"""Cells convolved at a time: their results stay in the cache until they are written back."""
AS_IT_IS = np.float32(1)  # the slope of what is not rectified
BLOCK = 4
"""Side, in pixels, of the blocks over which the change of a picture is averaged."""


@njit(cache=True, nogil=True)
def _block_changes(picture, stored, top, sums, changes):  # type: ignore[no-untyped-def]
    """Into `changes` (cols / BLOCK,) the summed difference of each block of the row of blocks that begins at `top`."""
    width = sums.shape[0]
    sums[:] = 0
    for y in range(top, min(top + BLOCK, picture.shape[0])):
        new, old = picture[y].reshape(width), stored[y].reshape(width)
        for i in range(width):
            a, b = new[i], old[i]
            sums[i] += max(a, b) - min(a, b)
    each = BLOCK * picture.shape[2]
    for i in range(changes.shape[0]):
        total = 0
        for k in range(i * each, min(i * each + each, width)):
            total += sums[k]
        changes[i] = total


@njit(cache=True, nogil=True)
def load_tiles(picture, tile, limit, table, stored, sums, changes, x, marks, tiles):  # type: ignore[no-untyped-def]
    """Takes over the tiles of a picture that differ from what is stored; returns their number.

    picture, stored (rows, cols, 3) uint8. tile: side in pixels, a multiple of BLOCK. limit: grey levels by which a block
    of a tile may differ in the mean; 0 lets nothing pass. table (256, 3) float32: the net's input for each grey level.
    sums (3 * cols,) uint16 and changes (blocks in a row,) int64: working memory. x, marks: the net's input, and its
    changed pixels. tiles (rows, cols of tiles) uint8: 1 for those taken over.
    """
    rows, cols, channels = picture.shape
    most = limit * BLOCK * BLOCK * channels
    per_tile = tile // BLOCK
    tiles[:] = 0
    taken = 0
    for r in range(tiles.shape[0]):
        for top in range(r * tile, min((r + 1) * tile, rows), BLOCK):
            _block_changes(picture, stored, top, sums, changes)
            for i in range(changes.shape[0]):
                if changes[i] > most:
                    tiles[r, i // per_tile] = 1
        for c in range(tiles.shape[1]):
            if tiles[r, c]:
                taken += 1
                for y in range(r * tile, min((r + 1) * tile, rows)):
                    for u in range(c * tile, min((c + 1) * tile, cols)):
                        marks[y + 1, u + 1] = 1
                        for k in range(channels):
                            stored[y, u, k] = picture[y, u, k]
                            x[y + 1, u + 1, k] = table[picture[y, u, k], k]
    return taken


@njit(cache=True, nogil=True)
def reached(marks, reach, stride, rows, cols, line, found):  # type: ignore[no-untyped-def]
    """Writes to `found` the outputs that see a marked input, as row << 16 | col; returns how many.

    reach: 1 for a window of 3 x 3, 0 for one cell. line (cols of the marks,) uint8: working memory.
    """
    n = 0
    width = marks.shape[1]
    for y in range(rows):
        v = y * stride + 1
        some = 0
        if reach:
            for u in range(width):
                line[u] = marks[v - 1, u] | marks[v, u] | marks[v + 1, u]
                some |= line[u]
        else:
            for u in range(width):
                line[u] = marks[v, u]
                some |= line[u]
        if not some:
            continue
        for x in range(cols):
            u = x * stride + 1
            found[n] = y << 16 | x
            n += (line[u - reach] | line[u] | line[u + reach]) != 0
    return n


@njit(cache=True, nogil=True, fastmath=True)
def conv(x, window, runs, group, weight, bias, tile, found, n, at, results, limit, weigh, slope, stored, first, kept, marks):  # type: ignore[no-untyped-def]
    """Convolves the n cells in `found` and writes them to `stored` from channel `first` on; returns how many changed.

    x: the input map. window (3,) int64: how far in x, in numbers, the window of a cell is from that of its
    neighbour below and of that on the right, and where that of the first cell begins. runs, group,
    weight, bias, tile: as in `kernel.convolve`; the first `kept` outputs are stored. slope float32: of what is below zero. at
    (BATCH + MOST_CELLS,) int64 and results (BATCH + MOST_CELLS, channels) float32: working memory. stored may be
    without a border.
    """
    width, channels = stored.shape[1:]
    border = (width - marks.shape[1] + 2) // 2
    flat, out, maps = x.reshape(x.size), results.reshape(results.size), stored.reshape(stored.size)
    changed = 0
    for begin in range(0, n, BATCH):
        m = min(BATCH, n - begin)
        for i in range(m):
            y, c = found[begin + i] >> 16, found[begin + i] & 0xFFFF
            at[i] = window[2] + y * window[0] + c * window[1]
        at[m : m + MOST_CELLS] = at[m - 1]
        convolve(flat, at, m, runs, group, weight, bias, out, tile)
        for i in range(m):
            y, c = found[begin + i] >> 16, found[begin + i] & 0xFFFF
            to = ((y + border) * width + c + border) * channels + first
            if settle(out, i * len(bias), maps, to, kept, weigh, slope, limit):
                marks[y + 1, c + 1] = 1
                changed += 1
    return changed


@njit(cache=True, nogil=True, fastmath=True)
def _largest(row, left, middle, right, out):  # type: ignore[no-untyped-def]
    a, b, c = row[left], row[middle], row[right]
    for k in range(out.shape[0]):
        out[k] = max(out[k], max(max(a[k], b[k]), c[k]))


@njit(cache=True, nogil=True, fastmath=True)
def pool(x, found, n, results, limit, weigh, stored, marks):  # type: ignore[no-untyped-def]
    """The largest of each 3 x 3 window, stride 2, of the n cells in `found`; returns how many changed."""
    rows, cols = x.shape[0] - 2, x.shape[1] - 2
    width, channels = stored.shape[1:]
    out, maps = results[0, :channels], stored.reshape(stored.size)
    changed = 0
    for i in range(n):
        y, c = found[i] >> 16, found[i] & 0xFFFF
        # At the border a cell is looked at twice: what lies beyond must not count.
        left, right = max(2 * c, 1), min(2 * c + 2, cols)
        out[:] = x[2 * y + 1, 2 * c + 1]
        _largest(x[max(2 * y, 1)], left, 2 * c + 1, right, out)
        _largest(x[2 * y + 1], left, 2 * c + 1, right, out)
        _largest(x[min(2 * y + 2, rows)], left, 2 * c + 1, right, out)
        if settle(out, 0, maps, ((y + 1) * width + c + 1) * channels, channels, weigh, AS_IT_IS, limit):
            marks[y + 1, c + 1] = 1
            changed += 1
    return changed


@njit(cache=True, nogil=True, fastmath=True)
def _add(own, a, wa, b, wb, c, wc, d, wd, out):  # type: ignore[no-untyped-def]
    """out = own + the mean of four cells, weighted in sixteenths."""
    p, q, r, s = np.float32(wa / 16), np.float32(wb / 16), np.float32(wc / 16), np.float32(wd / 16)
    for k in range(out.shape[0]):
        out[k] = own[k] + (p * a[k] + q * b[k] + r * c[k] + s * d[k])


@njit(cache=True, nogil=True, fastmath=True)
def add_finer(coarse, coarse_marks, own, own_marks, results, limit, weigh, stored, marks):  # type: ignore[no-untyped-def]
    """stored = own + coarse at twice its size (bilinear, corners not aligned), where one of both changed."""
    rows, cols, channels = stored.shape[0] - 2, stored.shape[1] - 2, stored.shape[2]
    out, maps = results[0, :channels], stored.reshape(stored.size)
    changed = 0
    for y in range(rows):
        v = y // 2 + 1
        v2 = min(max(v + 2 * (y % 2) - 1, 1), rows // 2)
        for x in range(cols):
            u = x // 2 + 1
            u2 = min(max(u + 2 * (x % 2) - 1, 1), cols // 2)
            seen = coarse_marks[v, u] | coarse_marks[v, u2] | coarse_marks[v2, u] | coarse_marks[v2, u2]
            if seen | own_marks[y + 1, x + 1]:
                _add(own[y + 1, x + 1], coarse[v, u], 9, coarse[v, u2], 3, coarse[v2, u], 3, coarse[v2, u2], 1, out)
                to = ((y + 1) * (cols + 2) + x + 1) * channels
                if settle(out, 0, maps, to, channels, weigh, AS_IT_IS, limit):
                    marks[y + 1, x + 1] = 1
                    changed += 1
    return changed


@njit(cache=True, nogil=True, fastmath=True)
def add_coarser(fine, fine_marks, own, own_marks, results, limit, weigh, stored, marks):  # type: ignore[no-untyped-def]
    """stored = own + fine at half its size (the mean of 2 x 2 cells), where one of both changed."""
    rows, cols, channels = stored.shape[0] - 2, stored.shape[1] - 2, stored.shape[2]
    out, maps = results[0, :channels], stored.reshape(stored.size)
    changed = 0
    for y in range(rows):
        v = 2 * y + 1
        for x in range(cols):
            u = 2 * x + 1
            seen = fine_marks[v, u] | fine_marks[v, u + 1] | fine_marks[v + 1, u] | fine_marks[v + 1, u + 1]
            if seen | own_marks[y + 1, x + 1]:
                _add(own[y + 1, x + 1], fine[v, u], 4, fine[v, u + 1], 4, fine[v + 1, u], 4, fine[v + 1, u + 1], 4, out)
                to = ((y + 1) * (cols + 2) + x + 1) * channels
                if settle(out, 0, maps, to, channels, weigh, AS_IT_IS, limit):
                    marks[y + 1, x + 1] = 1
                    changed += 1
    return changed
