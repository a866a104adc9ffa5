"""`everyframe query`: questions to the labels of an archive, in SQL or ready-made."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Group, Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError

_ASKED = Group("What is asked", sort_key=1)


def query(
    where: Annotated[str, Parameter(help="The --out folder of an everyframe batch.")],
    sql: Annotated[
        str | None,
        Parameter(help="One SELECT over the tables labels, objects, seconds, costs and sources; see docs/queries.md."),
    ] = None,
    /,
    *,
    question: Annotated[
        str | None, Parameter(help="A ready question, in place of SQL; --questions lists them.", group=_ASKED)
    ] = None,
    set: Annotated[
        list[str] | None, Parameter(help="A value of the question, as in limit=5; may be repeated.", group=_ASKED, negative=())
    ] = None,
    questions: Annotated[bool, o.flag("List the ready questions and end.", _ASKED)] = False,
    format: Annotated[
        Literal["table", "csv", "json", "parquet"],
        Parameter(help="How the answer is written. [default: table]", group=o.OUTPUT),
    ] = "table",
    out: Annotated[str | None, Parameter(help="Write the answer into this file, not to stdout.", group=o.OUTPUT)] = None,
    threads: Annotated[int, Parameter(help="Threads that look. [default: 2]", group=o.ENGINE)] = 2,
) -> int:
    """Ask an archive's labels in SQL (DuckDB). Nothing but the archive can be read, and nothing be written."""
    from pathlib import Path

    if questions:
        return _list()
    if (sql is None) == (question is None):
        raise UsageError("give either SQL or --question NAME (--questions lists them)")
    if set and question is None:
        raise UsageError("--set goes with --question")
    if threads < 1:
        raise UsageError("--threads: write a number of at least 1")

    from everyframe.pipeline.archive.answers import write_answer
    from everyframe.pipeline.archive.query import Archive
    from everyframe.pipeline.archive.questions import question as ready

    text, values = (sql or "", {}) if question is None else ready(question, set or ())
    with Archive(Path(where), threads) as archive:
        write_answer(archive.ask(text, values), format, out)
    return 0


def _list() -> int:
    from everyframe.pipeline.archive.questions import QUESTIONS

    for name, asked in QUESTIONS.items():
        values = " ".join(f"{key}={value}" for key, value in asked.values.items())
        print(f"{name:16} {asked.text}" + (f" [{values}]" if values else ""))
    return 0
