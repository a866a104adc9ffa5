"""Figures of matplotlib, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from everyframe.pipeline.errors import SinkError, UsageError


@contextmanager
def axes_for(path: str) -> Iterator[Any]:
    """Gives matplotlib's axes of a figure that is written to `path` after the block. Raises UsageError where matplotlib is missing or
    the file's ending is unknown, SinkError where it cannot be written."""
    try:
        import matplotlib
    except ImportError as e:
        raise UsageError('A plot needs matplotlib: run pip install "everyframe[peers]".') from e
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    try:
        yield axes
        axes.grid(alpha=0.3)
        figure.savefig(path, dpi=120)
    except ValueError as e:
        raise UsageError(f"Cannot draw {path}: name a file that ends in .png, .svg or .pdf.") from e
    except OSError as e:
        raise SinkError(f"Cannot write the plot {path}: {e.strerror or e}; name a folder that can be written.") from e
    finally:
        pyplot.close(figure)
