"""What the installed FFmpeg can do."""

from __future__ import annotations

import av

_NEEDED = {"h264": "r", "libx264": "w"}


def h264_support() -> tuple[str, str]:
    """(FFmpeg's versions in words, what it lacks): "" lacks nothing. r decodes, w encodes."""
    parts = ("libavcodec", "libavformat", "libavutil")
    versions = ", ".join(f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in parts)
    missing = []
    for name, mode in _NEEDED.items():
        try:
            av.codec.Codec(name, "r" if mode == "r" else "w")
        except (ValueError, av.error.FFmpegError):
            missing.append(f"{name} {'decoding' if mode == 'r' else 'encoding'}")
    return f"PyAV {av.__version__} with {versions}", " and ".join(missing)
