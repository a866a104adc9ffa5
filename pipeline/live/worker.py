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

from everyframe.operators.hold import Hold
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import U8, MotionField, Objects, Origin, View
from everyframe.pipeline.audits import Auditor, AuditSums
from everyframe.pipeline.fields import FieldSlot
from everyframe.pipeline.goal import Pilot
from everyframe.pipeline.live.asking import Asker
from everyframe.pipeline.live.overload import Overload, Pressure
from everyframe.pipeline.live.pending import Asked, carried
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
from everyframe.pipeline.live.value import stray_objects, value_of
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame, PacketSource, record_of
from everyframe.pipeline.report import Reporter
from everyframe.pipeline.tracks import Classes, TrackKeeper, TrackState, class_tables
from everyframe.pipeline.warm import warm_up
from everyframe.policies.base import Decision, Observation, Policy
from everyframe.policies.registry import make_policy

LOOKS, LOOKS_DROPPED = "looks", "looks_dropped"
"""Counters of answers that were taken in, and of those that were not, or never came."""
OVERLOAD, NO_PICTURE = DROPPED + "overload", DROPPED + "no_picture"
LATEST_RUNGS = 300
DROP_LAG_S = 0.5
"""At the last level, groups of pictures are dropped until packets are no older."""
PART_IS_WORTH = 1.0
"""Objects that must move unexplained before a look at parts of a picture, which live is one at the whole, is asked for."""
NEVER = 1 << 30


