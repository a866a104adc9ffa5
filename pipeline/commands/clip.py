"""`everyframe clip`: cuts the moments that match out of an archive's sources."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

from everyframe.pipeline.commands import options as o

_CUT = Group("What is cut", sort_key=1)


def clip(
    archive: Annotated[str, Parameter(help="The --out folder of an everyframe batch.")],
    /,
    *,
    where: Annotated[
        str, Parameter(help="Which objects, in SQL over the table objects: \"label = 'person' AND score > 0.6\".", group=_CUT)
    ],
    out: Annotated[str, Parameter(help="Folder for the clips and their list, clips.csv.", group=o.OUTPUT)],
    join: Annotated[float, Parameter(help="Moments at most this many seconds apart are one. [default: 2]", group=_CUT)] = 2.0,
    pad: Annotated[float, Parameter(help="Seconds before and after a moment. [default: 1]", group=_CUT)] = 1.0,
    sources: Annotated[
        list[str] | None,
        Parameter(help="Folder in which to look for sources that have moved; may be repeated.", group=_CUT, negative=()),
    ] = None,
    limit: Annotated[int | None, Parameter(help="Cut only the first so many moments.", group=_CUT)] = None,
    dry_run: Annotated[bool, o.flag("Say what would be cut, and cut nothing.", o.OUTPUT)] = False,
) -> int:
    """Cut matching moments out of the sources, without coding them anew. Sound is left out.

    A clip begins with the key frame at or before its moment. Exit status 1 if something could not be cut.
    """
    import sys
    from pathlib import Path

    from everyframe.pipeline.archive.clip import (
        check_numbers,
        clip_name,
        cut_all,
        find,
        paths_of,
        write_manifest,
    )
    from everyframe.pipeline.archive.query import Archive
    from everyframe.pipeline.errors import UsageError
    from everyframe.pipeline.runs.progress import error_line

    check_numbers(join, pad)
    if limit is not None and limit < 1:
        raise UsageError("--limit: write a number of at least 1")
    with Archive(Path(archive)) as opened:
        moments = find(opened, where, join, pad)[:limit]
        paths = paths_of(opened)
    if dry_run:
        for m in moments:
            print(f"{clip_name(m)}  {m.start_s:.2f} - {m.end_s:.2f} s, {m.matches} frames")
        return 0
    cuts = []
    for made in cut_all(moments, paths, Path(out), [Path(folder) for folder in sources or ()]):
        cuts.append(made)
        if made.trouble:
            print(error_line(made.trouble), file=sys.stderr)
        else:
            print(made.clip, flush=True)
    write_manifest(cuts, Path(out))
    return 1 if any(made.trouble for made in cuts) else 0
