"""Runs peers as the engines run policies: the same decoder, detector, records and accounting."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np

from everyframe.operators.base import Detector
from everyframe.operators.types import Origin
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.errors import EveryframeError, SourceBroken, UsageError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.metrics import group_table, select
from everyframe.pipeline.peers.base import Labelled, Peer
from everyframe.pipeline.peers.bytetrack import ByteTrack
from everyframe.pipeline.peers.bytetrack import load as load_bytetrack
from everyframe.pipeline.peers.flow import DisFlow
from everyframe.pipeline.peers.hold import StrideHold
from everyframe.pipeline.peers.linear import IFramesLinear
from everyframe.pipeline.records import FrameLabels, Slot, SourceInfo, record_of
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.sources.file import FileSource

PEER = "peer:"
CHUNK_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """form: how a user writes it. make: from N, 0 where it takes none. load: imports what it needs, or explains."""

    form: str
    mode: Mode
    make: Callable[[int, LabelSettings, SourceInfo, Detector], Peer]
    load: Callable[[], object] = lambda: None


PEERS: dict[str, Entry] = {
    "stride-hold": Entry("peer:stride-hold:N", "causal", lambda n, *_: StrideHold(n)),
    "bytetrack": Entry(
        "peer:bytetrack:N",
        "causal",
        lambda n, s, info, _: ByteTrack(n, s.conf, info.width, info.height),
        load_bytetrack,
    ),
    "iframes-linear": Entry(
        "peer:iframes-linear", "lookahead", lambda n, s, i, d: IFramesLinear(group_table(d.supercategory))
    ),
    "dis-flow": Entry("peer:dis-flow:N", "causal", lambda n, *_: DisFlow(n)),
}


def check_peer(spec: str) -> tuple[Entry, int]:
    """The peer that `spec` names, as "peer:bytetrack:10", and its N. Raises UsageError with the nearest name."""
    name, _, text = spec.removeprefix(PEER).partition(":")
    entry = PEERS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, PEERS, n=1)
        forms = ", ".join(e.form for e in PEERS.values())
        hint = f"did you mean {PEERS[near[0]].form}?" if near else f"choose one of {forms}."
        raise UsageError(f"there is no peer {spec!r}; {hint}")
    if not entry.form.endswith(":N"):
        if text:
            raise UsageError(f"{spec} takes no number: write {entry.form}.")
        return entry, 0
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{spec} needs a whole number of at least 1, as in peer:{name}:10.")
    return entry, int(text)


def peer_mode(spec: str) -> Mode:
    """Whether a peer looks ahead; it is in its nature, whatever was asked for."""
    return check_peer(spec)[0].mode


class PeerEngine:
    """Satisfies `engines.base.Engine` for settings whose policy is a peer."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]:
        entry, n = check_peer(settings.policy)
        for number, path in enumerate(paths):
            cv2.setNumThreads(settings.model.threads)
            stats, error = RunStats(), None
            try:
                with FileSource(path) as source:
                    yield Started(number, source.info, self._detector.runtime, self._detector.precision)
                    peer = entry.make(n, settings, source.info, self._detector)
                    run = _Run(source, self._detector, settings, peer, stats)
                    for labels in run.chunks():
                        yield Chunk(number, labels)
            except EveryframeError as e:
                error = e
            yield Finished(number, stats, error)

    def close(self) -> None:
        pass


class _Run:
    """One source under one peer."""

    def __init__(
        self, source: FileSource, detector: Detector, settings: LabelSettings, peer: Peer, stats: RunStats
    ) -> None:
        self._source = source
        self._detector = detector
        self._settings = settings
        self._peer = peer
        self._stats = stats
        self._decoder = Decoder(source, vectors=False)
        self._meter = Meter()
        self._classes = (
            np.array([detector.names.index(name) for name in settings.classes], np.int32)
            if settings.classes
            else None
        )
        self._waiting: list[FrameLabels] = []
        self._index = 0
        self._looked_at = 0

    def chunks(self) -> Iterator[list[FrameLabels]]:
        """Records in display order; what the reader of a chunk does with it is not charged."""
        records = self._records()
        broken: SourceBroken | None = None
        over = False
        while not over:
            start = time.process_time()
            chunk: list[FrameLabels] = []
            try:
                chunk.extend(islice(records, CHUNK_FRAMES))
            except SourceBroken as e:
                broken = e
            over = len(chunk) < CHUNK_FRAMES
            self._stats.frames += len(chunk)
            self._stats.total_cpu_ms += (time.process_time() - start) * 1e3
            self._stats.cpu_ms = dict(self._meter.total)
            self._stats.decoded = self._decoder.decoded
            if chunk:
                yield chunk
        if broken is not None:
            raise broken

    def _records(self) -> Iterator[FrameLabels]:
        broken: SourceBroken | None = None
        try:
            for slot in self._slots():
                yield from self._frame(slot)
                if self._index == self._settings.limit:
                    break
        except SourceBroken as e:
            broken = e
        yield from self._ready(self._peer.finish())
        if broken is not None:
            raise broken

    def _slots(self) -> Iterator[Slot]:
        for packet in self._source.packets():
            yield from self._decoder.push(
                packet, self._decoder.must_decode or self._peer.decodes(packet.facts)
            )
        yield from self._decoder.finish()

    def _frame(self, slot: Slot) -> list[FrameLabels]:
        self._meter.add("demux", slot.demux_ms)
        self._meter.add("decode", slot.decode_ms)
        seen = None
        if slot.frame is not None and self._peer.looks(self._index, slot):
            with self._meter.step("convert"):
                prepared = self._detector.prepare(slot.frame.picture())
            with self._meter.step("cnn"):
                seen = select(self._detector.infer(prepared), self._classes, self._settings.conf)
            self._stats.cnn_frames += 1
            self._looked_at = self._index
        with self._meter.step("propagate"):
            labelled = self._peer.advance(slot, seen)
        self._waiting.append(self._record(slot))
        self._index += 1
        return self._ready(labelled)

    def _record(self, slot: Slot) -> FrameLabels:
        key_age = self._index - self._looked_at
        record = record_of(
            self._source.info, slot, self._index, Origin.HELD, key_age, self._settings.policy, "peer"
        )
        return replace(record, cost_ms=self._meter.take())

    def _ready(self, labelled: list[Labelled]) -> list[FrameLabels]:
        records, self._waiting = self._waiting[: len(labelled)], self._waiting[len(labelled) :]
        return [
            replace(record, objects=label.objects, origin=label.origin)
            for record, label in zip(records, labelled, strict=True)
        ]
