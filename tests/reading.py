"""Decoding everything by PyAV alone, and everyframe's slots, to compare."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import av
import numpy as np

from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.records import Packet, Slot
from everyframe.pipeline.sources.file import FileSource

Gate = Callable[[Packet], bool]


def gates(seed: int = 0) -> dict[str, Gate]:
    """Ways of asking for packets, fresh ones: some count."""
    rng = random.Random(seed)
    return {
        "all": lambda packet: True,
        "none": lambda packet: False,
        "keys": lambda packet: packet.facts.is_key,
        "random": lambda packet: rng.random() < 0.3,
        "seventh": lambda packet: packet.facts.index % 7 == 6,
        "alternating": lambda packet: packet.facts.index % 2 == 0,
    }


@dataclass(frozen=True)
class Whole:
    """A full decode: pts and picture hash of each frame in the order in which it comes."""

    pts: list[int | None]
    pictures: list[str]


def hash_of(picture: object) -> str:
    return blake2b(picture, digest_size=8).hexdigest()  # type: ignore[arg-type]


def full_decode(path: Path | str) -> Whole:
    """Every frame, as PyAV gives it; packets that the decoder refuses are left out."""
    pts, pictures = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames = context.decode(packet if packet.size else None)
            except av.error.FFmpegError:
                continue
            for frame in frames:
                pts.append(frame.pts)
                picture = np.rot90(frame.to_ndarray(format="bgr24"), round(frame.rotation / 90))
                pictures.append(hash_of(picture.tobytes()))
    return Whole(pts, pictures)


def read(path: Path | str, gate: Gate, start: int | None = None, end: int | None = None) -> tuple[list[Slot], Decoder]:
    """All slots of a file or shard; decoded frames are made to give their picture at once."""
    slots: list[Slot] = []
    with FileSource(str(path), start, end) as source:
        decoder = Decoder(source)
        for packet in source.packets():
            slots += _looked(decoder.push(packet, gate(packet)))
        slots += _looked(decoder.finish())
    return slots, decoder


def _looked(slots: list[Slot]) -> list[Slot]:
    for slot in slots:
        if slot.frame is not None:
            slot.frame.picture()
    return slots


def differences(slots: list[Slot], whole: Whole, sound: bool = True) -> list[str]:
    """What is not as in the full decode: number, order, times, pictures of decoded frames.

    sound: False leaves out pictures that the decoder had to conceal in part: they depend on what came before.
    """
    found = []
    if len(slots) != len(whole.pts):
        found.append(f"{len(slots)} slots for {len(whole.pts)} frames")
    for i, (slot, pts, picture) in enumerate(zip(slots, whole.pts, whole.pictures, strict=False)):
        if slot.pts is not None and slot.pts != pts:
            found.append(f"slot {i} has pts {slot.pts} instead of {pts}")
        if slot.frame is None or (slot.frame.is_corrupt and not sound):
            continue
        if hash_of(slot.frame.picture().tobytes()) != picture:
            found.append(f"slot {i} ({slot.facts.picture}) has another picture")
    return found[:5]
