"""The annotated video: reads the source a second time, draws each frame's labels, encodes with the source's own times."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import cv2
import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.errors import SinkError, SourceError, mask_secrets
from everyframe.pipeline.pictures.overlay import draw_labels
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.sinks.files import is_kept, part_path, take_final_name, write_error
from everyframe.pipeline.sources.opening import as_input

# One thread: with two, x264 now and then gives other bytes. Without B frames the mp4 needs no edit list.
_X264 = {"preset": "veryfast", "crf": "22", "bf": "0", "threads": "1"}


class VideoSink:
    """Writes H.264 in mp4 with rate, times and upright picture of the source; sound is left out.

    Pictures that change size in mid-stream are scaled to the first one's size, odd sizes are padded by one pixel.
    """

    def __init__(self, path: Path, info: SourceInfo, names: tuple[str, ...]) -> None:
        self.location = str(path)
        self._path = path
        self._part = part_path(path)
        self._info = info
        self._names = names
        self._output: Any = None
        self._stream: Any = None
        self._frames: Iterator[Any] = iter(())
        self._ahead: Any = None
        self._pts = -math.inf
        self._time_base = info.time_base

    def __enter__(self) -> Self:
        self._frames = display_frames(self._info.path)
        self._ahead = next(self._frames, None)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            self._output = av.open(str(self._part), "w", format="mp4")
        except OSError as e:
            raise write_error(self._path, e) from e
        return self

    def write(self, labels: list[FrameLabels]) -> None:
        try:
            for record in labels:
                frame = self._frame_of(record)
                if frame is not None:
                    self._encode(self._drawn(frame, record), frame.pts, record)
        except av.error.FFmpegError as e:
            raise self._failed(e) from e

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames = iter(())
        if not is_kept(kind) or self._stream is None:
            self._discard()
            if kind is None:
                raise SinkError(f"no annotated video of {self._info.name}: none of its frames could be read again")
            return
        try:
            self._output.mux(self._stream.encode(None))
            self._output.close()
            take_final_name(self._part, self._path)
        except OSError as e:  # FFmpeg's own errors of the disk are OSErrors too
            raise self._failed(e) from e

    def _frame_of(self, record: FrameLabels) -> Any:
        """The next frame in display order; by its pts where both know it, so that one lost frame shifts nothing."""
        while True:
            frame, self._ahead = self._ahead or next(self._frames, None), None
            if frame is None or frame.pts is None or record.pts is None or frame.pts == record.pts:
                return frame
            if frame.pts > record.pts:
                self._ahead = frame
                return None

    def _drawn(self, frame: Any, record: FrameLabels) -> U8:
        picture = upright(frame, self._info.rotation)
        draw_labels(picture, record, self._names, picture.shape[1] / record.width)
        if self._stream is None:
            self._open_stream(picture.shape[1], picture.shape[0])
        width, height = self._stream.width, self._stream.height
        if abs(picture.shape[1] - width) > 1 or abs(picture.shape[0] - height) > 1:
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return _padded(picture, width, height)

    def _open_stream(self, width: int, height: int) -> None:
        rate = self._info.rate if self._info.rate > 0 else Fraction(25)
        self._stream = self._output.add_stream("libx264", rate=rate, options=_X264)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._time_base = self._info.time_base if self._info.time_base > 0 else 1 / rate
        self._stream.codec_context.time_base = self._time_base

    def _encode(self, picture: U8, pts: int | None, record: FrameLabels) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        wanted = round(record.time_s / self._time_base) if pts is None else pts
        self._pts = wanted if wanted > self._pts else self._pts + 1
        frame.pts, frame.time_base = int(self._pts), self._time_base
        self._output.mux(self._stream.encode(frame))

    def _failed(self, error: OSError | av.error.FFmpegError) -> SinkError:
        self._discard()
        if isinstance(error, OSError):
            return write_error(self._path, error)
        return SinkError(f"cannot encode {self._path}: {error.strerror}; leave out --format video to go without it")

    def _discard(self) -> None:
        if self._output is not None:
            with contextlib.suppress(av.error.FFmpegError):  # thrown away anyway
                self._output.close()
        self._part.unlink(missing_ok=True)


def upright(frame: Any, rotation: int) -> U8:
    """A decoded frame as BGR (height, width, 3) uint8, turned counter-clockwise by `rotation` degrees; writable."""
    picture: U8 = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(picture, rotation // 90 % 4)) if rotation else picture


def display_frames(path: str, start_pts: int | None = None) -> Iterator[Any]:
    """Decoded frames in display order, from the key frame at or before start_pts on. Damaged packets are passed over.

    Raises SinkError where the source cannot be read again.
    """
    try:
        container = av.open(as_input(path))
    except (av.error.FFmpegError, OSError) as e:
        raise SinkError(f"cannot read {mask_secrets(path)} again to draw its labels: {e.strerror}") from e
    except SourceError as e:
        raise SinkError(f"cannot read a source again to draw its labels: {e}") from e
    with container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        stream.codec_context.thread_count = 1
        if start_pts is not None:
            container.seek(start_pts, stream=stream, backward=True)
        for packet in _packets(container, stream):
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, SourceError):
        return  # a file that breaks off: its labels end here too


def pictures_at(path: str, frames: Iterable[tuple[int, int | None]]) -> Iterator[U8 | None]:
    """Upright pictures of some frames, given as (frame_index, pts); None for one that cannot be found.

    Those with a pts are sought, the others counted off from the start.
    """
    for index, pts in frames:
        found = None
        if pts is not None:
            found = next((f for f in display_frames(path, pts) if f.pts is not None and f.pts >= pts), None)
        if found is None or found.pts != pts:
            found = next((f for i, f in enumerate(display_frames(path)) if i == index), None)
        yield None if found is None else upright(found, found.rotation)


def _padded(picture: U8, width: int, height: int) -> U8:
    """The picture with its last row and column repeated, or cut, to (height, width)."""
    picture = picture[:height, :width]
    below, right = height - picture.shape[0], width - picture.shape[1]
    if not (below or right):
        return np.ascontiguousarray(picture)
    return np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
