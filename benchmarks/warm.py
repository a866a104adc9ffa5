"""Fills the cache of dense detections for all clips, so that evaluations after it start at once.
EVERYFRAME_CACHE=... python benchmarks/warm.py
"""

from __future__ import annotations

import common
from common import CLIPS

from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.evaluation import dense
from everyframe.pipeline.sources.file import FileSource


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, "all")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    for name in options.clip or CLIPS:
        path = str(CLIPS[name].path)
        with FileSource(path) as source:
            detector = open_detector(common.model_of(options), source.info.width, source.info.height)
        found = dense(path, detector, options.limit, measure=False)
        print(f"{name}: {len(found.frames)} frames, {detector.describe}", flush=True)


if __name__ == "__main__":
    main()
