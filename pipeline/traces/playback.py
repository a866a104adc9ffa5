"""A trace played to the real worker: it takes the place of the file, the codec, the motion vectors and the CNN.

Everything between them is the product's own: the decoder's order, gaps and catching up, tracks, policy, rungs without
pixels, looking ahead and back. Where frames were left out, two fields differ from a real run's: the first vectors after
a gap are scaled by their true distance, and a B frame that is decoded late has the motion that it would have had in time.
Pictures are known as their luma's means over cells, which is what `region` and looking back mostly ask for; what a look
at a crop finds is modelled: what the whole look found there, as far as the crop does not cut it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any, cast

import numpy as np

from everyframe.operators import appearance
from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.region.crops import CUT
from everyframe.operators.region.sizes import inside, snap
from everyframe.operators.types import F32, I32, U8, MotionField, Objects
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder
from everyframe.pipeline.frames.motion import unknown_field
from everyframe.pipeline.frames.reorder import Entry
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.records import Frame, Packet, SourceInfo
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.second import Second

MOST_BEHIND = 310
"""Frames for which luma is kept: a frame may be looked at again while it waits for the next look."""


class Data:
    """What stands for the demuxer's packet."""

    __slots__ = ("index", "is_corrupt", "opaque")

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_corrupt = False
        self.opaque: Entry | None = None


@dataclass(slots=True)
class Raw:
    """What stands for the codec's frame: the number of the trace's frame."""

    index: int
    opaque: Entry | None
    pts: int | None


class Codec:
    """Gives frames in display order, as late as the real decoder did."""

    def __init__(self, trace: tf.Trace) -> None:
        self.options: dict[str, str] = {}
        self.copy_opaque = True
        self._delay = int(trace.meta["delay"])
        self._frame_of = {packet: i for i, packet in enumerate(trace.frames.packet.tolist())}
        self._pts = trace.packets.pts
        self._kinds = trace.frames.motion
        self._held: list[tuple[int, int, Raw]] = []

    def decode(self, data: Data | None) -> list[Raw]:
        if data is not None:
            index = self._frame_of.get(data.index)
            if index is not None and self._kinds[index] != tf.NONE:
                pts = _time(self._pts[data.index])
                heapq.heappush(self._held, (index, data.index, Raw(index, data.opaque, pts)))
        least = 0 if data is None else self._delay
        out = []
        while len(self._held) > least:
            out.append(heapq.heappop(self._held)[2])
        return out

    def flush_buffers(self) -> None:
        self._held.clear()


class TraceSource:
    """A recorded clip as packets; has what the decoder and the worker ask of a `FileSource`."""

    start_pts: int | None = None
    end_pts: int | None = None

    def __init__(self, trace: tf.Trace) -> None:
        self.trace = trace
        self.codec_context = Codec(trace)
        self.lacks_times = bool(trace.meta["lacks_times"])

    @property
    def info(self) -> SourceInfo:
        return self.trace.info

    def another_context(self) -> Codec:
        return Codec(self.trace)

    def distrust(self, why: str, lacks_times: bool = False) -> None:
        """Known already: the trace was recorded after the stream had been looked at."""

    def packets(self) -> Iterator[Packet]:
        p = self.trace.packets
        for i in range(len(p.size)):
            pts, dts = _time(p.pts[i]), _time(p.dts[i])
            yield Packet(p.facts(i), pts, dts, bool(p.is_discard[i]), Data(i), float(p.demux_ms[i]))


def _time(value: Any) -> int | None:
    return None if value == tf.NO_TIME else int(value)


