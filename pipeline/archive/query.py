"""Questions to the tables of an archive in SQL, through DuckDB: read-only, and without a look outside the archive's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from everyframe.pipeline.archive.seconds import SECONDS_FOLDER, seconds_select, update_seconds
from everyframe.pipeline.archive.tables import COSTS_FOLDER, LABELS_FOLDER, SOURCES_FILE
from everyframe.pipeline.errors import SinkError, UsageError

Output = Literal["table", "csv", "json", "parquet"]
BATCH_ROWS = 10_000
_PARTS = "hive_partitioning = true, hive_types = {'camera': VARCHAR, 'day': VARCHAR}, union_by_name = true"


class QueryError(UsageError):
    """What was asked cannot be answered; one sentence."""


class Archive:
    """An archive's tables as views: labels, objects, seconds, costs, sources. Raises UsageError where the folder is none.

    threads: of DuckDB. Nothing is written but `seconds/`, which is made from `labels/` when it is first needed.
    """

    def __init__(self, folder: Path, threads: int = 2) -> None:
        import duckdb

        self.folder = folder.resolve()
        if not self.folder.is_dir():
            raise UsageError(f"{folder} is no folder: name the --out of an everyframe batch.")
        if next((self.folder / LABELS_FOLDER).rglob("*.parquet"), None) is None:
            raise UsageError(f"{folder} has no labels as Parquet: name the --out of an everyframe batch.")
        self._connection = duckdb.connect()
        self._connection.execute(f"SET threads = {max(1, threads)}")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET allowed_directories = [" + literal(str(self.folder) + "/") + "]")
        for setting in (
            "temp_directory = ''", "autoinstall_known_extensions = false", "autoload_known_extensions = false",
            "enable_external_access = false",
        ):  # fmt: skip
            self._connection.execute(f"SET {setting}")
        self._make_views()
        self._has_seconds = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
        """The answer as a DuckDB result: `description`, `fetchmany`. Only one SELECT (or DESCRIBE, EXPLAIN ...) is run.

        parameters: values of $names. Raises QueryError.
        """
        import duckdb

        self._check(sql)
        if "seconds" in sql.lower():
            self._need_seconds()
        try:
            return self._connection.execute(sql, parameters or {})
        except duckdb.Error as e:
            raise QueryError(told(e)) from e

    def _check(self, sql: str) -> None:
        import duckdb

        try:
            statements = self._connection.extract_statements(sql)
        except duckdb.Error as e:
            raise QueryError(told(e)) from e
        if len(statements) != 1:
            raise QueryError(f"write one SELECT, not {len(statements) or 'an empty'} statement{'s' * (len(statements) > 1)}.")
        if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            kind = statements[0].type.name
            raise QueryError(f"an archive is only read: write a SELECT, not {kind}.")

    def _make_views(self) -> None:
        root = self.folder
        view = self._connection.execute
        view(f"CREATE VIEW labels AS SELECT * FROM read_parquet({literal(str(root / LABELS_FOLDER / '**' / '*.parquet'))}, {_PARTS})")
        view(
            """CREATE VIEW objects AS SELECT camera, day, source, frame_index, pts, time_base, time, time_s, width, height,
               o.track_id, o.class_id, o.label, o.score, o.x1, o.y1, o.x2, o.y2, o.origin FROM (
               SELECT * EXCLUDE (objects, origin), unnest(objects) AS o FROM labels)"""
        )
        if next((root / COSTS_FOLDER).rglob("*.parquet"), None) is not None:
            view(f"CREATE VIEW costs AS SELECT * FROM read_parquet({literal(str(root / COSTS_FOLDER / '**' / '*.parquet'))}, {_PARTS})")
        if (root / SOURCES_FILE).is_file():
            view(f"CREATE VIEW sources AS SELECT * FROM read_parquet({literal(str(root / SOURCES_FILE))})")
        else:
            columns = "camera, source, NULL::VARCHAR AS path, min(time) AS start, count(*) AS frames, max(time_s) AS seconds"
            rest = "any_value(width) AS width, any_value(height) AS height, NULL::VARCHAR AS codec, 'done' AS status, NULL::VARCHAR AS reason"
            view(f"CREATE VIEW sources AS SELECT {columns}, {rest} FROM labels GROUP BY camera, source")

    def _need_seconds(self) -> None:
        """The table of seconds as it should be now; where it cannot be written, a view that does the work each time."""
        if self._has_seconds:
            return
        try:
            update_seconds(self.folder)
            text = f"SELECT * FROM read_parquet({literal(str(self.folder / SECONDS_FOLDER / '**' / '*.parquet'))}, {_PARTS})"
        except SinkError:
            text = seconds_select("labels", "camera, day, ")
        self._connection.execute(f"CREATE VIEW seconds AS {text}")
        self._has_seconds = True


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def told(error: Exception) -> str:
    """What DuckDB says of bad SQL, as one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^", "at ", "Stack"))]
    text = " ".join(kept)[:300].rstrip(".")
    if "disabled through configuration" in text or "Permission Error" in text:
        return f"the query reaches outside of the archive, which is not allowed ({text})."
    return f"the query cannot be run: {text}."


def rows_of(result: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of an answer, some at a time, so that a long one does not fill the memory. Raises QueryError."""
    import duckdb

    try:
        while rows := result.fetchmany(BATCH_ROWS):
            yield from rows
    except duckdb.Error as e:
        raise QueryError(told(e)) from e


def names_of(result: Any) -> list[str]:
    return [column[0] for column in result.description]

