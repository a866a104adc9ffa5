"""How many objects are right, compiled: the counts of `pipeline.metrics.agree` without a solver.

The largest number of pairs with IoU of at least .5 in one group is all that pooled F1 asks of a matching, and Kuhn's
augmenting paths (1955) find it in microseconds. Reports are cleared of doubles first, as the product does.
"""

from __future__ import annotations

import numpy as np
from numba import njit

IOU = 0.5
MOST_OVERLAP = 0.6
MOST = 256
"""Objects of one frame that are counted."""


@njit(cache=True, nogil=True)
def overlap(a, b):  # type: ignore[no-untyped-def]
    """IoU of two boxes (x1, y1, x2, y2)."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    shared = w * h
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@njit(cache=True, nogil=True)
def reported(boxes, scores, classes, shown):  # type: ignore[no-untyped-def]
    """Clears `shown` (n,) of each box that lies on a better one of its class; returns how many are left."""
    n = boxes.shape[0]
    order = np.argsort(-scores, kind="mergesort")
    count = 0
    for i in range(n):
        a = order[i]
        if not shown[a]:
            continue
        for j in range(i):
            b = order[j]
            if shown[b] and classes[a] == classes[b] and overlap(boxes[a], boxes[b]) > MOST_OVERLAP:
                shown[a] = False
                break
        count += shown[a]
    return count


@njit(cache=True, nogil=True)
def _augment(good, row, taken, of_column):  # type: ignore[no-untyped-def]
    """Finds a partner for `row`, moving others where that helps; depth first, without recursion."""
    columns = good.shape[1]
    stack_row = np.empty(columns + 1, np.int64)
    stack_column = np.empty(columns + 1, np.int64)
    depth = 0
    stack_row[0], stack_column[0] = row, -1
    while depth >= 0:
        r = stack_row[depth]
        c = stack_column[depth] + 1
        while c < columns and (taken[c] or not good[r, c]):
            c += 1
        stack_column[depth] = c
        if c == columns:
            depth -= 1
            continue
        taken[c] = True
        if of_column[c] < 0:
            for d in range(depth + 1):
                of_column[stack_column[d]] = stack_row[d]
            return True
        depth += 1
        stack_row[depth], stack_column[depth] = of_column[c], -1
    return False


@njit(cache=True, nogil=True)
def right(boxes, groups, shown, truth, truth_groups):  # type: ignore[no-untyped-def]
    """True positives: the largest number of pairs of shown boxes (n, 4) and true ones (m, 4) of one group."""
    n, m = boxes.shape[0], truth.shape[0]
    if n == 0 or m == 0:
        return 0
    good = np.zeros((n, m), np.bool_)
    for i in range(n):
        if shown[i]:
            for j in range(m):
                good[i, j] = groups[i] == truth_groups[j] and overlap(boxes[i], truth[j]) >= IOU
    of_column = np.full(m, -1, np.int64)
    taken = np.empty(m, np.bool_)
    pairs = 0
    for i in range(n):
        if shown[i]:
            taken[:] = False
            pairs += _augment(good, i, taken, of_column)
    return pairs
