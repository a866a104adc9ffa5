"""From a video to its trace: one pass of the real decoder and motion field, the dense detector, the machine's costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, Literal

import cv2
import numpy as np

from everyframe import __version__
from everyframe.operators import appearance
from everyframe.operators.types import U8, MotionField, Objects
from everyframe.pipeline.costs.machine import machine_id
from everyframe.pipeline.costs.measure import measure_costs, open_detector, settled
from everyframe.pipeline.costs.prices import prices_for
from everyframe.pipeline.costs.table import default_table
from everyframe.pipeline.errors import EveryframeError, SourceBroken, SourceError, mask_secrets
from everyframe.pipeline.evaluation.dense import dense, plain_slots, video_digest
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder, FieldSlot
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.records import Packet
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.synthetic.detections import synthetic_detections
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.overhead import measured
from everyframe.pipeline.traces.packing import BLOCK, join, pack, pack_luma, steady

Detections = Literal["cnn", "synthetic"]
SAMPLES = 24
"""Frames on which converting is measured."""

Told = Callable[[str, int, int | None], None]
"""Told what is being done, frames done, and frames expected or None."""


def trace_path(name: str, folder: str) -> Path:
    """Where the trace of a video of that name is kept."""
    return Path(folder) / f"{name}{tf.SUFFIX}"


def record(
    video: str,
    model: ModelSettings,
    limit: int | None = None,
    progress: Told | None = None,
    detector: LoadedDetector | None = None,
    detections: Detections = "cnn",
) -> tf.Trace:
    """Records a clip, or its first `limit` frames; the CNN's detections come from the evaluation's cache where they are
    there.

    detector: one that is loaded already, for `model`. detections: "synthetic" takes what stands in for the CNN on a clip
    that `everyframe simulate` made; the CNN's cost is counted all the same. Raises SourceError where the clip cannot be
    read to its end, or is not synthetic; DetectorError.
    """
    with FileSource(video) as source:
        info = source.info
    detector = detector or open_detector(model, info.width, info.height)
    if detections == "cnn":
        known = dense(video, detector, limit, measure=False, progress=progress).frames
    else:
        known = _synthetic(video)[:limit]
    pass_ = _Pass(limit)
    pass_.run(video, progress)
    if len(pass_.rows) != len(known):
        raise SourceError(
            f"{mask_secrets(video)} has {len(pass_.rows)} frames, and detections for {len(known)}: report this as a fault."
        )
    pictures = _pictures(video, known)
    costs = {**_rungs(model, detector, info.width, info.height), **pass_.costs(), **pictures.costs}
    meta = {**recipe(video, detector, limit, detections), **pass_.meta(), "costs": costs, "machine": machine_id()}
    meta["crops"] = crop_costs(settled(model, detector), info.width, info.height, detector)
    arrays = (pass_.packet_arrays(), pass_.frame_arrays(), _detections(known, pictures.looks))
    return measured(tf.Trace(meta, *arrays, *join(pass_.blocks), *join(pass_.lumas)))


def _synthetic(video: str) -> list[Objects]:
    known = synthetic_detections(video)
    if known is None:
        raise SourceError(f"{mask_secrets(video)} was not made by everyframe simulate: record it with the CNN.")
    return known


def recipe(
    video: str, detector: LoadedDetector, limit: int | None, detections: Detections = "cnn"
) -> dict[str, Any]:
    """What a trace is a function of: a trace with equal ones need not be recorded again."""
    return {
        "everyframe": __version__,
        "digest": video_digest(video).hexdigest(),
        "limit": limit,
        "detections": detections,
        "model": {
            "digest": detector.digest, "imgsz": detector.imgsz, "runtime": detector.runtime,
            "precision": detector.precision, "min_score": detector.min_score,
        },
        "names": list(detector.names),
        "supercategory": list(detector.supercategory),
    }  # fmt: skip


def is_recorded(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a file is a usable trace of equal recipe."""
    if not path.is_file():
        return False
    try:
        meta = tf.load_meta(path)
    except EveryframeError:
        return False
    return all(meta.get(key) == value for key, value in wanted.items())


