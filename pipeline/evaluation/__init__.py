"""Evaluation: how much accuracy a policy keeps, and what it costs, beside the CNN on every frame."""

from everyframe.pipeline.evaluation.dense import Dense, Progress, dense
from everyframe.pipeline.evaluation.replay import ReplayDetector
from everyframe.pipeline.evaluation.rows import Row, plot, table
from everyframe.pipeline.evaluation.run import evaluate

__all__ = ["Dense", "Progress", "ReplayDetector", "Row", "dense", "evaluate", "plot", "table"]
