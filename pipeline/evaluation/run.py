"""Policies and the dense detector on the same clip, in one process, on one runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np

from everyframe.operators.base import Detector
from everyframe.operators.types import F32, I32, Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.engines.base import Chunk, Engine, Event, Finished, RunStats
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.errors import EngineError, UsageError
from everyframe.pipeline.evaluation.dense import Dense, Progress, dense
from everyframe.pipeline.evaluation.replay import PlainReplay, replaying
from everyframe.pipeline.evaluation.rows import Row
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.peers import PEER, PeerEngine, check_peer, peer_mode
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.suggest import did_you_mean
from everyframe.pipeline.truth import Truth, load_truth
from everyframe.policies.registry import PolicyError, make_policy

WARM_FRAMES = 8


def evaluate(
    video: str,
    policies: Sequence[str],
    settings: LabelSettings | None = None,
    *,
    truth: str | None = None,
    labelled: tuple[int, int] | None = None,
    measure: bool = True,
    detector: LoadedDetector | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Runs each policy and the dense detector on a clip and compares them.

    policies: as for a run, or peers as "peer:bytetrack:10". settings: mode, classes, limit, seed and model of all;
    its policy and conf are not used, objects count from `metrics.SCORE` up. truth: a MOT file, labelled: its first and
    last labelled frame as in `load_truth`. measure: False replays known detections in place of the CNN, which gives
    the same labels fast and no costs. detector: one that is loaded already, for `settings.model`. Raises
    EveryframeError: unknown policy or class, unreadable video or truth.
    """
    settings = replace(settings or LabelSettings(), conf=metrics.SCORE)
    _check(policies)
    known_truth = None if truth is None else load_truth(truth, labelled)
    if detector is None:
        with FileSource(video) as source:
            detector = open_detector(settings.model, source.info.width, source.info.height)
    classes = class_ids(detector, settings.classes)
    reference = dense(video, detector, settings.limit, measure, progress)
    judge = Judge.of(reference, detector, classes, known_truth)
    runner = detector if measure else replaying(reference, detector)
    if measure:
        for policy in ("stride:4", *policies):
            if not policy.startswith(PEER):
                _warm_up(video, replace(settings, policy=policy), detector)
    rows = []
    for policy in policies:
        wanted = replace(settings, policy=policy)
        found, stats = _label(_engine(policy, runner), video, wanted, len(reference.frames), progress)
        rows.append(row_of(video, wanted, found, stats, reference, judge, detector, measure))
    return rows


def _check(policies: Sequence[str]) -> None:
    if not policies:
        raise UsageError("Nothing to evaluate: name at least one policy, as in --policy stride:10.")
    for policy in policies:
        if policy.startswith(PEER):
            check_peer(policy)[0].load()  # before anything is measured
            continue
        try:
            make_policy(policy)
        except PolicyError as e:
            raise UsageError(str(e)) from e


def class_ids(detector: Detector, classes: Sequence[str]) -> I32 | None:
    """Ids of named classes, None for all. Raises UsageError for a name that the detector does not know."""
    for name in classes:
        if name not in detector.names:
            raise UsageError(f"no COCO class {name!r}{did_you_mean(name, detector.names)}")
    return np.array([detector.names.index(name) for name in classes], np.int32) if classes else None


def _engine(policy: str, detector: LoadedDetector | PlainReplay) -> Engine:
    return PeerEngine(detector) if policy.startswith(PEER) else LocalEngine(detector)


def _warm_up(video: str, settings: LabelSettings, detector: LoadedDetector) -> None:
    """Compiled code and the runtime's buffers are made before anything is measured."""
    few = replace(settings, limit=min(WARM_FRAMES, settings.limit or WARM_FRAMES))
    for _ in _events(LocalEngine(detector), video, few):
        pass


def _events(engine: Engine, video: str, settings: LabelSettings) -> Iterator[Event]:
    try:
        yield from engine.run([video], settings)
    finally:
        engine.close()