class _Pass:
    """Everything decoded once, with motion vectors."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._packets: list[tuple[Any, ...]] = []
        self._decode_ms: dict[int, float] = {}
        self.rows: list[tuple[int, int, int, int]] = []
        self.blocks: list[bytes] = []
        self.lumas: list[bytes] = []
        self._open: list[MotionField] = []
        self._open_luma: list[U8] = []
        self._luma: U8 | None = None
        self._before: MotionField | None = None
        self._exact = True
        self._motion_ms = 0.0
        self._out: list[int] = []
        self._meta: dict[str, Any] = {}

    def run(self, video: str, progress: Told | None) -> None:
        with FileSource(video) as source:
            decoder, builder = Decoder(source), FieldBuilder(source.info)
            expected = source.info.frames if self._limit is None else min(self._limit, source.info.frames or self._limit)
            try:
                for packet in source.packets():
                    self._add_packet(packet)
                    slots = decoder.push(packet, True)
                    self._out.append(decoder.decoded)
                    for slot in slots:
                        self._timed(partial(builder.push, slot))
                    if progress is not None:
                        progress("motion", len(self.rows), expected)
                    if self._limit is not None and len(self.rows) >= self._limit:
                        break
            except SourceBroken as e:
                raise SourceError(f"{e} Record the part before the break with --limit.") from e
            for slot in decoder.finish():
                self._timed(partial(builder.push, slot))
            self._timed(builder.finish)
            self._flush()
            self._flush_luma()
            info = source.info
            self._meta = {
                "video": info.name, "codec": info.codec, "width": info.width, "height": info.height,
                "rotation": info.rotation, "time_base": str(info.time_base), "rate": str(info.rate),
                "decode_all": info.decode_all, "lacks_times": source.lacks_times,
            }  # fmt: skip

    def _timed(self, build: Callable[[], list[FieldSlot]]) -> None:
        start = process_time()
        items = build()
        self._motion_ms += (process_time() - start) * 1e3
        for item in items:
            if self._limit is None or len(self.rows) < self._limit:
                self._add_frame(item)

    def _add_packet(self, packet: Packet) -> None:
        f = packet.facts
        self._packets.append((
            f.size, f.is_key, ord(f.picture), f.is_reference, packet.is_discard,
            tf.NO_TIME if packet.pts is None else packet.pts, tf.NO_TIME if packet.dts is None else packet.dts,
            f.time_s, packet.demux_ms,
        ))  # fmt: skip

    def _add_frame(self, item: FieldSlot) -> None:
        slot, field = item.slot, item.field
        kind, picture = tf.NONE, slot.facts.picture
        if slot.frame is not None and field is not None:
            picture = slot.frame.picture_type
            kind = tf.CARRIED if field is self._before else tf.CODED
            if kind == tf.CODED:
                self._open.append(field)
                self._before = field
            self._luma = steady(small_luma(slot.frame.luma(), field), self._luma)
            self._open_luma.append(self._luma)
        self._decode_ms[slot.facts.index] = slot.decode_ms
        pts = tf.NO_TIME if slot.pts is None else slot.pts
        self.rows.append((slot.facts.index, pts, ord(picture), kind))
        if len(self._open) == BLOCK:
            self._flush()
        if len(self._open_luma) == BLOCK:
            self._flush_luma()

    def _flush_luma(self) -> None:
        if self._open_luma:
            self.lumas.append(pack_luma(np.stack(self._open_luma)))
            self._open_luma = []

    def _flush(self) -> None:
        if self._open:
            fields, self._open = self._open, []
            motion = np.stack([field.motion for field in fields])
            data, exact = pack(motion, np.stack([field.known for field in fields]))
            self.blocks.append(data)
            self._exact &= exact

    def packet_arrays(self) -> tf.Packets:
        size, key, picture, reference, discard, pts, dts, seconds, demux = zip(*self._packets, strict=True)
        decode = [self._decode_ms.get(i, 0.0) for i in range(len(size))]
        return tf.Packets(
            np.array(size, np.int64), np.array(key, np.bool_), np.array(picture, np.uint8),
            np.array(reference, np.bool_), np.array(discard, np.bool_), np.array(pts, np.int64),
            np.array(dts, np.int64), np.array(seconds, np.float64), np.array(demux, np.float32),
            np.array(decode, np.float32),
        )  # fmt: skip

    def frame_arrays(self) -> tf.Frames:
        packet, pts, picture, kind = zip(*self.rows, strict=True)
        return tf.Frames(
            np.array(packet, np.int32), np.array(pts, np.int64), np.array(picture, np.uint8), np.array(kind, np.uint8)
        )

    def costs(self) -> dict[str, float]:
        frames = max(len(self.rows), 1)
        demux = sum(row[-1] for row in self._packets) / frames
        decode = sum(self._decode_ms.values()) / frames
        return {"demux": demux, "decode": decode, "motion": self._motion_ms / frames}

    def _delay(self) -> int:
        """How many frames the decoder held back at most; what the last packets hold is left out, as with a limit."""
        has_frame = np.zeros(len(self._packets), np.int64)
        has_frame[[row[0] for row in self.rows if row[3] != tf.NONE]] = 1
        behind = np.cumsum(has_frame) - np.array(self._out)
        return max(int(behind.max(initial=0)), 0)

    def meta(self) -> dict[str, Any]:
        cell = self._before.cell if self._before is not None else 8
        return {**self._meta, "cell": cell, "delay": self._delay(), "motion_exact": self._exact}


@dataclass(frozen=True, slots=True)
class _Pictures:
    costs: dict[str, float]
    looks: U8


def _pictures(video: str, known: list[Objects]) -> _Pictures:
    """CPU ms of decoding a frame without vectors (plain) and of converting one; the looks of objects in key frames."""
    spent = {"plain": 0.0, "convert": 0.0}
    samples = 0
    looks = [np.zeros((0, appearance.SIZE), np.float32)]
    every = max(1, len(known) // SAMPLES)
    for index, slot in zip(range(len(known)), plain_slots(video, len(known)), strict=True):
        spent["plain"] += slot.decode_ms
        if slot.frame is not None and (index % every == 0 or slot.facts.is_key):
            start = process_time()
            picture = slot.frame.picture()
            spent["convert"] += (process_time() - start) * 1e3
            samples += 1
            if slot.facts.is_key:
                looks.append(appearance.look(picture, known[index].xyxy))
        elif slot.facts.is_key:
            looks.append(np.zeros((len(known[index]), appearance.SIZE), np.float32))
    costs = {"plain": spent["plain"] / max(len(known), 1), "convert": spent["convert"] / max(samples, 1)}
    return _Pictures(costs, np.rint(np.concatenate(looks) * 255).astype(np.uint8))


def _rungs(model: ModelSettings, detector: LoadedDetector, width: int, height: int) -> dict[str, float]:
    """The machine's table for this model and picture size: what is known is looked up."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(model.threads)
    try:
        rows = measure_costs(settled(model, detector), width, height, default_table(), again=False)
    finally:
        cv2.setNumThreads(threads)
    return {row.rung: row.ms for row in rows if row.rung in ("detect", "prepare")}


def crop_costs(model: ModelSettings, width: int, height: int, detector: LoadedDetector) -> dict[str, float]:
    """CPU ms of the CNN on each size of crop that `region` uses, by "320x256": what is known is looked up."""
    crops = prices_for(model, width, height, detector).crops
    return {f"{w}x{h}": ms for (w, h), ms in crops.items()}


def small_luma(luma: U8, field: MotionField) -> U8:
    """Means of luma (height, width) uint8 over the field's cells, (rows, cols) uint8, as `region` takes them."""
    rows, cols = field.known.shape
    out: U8 = cv2.resize(luma, (cols, rows), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return out


def _detections(known: list[Objects], looks: U8) -> tf.Detections:
    count = np.array([len(objects) for objects in known], np.int32)
    whole = Objects.concat(known)
    return tf.Detections(count, whole.xyxy, whole.score, whole.class_id, looks)
