"""everyframe: labels for every frame of a video, with the CNN run on few of them.

>>> import everyframe
>>> for labelled in everyframe.label("clip.mp4", policy="stride:10"):  # doctest: +SKIP
...     print(labelled.frame_index, labelled.objects.xyxy)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EveryframeError", "FrameLabels", "Objects", "Origin", "__version__", "label"]

if TYPE_CHECKING:
    from everyframe.operators.types import Objects, Origin
    from everyframe.pipeline.api import label
    from everyframe.pipeline.errors import EveryframeError
    from everyframe.pipeline.records import FrameLabels

_HOME = {
    "label": "everyframe.pipeline.api",
    "FrameLabels": "everyframe.pipeline.records",
    "Objects": "everyframe.operators.types",
    "Origin": "everyframe.operators.types",
    "EveryframeError": "everyframe.pipeline.errors",
}


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `everyframe --help` waits for nothing."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'everyframe' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
