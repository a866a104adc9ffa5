"""`everyframe verify`: whether an archive's labels are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o


def verify(
    out: Annotated[str, Parameter(name="DIR", help="Folder that everyframe batch --out wrote.")],
    /,
    *,
    quick: Annotated[bool, o.flag("Don't count the frames of the sources themselves.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Prove that every frame of every source has exactly one record, in order, in files as they were written."""
    import orjson

    from everyframe.pipeline.archive.verify import verify as check

    verdict = check(Path(out), count_frames=not quick)
    if json:
        print(orjson.dumps(verdict).decode())
    else:
        for problem in verdict.problems:
            print(problem)
        gone = f"; {verdict.unchecked} sources are no longer there to be counted" if verdict.unchecked else ""
        state = "whole" if not verdict.problems else f"not whole: {len(verdict.problems)} problems"
        print(f"{verdict.sources} sources, {verdict.files} files, {verdict.frames} frames: {state}{gone}")
    return 1 if verdict.problems else 0
