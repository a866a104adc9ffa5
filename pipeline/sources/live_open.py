"""Opens a camera: options that make it fast and never hang, and one sentence for whatever goes wrong."""

from __future__ import annotations

import os
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import av
import av.error

from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.live.types import Camera
from everyframe.pipeline.sources.opening import best_video, open_video, reason

av.logging.set_level(None)  # with several threads its lock stalls

_REFUSED_LOGIN = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)


class CameraError(SourceError):
    """is_slow: trying often does harm. is_final: trying again is of no use."""

    def __init__(self, text: str, is_slow: bool = False, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_slow = is_slow
        self.is_final = is_final


def is_file(url: str) -> bool:
    """A file on this machine: it ends, and is played at its own pace."""
    return "://" not in url and not url.startswith("/dev/")


def is_paced(camera: Camera, container: Any) -> bool:
    """Whether packets would come faster than they are to be shown."""
    if camera.realtime or is_file(camera.url):
        return True
    return "://" in camera.url and not camera.url.startswith("rtsp") and bool(container.duration)


def open_camera(camera: Camera) -> tuple[Any, Any]:
    """(PyAV container, video stream). Raises CameraError, with its secrets masked, within the camera's open timeout or soon
    after."""
    shown = mask_secrets(camera.url)
    if is_file(camera.url):
        try:
            return open_video(camera.url)
        except SourceError as e:
            raise CameraError(str(e), is_final=True) from e
    container = _open(camera, shown)
    try:
        stream = best_video(container, shown)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
    except SourceError as e:
        container.close()
        raise CameraError(str(e), is_slow=True) from e
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.thread_count = 1
    return container, stream


def _open(camera: Camera, shown: str) -> Any:
    device = camera.url.startswith("/dev/")
    start = time.monotonic()
    try:
        return av.open(
            camera.url,
            format="v4l2" if device else None,
            options=_options(camera),
            timeout=(camera.open_timeout_s, camera.read_timeout_s),
        )
    except av.error.FFmpegError as e:
        raise _failure(camera, shown, e, time.monotonic() - start) from e
    except (ValueError, UnicodeError) as e:
        raise CameraError(f"{shown} cannot be opened: check the address.", is_slow=True) from e


def _options(camera: Camera) -> dict[str, str]:
    """FFmpeg's: `timeout` is of the socket, in microseconds; a short probe, as RTSP says in words what it sends."""
    if camera.url.startswith(("rtsp://", "rtsps://")):
        return {
            "rtsp_transport": camera.transport,
            "timeout": str(round(camera.read_timeout_s * 1e6)),
            "analyzeduration": "200000",
            "probesize": "500000",
        }
    if "://" in camera.url:  # of HLS only the newest segment, not three
        return {"analyzeduration": "1000000", "probesize": "1000000", "live_start_index": "-1"}
    return {}


def _failure(camera: Camera, shown: str, error: av.error.FFmpegError, spent_s: float) -> CameraError:
    if isinstance(error, _REFUSED_LOGIN):
        return CameraError(
            f"{shown} refuses the user name or password: correct them; it is tried seldom, not to lock the account.",
            is_slow=True,
        )
    if isinstance(error, av.error.HTTPNotFoundError):
        return CameraError(f"{shown} is not known there (404): check the path of the address.", is_slow=True)
    if isinstance(error, av.error.ConnectionRefusedError):
        return CameraError(f"{shown} refuses connections: check that the camera is on and its port is right.")
    # FFmpeg's RTSP calls an answer that did not come in time invalid data
    is_late = isinstance(error, av.error.InvalidDataError) and spent_s >= 0.9 * camera.read_timeout_s
    if is_late or isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return CameraError(f"{shown} does not answer within {spent_s:.1f} s: check that it is on.")
    if camera.url.startswith("/dev/") and not os.path.exists(camera.url):
        return CameraError(f"{shown} does not exist: connect the camera, or check its name.")
    if isinstance(error, av.error.InvalidDataError):
        return CameraError(f"{shown} is not a video: check that its path names a stream.", is_slow=True)
    if "://" in camera.url and not _is_known(camera.url):
        return CameraError(f"{shown} has an unknown host name: check the address and this machine's DNS.")
    hint = "check that it is reachable, and that its path names a stream"
    return CameraError(f"{shown} cannot be opened ({reason(error)}): {hint}.")


def _is_known(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
        return host is not None and bool(socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
