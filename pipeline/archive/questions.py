"""Ready questions: SQL with a name, values that can be set, and what the answer means. A new question is a new row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from everyframe.pipeline.archive.query import QueryError
from everyframe.pipeline.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Question:
    """text: what is asked. sql: with $names. values: their defaults; their types are what a value is read as."""

    text: str
    sql: str
    values: dict[str, str | float | int] = field(default_factory=dict)



def _clock(time: str, second: str, form: str) -> str:
    """SQL: a moment as text, or the time since the source's start where its day is not known."""
    return f"coalesce(strftime({time}, '%Y-%m-%d {form}'), strftime(to_timestamp({second}), '{form}'))"


QUESTIONS: dict[str, Question] = {
    "count-by-hour": Question(
        "How many different objects of each class were seen in each hour, by camera?",
        f"""WITH tracks AS (
                SELECT camera, source, track_id, label, date_trunc('hour', time) AS h, second // 3600 * 3600 AS s, sum(frames) AS n
                FROM seconds GROUP BY ALL)
            SELECT camera, {_clock("h", "s", "%H:00")} AS hour, label, count(*) AS objects, sum(n)::BIGINT AS frames
            FROM tracks GROUP BY ALL ORDER BY ALL""",
    ),
    "busiest-minutes": Question(
        "In which minutes were most different objects seen?",
        f"""WITH tracks AS (
                SELECT DISTINCT camera, source, track_id, date_trunc('minute', time) AS m, second // 60 * 60 AS s
                FROM seconds WHERE $label = '' OR label = $label)
            SELECT camera, {_clock("m", "s", "%H:%M")} AS minute, count(*) AS objects
            FROM tracks GROUP BY ALL ORDER BY objects DESC, camera, minute LIMIT $limit""",
        {"label": "", "limit": 20},
    ),
    "longest-tracks": Question(
        "Which objects stayed longest?",
        f"""WITH tracks AS (
                SELECT camera, source, track_id, arg_max(label, frames) AS label, min(time) AS t, min(second) AS s,
                max(last_s) - min(first_s) AS stay, sum(frames)::BIGINT AS frames
                FROM seconds WHERE track_id >= 0 AND ($label = '' OR label = $label) GROUP BY camera, source, track_id)
            SELECT camera, source, track_id, label, {_clock("t", "s", "%H:%M:%S")} AS since, round(stay, 2) AS seconds, frames
            FROM tracks ORDER BY stay DESC, camera, source, track_id LIMIT $limit""",
        {"label": "", "limit": 20},
    ),
    "near": Question(
        "In which seconds was an object of one class nearer to one of another than so many heights of the first?",
        f"""WITH pairs AS (
                SELECT a.camera, a.source, a.second, a.time, a.frame_index, a.y2 - a.y1 AS height,
                sqrt(pow(greatest(a.x1 - b.x2, b.x1 - a.x2, 0), 2) + pow(greatest(a.y1 - b.y2, b.y1 - a.y2, 0), 2)) AS gap
                FROM seconds a JOIN seconds b ON a.camera = b.camera AND a.source = b.source AND a.second = b.second
                WHERE a.label = $a AND b.label = $b AND (a.label <> b.label OR a.track_id < b.track_id))
            SELECT camera, source, second, {_clock("min(time)", "second", "%H:%M:%S")} AS moment, min(frame_index) AS frame_index,
            count(*) AS pairs, round(min(gap / greatest(height, 1)), 2) AS distance
            FROM pairs WHERE gap <= $heights * height GROUP BY camera, source, second ORDER BY camera, source, second""",
        {"a": "person", "b": "car", "heights": 0.5},
    ),
    "dwell": Question(
        "How long did objects stay in a rectangle of the picture (their feet, in shares of width and height)?",
        f"""SELECT camera, source, track_id, arg_max(label, frames) AS label,
            {_clock("min(time)", "min(second)", "%H:%M:%S")} AS since, count(DISTINCT second) AS seconds
            FROM seconds WHERE track_id >= 0 AND ($label = '' OR label = $label)
            AND (x1 + x2) / 2 BETWEEN $x1 * width AND $x2 * width AND y2 BETWEEN $y1 * height AND $y2 * height
            GROUP BY camera, source, track_id HAVING count(DISTINCT second) >= $seconds
            ORDER BY seconds DESC, camera, source, track_id""",
        {"label": "person", "x1": 0.0, "y1": 0.5, "x2": 1.0, "y2": 1.0, "seconds": 10},
    ),
    "empty-hours": Question(
        "In what share of each hour was nothing seen, by camera?",
        f"""WITH busy AS (
                SELECT DISTINCT camera, source, second, date_trunc('hour', time) AS h, second // 3600 * 3600 AS s FROM seconds)
            SELECT camera, {_clock("h", "s", "%H:00")} AS hour, round(1 - least(1, count(*) / 3600), 3) AS empty
            FROM busy GROUP BY ALL ORDER BY ALL""",
    ),
}


def question(name: str, given: Sequence[str] = ()) -> tuple[str, dict[str, str | float | int]]:
    """(SQL, its values) of a ready question. given: as limit=5. Raises QueryError."""
    if name not in QUESTIONS:
        raise QueryError(f"no question {name!r}{did_you_mean(name, QUESTIONS)}; there are {', '.join(QUESTIONS)}.")
    asked = QUESTIONS[name]
    values = dict(asked.values)
    for text in given:
        key, found, value = text.partition("=")
        if not found or key not in values:
            allowed = ", ".join(f"{k}={v}" for k, v in values.items()) or "none"
            raise QueryError(f"--set {text}: {name} has the values {allowed}.")
        kind = type(values[key])
        try:
            values[key] = kind(value)
        except ValueError as e:
            raise QueryError(f"--set {text}: write a number.") from e
    return asked.sql, values
