"""One live camera: arrivals in, a record of every frame out, the CNN asked and never waited for.

    take: decode -> field -> move tracks -> policy -> record
                                               |         ^ carried along the fields since
                                               ask -> answer

The answer for frame t comes while later frames are shown with propagated labels; its objects are carried along the motion
of the frames since and taken into the tracks there. Used by one thread; `picture` and what it tells of itself by others.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from everyframe.operators.types import U8, MotionField, Objects, Origin, View
from everyframe.pipeline.frames.fields import FieldSlot
from everyframe.pipeline.labelling.audits import Auditor, AuditSums
from everyframe.pipeline.labelling.goal import Pilot
from everyframe.pipeline.labelling.tracks import Classes
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.live.asking import Asker
from everyframe.pipeline.live.follower import Follower
from everyframe.pipeline.live.inbox import OVERLOAD, Renewable, shows_frame
from everyframe.pipeline.live.overload import Overload, Pressure
from everyframe.pipeline.live.parts import Parts
from everyframe.pipeline.live.pending import Asked
from everyframe.pipeline.live.session import Came, LiveSession
from everyframe.pipeline.live.types import (
    DECODED,
    DROPPED,
    RECEIVED,
    RUNG,
    Arrival,
    Camera,
    Counter,
    LiveLabels,
    LookAnswer,
    Looker,
)  # fmt: skip
from everyframe.pipeline.live.value import prices_so_far, value_of
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame, PacketSource, record_of
from everyframe.policies.base import Decision, Observation, Policy
from everyframe.policies.registry import make_policy

LOOKS, PARTS, LOOKS_DROPPED = "looks", "looks_at_parts", "looks_dropped"
"""Counters of answers that were taken in: of whole pictures, audits among them, and of parts; and of those that were not, or never came."""
NO_PICTURE = DROPPED + "no_picture"
LATEST_RUNGS = 300
PRICED_AT = 100
"""Frames after which a camera's costs are known."""
DROP_LAG_S = 0.5
"""At the last level, groups of pictures are dropped until packets are no older."""