class LiveWorker:
    """looker: the way to the CNN. detector_facts: `names` and `supercategory` of its classes. counts: `rung.*`, `decoded`,
    `looks`, `looks_dropped`, `dropped.*`. out: takes each record at once.

    level, level_name: of overload. rungs: of the last frames, numbers of `Origin`. fps: of the last records.
    """

    def __init__(
        self, camera: Camera, looker: Looker, detector_facts: Classes, counts: Counter, out: Callable[[LiveLabels], None]
    ) -> None:
        settings = camera.labels
        self.rungs: deque[int] = deque(maxlen=LATEST_RUNGS)
        self.width = self.height = 0
        self._camera, self._counts, self._out = camera, counts, out
        self.policy = live_policy(settings.policy)
        warm_up(settings.policy, "causal")
        self.policy.reset(settings.seed)
        self._pilot = Pilot(self.policy, settings.goal, settings.prices)
        groups, wanted = class_tables(detector_facts, settings.classes)
        self._groups = groups
        self._keeper = TrackKeeper(groups, settings.conf)
        self._report = Reporter(settings.conf, wanted)
        self._auditor = Auditor(settings.audit, settings.seed, 0, groups)
        self._asker = Asker(camera, looker)
        self._propagate, self._hold = Propagate(), Hold()
        self._meter = Meter()
        self._session: LiveSession | None = None
        self._overload = Overload()
        self._over = 0.0
        self._is_dropping = False
        self._index = 0
        self._decoded = 0
        self._looks = 0
        self._seen_at = -1
        self._agreement = math.nan
        self._is_news = False
        self._latest: tuple[Frame, Objects] | None = None
        self._only_to_audit: set[int] = set()  # packets that the policy would have skipped
        self._counted_decoded = 0
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
        return 0 if self._latest is None else len(self._latest[1])

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
        session = self._session
        if arrival.packet is None:
            self._end_session()
            return
        is_key = arrival.packet.facts.is_key
        if is_key:
            self._is_dropping = self._overload.drops_groups and lag > DROP_LAG_S
        if self._is_dropping:
            self._counts.add(OVERLOAD)
            return
        if session is None or session.source is not arrival.session or (is_key and session.is_gap(arrival)):
            session = self._begin_session(arrival.session)
        if session.is_gap(arrival):
            arrival = replace(arrival, is_suspect=True)
        self._read_answers()
        for item, came in session.push(arrival, self._wants(session, arrival)):
            self._frame(item, came)

    def idle(self) -> None:
        """Nothing has come for a while: answers are taken in, so that the next frame has them."""
        now = time.monotonic()
        self._overload = self._overload.step(now, Pressure(0.0, 0.0, self._over))
        self._read_answers()

    def close(self) -> None:
        """Every frame that was received has a record now, or is counted."""
        self._end_session()
        self._give_up(self._asker.pending.clear())

    def _begin_session(self, source: PacketSource) -> LiveSession:
        self._end_session()
        session = self._session = LiveSession(source, self._meter)
        self._decoded = 0
        self._only_to_audit.clear()
        self._asker.owe("a new session")
        return session

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        for item, came in session.finish():
            self._frame(item, came, session)
        self._count_decoded(session)
        if session.taken > session.given:
            self._counts.add(NO_PICTURE, session.taken - session.given)
        elif session.given > session.taken:  # packets with two pictures
            self._counts.add(RECEIVED, session.given - session.taken)

    def _wants(self, session: LiveSession, arrival: Arrival) -> bool:
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

    def _frame(self, item: FieldSlot, came: Came, session: LiveSession | None = None) -> None:
        """The next frame in display order gets its record."""
        session = session or self._session
        assert session is not None
        slot = item.slot
        self._meter.add("demux", slot.demux_ms)
        self._meter.add("decode", slot.decode_ms)
        before = self._keeper.state.objects
        for _, motion in item.late_fields:
            self._move(motion)
        if slot.frame is None or item.field is None:
            decision, observation = Decision("hold", "not decoded"), None
            objects, origin = self._hold.apply(View(0, 0), self._keeper.state.objects), Origin.HELD
        else:
            self._move(item.field)
            observation = self._observe(item, item.field)
            with self._meter.step("policy"):
                decision = self._weighed(self.policy.choose(observation), observation)
            objects, origin = self._keeper.state.objects, Origin.PROPAGATED
        if slot.frame is not None and observation is not None:
            decision, found = self._look(slot.frame, decision, observation, came, before)
            if found is not None:
                objects, origin = found, Origin.DETECTED
        record = record_of(
            session.info, slot, self._index, origin, self._index - self._seen_at, self.policy.name, decision.reason
        )
        objects, cost = self._report(objects), self._meter.take()
        record = replace(record, source=self._camera.name, time_s=came.at, objects=objects, cost_ms=cost)
        self._publish(LiveLabels(record, came.since), slot.frame, session)

    def _publish(self, labels: LiveLabels, frame: Frame | None, session: LiveSession) -> None:
        record = labels.labels
        self.width, self.height = record.width, record.height
        self._auditor.settle(self._index, record.objects, record.origin == Origin.DETECTED)
        self.rungs.append(int(record.origin))
        self._times.append(labels.since)
        self._counts.add(RUNG + record.origin.label)
        self._count_decoded(session)
        self._index += 1
        self._pilot.frame(self._index, self._counted_decoded, self._looks, self._auditor.sums)
        if frame is not None:
            self._latest = frame, record.objects
        self._out(labels)

    def _count_decoded(self, session: LiveSession) -> None:
        new, self._decoded = session.decoded - self._decoded, session.decoded
        if new:
            self._counted_decoded += new
            self._counts.add(DECODED, new)

    def _move(self, motion: MotionField) -> None:
        """Moves the tracks on by one decoded frame; a picture of another size begins without any."""
        if (self.width, self.height) != (motion.width, motion.height):
            if self.width:
                self._keeper.state = TrackState.empty()
                self._give_up(self._asker.pending.clear())
                self._seen_at, self._agreement = -1, math.nan
                self._asker.owe("another picture size")
            self.width, self.height = motion.width, motion.height
        with self._meter.step("propagate"):
            view = View(motion.width, motion.height, motion)
            self._keeper.state = self._keeper.state.moved(self._propagate.apply(view, self._keeper.state.objects))
            self._give_up(self._asker.pending.moved(motion))

    def _observe(self, item: FieldSlot, motion: MotionField) -> Observation:
        """What the policy sees. A look counts from the frame that was looked at. Where its answer came late, the first frame
        after is told as the first since a look, since that is when policies ask what it gave."""
        state = self._keeper.state
        asked_at = self._asker.asked_at
        since = NEVER if asked_at < 0 else self._index - asked_at
        is_news, self._is_news = self._is_news, False
        return Observation(
            packet=item.slot.facts,
            frame_index=self._index,
            frames_since_detect=1 if is_news else since,
            motion=motion.motion,
            known=motion.known,
            cell=motion.cell,
            boxes=state.objects.xyxy,
            scores=state.objects.score,
            ages=self._index - state.detected_at,
            classes=state.objects.class_id,
            agreement=math.nan if self._asker.pending.has_look else self._agreement,
        )

    def _weighed(self, decision: Decision, observation: Observation) -> Decision:
        """Rungs that need the CNN in this process become a whole look where that is worth it, else propagation."""
        if decision.rung in ("hold", "propagate", "detect"):
            return decision
        if decision.rung == "residual":
            return replace(decision, rung="detect")
        if decision.rung == "region" and self._overload.audits and stray_objects(observation) >= PART_IS_WORTH:
            return replace(decision, rung="detect")
        return replace(decision, rung="propagate")

    # -- looks

    def _look(
        self, frame: Frame, decision: Decision, observation: Observation, came: Came, before: Objects
    ) -> tuple[Decision, Objects | None]:
        """Asks for a look where the policy wants one, or for an audit. before: the objects before this frame was decoded.
        Returns the decision with what became of it, and the objects found where the answer is there already."""
        is_clean, packet = not (came.is_suspect or frame.is_corrupt), observation.packet.index
        decision, is_wanted = self._asker.decide(decision, self._index, self.fps, self._overload, is_clean)
        is_only, shown = packet in self._only_to_audit, None
        self._only_to_audit.discard(packet)
        if not is_wanted:
            audits = is_clean and self._overload.audits and self._asker.pending.audit is None
            if not (audits and self._auditor.draws(packet)):
                return decision, None
            shown = self._report.select(self._hold.apply(View(0, 0), before) if is_only else self._keeper.state.objects)
        asked = Asked(self._index, self._keeper.state, shown, is_wanted, self._asker.asked_at)
        value = value_of(self.policy, observation, self._camera.labels.conf, self._seen_at < 0)
        with self._lock, self._meter.step("convert"):
            picture = frame.picture()
        self._asker.ask(asked, picture, value, came.since)
        found = self._read_answers(self._index)
        if found is None and is_wanted:
            decision = replace(decision, reason=f"{decision.reason}: asked")
        return decision, found

    def _read_answers(self, now: int = -1) -> Objects | None:
        """Takes in what the CNN has found. now: the frame that is being labelled: its own answer is returned."""
        found = None
        for answer in self._asker.answers():
            asked = self._asker.pending.pop(answer.number)
            if asked is None or answer.objects is None:
                self._missed(asked, answer)
                continue
            taken = self._take_in(asked, answer, answer.objects, answer.number != now)
            found = taken if answer.number == now else found
        return found

    def _missed(self, asked: Asked | None, answer: LookAnswer) -> None:
        if asked is not None:
            self._give_up([asked], answer.why)

    def _give_up(self, gone: list[Asked], why: str = "too late") -> None:
        for asked in gone:
            self._counts.add(LOOKS_DROPPED)
            self._asker.lost(asked, why, self._index)

    def _take_in(self, asked: Asked, answer: LookAnswer, objects: Objects, is_late: bool) -> Objects | None:
        self._meter.add("cnn", answer.cnn_ms)
        self._counts.add(LOOKS)
        self._looks += 1
        self._asker.paid(answer.cnn_ms)
        if asked.shown is not None:
            self._auditor.compare(asked.shown, self._report.select(objects))
        if not asked.is_look or asked.number < self._seen_at:
            return None
        with self._meter.step("track"):
            if self._seen_at >= 0:
                self._agreement = TrackKeeper(self._groups, self._camera.labels.conf, asked.tracks).agreement(objects)
            found = self._keeper.take(carried(objects, asked.moves, self._propagate), asked.number)
        self._seen_at = asked.number
        self._is_news = is_late
        return found


def live_policy(spec: str) -> Policy:
    """The policy of that name for a camera. `motion` decides by its looking-ahead rule, which uses the past only as well: the
    other leaves most to looks at parts of pictures, which a camera's process cannot take."""
    return make_policy(spec, "lookahead" if spec == "motion" else "causal")
