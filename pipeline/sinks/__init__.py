"""Where labels go, one file each. `registry` has the table of file formats."""

from everyframe.pipeline.sinks.registry import FORMATS, RedisTarget, make_sinks

__all__ = ["FORMATS", "RedisTarget", "make_sinks"]