class TraceDecoder(Decoder):
    """The real one over a trace's codec; a packet costs what decoding it cost when it was recorded."""

    def __init__(self, source: TraceSource) -> None:
        self._trace = source.trace
        self._lumas = source.trace.lumas()
        self._known: dict[int, U8] = {}
        self._at = -1
        self.luma_ms = 0.0
        super().__init__(cast(FileSource, source))

    def run(self, context: Any, packet: Packet | None) -> tuple[list[Any], float]:
        spent = 0.0 if packet is None else float(self._trace.packets.decode_ms[packet.data.index])
        return context.decode(None if packet is None else packet.data), spent

    def frame(self, raw: Any, pts: int | None) -> Frame:
        info, index = self._source.info, raw.index
        kind = chr(self._trace.frames.picture[index])

        def picture() -> U8:
            return numbered(index)

        return Frame(pts, kind, False, index, picture, lambda: self._luma(index), info.width, info.height)

    def _luma(self, index: int) -> U8:
        """Luma (height, width) uint8, of which the trace knows the means of cells."""
        start = process_time()
        cell, info = self._trace.meta["cell"], self._source.info
        if index <= self._at and index not in self._known:
            self._lumas, self._at = self._trace.lumas(), -1
        while self._at < index:
            self._at += 1
            small = next(self._lumas)
            if small is not None:
                self._known[self._at] = small
            self._known.pop(self._at - MOST_BEHIND, None)
        small = self._known[index]
        large = np.repeat(np.repeat(small, cell, 0), cell, 1)[: info.height, : info.width]
        self.luma_ms += (process_time() - start) * 1e3
        return np.ascontiguousarray(large)

    def _add_late(self, raw: Any, pts: int | None) -> None:
        self._late.append((self.frame(raw, pts), 0))


class TraceFields(FieldBuilder):
    """The real one's order of frames; the field of each is that of the trace."""

    def __init__(self, trace: tf.Trace) -> None:
        super().__init__(trace.info)
        self._trace = trace
        self._is_after_gap = False
        self._at = -1
        self._stored: Iterator[MotionField | None] = trace.fields()

    def _forget(self) -> None:
        super()._forget()
        self._is_after_gap = True

    def _field_of(self, picture: Any, ahead: Any) -> MotionField:
        frame: Frame = picture.frame
        field = self._seek(frame.vectors)
        is_first, self._is_after_gap = self._is_after_gap, False
        carried = self._trace.frames.motion[frame.vectors] == tf.CARRIED
        if field is None or (carried and is_first):
            return unknown_field(frame.width, frame.height, self._trace.meta["cell"])
        return field

    def _seek(self, index: int) -> MotionField | None:
        if index <= self._at:
            self._stored, self._at = self._trace.fields(), -1
        field = None
        while self._at < index:
            field = next(self._stored)
            self._at += 1
        return field


class TraceDetector:
    """Satisfies `operators.base.Detector` and `operators.region.crops.KnowsCrops`: gives the recorded objects of the frame
    whose number the picture holds. objects: those of another capacity, in place of the trace's own. crop_ms: what the CNN on crops would have cost so far; part_looks: in so many looks.
    """

    def __init__(self, trace: tf.Trace, objects: list[Objects] | None = None) -> None:
        self._objects = trace.objects if objects is None else objects
        self.imgsz = int(trace.meta["model"]["imgsz"])
        self._whole = fit(trace.info.width, trace.info.height, self.imgsz)
        self._prices = prices_of(trace)
        self.crop_ms, self.part_looks = 0.0, 0
        self.names = tuple(trace.meta["names"])
        self.supercategory = tuple(trace.meta["supercategory"])
        self.runtime = str(trace.meta["model"]["runtime"])
        self.precision = str(trace.meta["model"]["precision"])

    def detect(self, picture: U8) -> Objects:
        return self._objects[number_of(picture)]

    def prepare(self, picture: U8) -> Any:
        return picture

    def infer(self, prepared: Any) -> Objects:
        return self.detect(prepared)

    def prepare_in(self, picture: U8, box: Any) -> Any:
        raise NotImplementedError("a trace knows what is in crops, not how they look")

    def infer_many(self, prepared: Any) -> list[Objects]:
        raise NotImplementedError("a trace knows what is in crops, not how they look")

    def objects_in(self, picture: U8, crops: I32) -> list[Objects]:
        """What crops (k, 4) of a picture show: the whole look's objects that no border of theirs cuts."""
        objects = self.detect(picture)
        rects = np.unique(snap(crops, self._whole), axis=0)
        self.part_looks += 1
        for x1, y1, x2, y2 in rects.tolist():
            size = (x2 - x1, y2 - y1)
            share = size[0] * size[1] / (self._whole.outer[0] * self._whole.outer[1])
            self.crop_ms += self._prices.crops.get(size, share * self._prices.rungs["detect"])
        shown = inside(self._whole.to_input(objects.xyxy), rects, self._whole.inner, CUT)
        return [objects[shown[:, i]] for i in range(len(rects))]


