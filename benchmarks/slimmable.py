"""One set of weights in several widths: how fast and how good each width is, and what changing the width from look to look costs.

    everyframe compress --recipe slim --calibrate CLIP --check CLIP --steps 2000 --out slim.safetensors
    python benchmarks/slimmable.py --model slim.safetensors --write

All widths of the file are open at once. Times are CPU ms of a look in one thread, the widths in turns, each in the fastest runtime here.
What changing costs: looks at the same pictures, once with each width for a block of looks and once with another width at every
look, in turns; the difference for a look, with the spread of the rounds: what is less than that is nothing that can be measured. F1
is pooled over pictures of the second half of each clip, people and vehicles, score 0.45, against the full model in f32.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from time import process_time

import common
from common import CLIPS, number, verdict
from compressed import GROUPS, kept

from everyframe.operators.detectors.slim import load_slim
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import HEIGHT, WIDTH, timed
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.metrics import agree
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.settings import ModelSettings

JUDGED, TIMED, BLOCKS = 80, 6, 12


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--model", required=True, help="a file of compress --recipe slim")
    made.add_argument("--blocks", type=int, default=BLOCKS, help="rounds of the comparison of changing with not changing")
    common.add_clips(made, "pets_s2l1_ip and walkway")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    slim = load_slim(options.model)
    if slim is None:
        raise SystemExit(f"{options.model} is no file of several widths: make one with everyframe compress --recipe slim")
    names = [f"{options.model}@{width:g}" for width in slim.widths]
    widths = [open_detector(ModelSettings(name), WIDTH, HEIGHT) for name in names]
    full = open_detector(ModelSettings(precision="f32"), WIDTH, HEIGHT)
    clips = options.clip or ["pets_s2l1_ip", "walkway"]
    seen = {clip: read_pictures([str(CLIPS[clip].path)], JUDGED, Part(0.5, 1.0))[0] for clip in clips}
    pictures = seen[clips[0]][:: max(1, JUDGED // TIMED)][:TIMED]
    full_ms, *ms = timed([full, *widths], pictures)
    f1 = {clip: agreements(full, widths, found) for clip, found in seen.items()}
    heads = ("width", "runtime", "CPU ms", "faster than full, f32", *(f"F1 on {clip}" for clip in clips))
    lines = [
        (f"{width:g}", f"{w.runtime} {w.precision}", number(ms[i], ".2f"), number(full_ms / ms[i], ".2f"), *(number(f1[clip][i]) for clip in clips))
        for i, (width, w) in enumerate(zip(slim.widths, widths, strict=True))
    ]  # fmt: skip
    cost, spread = changing(widths, pictures, options.blocks)
    size = Path(options.model).stat().st_size / 1e6
    text = f"{len(widths)} widths in one file of {size:.1f} MB. Changing the width at every look: {cost:+.3f} ms a look, with a standard error of {spread:.3f} ms"
    text += f"; nothing that can be measured: {verdict(abs(cost) <= 2 * spread or abs(cost) < 0.01 * min(ms))}."
    common.publish("slimmable", common.markdown(heads, lines) + "\n\n" + text, options.write)


def agreements(full: LoadedDetector, widths: list[LoadedDetector], pictures: list[U8]) -> list[float]:
    wanted = [kept(full.detect(p)) for p in pictures]
    return [agree([kept(width.detect(p)) for p in pictures], wanted, GROUPS).f1 for width in widths]


def changing(widths: list[LoadedDetector], pictures: list[U8], blocks: int) -> tuple[float, float]:
    """CPU ms that a look costs more where the one before was at another width, and the standard error of that."""
    ready = [[width.prepare(p) for p in pictures] for width in widths]
    rows = [(i, j) for i in range(len(widths)) for j in range(len(pictures))]
    turns = [(i, j) for j in range(len(pictures)) for i in range(len(widths))]
    apart = []
    for block in range(blocks + 1):
        took = {}
        for order in (rows, turns) if block % 2 else (turns, rows):
            start = process_time()
            for i, j in order:
                widths[i].infer(ready[i][j])
            took[order is turns] = (process_time() - start) / len(order) * 1e3
        apart.append(took[True] - took[False])
    apart = apart[1:]  # the first warms up
    return statistics.median(apart), statistics.stdev(apart) / len(apart) ** 0.5


if __name__ == "__main__":
    main()
