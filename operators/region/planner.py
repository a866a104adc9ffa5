"""What the rung `region` keeps of a stream, and decides from it: where to look, and what a look there told.

A look is proposed for a frame and settled when its answer is there: at once, or some frames later where the detector is
elsewhere and is not waited for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from everyframe.operators.base import Prices
from everyframe.operators.boxes import iou
from everyframe.operators.detectors.letterbox import Letterbox, fit
from everyframe.operators.region.crops import uncut, well_inside
from everyframe.operators.region.doubt import FLOOR, OLDEST, Doubt
from everyframe.operators.region.evidence import Changes, Evidence, Scene, touch
from everyframe.operators.region.plan import Need, holds, plan
from everyframe.operators.region.sizes import Bill, to_source
from everyframe.operators.types import F32, I32, U8, Bool, Objects, Origin, View

PRICE = 0.75
"""Objects right for one frame, in shares of those usual for the stream, that a look at the whole must bring."""
LASTING = 4.0  # frames for which a found object would have been missed
UNSEEN, UNSEEN_FRAMES = 0.002, 100.0  # of the usual objects, how many come in one frame without a sign: the first guess
LEAST_USUAL = 1.0
PACE = 0.02  # share of one frame in the usual number of objects
SAME = 0.3  # overlap of a detection near a crop's border with a track that was not looked at


@dataclass(frozen=True, slots=True)
class Proposal:
    """A look that pays for itself, or none. crops (k, 4) int32 pixels of the picture, none for no look. is_whole: the whole
    picture instead. tracks: the objects of the frame with the scores they are shown with meanwhile. share: cost in looks at
    the whole. gain: labels that it is expected to put right. size: the picture's width and height. scene: what it looked
    like; era: of what was remembered then."""

    crops: I32
    is_whole: bool
    tracks: Objects
    share: float
    gain: float
    size: tuple[int, int]
    scene: Scene
    era: int

    def crops_in(self, scale: tuple[float, float]) -> I32:
        """The crops (k, 4) int32 in pixels of a picture that is multiplied by `scale` (x, y) to be the frame."""
        crops: I32 = (self.crops / (scale * 2)).round().astype(np.int32)
        return crops


class Planner:
    """imgsz: longer side of what the net sees, None for the picture's own. What is kept is bounded by the tracks and a grid of cells.

    crops (k, 4) int32, news, doubts (n,): what was proposed last, in pixels of the picture; the unexplained
    changes that it saw; how likely each of its tracks was wrong. news_signs, doubt_signs (n, 7): what those were told by.
    """

    def __init__(self, imgsz: int | None, prices: Prices) -> None:
        self._imgsz = imgsz
        self._prices = prices
        self._era = 0
        self.forget()

    def forget(self) -> None:
        """Frames before the next one were not decoded, or the picture changed its size."""
        self._era += 1
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
        """One more decoded frame."""
        self._steps += 1
        self._since_whole += 1

    def looked(self, view: View) -> None:
        """The whole of a frame was looked at; what was found is in the tracks of the next `weigh`. view: its motion and luma."""
        self._was_whole = self._evidence is not None  # the first look finds what was always there
        self._whole_gap, self._since_whole = self._since_whole, 0
        self._announced = self._evidence.changes.xyxy if self._evidence is not None else Changes.none().xyxy
        self._doubt.looked_at_all()
        if self._evidence is not None and view.motion is not None and view.luma is not None:
            self._evidence.looked(view.motion, view.luma())

    def propose(self, view: View, objects: Objects) -> Proposal:
        """What to look at in a decoded frame. objects: its tracks. Those that no longer look like what was found there have
        the score 0 in the proposal, and are reported again if they do."""
        self.weigh(view, objects)
        whole, bill = self._layout(view)
        need, everything, scale = self._needs(objects, whole)
        rects = plan(need, whole, bill, everything)
        is_whole = bool(len(rects)) and bool((rects[0] == (0, 0, *whole.outer)).all())
        self.crops = to_source(rects, whole)
        shown = need.worth[holds(rects, need.boxes, whole)].sum() if len(rects) and not is_whole else 0.0
        share = 1.0 if is_whole else bill.crops(rects) / bill.whole
        gain = scale * (everything if is_whole else float(shown))
        tracks = replace(objects, score=self._doubt.scores()).with_origin(Origin.PROPAGATED)
        assert self._evidence is not None
        scene = self._evidence.scene()
        return Proposal(self.crops, is_whole, tracks, share, gain, (view.width, view.height), scene, self._era)

    def settle(self, proposal: Proposal, found: Objects) -> tuple[Bool, Objects]:
        """Takes in what was found in a proposal's crops: which of its tracks were looked at (n,), and the detections that count.
        A proposal from before the last `forget` teaches nothing more."""
        tracks, crops = proposal.tracks, proposal.crops
        width, height = proposal.size
        size = (width, height, self._imgsz or max(width, height))
        inside = well_inside(tracks.xyxy, crops, *size)
        rim = ~inside & uncut(tracks.xyxy, crops, *size)
        seen, kept = _confirmed(found, tracks, inside, rim, well_inside(found.xyxy, crops, *size))
        if proposal.era == self._era:
            self._doubt.looked_at(tracks.track_id[seen])
            new = found.xyxy[kept & (found.score >= FLOOR)]
            new = new[iou(new, tracks.xyxy).max(1, initial=0) < SAME]
            assert self._evidence is not None
            self._evidence.settle(proposal.scene, crops.astype(np.float32), new)
        return seen, found[kept]

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
            whole = fit(view.width, view.height, self._net(view))
            self._lay = whole, Bill.of(self._prices, whole)
        return self._lay

    def _net(self, view: View) -> int:
        return self._imgsz or max(view.width, view.height)

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

    def _needs(self, objects: Objects, whole: Letterbox) -> tuple[Need, float, float]:
        """What is worth a look, net pixels; what a look at the whole is worth, in its own cost; and labels by that unit."""
        changes = self.news
        scale = PRICE * max(self._usual, LEAST_USUAL)
        worth = np.concatenate((self._doubt.worth, LASTING * changes.chance)) / scale
        came, frames = self._unseen
        unseen = came / frames * self._since_whole * min(self._since_whole, OLDEST) / 2 / PRICE
        boxes = whole.to_input(np.concatenate((objects.xyxy, changes.xyxy)))
        some = worth > 0
        return Need(boxes[some], worth[some].astype(np.float32)), float(worth.sum()) + unseen, scale


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