def prices_of(trace: tf.Trace, scale: float = 1.0) -> Prices:
    """The prices that `region` weighs, as the machine that recorded has them, times `scale`."""
    sizes = {tuple(map(int, name.split("x"))): ms * scale for name, ms in trace.meta["crops"].items()}
    return Prices({"detect": trace.costs["detect"] * scale}, cast(dict[tuple[int, int], float], sizes))


class TraceLooks:
    """How objects looked in the frame whose number the picture holds; as if nothing was known where it was no key frame."""

    def __init__(self, trace: tf.Trace) -> None:
        self._objects = trace.objects
        keys = np.flatnonzero(trace.packets.is_key[trace.frames.packet])
        ends = np.cumsum(trace.detections.count[keys])
        looks = trace.detections.looks.astype(np.float32) / np.float32(255)
        starts = ends - trace.detections.count[keys]
        self._looks = {key: looks[a:b] for key, a, b in zip(keys.tolist(), starts.tolist(), ends.tolist(), strict=True)}

    def __call__(self, picture: U8, boxes: F32) -> F32:
        index = number_of(picture)
        out = np.zeros((len(boxes), appearance.SIZE), np.float32)
        known = self._looks.get(index)
        if known is None:
            return out
        rows = {box.tobytes(): row for row, box in enumerate(self._objects[index].xyxy)}
        for i, box in enumerate(boxes):
            out[i] = known[rows[box.tobytes()]]
        return out


def numbered(index: int) -> U8:
    """A picture (1, 8, 1) uint8 that holds the number of a frame, in place of its pixels."""
    return np.array([index], "<i8").view(np.uint8).reshape(1, 8, 1)


def number_of(picture: U8) -> int:
    return int(np.ascontiguousarray(picture).reshape(-1).view("<i8")[0])


@dataclass(frozen=True, slots=True)
class Player:
    """worker: the product's, on a trace. decoder, detector: what stands for the real ones in it, with their counts."""

    worker: StreamWorker
    decoder: TraceDecoder
    detector: TraceDetector


def player(
    trace: tf.Trace, settings: LabelSettings, seconds: Sequence[Second] = (), own: Second | None = None
) -> Player:
    """Everything for playing a trace once. settings: with prices where their policy weighs them (`prices_of`). seconds: what
    the settings' capacities found, in their order. own: a capacity that stands for the run's model."""
    source = TraceSource(trace)
    decoder, detector = TraceDecoder(source), TraceDetector(trace, None if own is None else own.objects)
    others: dict[str, Detector] = {
        capacity.rung.name: TraceDetector(trace, second.objects)
        for capacity, second in zip(settings.capacities, seconds, strict=True)
        if capacity.cost < 1
    }
    made = StreamWorker(
        cast(FileSource, source), detector, settings, others, decoder, TraceFields(trace), TraceLooks(trace)
    )
    return Player(made, decoder, detector)


def worker(trace: tf.Trace, settings: LabelSettings) -> StreamWorker:
    """The product's worker for a trace."""
    return player(trace, settings).worker
