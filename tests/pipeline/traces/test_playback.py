"""Played to the worker, a trace gives the labels of a run."""

from __future__ import annotations

import numpy as np
import pytest
from tracing import MODEL, Recorded

from everyframe.pipeline.engines.base import Chunk
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.evaluation import ReplayDetector
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.traces.playback import worker
from everyframe.policies.base import Decision, Observation, PacketFacts, Traits
from everyframe.policies.registry import POLICIES, Entry


class Gaps:
    """Leaves out packets within a group of pictures and across its end."""

    name = "gaps"
    traits = Traits()

    def reset(self, seed: int) -> None:
        pass

    def gate(self, packet: PacketFacts) -> bool:
        return not (5 <= packet.index % 31 < 11)

    def choose(self, observation: Observation) -> Decision:
        return Decision("detect" if observation.frame_index % 9 == 4 else "propagate", "")


def _run(clip: Recorded, settings: LabelSettings) -> list[FrameLabels]:
    events = LocalEngine(ReplayDetector(clip.known, clip.detector)).run([clip.video], settings)
    return [record for event in events if isinstance(event, Chunk) for record in event.labels]


@pytest.mark.parametrize("mode", ["causal", "lookahead"])
@pytest.mark.parametrize("policy", ["stride:6", "random:0.2", "iframes", "gaps"])
def test_labels_are_those_of_a_run(
    policy: str, mode: Mode, busy: Recorded, with_b: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POLICIES, "gaps", Entry("gaps", "", lambda text, mode: Gaps()))
    for clip in (busy,) if policy == "gaps" else (busy, with_b):
        settings = LabelSettings(policy=policy, mode=mode, limit=clip.limit, model=MODEL)
        played = [record for chunk in worker(clip.trace, settings).chunks() for record in chunk]
        real = _run(clip, settings)
        assert [record.origin for record in played] == [record.origin for record in real]
        for ours, theirs in zip(played, real, strict=True):
            assert ours.pts == theirs.pts
            np.testing.assert_array_equal(ours.objects.track_id, theirs.objects.track_id)
            np.testing.assert_allclose(ours.objects.xyxy, theirs.objects.xyxy, atol=1e-3)
            np.testing.assert_allclose(ours.objects.score, theirs.objects.score, atol=1e-6)
