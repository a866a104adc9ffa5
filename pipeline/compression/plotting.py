"""Models, and designs that were tried, drawn as accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence

from everyframe.pipeline.compression.listing import Row
from everyframe.pipeline.compression.search import Found, front
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


def plot_search(judged: Sequence[Found], budget_ms: float, path: str) -> None:
    """Draws all designs of a search, CPU ms of a look against F1 before learning, with the line of the best and the budget. Raises as `plot`."""
    best = front(judged)
    with axes_for(path) as axes:
        axes.scatter([one.ms for one in judged], [one.f1 for one in judged], s=14, color="0.6", label="tried")
        axes.plot([one.ms for one in best], [one.f1 for one in best], "o-", label="none is faster and better")
        whole = [one for one in judged if one.design.subnet.whole]
        axes.scatter([one.ms for one in whole], [one.f1 for one in whole], s=50, marker="s", facecolors="none", edgecolors="C1", label="net as it is")
        axes.axvline(budget_ms, color="C3", linestyle=":", label="budget")
        axes.set(xlabel="CPU ms a look here, one thread", ylabel="F1 against the full model, before learning")
        axes.legend()
