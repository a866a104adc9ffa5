"""What was in the picture in each second: one row for each track and second, some 25 times fewer than rows of frames.

`seconds/camera=.../day=.../SOURCE.parquet` is made from the file of the same name below `labels/`, when a question first needs
it and again when that file is newer. Counts of frames in it are exact; a box is that of the first frame of the second.
"""

from __future__ import annotations

import os
from pathlib import Path

from everyframe.pipeline.archive.tables import LABELS_FOLDER
from everyframe.pipeline.sinks.files import part_path, take_final_name, write_error

SECONDS_FOLDER = "seconds"


def seconds_select(table: str, before: str = "") -> str:
    """The SELECT that makes seconds of rows of labels. before: further columns to keep apart, with a comma after each."""
    first = ", ".join(f"arg_min(o.{name}, frame_index) AS {name}" for name in ("x1", "y1", "x2", "y2"))
    return f"""
        SELECT {before}source, CAST(floor(time_s) AS INTEGER) AS second, o.track_id AS track_id, o.label AS label,
               min(time) AS time, min(frame_index) AS frame_index, max(frame_index) AS last_frame_index,
               min(time_s) AS first_s, max(time_s) AS last_s, CAST(count(*) AS INTEGER) AS objects,
               CAST(count(DISTINCT frame_index) AS INTEGER) AS frames, max(o.score) AS score, {first},
               any_value(width) AS width, any_value(height) AS height
        FROM (SELECT {before}source, time, time_s, frame_index, width, height, unnest(objects) AS o FROM {table})
        GROUP BY ALL"""


def update_seconds(folder: Path) -> int:
    """Makes the files of seconds that are missing or older than their labels, removes those whose labels are gone.

    Returns how many were made. Raises SinkError where they cannot be written.
    """
    labels, seconds = folder / LABELS_FOLDER, folder / SECONDS_FOLDER
    wanted = {path.relative_to(labels): path for path in sorted(labels.rglob("*.parquet"))}
    made = 0
    try:
        for inside, path in wanted.items():
            target = seconds / inside
            if not target.exists() or target.stat().st_mtime_ns < path.stat().st_mtime_ns:
                _make(path, target)
                made += 1
        for path in seconds.rglob("*.parquet"):
            if path.relative_to(seconds) not in wanted:
                path.unlink(missing_ok=True)
    except OSError as e:
        raise write_error(seconds, e) from e
    return made


def _make(path: Path, target: Path) -> None:
    import duckdb

    changed = path.stat().st_mtime_ns
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(target)
    quoted = [str(p).replace("'", "''") for p in (path, part)]
    # one thread, and in order: the same labels give the same file
    with duckdb.connect(config={"threads": 1}) as connection:
        select = seconds_select(f"read_parquet('{quoted[0]}', hive_partitioning = false)")
        try:
            connection.execute(
                f"COPY (SELECT * FROM ({select}) ORDER BY second, track_id, label) TO '{quoted[1]}' "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
            )
        except duckdb.IOException as e:
            part.unlink(missing_ok=True)
            raise OSError(str(e).splitlines()[0]) from e
    take_final_name(part, target)
    os.utime(target, ns=(changed, changed))
