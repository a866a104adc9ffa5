"""`everyframe train-flow`: what the rung `flow` takes for worth a look, learned from the detector on video without labels."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def train_flow(
    *video: Annotated[str, Parameter(help="Video files; patterns such as 'cameras/*.mp4' are expanded.")],
    out: Annotated[str, Parameter(help="File for the weights. [default: weights.safetensors]", group=o.OUTPUT)] = (
        "weights.safetensors"
    ),
    epochs: Annotated[int, Parameter(help="How often to go through all videos. [default: 3]", group=o.ENGINE)] = 3,
    seed: o.SeedOption = None,
    limit: o.LimitOption = None,
    cnn: o.OneCnnOptions = o.ONE_CNN,
    json: o.JsonFlag = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Learn from the detector, on videos without labels, where its features go bad between key frames."""
    from pathlib import Path

    from everyframe.operators.detectors import NanoDetDetector
    from everyframe.operators.detectors.weights import SHIPPED
    from everyframe.operators.flow.weights import save_weights
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.costs.measure import open_detector
    from everyframe.pipeline.runs.inputs import expand
    from everyframe.pipeline.runs.progress import make_progress
    from everyframe.pipeline.sources.file import FileSource
    from everyframe.pipeline.training.flow import read, train

    if not video:
        raise UsageError("Nothing to learn from: name at least one video, as in everyframe train-flow clip.mp4.")
    if epochs < 1:
        raise UsageError(f"--epochs: give 1 or more, not {epochs}")
    if Path(out).is_dir() or not Path(out).parent.is_dir():
        raise UsageError(f"--out: {out} cannot be written: name a file in a folder that exists")
    options = o.given(cnn, seed=seed, limit=limit)
    settings = make_settings(options).label_settings()
    start = time.monotonic()
    clips = []
    with make_progress(quiet) as progress:

        def tell(what: str, done: int, of: int | None) -> None:
            if done == of or done % 100 == 0:
                progress.note(f"{what}: {done}" + (f" of {of}" if of else ""))

        for path in expand(video):
            with FileSource(path) as source:
                detector = open_detector(settings.model, source.info.width, source.info.height)
            if not isinstance(detector, NanoDetDetector):
                raise UsageError(f"flow keeps the layers of {SHIPPED}: leave --model out, or give weights of that architecture")
            progress.note(f"{source.info.name}: reading")
            clips.append(read(path, detector, settings.limit, tell))
        weights = train(clips, detector.supercategory, epochs, settings.seed, tell)
    save_weights(weights, out)
    _show(weights, out, sum(len(clip.fields) for clip in clips), time.monotonic() - start, json)
    return 0


def _show(weights: object, out: str, frames: int, seconds: float, json: bool) -> None:
    import orjson

    from everyframe.operators.flow.weights import MEASURES

    values = {
        kind: dict(zip(names, getattr(weights, kind).round(6).tolist(), strict=True)) for kind, names in MEASURES.items()
    }
    if json:
        print(orjson.dumps({"out": out, "frames": frames, "seconds": round(seconds, 1), "weights": values}).decode())
        return
    print(f"{out}: learned from {frames} frames in {seconds:.0f} s; wrong labels for one unit of each measure:")
    for kind, row in values.items():
        print(f"  {kind}: " + ", ".join(f"{name} {value:.4f}" for name, value in row.items()))