def _label(
    engine: Engine, video: str, settings: LabelSettings, frames: int, progress: Progress | None
) -> tuple[list[Objects], RunStats]:
    """Objects of every frame, and the counts; their `total_cpu_ms` is that of the process while the engine ran."""
    found: list[Objects] = []
    stats = RunStats()
    cpu_s, start = 0.0, process_time()
    for event in _events(engine, video, settings):
        cpu_s += process_time() - start
        if isinstance(event, Chunk):
            found += [record.objects for record in event.labels]
            if progress is not None:
                progress(settings.policy, len(found), frames)
        elif isinstance(event, Finished):
            if event.error is not None:
                raise event.error
            stats = event.stats
        start = process_time()
    stats.total_cpu_ms = (cpu_s + process_time() - start) * 1e3
    if len(found) != frames:
        raise EngineError(
            f"{settings.policy} gave {len(found)} labels for the {frames} frames of {video}: report this as a fault."
        )
    return found, stats


@dataclass(frozen=True, slots=True)
class Judge:
    """The reference side, made ready once for all policies.

    dense: what the dense detector reports. judged: the frames with truth; truth, ignored: their boxes;
    truth_classes: ids of the classes that the truth labels.
    """

    dense: list[Objects]
    groups: I32
    classes: I32 | None
    judged: range
    truth: list[Objects]
    ignored: list[F32]
    truth_classes: I32

    @classmethod
    def of(
        cls, reference: Dense, detector: Detector, classes: I32 | None, truth: Truth | None
    ) -> Judge:
        groups = metrics.group_table(detector.supercategory)
        shown = [metrics.select(objects, classes) for objects in reference.frames]
        if truth is None:
            return cls(shown, groups, classes, range(0), [], [], np.zeros(0, np.int32))
        judged = truth.frames(len(shown))
        if not judged:
            raise UsageError(
                f"The ground truth labels frames {truth.first + 1}-{truth.last + 1}, of which none is among the "
                f"{len(shown)} frames evaluated: raise --limit or name another file."
            )
        ignored = [truth.ignored_boxes(i) for i in judged]
        group, boxes = max(
            (
                (g, [truth.objects(i, int(np.flatnonzero(groups == g)[0])) for i in judged])
                for g in set(groups.tolist())
            ),
            key=lambda option: _matched([shown[i] for i in judged], option[1], groups),
        )
        return cls(
            shown, groups, classes, judged, boxes, ignored, np.flatnonzero(groups == group).astype(np.int32)
        )

    def against_truth(self, found: list[Objects]) -> float | None:
        """Pooled F1 on the labelled frames, of the truth's classes only."""
        if not self.judged:
            return None
        ours = [metrics.select(found[i], self.truth_classes) for i in self.judged]
        return metrics.agree(ours, self.truth, self.groups, self.ignored).f1


def _matched(found: list[Objects], boxes: list[Objects], groups: I32) -> int:
    return int(metrics.agree(found, boxes, groups).tp.sum())


def row_of(
    video: str,
    settings: LabelSettings,
    found: list[Objects],
    stats: RunStats,
    reference: Dense,
    judge: Judge,
    detector: Detector,
    measure: bool,
) -> Row:
    """What a policy's labels and counts come to beside the dense detector. measure: False leaves costs out."""
    found = [metrics.select(objects, judge.classes) for objects in found]
    agreement = metrics.agree(found, judge.dense, judge.groups)
    wait = metrics.delay(found, judge.dense, judge.groups)
    frames = len(found)
    cost = stats.total_cpu_ms / frames if measure else None
    dense_cost = reference.cpu_ms if measure else None
    return Row(
        video=Path(video).name,
        policy=settings.policy,
        mode=peer_mode(settings.policy) if settings.policy.startswith(PEER) else settings.mode,
        classes=settings.classes,
        frames=frames,
        f1_dense=agreement.f1,
        f1_truth=judge.against_truth(found),
        dense_f1_truth=judge.against_truth(judge.dense),
        f1_frames=agreement.f1_frames,
        class_accuracy=agreement.class_accuracy,
        count_error=metrics.count_error(found, judge.dense),
        delay_frames=wait.mean,
        objects=wait.objects,
        missed_objects=wait.missed,
        cpu_ms_per_frame=cost,
        dense_cpu_ms_per_frame=dense_cost,
        speedup=dense_cost / cost if cost and dense_cost else None,
        decode_fraction=stats.decoded / frames,
        cnn_fraction=stats.cnn_frames / frames,
        partial_fraction=stats.partial_frames / frames,
        runtime=detector.runtime,
        precision=detector.precision,
        score_threshold=metrics.SCORE,
        cpu_ms_by_step={step: ms / frames for step, ms in stats.cpu_ms.items()} if measure else {},
        looks={rung: n / frames for rung, n in stats.looks.items()},
    )
