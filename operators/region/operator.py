"""`region`: the unchanged CNN on crops around what changed or is in doubt; everything else is carried on.

After spatially adaptive partial feature updating and temporally adaptive key frames (Zhu et al., Towards High Performance
Video Object Detection, CVPR 2018). Deviations: crops of the picture in place of cells of features, so that any detector
serves; where to look is not learned from features but told by what is nearly free here: luma, motion and the tracks; and
looks are bought by their worth for their cost on this machine.
"""

from __future__ import annotations

from everyframe.operators.base import Detector, Needs, Prices
from everyframe.operators.region.crops import InParts, look_at
from everyframe.operators.region.planner import Planner, Proposal
from everyframe.operators.types import Objects, Origin, View


class Region(Planner):
    """Looks at what is worth it; `outcome` says whether that was nothing, a part or the whole.

    Tracks that nothing was looked at come back with their track_id; those that no longer look like what was found there
    have the score 0, and are reported again if they do.
    """

    name = "region"
    needs = Needs(motion=True, pixels=True)

    def __init__(self, detector: Detector, prices: Prices) -> None:
        super().__init__(detector.imgsz if isinstance(detector, InParts) else None, prices)
        self._detector = detector
        self.outcome = Origin.PROPAGATED

    def apply(self, view: View, objects: Objects) -> Objects:
        """Objects carried (with track_id), and those found in this look (NO_TRACK)."""
        if view.motion is None or view.picture is None:
            raise ValueError("region needs the motion and the pixels of a decoded frame")
        proposal = self.propose(view, objects)
        if proposal.is_whole:
            return self._whole(view)
        if not len(proposal.crops):
            self.outcome = Origin.PROPAGATED
            return proposal.tracks
        return self._part(view, proposal)

    def _whole(self, view: View) -> Objects:
        assert view.picture is not None
        found = self._detector.detect(view.picture())
        self.looked(view)
        self.outcome = Origin.DETECTED
        return found

    def _part(self, view: View, proposal: Proposal) -> Objects:
        assert view.picture is not None
        seen, found = self.settle(proposal, look_at(self._detector, view.picture(), proposal.crops))
        self.outcome = Origin.REGION
        return Objects.concat([proposal.tracks[~seen], found])
