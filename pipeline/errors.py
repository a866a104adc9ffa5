"""Everything that can go wrong for a user, each with one sentence: what, where, what to do.

EveryframeError            exit 1
├── UsageError             exit 2: the command or the settings are wrong
│   └── SettingsError      a value in a YAML file or option
├── SourceError            a video cannot be opened, or breaks
│   └── SourceBroken       it broke in the middle; labels before the break are kept
├── DetectorError          weights or runtime unusable
├── SinkError              labels cannot be written (disk full, read-only)
│   └── RedisError         Redis away, refused or full
└── EngineError            Ray failed
"""

from __future__ import annotations

import re


class EveryframeError(Exception):
    exit_code = 1


class UsageError(EveryframeError):
    exit_code = 2


class SettingsError(UsageError):
    pass


class SourceError(EveryframeError):
    pass


class SourceBroken(SourceError):
    pass


class DetectorError(EveryframeError):
    pass


class SinkError(EveryframeError):
    pass


class RedisError(SinkError):
    pass


class EngineError(EveryframeError):
    pass


_USERINFO = re.compile(r"(?<=://)[^\s\"'<>]+@")
_QUERY_SECRET = re.compile(r"(?i)([?&](?:token|key|password|passwd|pwd|secret|auth|sig|signature)=)[^&\s\"'<>]+")


def mask_secrets(text: str) -> str:
    """Replaces user names, passwords and tokens in URLs (up to the last @: passwords may hold @ and /)."""
    return _QUERY_SECRET.sub(r"\1***", _USERINFO.sub("***@", text))
