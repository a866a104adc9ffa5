"""Detectors: `load_detector` gives one that is ready to use."""

from everyframe.operators.detectors.detector import NanoDetDetector, Prepared, load_detector

__all__ = ["NanoDetDetector", "Prepared", "load_detector"]
