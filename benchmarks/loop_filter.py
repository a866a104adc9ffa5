"""What would decoding without H.264's loop filter save, and what would the detector make of such pictures?

Decoder time with motion vectors, with and without the filter, in turns; and F1 of the detections on every 10th picture
without the filter against those with it. Pictures drift apart within each group of pictures.
    python benchmarks/loop_filter.py --write
"""

from __future__ import annotations

from time import process_time

import common
import numpy as np
from common import CLIPS, TRAFFIC, number

from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.sources.file import FileSource

EVERY = 10
ROUNDS = 3


def decode(path: str, loop_filter: bool, limit: int | None) -> tuple[float, list[np.ndarray]]:
    """CPU ms per frame of decoding, and every `EVERY`-th picture."""
    spent, pictures, count = 0.0, [], 0
    with FileSource(path) as source:
        decoder = Decoder(source, loop_filter=loop_filter)
        slots = []
        for packet in source.packets():
            start = process_time()
            slots = decoder.push(packet, True)
            spent += process_time() - start
            for slot in slots:
                if slot.frame is not None and count % EVERY == 0:
                    pictures.append(slot.frame.picture())
                count += 1
            if limit is not None and count >= limit:
                break
    return spent / max(count, 1) * 1e3, pictures


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, "four of them")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    lines = []
    for name in options.clip or ("pets_s2l1_ip", "one_by_one_person", "freeway720", "plaza"):
        common.tell(name)
        path = str(CLIPS[name].path)
        both: dict[bool, list[float]] = {True: [], False: []}
        pictures: dict[bool, list[np.ndarray]] = {}
        for _ in range(ROUNDS):
            for loop_filter, spent in both.items():
                ms, pictures[loop_filter] = decode(path, loop_filter, options.limit)
                spent.append(ms)
        height, width = pictures[True][0].shape[:2]
        detector = open_detector(common.model_of(options), width, height)
        wanted = np.array([detector.names.index(c) for c in TRAFFIC], np.int32)

        def seen(found: list[np.ndarray], detector=detector, wanted=wanted) -> list[Objects]:
            return [metrics.select(detector.detect(picture), wanted) for picture in found]

        groups = metrics.group_table(detector.supercategory)
        f1 = metrics.agree(seen(pictures[False]), seen(pictures[True]), groups).f1
        grey = np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in zip(*pictures.values(), strict=True)])
        on, off = min(both[True]), min(both[False])
        lines.append((name, number(on, ".2f"), number(off, ".2f"), number(off / on, ".2f"), number(grey, ".2f"), number(f1)))
    heads = ("clip", "decode, ms", "without, ms", "ratio", "mean change of a pixel", "F1 of the detector")
    common.publish("loop filter", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
