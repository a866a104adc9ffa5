"""`everyframe labels`: reads labels back."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def labels(
    where: Annotated[
        str | None,
        Parameter(
            help="A .labels.jsonl file, the folder of a run, or a redis:// URL. Default: $REDIS_URL, else out."
        ),
    ] = None,
    /,
    *,
    source: Annotated[str | None, Parameter(help="Only this source.", group=o.LABELS)] = None,
    since: Annotated[
        str | None, Parameter(help="From this time (12.5s) or this frame (300) on.", group=o.LABELS)
    ] = None,
    limit: Annotated[int | None, Parameter(help="Stop after this many records.", group=o.LABELS)] = None,
    follow: Annotated[bool, o.flag("Wait for more, until Ctrl-C.", o.LABELS)] = False,
) -> int:
    """Print labels as JSON Lines, from Redis or from files."""
    import sys
    from itertools import islice

    import orjson

    from everyframe.pipeline.labels import read_labels

    if limit is not None and limit < 1:
        raise UsageError("--limit: write a number of at least 1")
    place = where or os.environ.get("REDIS_URL") or "out"
    records = read_labels(place, source=source, since=since, follow=follow)
    for record in islice(records, limit):
        sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        if follow:
            sys.stdout.buffer.flush()
    sys.stdout.buffer.flush()
    return 0
