from __future__ import annotations

from dataclasses import replace

import numpy as np

from everyframe.operators.types import Objects
from everyframe.pipeline.labelling.stitch import Stitcher

A, B = [10, 10, 50, 90], [100, 10, 150, 90]


def objects(boxes, ids):
    return Objects.of(np.reshape(boxes, (-1, 4)), [0.9] * len(boxes), [0] * len(boxes), ids)


def test_frames_are_counted_and_tracks_named_through(make_labels):
    records = [replace(r, frame_index=i, objects=objects([A, B], [1, 2])) for i, r in enumerate(make_labels(2))]
    stitcher = Stitcher()
    stitcher.begin_shard()
    first = list(stitcher.stitch(records))
    stitcher.end_shard(objects([A, B], [1, 2]))
    stitcher.begin_shard()
    turned = [replace(r, objects=objects([B, A, [200, 0, 240, 90]], [1, 2, 3])) for r in records]
    second = list(stitcher.stitch(turned))
    assert [r.frame_index for r in first + second] == [0, 1, 2, 3]
    assert first[0].objects.track_id.tolist() == [1, 2]
    assert second[0].objects.track_id.tolist() == [2, 1, 3]
    assert second[1].objects.track_id.tolist() == [2, 1, 3]


def test_a_shard_without_a_last_look_begins_new_names(make_labels):
    record = replace(make_labels(1)[0], objects=objects([A], [1]))
    stitcher = Stitcher()
    names = []
    for _ in range(2):
        stitcher.begin_shard()
        names += [r.objects.track_id.tolist() for r in stitcher.stitch([record])]
        stitcher.end_shard(None)
    assert names == [[1], [2]]