class LiveWorker:
    """looker: the way to the CNN. detector_facts: `names` and `supercategory` of its classes. counts: gets `rung.*`, `decoded`,
    `looks`, `looks_dropped`, `dropped.*`. out: takes each record at once.

    level, level_name: of overload. rungs: of the last frames, numbers of `Origin`. width, height: of the picture, 0 before the
    first.
    """

    def __init__(
        self, camera: Camera, looker: Looker, detector_facts: Classes, counts: Counter, out: Callable[[LiveLabels], None]
    ) -> None:
        settings = camera.labels
        self.rungs: deque[int] = deque(maxlen=LATEST_RUNGS)
        self.width = self.height = 0
        self._camera, self._counts, self._out = camera, counts, out
        imgsz: int = getattr(detector_facts, "imgsz", 0)
        self.policy = live_policy(settings.policy, bool(imgsz))
        warm_up(settings.policy, "causal")
        self.policy.reset(settings.seed)
        self._pilot = Pilot(self.policy, settings.goal, settings.prices)
        self._asker = Asker(camera, looker)
        self._tracks = Follower(settings, detector_facts, self._asker.pending)
        self._parts = Parts(imgsz if self.policy.traits.looks_at_crops else 0, self._tracks)
        self._auditor = Auditor(settings.audit, settings.seed, 0, self._tracks.groups)
        self._meter = Meter()
        self._session: LiveSession | None = None
        self._came_by: PacketSource | None = None
        self._overload = Overload()
        self._over = 0.0
        self._is_dropping = False
        self._only_to_audit: set[int] = set()  # packets that the policy would have skipped
        self._decoded = 0
        self._looks = 0.0
        self._latest: tuple[Frame, Objects] | None = None
        self._shown = 0
        self._times: deque[float] = deque(maxlen=50)
        self._lock = threading.Lock()  # a picture is converted by one thread at a time

    # -- what it tells

    @property
    def level(self) -> int:
        return self._overload.level

    @property
    def level_name(self) -> str:
        return self._overload.name

    @property
    def fps(self) -> float:
        """Of records, by when their packets arrived; 0 before there are two, and while nothing comes."""
        times = list(self._times)
        if len(times) < 2 or time.monotonic() - times[-1] > 5.0:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-3)

    @property
    def price(self) -> float:
        """Of error, NaN for a policy without one."""
        return float(getattr(self.policy, "price", math.nan))

    @property
    def policy_name(self) -> str:
        return self.policy.name

    @property
    def audits(self) -> AuditSums:
        return replace(self._auditor.sums)

    @property
    def tracks(self) -> int:
        """Objects in the latest record."""
        return self._shown

    def picture(self) -> tuple[U8, Objects] | None:
        """The latest decoded picture, BGR (height, width, 3) uint8, and the objects of its record; None before the first."""
        latest = self._latest
        if latest is None:
            return None
        with self._lock:
            return latest[0].picture(), latest[1]

    def pace(self, over: float) -> None:
        """over: CPU of all cameras in what they may use, above 1 where it must get cheaper."""
        self._over = over

    # -- what comes

    def take(self, arrival: Arrival) -> None:
        """The next packet of the camera, or the end of a session."""
        now = time.monotonic()
        lag = max(now - arrival.since, 0.0)
        self._overload = self._overload.step(now, Pressure(lag, 0.0, self._over))
        packet = arrival.packet
        if packet is None:
            self._end_session()
            return
        is_entry = packet.facts.is_key or arrival.is_entry
        if is_entry:
            self._is_dropping = self._overload.drops_groups and lag > DROP_LAG_S
        if self._is_dropping:
            if shows_frame(arrival.session, packet):
                self._counts.add(OVERLOAD)
            return
        session = self._session
        if session is None or self._came_by is not arrival.session:
            session = self._begin_session(arrival.session, arrival.session)
        elif session.is_gap(packet):
            if is_entry:  # decoding starts anew, with a codec of its own
                again = arrival.session
                session = self._begin_session(again.anew() if isinstance(again, Renewable) else again, again)
            else:
                arrival = replace(arrival, is_suspect=True)
        self._read_answers()
        for item, came in session.push(arrival, self._wants(session, arrival)):
            self._frame(session, item, came)

    def idle(self) -> None:
        """Nothing has come for a while: answers are taken in, so that the next frame has them."""
        self._overload = self._overload.step(time.monotonic(), Pressure(over=self._over))
        self._read_answers()

    def close(self) -> None:
        """Every frame that was received has a record now, or is counted."""
        self._end_session()
        self._counts.add(LOOKS_DROPPED, self._asker.begin("the camera was closed"))

    def _begin_session(self, source: PacketSource, came_by: PacketSource) -> LiveSession:
        self._end_session()
        self._came_by = came_by
        self._session = LiveSession(source, self._meter)
        self._only_to_audit.clear()
        self._asker.owe("a new session")
        return self._session

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        for item, came in session.finish():
            self._frame(session, item, came)
        self._count_decoded(session)
        if session.taken > session.given:
            self._counts.add(NO_PICTURE, session.taken - session.given)
        elif session.given > session.taken:  # packets with two pictures
            self._counts.add(RECEIVED, session.given - session.taken)

    def _wants(self, session: LiveSession, arrival: Arrival) -> bool:
        """Whether a packet is to be decoded."""
        assert arrival.packet is not None
        facts = arrival.packet.facts
        with self._meter.step("policy"):
            wants = self.policy.gate(facts)
        if session.must_decode:
            return True
        if self._overload.keys_only:
            return facts.is_key
        if not wants and self._overload.audits and self._auditor.draws(facts.index):
            self._only_to_audit.add(facts.index)
            return True
        return wants

    # -- frames

    def _frame(self, session: LiveSession, item: FieldSlot, came: Came) -> None:
        """The next frame in display order gets its record."""
        slot, tracks = item.slot, self._tracks
        self._meter.add("demux", slot.demux_ms)
        self._meter.add("decode", slot.decode_ms)
        before = tracks.objects
        for _, motion in item.late_fields:
            self._move(motion)
        if slot.frame is None or item.field is None:
            self._parts.forget()
            decision, objects, origin = Decision("hold", "not decoded"), tracks.held(tracks.objects), Origin.HELD
        else:
            self._move(item.field)
            observation = tracks.observe(item, item.field, self._asker.asked_at)
            with self._meter.step("policy"):
                decision = self.policy.choose(observation)
            view = View(slot.frame.width, slot.frame.height, item.field, slot.frame.picture, slot.frame.luma)
            decision, found = self._look(slot.frame, view, decision, observation, came, before)
            objects, origin = (tracks.objects if found is None else found), _origin(decision, found)
        self._only_to_audit.discard(slot.facts.index)
        age, name = tracks.index - tracks.seen_at, self.policy.name
        record = record_of(session.info, slot, tracks.index, origin, age, name, decision.reason)
        objects, cost = tracks.report(objects), self._meter.take()
        record = replace(record, source=self._camera.name, time_s=came.at, objects=objects, cost_ms=cost)
        self._publish(LiveLabels(record, came.since), slot.frame, session)

    def _publish(self, labels: LiveLabels, frame: Frame | None, session: LiveSession) -> None:
        record = labels.labels
        self.width, self.height, self._shown = record.width, record.height, len(record.objects)
        self._auditor.settle(record.frame_index, record.objects, record.origin == Origin.DETECTED)
        self.rungs.append(int(record.origin))
        self._times.append(labels.since)
        self._counts.add(RUNG + record.origin.label)
        self._count_decoded(session)
        self._tracks.next()
        if self._tracks.index == PRICED_AT and not self._camera.labels.prices.rungs:
            prices = prices_so_far(self._meter.total, PRICED_AT, self._decoded, self._asker.cost)
            self._pilot = Pilot(self.policy, self._camera.labels.goal, prices)
        self._pilot.frame(self._tracks.index, self._decoded, self._looks, self._auditor.sums)
        if frame is not None:
            self._latest = frame, record.objects
        self._out(labels)

    def _count_decoded(self, session: LiveSession) -> None:
        new = session.newly_decoded()
        if new:
            self._decoded += new
            self._counts.add(DECODED, new)

    def _move(self, motion: MotionField) -> None:
        """Moves the tracks on by one decoded frame; a picture of another size begins without any."""
        if self._tracks.is_new_size(motion):
            self._tracks.begin()
            self._parts.forget()
            self._counts.add(LOOKS_DROPPED, self._asker.begin("another picture size"))
        with self._meter.step("propagate"):
            late = self._tracks.move(motion)
            self._parts.follow(motion)
        self._give_up(late, "too late")

    # -- looks

    def _look(
        self, frame: Frame, view: View, decision: Decision, observation: Observation, came: Came, before: Objects
    ) -> tuple[Decision, Objects | None]:
        """Asks for a look where the policy wants one, or for an audit. before: the objects before this frame was decoded.
        Returns the decision with what became of it, and the objects where the answer is there already."""
        tracks, is_clean = self._tracks, not (came.is_suspect or frame.is_corrupt)
        may = is_clean and self._asker.may_ask_for_part(tracks.index, self.fps, self._overload)
        with self._lock, self._meter.step("propagate"):
            decision, part = self._parts.weigh(decision, observation, view, came.at, may)
        decision, is_wanted = self._asker.decide(decision, tracks.index, self.fps, self._overload, is_clean)
        shown = None if is_wanted else self._audited(observation, before, is_clean)
        if is_wanted or shown is not None:
            part = None
        elif part is None:
            return decision, None
        kept = view if self._parts.is_used else None
        asked = Asked(tracks.index, tracks.state, shown, is_wanted, self._asker.asked_at, part, kept)
        value = part.gain if part else value_of(self.policy, observation, self._camera.labels.conf, tracks.seen_at < 0)
        with self._lock, self._meter.step("convert"):
            picture = frame.picture()
        self._asker.ask(asked, picture, value, came.since)
        found = self._read_answers(tracks.index)
        if shown is not None:
            return decision, None
        if found is not None:
            return (replace(decision, rung="region") if part else decision), found
        what = "a part asked" if part else "asked"
        return replace(decision, reason=f"{decision.reason}: {what}"), None

    def _audited(self, observation: Observation, before: Objects, is_clean: bool) -> Objects | None:
        """What is published for a frame that is drawn to be audited, else None."""
        packet, tracks = observation.packet.index, self._tracks
        may = is_clean and self._overload.audits and self._asker.pending.audit is None
        if not (may and self._auditor.draws(packet)):
            return None
        return tracks.report.select(tracks.held(before) if packet in self._only_to_audit else tracks.objects)

    def _read_answers(self, now: int = -1) -> Objects | None:
        """Takes in what the CNN has found. now: the frame that is being labelled: what its own answer found is returned."""
        found = None
        for answer in self._asker.answers():
            asked = self._asker.pending.pop(answer.number)
            if asked is None:  # it was given up
                continue
            if answer.objects is None:
                self._give_up([asked], answer.why)
                continue
            taken = self._take_in(asked, answer, answer.objects, answer.number != now)
            found = taken if answer.number == now else found
        return found

    def _give_up(self, gone: list[Asked], why: str) -> None:
        for asked in gone:
            self._counts.add(LOOKS_DROPPED)
            self._asker.lost(asked, why, self._tracks.index)

    def _take_in(self, asked: Asked, answer: LookAnswer, objects: Objects, is_late: bool) -> Objects | None:
        self._meter.add("cnn", answer.cnn_ms)
        self._counts.add(LOOKS if asked.part is None else PARTS)
        if asked.part is not None:
            self._looks += asked.part.share
            with self._meter.step("track"):
                return self._parts.take_in(asked, objects)
        self._looks += 1
        self._asker.paid(answer.cnn_ms)
        if asked.shown is not None:
            self._auditor.compare(asked.shown, self._tracks.report.select(objects))
        if asked.is_look:
            with self._lock:
                self._parts.looked(asked)
        with self._meter.step("track"):
            return self._tracks.take_in(asked, objects, is_late)


def live_policy(spec: str, has_parts: bool = False) -> Policy:
    """The policy of that name for a camera. Where looks at parts of pictures are no cheaper, `motion` decides by its looking-ahead
    rule, which uses the past only as well: the other leaves most to them."""
    return make_policy(spec, "lookahead" if spec == "motion" and not has_parts else "causal")


def _origin(decision: Decision, found: Objects | None) -> Origin:
    if found is None:
        return Origin.PROPAGATED
    return Origin.REGION if decision.rung == "region" else Origin.DETECTED
