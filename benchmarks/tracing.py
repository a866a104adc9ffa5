"""Traces and tables of the clips for benchmarks: recorded where they are not there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from common import CLIPS, TRAFFIC

from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.recording import is_recorded, recipe, record, trace_path
from everyframe.pipeline.traces.store import table_of
from everyframe.policies.simulation.optimum import Point
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.training.judge import Judge


def folder_of(given: str | None) -> Path:
    return Path(given) if given else cache_dir() / "traces"


def trace_of(name: str, model: ModelSettings, folder: Path, limit: int | None = None) -> Path:
    """The file of a clip's trace, recorded now if it is not there."""
    video = str(CLIPS[name].path)
    path = trace_path(name if limit is None else f"{name}.{limit}", str(folder))
    with FileSource(video) as source:
        detector = open_detector(model, source.info.width, source.info.height)
    if not is_recorded(path, recipe(video, detector, limit)):
        common.tell(f"recording {name}")
        tf.save(record(video, model, limit, detector=detector), path)
    return path


def clip_table(path: Path) -> ClipTable:
    common.tell(f"table of {path.name}")
    return table_of(path, TRAFFIC)


def parser(description: str) -> argparse.ArgumentParser:
    """Options of benchmarks over traces."""
    made = common.parser(description)
    common.add_clips(made, "the validation cameras")
    made.add_argument("--mode", action="append", choices=("causal", "lookahead"), help="default: both")
    made.add_argument("--decode", type=float, help="cost of decoding a frame in CNN passes; default: of this machine")
    made.add_argument("--traces", help="folder of traces; default: in the cache folder")
    made.add_argument("--plot", help="draw the curves into this file")
    return made


@dataclass(frozen=True, slots=True)
class Panel:
    """Cost against F1 of one clip. curves: points, label, matplotlib's format of each."""

    title: str
    curves: Sequence[tuple[Sequence[Point], str, str]]


def draw(panels: Sequence[Panel], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4 * columns, 3.2 * rows), layout="constrained", squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for points, label, style in panel.curves:
            size = 3 if len(points) > 1 else None
            axis.plot([q.cost for q in points], [q.f1 for q in points], style, markersize=size, label=label)
        axis.set(xscale="log", ylim=(0.5, 1.01), title=panel.title)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    axes[0][0].legend(fontsize="x-small")
    figure.supxlabel("cost, dense frames")
    figure.supylabel("F1 against the dense detector")
    figure.savefig(path, dpi=110)


def table_of_means(judge: Judge, names: Sequence[str], rows: Sequence[tuple[str, Sequence[Sequence[Point]]]]) -> str:
    """Means over `TARGETS`, of all clips and of each."""
    made = []
    for name, points in rows:
        ratios, regrets = (np.array(values).reshape(len(names), -1) for values in judge.compared(points))
        made.append([
            name, f"{ratios.mean():.2f}", f"{ratios.max():.2f}", f"{regrets.mean():.0%}", *(f"{r:.2f}" for r in ratios.mean(1))
        ])  # fmt: skip
    return common.markdown(["what decides", "cost / best stride's", "worst", "regret", *names], made)
