"""What can go wrong in an operator: one sentence each, translated to the user's errors by the pipeline."""

from __future__ import annotations


class OperatorError(Exception):
    """An operator, a detector or a runtime cannot be used as asked."""


class WeightsError(OperatorError):
    """A weights file is missing, damaged or of another architecture."""
