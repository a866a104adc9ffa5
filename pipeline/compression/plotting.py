"""Models drawn as accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence

from everyframe.pipeline.compression.listing import Row
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.pictures.plots import axes_for


def plot(rows: Sequence[Row], path: str) -> None:
    """Draws CPU ms of a look (log scale) against F1 with the model that each was made from; the larger the mark, the larger the file.

    A model that was made from none stands at 1. Raises UsageError where matplotlib is missing, no model can be used or the
    file's ending is unknown, SinkError where it cannot be written.
    """
    points = [(row, row.cpu_ms) for row in rows if row.cpu_ms is not None]
    if not points:
        raise UsageError(f"Nothing to draw in {path}: no model can be used here.")
    with axes_for(path) as axes:
        for row, ms in points:
            f1 = 1.0 if row.f1 is None else row.f1
            axes.scatter(ms, f1, s=30 + 20 * row.megabytes, alpha=0.6)
            axes.annotate(f"{row.model}, {row.megabytes:.1f} MB", (ms, f1), xytext=(6, 6), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="CPU ms a look here, one thread", ylabel="F1 against the model it was made from")
        axes.margins(0.2)
