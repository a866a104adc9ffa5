"""Pictures to an H.264 file, coded by libx264 on one thread: equal pictures and settings give equal files."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from everyframe.operators.types import U8
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.synthetic.camera import Coding


def encode(path: Path, pictures: Iterable[U8], width: int, height: int, rate: int, coding: Coding) -> int:
    """Codes pictures into an mp4 and returns their number.

    pictures: (height * 3 / 2, width) uint8, the planes of yuv420p, limited range. Raises SinkError where the file cannot
    be written; an unfinished one is removed.
    """
    count = 0
    try:
        with av.open(str(path), "w", format="mp4") as output:
            stream = _stream(output, width, height, rate, coding)
            for count, picture in enumerate(pictures, 1):
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts, frame.time_base = count - 1, Fraction(1, rate)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError) as e:
        path.unlink(missing_ok=True)
        raise SinkError(f"cannot write {path} ({e.strerror or e}): free space or name another folder.") from e
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return count


def _stream(output: Any, width: int, height: int, rate: int, coding: Coding) -> Any:
    stream = output.add_stream("libx264", rate=rate, options=_options(coding))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, rate)
    stream.codec_context.gop_size = coding.gop
    stream.codec_context.thread_count = 1
    if coding.kbit_s is not None:
        stream.codec_context.bit_rate = coding.kbit_s * 1000
    return stream


def _options(coding: Coding) -> dict[str, str]:
    """Fixed groups of pictures, as hardware encoders make them: no key frame at a change of scene."""
    params = (
        f"keyint={coding.gop}:min-keyint={coding.gop}:scenecut=0:bframes={coding.b_frames}:"
        f"b-adapt={int(coding.adaptive)}:b-pyramid={'normal' if coding.pyramid else 'none'}:ref={coding.refs}:"
        f"open-gop=0:threads=1:lookahead-threads=1:sliced-threads=0"
    )
    if coding.kbit_s is not None:
        params += f":vbv-maxrate={coding.kbit_s * 2}:vbv-bufsize={coding.kbit_s * 2}"
    options = {"preset": coding.preset, "profile": coding.profile, "threads": "1", "x264-params": params}
    if coding.crf is not None:
        options["crf"] = f"{coding.crf}"
    return options
