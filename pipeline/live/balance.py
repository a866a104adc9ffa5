"""The books of a camera: every frame that arrived has a record, or is counted under a reason."""

from __future__ import annotations

from collections.abc import Mapping

from everyframe.pipeline.live.types import DROPPED, PUBLISHED, RECEIVED

RESTART = DROPPED + "restart"
"""Frames that were on their way when their process was killed."""


def dropped(counts: Mapping[str, int]) -> int:
    return sum(n for name, n in counts.items() if name.startswith(DROPPED))


def missing(counts: Mapping[str, int], waiting: int) -> int:
    """Frames that nothing accounts for: received less published, waiting in the spool and dropped. While a camera runs these
    are on their way; once it has ended there must be none. Less than 0: more went out than came in, or was counted twice."""
    return counts.get(RECEIVED, 0) - counts.get(PUBLISHED, 0) - waiting - dropped(counts)
