"""Files, looking ahead: a key frame is looked at before anything up to it is decoded, and what lies between two of them
stays undecoded where that is expected to cost few labels (`policies.leap`).

Where a stretch must be followed and has key frames of its own, the one in its middle is looked at and both halves are
weighed anew; what is left is decoded frame by frame, and the policy chooses as it always does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np

from everyframe.operators.types import F32, I32, Objects
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.frames.decoder import Ahead, Decoder
from everyframe.pipeline.frames.scout import Scout
from everyframe.pipeline.labelling.audits import Auditor
from everyframe.pipeline.labelling.interval import LEAST_USUAL
from everyframe.pipeline.labelling.ladder import Ladder
from everyframe.pipeline.metrics import Rows, pairs
from everyframe.pipeline.records import Frame, FrameLabels, Packet, Slot
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.base import Policy
from everyframe.policies.leap import Ends, Leaping, LeapRule, Stretch, level_of

LENGTH_S = 4.0
"""From one look ahead to the next; key frames are where they are, so often longer."""
PAYS, LONGEST_S = 4.0, 8.0
"""Looks that decoding a stretch costs at least. Where decoding is cheaper stretches are longer; where that would be so long
that too much happens in them, there are no leaps."""
LONGER, LONGER_AFTER = 2.0, 3
"""So many lengths, after so many stretches in a row that were left out."""
SLACK = 0.9
MOST_PACKETS, MOST_BYTES = 1000, 48 << 20
"""Held back while the next key packet is waited for."""
LEAST_HALF = 6  # frames; shorter stretches are not halved
MOST_REST = 16  # lengths that pass without a look ahead, where stretches must be followed one after the other
WORTH = 0.5
"""Of what decoding a stretch costs, the part that may be lost in labels: they are only expected."""
MOST_WRONG = 0.15
"""Wrong labels a frame, relative to the objects usual here, that are never thought to be worth it."""


class Order(Enum):
    """What is to become of a packet: as the policy's gate says; left undecoded; decoded, and its frame looked at (or was ahead)."""

    ASK = auto()
    LEAVE = auto()
    LOOK = auto()


@dataclass(frozen=True, slots=True)
class Costs:
    """rate: frames a second. decode: of a frame with motion, tracks and policy, in looks of the CNN. look_back: wrong labels,
    relative to the usual objects, that one look is worth, as the policy says at this time."""

    rate: float
    decode: float
    look_back: Callable[[], float]

    @property
    def length_s(self) -> float:
        """Seconds that are worth a look ahead."""
        return max(LENGTH_S, PAYS / (self.decode * self.rate))

    @property
    def pay(self) -> bool:
        """Whether leaps may pay on this stream."""
        return self.decode > 0 and self.length_s <= LONGEST_S


@dataclass(frozen=True, slots=True)
class _End:
    """A key frame that was looked at. shown: its objects as they are reported."""

    packet: Packet
    shown: Objects
    ahead: Ahead
    pts: int


@dataclass(slots=True)
class _Followed:
    """A stretch that is decoded: its labels will tell what leaving it out would have cost. a, b (k, 4): boxes of the same
    objects at both ends."""

    stretch: Stretch
    begin: int
    end: int
    a: F32
    b: F32
    first: Objects
    wrong: int = 0
    frames: int = 0

    def expected(self, pts: int) -> Objects:
        """What its frames would have shown."""
        share = np.float32((pts - self.begin) / (self.end - self.begin))
        return replace(self.first, xyxy=(1 - share) * self.a + share * self.b)


