"""One stream: packet, gate, decode, motion, choose, apply, label. The design in code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from everyframe.operators import appearance
from everyframe.operators.base import Detector
from everyframe.operators.types import I32, NO_TRACK, MotionField, Objects, Origin, View
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder, FieldSlot
from everyframe.pipeline.labelling.audits import Auditor
from everyframe.pipeline.labelling.capacities import CapacityLooks
from everyframe.pipeline.labelling.goal import Pilot
from everyframe.pipeline.labelling.interval import Interval, Labelled
from everyframe.pipeline.labelling.ladder import WHOLE, Ladder
from everyframe.pipeline.labelling.leaps import Order, ask, leaps_for
from everyframe.pipeline.labelling.linked import LinkedFrames, Looks
from everyframe.pipeline.labelling.middle import Middle
from everyframe.pipeline.labelling.report import Reporter
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame, FrameLabels, Packet, record_of
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.base import Decision, Observation, is_whole_look
from everyframe.policies.leap import Leaping
from everyframe.policies.registry import make_policy

CHUNK_FRAMES = 64
MOST_AHEAD = 300  # decoded frames that may wait for the next look: their fields take 35 MB at 720p
MOST_WAITING = 10_000  # frames of any kind that may wait for it
NEVER = 1 << 30


class StreamWorker:
    """Labels one source, or one shard of it: iterate `chunks`; `stats` is whole when that is exhausted.

    frame_index and track ids count from the shard's start. first and last: the objects of the shard's first frame and
    of the key frame after its last (None where the source ends), by which the tracks of two shards are joined. capacities:
    detectors of the settings' capacities, by rung. decoder, fields, looks: in place of the source's own, for a recorded stream.
    """

    def __init__(
        self,
        source: FileSource,
        detector: Detector,
        settings: LabelSettings,
        capacities: Mapping[str, Detector] | None = None,
        decoder: Decoder | None = None,
        fields: FieldBuilder | None = None,
        looks: Looks = appearance.look,
    ) -> None:
        self.stats = RunStats()
        self.first: Objects | None = None
        self.last: Objects | None = None
        self._source = source
        self._settings = settings
        self._detector = detector
        self.policy = make_policy(settings.policy, settings.mode)
        self.policy.reset(settings.seed)
        self._pilot = Pilot(self.policy, settings.goal, settings.prices)
        self._decoder = decoder or Decoder(source)
        self._fields = fields or FieldBuilder(source.info)
        groups, wanted = class_tables(detector, settings.classes)
        self._keeper = TrackKeeper(groups, settings.conf)
        self._report = Reporter(settings.conf, wanted)
        start = source.start_pts or 0
        self._auditor = Auditor(settings.audit, settings.seed, start, groups)
        self._meter = Meter()
        self._ladder = Ladder(detector, self.policy.traits.rungs, settings.prices, self._meter, capacities)
        self._capacities = CapacityLooks(self.policy, settings.capacities, self._ladder, groups, self._report.select)
        self._index = 0
        self._looked_at = -NEVER
        traits = self.policy.traits
        part = self._detect_part if traits.look_back_rung == "region" else None
        middle = Middle(detector, self._look_back, part, settings.prices)
        self._interval = Interval(self._keeper, middle, traits.look_back, settings.conf)
        self._linked: LinkedFrames | None = None
        skips = self.policy.traits.keys_only and source.info.decode_all is None
        if settings.mode == "lookahead" and skips:
            self._linked = LinkedFrames(source.info, groups, wanted, settings.conf, looks)
        self._leaps = leaps_for(
            self.policy, settings, source, self._decoder, self._ladder, self._report.select, self._auditor, groups
        )
        self._agreement = float("nan")
        self._is_over = False
        self._only_to_audit: set[int] = set()  # packets that the policy would have skipped
        self._size = (0, 0)

    def chunks(self) -> Iterator[list[FrameLabels]]:
        """Records in display order, some at a time. Raises SourceBroken after the last record before a break."""
        chunk: list[FrameLabels] = []
        records = self._records()
        broken: SourceBroken | None = None
        start = time.process_time()
        while True:
            try:
                record = next(records, None)
            except SourceBroken as error:
                record, broken = None, error
            if record is not None:
                chunk.append(record)
            if chunk and (record is None or len(chunk) >= CHUNK_FRAMES):
                self._settle(start)
                yield chunk
                chunk = []
                start = time.process_time()
            if record is None:
                break
        self._settle(start)
        if broken is not None:
            raise broken

    def _settle(self, start: float) -> None:
        self.stats.total_cpu_ms += (time.process_time() - start) * 1e3
        self.stats.cpu_ms = dict(self._meter.total)
        self.stats.decoded = self._decoder.decoded
        self.stats.audits = self._auditor.sums
        self.stats.looks, self.stats.look_cost = dict(self._capacities.count), self._capacities.cost
        gave_up = getattr(self.policy, "note", "")  # of a policy that left the stream to another
        handed = f"Policy {self.policy.name} left this stream to {gave_up}." if gave_up else ""
        replaced = getattr(self._detector, "note", "")  # of a model for one camera that its teacher took over from
        notes = (self._source.info.decode_all, self._fields.note, handed, replaced, self._capacities.note)
        self.stats.notes += [note for note in notes if note and note not in self.stats.notes]

    def _records(self) -> Iterator[FrameLabels]:
        broken: SourceBroken | None = None
        try:
            packets = self._source.packets()
            for packet, order, ahead in ask(packets) if self._leaps is None else self._leaps.orders(packets):
                for slot in self._decoder.push(packet, self._wants(packet, order), ahead):
                    with self._meter.step("motion"):
                        items = self._fields.push(slot)
                    for item in items:
                        yield from self._counted(self._frame(item))
                if self._is_over:
                    return
        except SourceBroken as error:
            broken = error
        slots = self._decoder.finish()
        items = [item for slot in slots for item in self._fields.push(slot)] + self._fields.finish()
        for item in items:
            yield from self._counted(self._frame(item))
        if not self._is_over:
            yield from self._counted(self._release())
        if broken is not None:
            raise broken

    def _counted(self, records: list[FrameLabels]) -> Iterator[FrameLabels]:
        for record in records:
            self.stats.frames += 1
            looks = self._capacities.cost + self._auditor.sums.looked
            decoded = self._decoder.decoded + (0 if self._leaps is None else self._leaps.scout.decoded)  # some key frames twice
            self._pilot.frame(self.stats.frames, decoded, looks, self._auditor.sums)
            if self._leaps is not None:
                self._leaps.settle(record)
            self._interval.price = self.policy.traits.look_back
            self._auditor.settle(record.frame_index, record.objects, self._capacities.is_full(record))
            if self.first is None:
                self.first = record.objects
            yield record

    def _wants(self, packet: Packet, order: Order) -> bool:
        if order is Order.LEAVE:
            if isinstance(self.policy, Leaping):
                self.policy.left(packet.facts)
            return False
        if self._decoder.must_decode:
            return True
        if self._source.end_pts is not None and packet.pts == self._source.end_pts:
            return True
        with self._meter.step("policy"):
            wants = self.policy.gate(packet.facts)
        if order is Order.LOOK:
            return True
        if not wants and self._auditor.draws(packet.facts.index):
            self._only_to_audit.add(packet.facts.index)
            return True
        return wants

    def _frame(self, item: FieldSlot) -> list[FrameLabels]:
        """Takes the next frame in display order; returns the records that are ready now."""
        if self._is_over:
            return []
        slot = item.slot
        self._meter.add("demux", slot.demux_ms)
        self._meter.add("decode", slot.decode_ms)
        if self._leaps is not None:
            self._meter.add("decode", self._leaps.scout.spent())
            if (left := self._leaps.audited.pop(slot.facts.index, None)) is not None:
                self._auditor.expect(self._index, left, None, is_left=True)
        before = self._keeper.state.objects
        self._catch_up(item)
        if self._source.end_pts is not None and slot.pts is not None and slot.pts >= self._source.end_pts:
            return self._lead_out(item)
        decision = self._decide(item)
        if slot.frame is not None and decision.rung != "detect" and self._auditor.draws(slot.facts.index):
            self._audit(slot.frame, slot.facts.index, before)
        if slot.frame is not None and decision.rung not in ("hold", "propagate"):
            ready = self._look(item, slot.frame, decision)
        else:
            ready = self._carry(item, decision)
        self._index += 1
        if self._index == self._settings.limit:
            ready += self._release()
            self._is_over = True
        return ready

    def _audit(self, frame: Frame, packet: int, before: Objects) -> None:
        """Has the CNN look at a frame whose labels go on without. before: the tracks before anything was decoded for it."""
        detections = self._ladder.detect(frame, "audit")
        held = self._ladder.hold(before) if packet in self._only_to_audit and self._settings.mode == "causal" else None
        shown = None if held is None else self._report.select(held)
        self._auditor.expect(self._index, self._report.select(detections), shown)

    def _catch_up(self, item: FieldSlot) -> None:
        """Frames decoded late move the tracks, and the labels of waiting frames where those have not left yet."""
        for pts, motion in item.late_fields:
            self._move(View(motion.width, motion.height, motion))
            self._interval.catch_up(pts, motion)

    def _move(self, view: View) -> None:
        """Moves the tracks on by one decoded frame, and what the rungs remember."""
        if self._size != (view.width, view.height):
            self._size = (view.width, view.height)
            self._ladder.forget()
        objects = self._ladder.propagate(view, self._keeper.state.objects)
        self._keeper.state = self._keeper.state.moved(objects)
        self._ladder.follow(view)

    def _decide(self, item: FieldSlot) -> Decision:
        """Moves the tracks to this frame, then asks the policy; an undecoded frame leaves no choice."""
        frame, motion = item.slot.frame, item.field
        if frame is None or motion is None:
            self._ladder.forget()
            return Decision("hold", "not decoded")
        self._move(self._ladder.view(frame, motion))
        with self._meter.step("policy"):
            decision = self.policy.choose(self._observe(item, motion))
        if self._looked_at < 0:
            return replace(decision, rung="detect", reason="first frame")
        if self._leaps is not None and (asked := self._leaps.reason(item.slot)):
            return Decision("detect", asked)
        is_late = self._settings.mode == "lookahead" and len(self._interval.waiting) >= MOST_AHEAD
        if is_late and not is_whole_look(decision.rung):
            return Decision("detect", "longest look-ahead")
        return decision

    def _observe(self, item: FieldSlot, motion: MotionField) -> Observation:
        state = self._keeper.state
        return Observation(
            packet=item.slot.facts,
            frame_index=self._index,
            frames_since_detect=self._index - self._looked_at,
            motion=motion.motion,
            known=motion.known,
            cell=motion.cell,
            boxes=state.objects.xyxy,
            scores=state.objects.score,
            ages=self._index - state.detected_at,
            classes=state.objects.class_id,
            agreement=self._agreement,
        )

    def _carry(self, item: FieldSlot, decision: Decision) -> list[FrameLabels]:
        """A frame without the CNN: its objects are those carried so far (causal), or are known at the next look."""
        causal = self._settings.mode == "causal"
        objects = self._keeper.state.objects
        if decision.rung == "hold":
            objects = self._ladder.hold(objects)
            origin = Origin.HELD if causal else Origin.INTERPOLATED
        else:
            origin = Origin.PROPAGATED
        record = self._record(item, decision, origin)
        if self._linked is not None:
            self._linked.add(replace(record, cost_ms=self._meter.take()))
            return self._release() if self._linked.waiting > MOST_WAITING else []
        if causal:
            return [replace(record, objects=self._report(objects), cost_ms=self._meter.take())]
        self._interval.add(replace(record, cost_ms=self._meter.take()), item.field, item.slot.frame)
        return self._release() if len(self._interval.waiting) > MOST_WAITING else []

    def _look(self, item: FieldSlot, frame: Frame, decision: Decision) -> list[FrameLabels]:
        """A rung looks at the frame; in lookahead mode the frames since the last look get their labels now."""
        if self._linked is not None:
            return self._link(item, frame, decision, self._detect(frame))
        seen = self._seen_ahead(item) if decision.rung == "detect" else None
        if seen is not None:
            objects, outcome = seen, Origin.DETECTED
        else:
            view = self._ladder.view(frame, item.field)
            objects, outcome = self._ladder.look(decision.rung, view, self._keeper.state.objects)
        if outcome == Origin.PROPAGATED:  # nothing was worth a look, but tracks may have lost their score
            self._keeper.take(objects, self._index)
            return self._carry(item, replace(decision, rung="propagate"))
        if outcome == Origin.DETECTED:
            self._capacities.looked(frame, self._index, decision, objects)
        is_whole = outcome in WHOLE
        self.stats.cnn_frames += outcome == Origin.DETECTED
        self.stats.partial_frames += outcome != Origin.DETECTED
        with self._meter.step("track"):
            if self._looked_at >= 0 and is_whole:
                self._agreement = self._keeper.agreement(objects)
            ready, found = self._take_in(objects, item.field, frame)
            record = self._record(item, decision, outcome, 0 if is_whole else None)
            record = replace(record, objects=self._report(found))
        self._looked_at = self._index if is_whole else self._looked_at
        return [*ready, replace(record, cost_ms=self._meter.take())]

    def _seen_ahead(self, item: FieldSlot) -> Objects | None:
        """What was found in the frame ahead of its turn."""
        return None if self._leaps is None or item.slot.pts is None else self._leaps.seen.pop(item.slot.pts, None)

    def _link(
        self, item: FieldSlot, frame: Frame, decision: Decision, detections: Objects
    ) -> list[FrameLabels]:
        assert self._linked is not None
        with self._meter.step("convert"):
            picture = frame.picture()
        with self._meter.step("track"):
            record = self._record(item, decision, Origin.DETECTED, age=0)
            self._looked_at = self._index
            return self._reported(self._linked.look(record, detections, picture))

    def _detect(self, frame: Frame) -> Objects:
        self.stats.cnn_frames += 1
        return self._capacities.look(frame)

    def _look_back(self, frame: Frame) -> Objects:
        self.stats.cnn_frames += 1
        return self._capacities.look_back(frame)

    def _detect_part(self, frame: Frame, crops: I32) -> Objects:
        """Looks back at parts of a picture."""
        self.stats.partial_frames += 1
        return self._ladder.detect_part(frame, crops)

    def _take_in(
        self, objects: Objects, motion: MotionField | None, frame: Frame
    ) -> tuple[list[FrameLabels], Objects]:
        """The tracks take what a rung gave. In lookahead mode it closes the interval, whether it saw all or a part."""
        if self._settings.mode == "causal" or self._looked_at < 0:
            ready = self._release()
            found = self._keeper.take(objects, self._index)
            self._interval.begin(self._index, frame)
            return ready, found
        seen = objects[(objects.track_id == NO_TRACK) | (objects.score > 0)]
        seen = replace(seen, track_id=np.full(len(seen), NO_TRACK, np.int32))
        labelled, found = self._interval.close(seen, motion, self._index, frame)
        return self._reported(labelled), found

    def _release(self) -> list[FrameLabels]:
        """Labels waiting frames from the last look alone: no further one will come."""
        if self._linked is not None:
            return self._reported(self._linked.finish())
        return self._reported(self._interval.release(self._source.info.width, self._source.info.height))

    def _reported(self, labelled: list[Labelled]) -> list[FrameLabels]:
        return [replace(record, objects=self._report(objects)) for record, objects in labelled]

    def _lead_out(self, item: FieldSlot) -> list[FrameLabels]:
        """The key frame that the next shard begins with: it closes the last interval and joins the tracks."""
        self._is_over = True
        frame = item.slot.frame
        if frame is None:
            return self._release()
        if self._linked is not None:
            *ready, last = [*self._look(item, frame, Decision("detect", "lead-out")), *self._release()]
            self.last = last.objects
            return ready
        detections = self._seen_ahead(item)
        detections = self._detect(frame) if detections is None else detections
        with self._meter.step("track"):
            ready, found = self._take_in(detections, item.field, frame)
            self.last = self._report(found)
        return ready

    def _record(self, item: FieldSlot, decision: Decision, origin: Origin, age: int | None = None) -> FrameLabels:
        key_age = self._index - self._looked_at if age is None else age
        return record_of(
            self._source.info, item.slot, self._index, origin, key_age, self.policy.name, decision.reason
        )
