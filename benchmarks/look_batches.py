"""Does it pay to look at pictures of several cameras in one batch?

CPU time of a look by itself and in batches, interleaved, on the same pictures of one clip.

    python benchmarks/look_batches.py --write
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import common
import numpy as np
from common import CLIPS, number

from everyframe.operators.detectors import NanoDetDetector, Prepared, load_detector
from everyframe.pipeline.evaluation.dense import plain_slots

BATCHES = (1, 2, 4, 8)
ROUNDS = 5


def cpu_ms(detector: NanoDetDetector, prepared: Sequence[Prepared]) -> float:
    """CPU ms of one picture in this batch."""
    start = time.process_time()
    detector.infer_many(prepared)
    return (time.process_time() - start) * 1e3 / len(prepared)


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--imgsz", type=int, default=640)
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    lines = []
    for runtime in ("torch", "openvino"):
        detector = load_detector(imgsz=options.imgsz, runtime=runtime)
        frames = [slot.frame for slot in plain_slots(str(CLIPS["freeway720"].path), max(BATCHES))]
        prepared = [detector.prepare(frame.picture()) for frame in frames if frame is not None]
        for batch in BATCHES:
            detector.infer_many(prepared[:batch])
        rows: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        for _ in range(ROUNDS):
            for batch in BATCHES:
                rows[batch].append(cpu_ms(detector, prepared[:batch]))
        least = {batch: float(np.min(found)) for batch, found in rows.items()}
        lines += [(runtime, str(batch), number(ms, ".1f"), number(ms / least[1], ".2f")) for batch, ms in least.items()]
    common.publish("look_batches", common.markdown(("runtime", "batch", "CPU ms a look", "of one alone"), lines), options.write)


if __name__ == "__main__":
    main()
