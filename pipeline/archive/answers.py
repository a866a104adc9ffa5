"""Writes the answer of a query: a table for people, CSV, JSON Lines or Parquet for programs."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from everyframe.pipeline.archive.query import BATCH_ROWS, Output, QueryError, names_of, rows_of
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.sinks.files import whole

SHOWN = 1000
"""Rows of a table for people; the other forms have all."""


def write_answer(result: Any, output: Output, out: str | None) -> int:
    """Writes an answer to the file `out`, or to stdout, and returns the number of its rows.

    A file has its name only once it is whole. Raises UsageError, SinkError, QueryError.
    """
    if out is None:
        if output == "parquet":
            raise UsageError("--format parquet: name a file with --out.")
        return _stream(result, output, sys.stdout)
    path = Path(out)
    with whole(path) as part:
        if output == "parquet":
            return _parquet(result, part)
        with open(part, "w", encoding="utf-8", newline="") as file:
            return _stream(result, output, file)


def _stream(result: Any, output: Output, file: Any) -> int:
    names, rows = names_of(result), rows_of(result)
    if output == "csv":
        return _csv(names, rows, file)
    if output == "json":
        return _json(names, rows, file)
    return _table(names, rows, file)


def _csv(names: list[str], rows: Iterator[tuple[Any, ...]], file: Any) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for row in rows:
        writer.writerow([_plain(value) for value in row])
        count += 1
    return count


def _json(names: list[str], rows: Iterator[tuple[Any, ...]], file: Any) -> int:
    import orjson

    count = 0
    for row in rows:
        line = orjson.dumps(dict(zip(names, row, strict=True)), default=str, option=orjson.OPT_UTC_Z)
        file.write(line.decode() + "\n")
        count += 1
    return count


def _table(names: list[str], rows: Iterator[tuple[Any, ...]], file: Any) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = list(islice(rows, SHOWN + 1))
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(names):
        is_number = any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in shown[:50])
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in shown[:SHOWN]:
        table.add_row(*(Text("" if value is None else str(_plain(value))) for value in row))
    width = None if file.isatty() else 400
    Console(file=file, width=width, highlight=False).print(table)
    if len(shown) > SHOWN:
        print(f"only the first {SHOWN} rows are shown: use --format csv for all", file=sys.stderr)
    return min(len(shown), SHOWN)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value) if isinstance(value, date | time | timedelta | list | dict) else value


def _parquet(result: Any, part: Path) -> int:
    import duckdb
    import pyarrow.parquet as pq

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it costs a copy of the rows: so be it
            read = getattr(result, "to_arrow_reader", None) or result.fetch_record_batch  # the older name
            reader = read(BATCH_ROWS)
        count = 0
        with pq.ParquetWriter(str(part), reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
    except duckdb.Error as e:
        raise QueryError(f"the query cannot be run: {str(e).splitlines()[0]}.") from e
    return count
