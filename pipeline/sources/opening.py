"""Opens a video file; whatever FFmpeg says of a bad one becomes one sentence of what to do."""

from __future__ import annotations

import os
from typing import Any

import av
import av.error

from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.sources.remote import RemoteFile, is_remote

RAW_SUFFIXES = frozenset({".264", ".h264", ".avc", ".jsv", ".jvt", ".26l"})
_TEXT_CODECS = frozenset({"ansi", "xbin", "bintext", "idf"})
_RECODE = "check that it plays, or convert it to mp4 (ffmpeg -i IN -c copy OUT.mp4)"


def open_video(path: str) -> tuple[Any, Any]:
    """Opens the best video stream: (PyAV container, stream). Other streams are discarded by the demuxer.

    Raises SourceError where there is none.
    """
    shown = mask_secrets(path)
    if "://" not in path:
        _check_file(path, shown)
    container = _open(path, shown)
    try:
        stream = best_video(container, shown)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
    except SourceError:
        container.close()
        raise
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.thread_count = 1
    return container, stream


def as_input(path: str) -> Any:
    """What PyAV is to open: a remote file is read by range. Raises SourceError."""
    return RemoteFile(path) if is_remote(path) else path


def _check_file(path: str, shown: str) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{shown} is a folder: name video files, as in '{shown.rstrip('/')}/*.mp4'.")
    try:
        with open(path, "rb") as file:
            is_empty = not file.read(1)
    except FileNotFoundError as e:
        raise SourceError(f"{shown} does not exist: check the path.") from e
    except OSError as e:
        raise SourceError(f"{shown} cannot be read ({e.strerror or e}): check its permissions.") from e
    if is_empty:
        raise SourceError(f"{shown} is empty (0 bytes): record or copy it again.")


def _open(path: str, shown: str) -> Any:
    try:
        return av.open(as_input(path))
    except av.error.FFmpegError as e:
        first = e
    except UnicodeError as e:
        raise SourceError(f"{shown} has a header that cannot be read ({e}): {_RECODE}.") from e
    if os.path.splitext(path)[1].lower() in RAW_SUFFIXES:
        try:
            return av.open(as_input(path), format="h264")
        except av.error.FFmpegError:
            pass
    raise _open_error(path, shown, first) from first


def _open_error(path: str, shown: str, error: av.error.FFmpegError) -> SourceError:
    if isinstance(error, EOFError):
        return SourceError(f"{shown} has no frames: it ends after its header; record or copy it again.")
    if not isinstance(error, av.error.InvalidDataError):
        return SourceError(f"{shown} cannot be opened ({reason(error)}): check the path and that it is reachable.")
    if _is_mp4(path):
        return SourceError(
            f"{shown} has lost its index (the moov box), as when a recording is cut off: copy it again, or recover "
            "it with a repair tool."
        )
    return SourceError(
        f"{shown} is not a video, or its beginning is damaged ({reason(error)}): {_RECODE}."
    )


def reason(error: BaseException) -> str:
    """FFmpeg's own words, without error number and path."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _is_mp4(path: str) -> bool:
    try:
        with RemoteFile(path) if is_remote(path) else open(path, "rb") as file:
            return file.read(12)[4:8] == b"ftyp"
    except (OSError, SourceError):
        return False


def best_video(container: Any, shown: str) -> Any:
    """The video stream to take. Raises SourceError where there is none that can be decoded."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        kinds = sorted({s.type for s in container.streams})
        found = f"only {' and '.join(kinds)}" if kinds else "no streams at all"
        raise SourceError(f"{shown} has no video ({found}): name a file with a video stream.")
    best = container.streams.best("video")
    stream = best if best in videos else videos[0]
    context = stream.codec_context
    if context is None or context.name in _TEXT_CODECS:
        what = "holds text" if context is not None else "is coded in a way that this FFmpeg cannot decode"
        raise SourceError(f"{shown} {what}: name a video, or convert it to H.264.")
    return stream


def fresh_context(stream: Any) -> Any:
    """Another decoder for a stream, not yet open."""
    given = stream.codec_context
    context: Any = av.CodecContext.create(given.codec.name, "r")
    if given.extradata:
        context.extradata = given.extradata
    if given.name == "rawvideo":
        context.width, context.height, context.pix_fmt = given.width, given.height, given.pix_fmt
    context.thread_type, context.thread_count = "SLICE", 1
    return context
