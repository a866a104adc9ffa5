"""Which pictures of a fixed camera to learn from: core-set, uncertain or random ones, at equal number and equal steps.

    python benchmarks/data_selection.py --write

Of the first half of a clip, 200 pictures spread evenly are the pool; some of them are chosen, and a narrower net (three quarters of the
channels, gains and biases settled on the pool) learns from `full` on these alone. F1 against `full` is over 40 pictures of the second half, people
and vehicles, score 0.45; mean of the seeds. What was measured is kept in build/data_selection.jsonl. One run of a net takes
about 20 s of CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import common
import numpy as np
import torch
from common import CLIPS, TRAFFIC, number

from everyframe.operators.compress import distil, select, slim
from everyframe.operators.compress.select import CHOICES, Choice
from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.detector import MIN_SCORE, NanoDetDetector
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.runtimes import make_runtime
from everyframe.operators.detectors.slim import narrow
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.compression import select as picking
from everyframe.pipeline.compression.judge import CONF
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.metrics import agree, group_table

CAMERAS = ("pets_s2l1_ip", "street")
SIZES = (10, 25, 50, 100)
STEPS = 80
POOL, JUDGED = 200, 40
WIDTH = 0.75
WANTED = np.array([coco.NAMES.index(name) for name in TRAFFIC], np.int32)


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--steps", type=int, default=STEPS)
    made.add_argument("--seeds", type=int, default=2)
    made.add_argument("--size", type=int, action="append", help="may be repeated; default: 10, 25, 50, 100")
    made.add_argument("--again", action="store_true", help="measure anew")
    common.add_clips(made, "two fixed cameras")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    torch.set_num_threads(1)
    store = common.Store(common.ROOT / "build" / "data_selection.jsonl", options.again, digest())
    cameras, sizes = options.clip or CAMERAS, options.size or SIZES
    found: dict[tuple[str, int, str], list[float]] = {}
    for seed in range(options.seeds):
        for camera in cameras:
            bench = Bench(camera, options.steps)
            for size in sizes:
                for choice in CHOICES:
                    row = store.get([camera, size, choice, seed, options.steps], partial(bench.run, size, choice, seed))
                    common.tell(f"{camera}, {size} {choice}, seed {seed}: {row['f1']:.3f}")
                    found.setdefault((camera, size, choice), []).append(row["f1"])
    heads = ("camera", "pictures", *CHOICES)
    lines = [
        (camera, str(size), *(number(float(np.mean(found[camera, size, choice]))) for choice in CHOICES))
        for camera in cameras for size in sizes
    ]  # fmt: skip
    said = f"{options.steps} steps each, {options.seeds} seeds.\n\n"
    common.publish("data-selection", said + common.markdown(heads, lines) + "\n\n" + needed(found, cameras, sizes), options.write)


def needed(found: dict[tuple[str, int, str], list[float]], cameras: Sequence[str], sizes: Sequence[int]) -> str:
    """How many pictures each choice needs to reach what random picking reaches with the most."""
    lines = []
    for camera in cameras:
        goal = float(np.mean(found[camera, sizes[-1], "random"]))
        for choice in ("coreset", "uncertain"):
            enough = [size for size in sizes if float(np.mean(found[camera, size, choice])) >= goal]
            said = f"{enough[0]} pictures" if enough else "more than that"
            lines.append(f"- {camera}: what {sizes[-1]} random pictures give ({goal:.3f}), {choice} gives with {said}.")
    return "\n".join(lines)


class Bench:
    """A camera: its pool, its teacher and what that says of the pictures to judge by. Read at the first run."""

    def __init__(self, camera: str, steps: int) -> None:
        self._camera = camera
        self._steps = steps
        self._pool: list[U8] = []

    def run(self, size: int, choice: Choice, seed: int) -> dict[str, float]:
        if not self._pool:
            self._open()
        some = picking.picked([self._pool], self._teacher, size, choice, seed)
        scales = (320, 704)
        net = distil.distil(self._start, self._teacher, some, distil.Course(self._steps, seed, scales))
        return {"f1": agree(self._seen(net), self._wanted, group_table(coco.SUPERCATEGORY)).f1}

    def _open(self) -> None:
        path = str(CLIPS[self._camera].path)
        self._pool = read_pictures([path], POOL, Part(0.0, 0.5))[0]
        self._judged = read_pictures([path], JUDGED, Part(0.5, 1.0))[0]
        self._teacher = weights.load_nanodet(weights.read("full"), "full")
        x = torch.from_numpy(np.stack([distil.sample([self._pool], np.random.default_rng(i), (320, 704)) for i in range(16)]))
        self._start = narrow(slim.settle(slim.slimmable(self._teacher, (1.0, WIDTH)), x.permute(0, 3, 1, 2)), WIDTH)
        self._wanted = self._seen(self._teacher)

    def _seen(self, net: NanoDet) -> list[Objects]:
        """What a net finds on the pictures to judge by."""
        detector = NanoDetDetector(make_runtime(net, "openvino", "f32", "cpu", 1), net, "net", "", 640, MIN_SCORE)
        found = [detector.detect(picture) for picture in self._judged]
        return [objects[(objects.score >= CONF) & np.isin(objects.class_id, WANTED)] for objects in found]


def digest() -> str:
    """Of the code that these figures depend on."""
    made = blake2b(digest_size=8)
    for module in (distil, select, slim, picking):
        made.update(Path(str(module.__file__)).read_bytes())
    return made.hexdigest()


if __name__ == "__main__":
    main()
