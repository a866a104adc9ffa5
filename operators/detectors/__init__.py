"""Detectors: `load_detector` gives one that is ready to use. PyTorch is loaded when that is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everyframe.operators.detectors.detector import NanoDetDetector, Prepared, load_detector

__all__ = ["NanoDetDetector", "Prepared", "load_detector"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("everyframe.operators.detectors.detector"), name)
