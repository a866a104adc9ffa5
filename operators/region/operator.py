"""`region`: the unchanged CNN on crops around what changed or is in doubt; everything else is carried on.

After spatially adaptive partial feature updating and temporally adaptive key frames (Zhu et al., Towards High Performance
Video Object Detection, CVPR 2018). Deviations: crops of the picture in place of cells of features, so that any detector
serves; where to look is not learned from features but told by what is nearly free here: luma, motion and the tracks; and
looks are bought by their worth for their cost on this machine.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from everyframe.operators.base import Detector, Needs, Prices
from everyframe.operators.boxes import iou
from everyframe.operators.detectors.letterbox import Letterbox, fit
from everyframe.operators.region.crops import look_at, net_size, uncut, well_inside
from everyframe.operators.region.doubt import FLOOR, OLDEST, Doubt
from everyframe.operators.region.evidence import Changes, Evidence, touch
from everyframe.operators.region.plan import Need, plan
from everyframe.operators.region.sizes import Bill, to_source
from everyframe.operators.types import F32, I32, U8, Bool, Objects, Origin, View

PRICE = 0.75
"""Objects right for one frame, in shares of those usual for the stream, that a look at the whole must bring."""
LASTING = 4.0  # frames for which a found object would have been missed
UNSEEN, UNSEEN_FRAMES = 0.002, 100.0  # of the usual objects, how many come in one frame without a sign: the first guess
LEAST_USUAL = 1.0
PACE = 0.02  # share of one frame in the usual number of objects
SAME = 0.3  # overlap of a detection near a crop's border with a track that was not looked at


class Region:
    """Looks at what is worth it; `outcome` says whether that was nothing, a part or the whole.

    Tracks that nothing was looked at come back with their track_id; those that no longer look like what was found there
    have the score 0, and are reported again if they do. What is kept is bounded by the tracks and a grid of cells.

    crops (k, 4) int32, news, doubts (n,): what the last `apply` looked at, in pixels of the picture; the unexplained
    changes that it saw; how likely each of its tracks was wrong. news_signs, doubt_signs (n, 7): what those were told by.
    """

    name = "region"
    needs = Needs(motion=True, pixels=True)

    def __init__(self, detector: Detector, prices: Prices) -> None:
        self._detector = detector
        self._prices = prices
        self.outcome = Origin.PROPAGATED
        self.forget()

    def forget(self) -> None:
        self._doubt = Doubt()
        self._evidence: Evidence | None = None
        self._steps = 0
        self._since_whole = 0
        self._was_whole = False
        self._whole_gap = 0
        self._announced = Changes.none().xyxy
        self._usual = LEAST_USUAL
        self._unseen = UNSEEN * UNSEEN_FRAMES, UNSEEN_FRAMES
        self._lay: tuple[Letterbox, Bill] | None = None
        self.crops: I32 = np.zeros((0, 4), np.int32)
        self.news = Changes.none()
        self.doubts: F32 = np.zeros(0, np.float32)
        self.news_signs: F32 = np.zeros((0, 7), np.float32)
        self.doubt_signs: F32 = self.news_signs

    def follow(self, view: View) -> None:
        self._steps += 1
        self._since_whole += 1

    def looked(self, view: View) -> None:
        self._was_whole = self._evidence is not None  # the first look finds what was always there
        self._whole_gap, self._since_whole = self._since_whole, 0
        self._announced = self._evidence.changes.xyxy if self._evidence is not None else Changes.none().xyxy
        self._doubt.looked_at_all()
        if self._evidence is not None and view.motion is not None and view.luma is not None:
            self._evidence.looked(view.motion, view.luma())

    def apply(self, view: View, objects: Objects) -> Objects:
        """Objects carried (with track_id), and those found in this look (NO_TRACK)."""
        if view.motion is None or view.picture is None:
            raise ValueError("region needs the motion and the pixels of a decoded frame")
        self.weigh(view, objects)
        whole, bill = self._layout(view)
        rects = self._plan(objects, whole, bill)
        self.crops = to_source(rects, whole)
        scores = self._doubt.scores()
        if not len(rects):
            self.outcome = Origin.PROPAGATED
            return replace(objects, score=scores).with_origin(Origin.PROPAGATED)
        if (rects[0] == (0, 0, *whole.outer)).all():
            return self._whole(view)
        return self._part(view, replace(objects, score=scores).with_origin(Origin.PROPAGATED))

    def weigh(self, view: View, objects: Objects) -> None:
        """Brings `news` and `doubts` up to date, the first thing that `apply` does."""
        self._follow(view, _luma(view), objects)
        if self._was_whole:
            self._learn_unseen(objects)
        assert self._evidence is not None
        self.news, self.news_signs = self._evidence.changes, self._evidence.signs[: len(self._evidence.changes.xyxy)]
        self.doubts, self.doubt_signs = self._doubt.wrong, self._doubt.signs

    def _layout(self, view: View) -> tuple[Letterbox, Bill]:
        if self._lay is None:
            whole = fit(view.width, view.height, net_size(self._detector, view.width, view.height))
            self._lay = whole, Bill.of(self._prices, whole)
        return self._lay

    def _follow(self, view: View, luma: U8, objects: Objects) -> None:
        assert view.motion is not None
        steps, self._steps = max(self._steps, 1), 0
        self._doubt.follow(luma, objects, view.width, view.height, steps)
        self._usual += PACE * (float((self._doubt.scores() > 0).sum()) - self._usual)
        if self._evidence is None:
            whole, _ = self._layout(view)
            self._evidence = Evidence(view.motion, luma, 1 / whole.scale[0])
        known = objects.xyxy[self._doubt.explains()]
        self._evidence.follow(view.motion, luma, known, steps)

    def _learn_unseen(self, objects: Objects) -> None:
        """What the whole look of the frame before found that nothing had announced."""
        self._was_whole = False
        came = self._doubt.fresh & (objects.score >= FLOOR)
        came &= ~touch(objects.xyxy, self._announced)
        total, frames = self._unseen
        self._unseen = total + came.sum() / max(self._usual, LEAST_USUAL), frames + self._whole_gap

    def _plan(self, objects: Objects, whole: Letterbox, bill: Bill) -> I32:
        """Rectangles to look at, net pixels; the whole input for the whole."""
        changes = self.news
        scale = PRICE * max(self._usual, LEAST_USUAL)
        worth = np.concatenate((self._doubt.worth, LASTING * changes.chance)) / scale
        came, frames = self._unseen
        unseen = came / frames * self._since_whole * min(self._since_whole, OLDEST) / 2 / PRICE
        boxes = whole.to_input(np.concatenate((objects.xyxy, changes.xyxy)))
        some = worth > 0
        return plan(Need(boxes[some], worth[some].astype(np.float32)), whole, bill, float(worth.sum()) + unseen)

    def _whole(self, view: View) -> Objects:
        assert view.picture is not None
        found = self._detector.detect(view.picture())
        self.looked(view)
        self.outcome = Origin.DETECTED
        return found

    def _part(self, view: View, tracks: Objects) -> Objects:
        assert view.picture is not None
        found = look_at(self._detector, view.picture(), self.crops)
        size = (view.width, view.height, net_size(self._detector, view.width, view.height))
        inside = well_inside(tracks.xyxy, self.crops, *size)
        rim = ~inside & uncut(tracks.xyxy, self.crops, *size)
        seen, kept = _confirmed(found, tracks, inside, rim, well_inside(found.xyxy, self.crops, *size))
        self._doubt.looked_at(seen)
        self.outcome = Origin.REGION
        if self._evidence is not None:
            new = found.xyxy[kept & (found.score >= FLOOR)]
            new = new[iou(new, tracks.xyxy).max(1, initial=0) < SAME]
            self._evidence.settle(self.crops.astype(np.float32), new)
        return Objects.concat([tracks[~seen], found[kept]])


def _confirmed(found: Objects, tracks: Objects, inside: Bool, rim: Bool, deep: Bool) -> tuple[Bool, Bool]:
    """Which tracks were looked at, and which detections count.

    A track well inside a crop was looked at, found or not. One on the rim, where context lacks, only if it was found: its
    absence says little. A detection on the rim counts where it confirms such a track.
    """
    overlap = iou(found.xyxy, tracks.xyxy)
    confirms = overlap * rim[None] >= 0.5 if len(tracks) else np.zeros((len(found), 0), np.bool_)
    confirmed = np.any(confirms & (found.score >= FLOOR)[:, None], axis=0)
    seen = inside | confirmed
    carried = overlap * ~seen[None]
    free = carried.max(1, initial=0) < SAME
    of_inside = (overlap * inside[None]).max(1, initial=0) >= SAME
    counts: Bool = free & (deep | of_inside | np.any(confirms[:, confirmed], axis=1))
    return seen, counts


def _luma(view: View) -> U8:
    if view.luma is not None:
        return view.luma()
    assert view.picture is not None
    return cv2.cvtColor(view.picture(), cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
