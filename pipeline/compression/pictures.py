"""Pictures of videos, spread evenly over them, to learn from or to judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import scan

LONGEST = 960
"""Larger pictures are made smaller, to spare memory: the CNN sees at most that."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of every video, in shares of its frames: [start, end)."""

    start: float = 0.0
    end: float = 1.0


def read_pictures(videos: Sequence[str], most: int, part: Part | None = None, tell: Progress | None = None) -> list[list[U8]]:
    """Of each video at most `most` BGR pictures (h, w, 3) uint8 out of a part of it. Raises SourceError; of a video that breaks
    off, those before."""
    found = []
    for video in videos:
        found.append(_of(video, most, part or Part()))
        if tell is not None:
            tell(f"{video}: {len(found[-1])} pictures")
    return found


def _of(video: str, most: int, part: Part) -> list[U8]:
    count = scan(video).frames
    first, last = int(part.start * count), int(part.end * count)
    wanted = set(np.linspace(first, max(first, last - 1), min(most, max(1, last - first))).round().astype(int).tolist())
    pictures: list[U8] = []
    with FileSource(video) as source:
        decoder = Decoder(source, vectors=False)
        index = 0
        try:
            for packet in source.packets():
                for slot in decoder.push(packet, True):
                    if slot.frame is not None and index in wanted:
                        pictures.append(_small(slot.frame.picture()))
                    index += 1
                if index >= last:
                    return pictures
        except SourceBroken:
            pass
        for slot in decoder.finish():
            if slot.frame is not None and index in wanted:
                pictures.append(_small(slot.frame.picture()))
            index += 1
    return pictures


def _small(picture: U8) -> U8:
    height, width = picture.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return picture.copy()
    size = (round(width * scale), round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