@dataclass(slots=True)
class Leaps:
    """One stream.

    look: runs the CNN on a frame. audit: the same, for a frame that is only compared. select: what is reported of its objects.
    audits: whether a left packet is to be audited. groups: of each class id. limit: frames that are wanted.
    seen: objects found ahead, by pts, to be taken where their frame's turn comes. asked: packets that ask for a look by their
    size. audited: what the CNN finds in left frames, by packet.
    """

    scout: Scout
    look: Callable[[Frame], Objects]
    audit: Callable[[Frame], Objects]
    select: Callable[[Objects], Objects]
    audits: Callable[[int], bool]
    groups: I32
    costs: Costs
    limit: int | None = None
    seen: dict[int, Objects] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    audited: dict[int, Objects] = field(default_factory=dict)
    _rule: LeapRule = field(default_factory=LeapRule)
    _from: _End | None = None
    _rest: float = 0.0  # lengths
    _calm: int = 0  # stretches left out since one was followed
    _until_s: float = 0.0
    _latest: int | None = None
    _followed: deque[_Followed] = field(default_factory=deque)
    _usual: tuple[int, int] = (1, 1)  # objects, frames

    def orders(self, packets: Iterable[Packet]) -> Iterator[tuple[Packet, Order, Ahead | None]]:
        """Every packet in its turn, with what is to become of it. Raises what `packets` raises, after the last of them."""
        held: list[Packet] = []
        size = count = 0
        broken: SourceBroken | None = None
        source = iter(packets)
        while True:
            try:
                packet = next(source, None)
            except SourceBroken as error:
                packet, broken = None, error
            if packet is None:
                break
            held.append(packet)
            size += packet.facts.size
            count += not packet.is_discard
            if self.limit is not None and count > self.limit:  # nothing beyond is worth a look
                yield from ask(held)
            elif self._is_end(packet):
                yield from self._close(held)
            elif len(held) > MOST_PACKETS or size > MOST_BYTES or self._rests(packet):
                self._from = None
                yield from ask(held)
            else:
                continue
            held, size = [], 0
        yield from ask(held)
        if broken is not None:
            raise broken

    def reason(self, slot: Slot) -> str:
        """Why a decoded frame is to be looked at; empty where that is for the policy to say."""
        if slot.pts in self.seen:
            return "looked ahead"
        if slot.facts.index in self.asked:
            self.asked.discard(slot.facts.index)
            return "large packets"
        return ""

    def settle(self, record: FrameLabels) -> None:
        """Told of every frame's labels as they leave, in display order."""
        seen, frames = self._usual
        self._usual = (seen + len(record.objects), frames + 1)
        if not self._followed or record.pts is None:
            return
        followed = self._followed[0]
        if record.pts >= followed.end:
            self._followed.popleft()
            self._rule.learn(followed.stretch, followed.wrong / max(followed.frames, 1))
        elif record.pts > followed.begin:
            expected = followed.expected(record.pts)
            right, _ = pairs(expected, record.objects, self.groups)
            followed.wrong += len(expected) + len(record.objects) - 2 * len(right)
            followed.frames += 1

    def _rests(self, packet: Packet) -> bool:
        return self._from is None and not packet.facts.time_s >= self._until_s

    def _is_end(self, packet: Packet) -> bool:
        """Whether a stretch may end with this packet."""
        pts, facts = packet.pts, packet.facts
        if pts is None or packet.is_discard:
            return False
        is_newest = self._latest is None or pts > self._latest
        self._latest = pts if self._latest is None else max(self._latest, pts)
        if not (is_newest and packet.is_entry) or packet.data.is_corrupt:
            return False
        if self._from is None:
            return facts.time_s >= self._until_s
        wanted = self.costs.length_s * (LONGER if self._calm >= LONGER_AFTER else 1.0)
        return facts.time_s - self._from.packet.facts.time_s >= SLACK * wanted

    def _close(self, held: list[Packet]) -> Iterator[tuple[Packet, Order, Ahead | None]]:
        """held: the packets since the last end, the next end last."""
        begin, between = self._from, held[:-1]
        end = self._look_at(held[-1])
        self._from = end
        if end is None:
            yield from ask(held)
            return
        if begin is None:
            yield from ask(between)
        else:
            if self._ends(begin, end)[0] == "changed":
                self._tire(end)
            else:
                self._rest = 0.0
            yield from self._between(begin, between, end)
        yield from self._handed(end)

    def _tire(self, end: _End) -> None:
        """After stretches that had to be followed, more and more pass without a look ahead."""
        if self._rest >= 1:
            self._until_s = end.packet.facts.time_s + self._rest * self.costs.length_s
            self._from = None
        self._rest = min(max(2 * self._rest, 0.5), MOST_REST)

    def _look_at(self, packet: Packet) -> _End | None:
        found = self.scout.key(packet)
        if found is None or packet.pts is None:
            return None
        ahead, frame = found
        if frame.is_corrupt:
            self.scout.done(ahead)
            return None
        objects = self.look(frame)
        self.seen[packet.pts] = objects
        return _End(packet, self.select(objects), ahead, packet.pts)

    def _handed(self, end: _End) -> Iterator[tuple[Packet, Order, Ahead | None]]:
        yield end.packet, Order.LOOK, end.ahead
        self.scout.done(end.ahead)

    def _between(self, begin: _End, packets: list[Packet], end: _End) -> Iterator[tuple[Packet, Order, Ahead | None]]:
        kind, a, b = self._ends(begin, end)
        seconds = end.packet.facts.time_s - begin.packet.facts.time_s
        level, loudest = level_of([p.facts for p in packets], seconds)
        stretch = Stretch(kind, level)
        is_left = self._rule.leaves(stretch, self._tolerance())
        self._calm = self._calm + 1 if is_left else 0
        if is_left:
            self._draw(begin, packets)
            yield from ((packet, Order.LEAVE, None) for packet in packets)
            return
        row = self._middle(packets)
        middle = None if row is None else self._look_at(packets[row])
        if row is not None and middle is not None:
            yield from self._between(begin, packets[:row], middle)
            yield from self._handed(middle)
            yield from self._between(middle, packets[row + 1 :], end)
            return
        if kind != "changed":
            self._followed.append(_Followed(stretch, begin.pts, end.pts, begin.shown.xyxy[a], end.shown.xyxy[b], begin.shown[a]))
        if kind != "empty" or loudest < 0:
            yield from ask(packets)
            return
        self.asked.add(packets[loudest].facts.index)  # where most bits went, something may come and go
        yield from ((p, Order.LOOK if row == loudest else Order.ASK, None) for row, p in enumerate(packets))

    def _ends(self, begin: _End, end: _End) -> tuple[Ends, Rows, Rows]:
        """What two ends show, and the rows of the same objects at both."""
        a, b = begin.shown, end.shown
        rows = pairs(a, b, self.groups)
        if not len(a) and not len(b):
            return "empty", *rows
        return "alike" if len(a) == len(b) == len(rows[0]) else "changed", *rows

    def _tolerance(self) -> float:
        objects, frames = self._usual
        usual = max(objects / frames, LEAST_USUAL)
        return min(WORTH * self.costs.decode * self.costs.look_back(), MOST_WRONG) * usual

    def _middle(self, packets: list[Packet]) -> int | None:
        """The row of a key packet in the middle, where a look there costs less than half of the stretch."""
        if len(packets) * self.costs.decode / 2 < 1:
            return None
        halves = range(LEAST_HALF, len(packets) - LEAST_HALF)
        keys = [i for i in halves if packets[i].is_entry and not packets[i].data.is_corrupt]
        return min(keys, key=lambda i: abs(i - len(packets) // 2)) if keys else None

    def _draw(self, begin: _End, packets: list[Packet]) -> None:
        """Audits what is left out, in a codec of its own, so that no audit makes its own frame's labels better."""
        for row, packet in enumerate(packets):
            if not self.audits(packet.facts.index):
                continue
            keys = [i for i, p in enumerate(packets[: row + 1]) if p.facts.is_key]
            way = packets[keys[-1] : row + 1] if keys else [begin.packet, *packets[: row + 1]]
            frame = self.scout.last(way)
            if frame is not None:
                self.audited[packet.facts.index] = self.select(self.audit(frame))


def ask(packets: Iterable[Packet]) -> Iterator[tuple[Packet, Order, Ahead | None]]:
    """Packets without leaps: of each the policy is asked."""
    return ((packet, Order.ASK, None) for packet in packets)


def leaps_for(
    policy: Policy, settings: LabelSettings, source: FileSource, decoder: Decoder, ladder: Ladder,
    select: Callable[[Objects], Objects], auditor: Auditor, groups: I32,
) -> Leaps | None:  # fmt: skip
    """Leaps where stretches may stay undecoded: the policy lets them, looking ahead, and it is known what decoding costs."""
    prices = settings.prices.rungs
    decode, look = prices.get("decode", 0.0), prices.get("detect", 0.0)
    costs = Costs(float(source.info.rate), decode / look if look > 0 else 0.0, lambda: policy.traits.look_back)
    may = isinstance(policy, Leaping) and settings.mode == "lookahead" and not policy.traits.rungs
    if not (may and costs.pay) or source.info.decode_all is not None:
        return None
    return Leaps(
        Scout(decoder, source.another_context),
        look=ladder.detect,
        audit=lambda frame: ladder.detect(frame, "audit"),
        select=select,
        audits=lambda packet: auditor.draws(packet, is_left=True),
        groups=groups,
        costs=costs,
        limit=settings.limit,
    )
