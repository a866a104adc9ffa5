"""Log lines of a live run: plain, or JSON one object a line, never with a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.pipeline.live.logs import LOGGER, JsonFormatter, PlainFormatter, log_event, use_logs

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    kept, propagate, level = list(logger.handlers), logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = kept, propagate
    logger.setLevel(level)


def lines_of(page: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in page.getvalue().splitlines()]


def test_an_event_is_one_json_object() -> None:
    page = io.StringIO()
    use_logs(as_json=True, stream=page)
    before = datetime.now(UTC)
    log_event("state", "live: 640x360, h264", "yard", width=640, path=Path("/x"), shares=(0.5, 1))
    logging.getLogger("everyframe.other").warning("two\nlines of %s", "text")
    logging.getLogger("everyframe").debug("not asked for")
    first, second = lines_of(page)
    stamp = datetime.fromisoformat(str(first.pop("time")))
    assert -1 < (stamp - before).total_seconds() < 60
    assert first == {
        "level": "info", "event": "state", "camera": "yard", "message": "live: 640x360, h264",
        "width": 640, "path": "/x", "shares": [0.5, 1],
    }  # fmt: skip
    assert (second["level"], second["event"], second["message"]) == ("warning", "log", "two\nlines of text")
    assert "camera" not in second


def test_fields_do_not_replace_what_every_line_has() -> None:
    page = io.StringIO()
    use_logs(as_json=True, stream=page)
    logging.getLogger(LOGGER).info("said", extra={"event": "e", "fields": {"message": "other", "event": "f", "n": 1}})
    (line,) = lines_of(page)
    assert (line["message"], line["event"], line["n"]) == ("said", "e", 1)


@dataclass(frozen=True)
class _Holder:
    url: str


def test_secrets_are_masked_wherever_they_stand() -> None:
    page = io.StringIO()
    use_logs(as_json=True, stream=page)
    url = f"rtsp://admin:{SECRET}@10.0.0.3:554/1?token={SECRET}"
    log_event("lost", f"no answer from {url}", f"cam {url}", deep={url: [{"u": url}, _Holder(url)]}, holder=_Holder(url))
    try:
        raise OSError(f"cannot reach {url}")
    except OSError:
        logging.getLogger(LOGGER).exception("unexpected: %s", url)
    lines = lines_of(page)
    assert SECRET not in page.getvalue()
    assert lines[0]["message"] == "no answer from rtsp://***@10.0.0.3:554/1?token=***"
    assert "Traceback" in str(lines[1]["traceback"]) and "OSError" in str(lines[1]["traceback"])


def test_a_mask_never_breaks_the_json() -> None:
    """A quote behind a secret is written as two characters: masking the line would take the first of them."""
    page = io.StringIO()
    use_logs(as_json=True, stream=page)
    log_event("e", f'opened "rtsp://a:{SECRET}@h/?key={SECRET}" again')
    (line,) = lines_of(page)
    assert line["message"] == 'opened "rtsp://***@h/?key=***" again'


def test_plain_lines() -> None:
    page = io.StringIO()
    use_logs(stream=page)
    log_event("state", f"waiting: no answer from\n rtsp://a:{SECRET}@h", "yard", tries=3)
    log_event("started", "4 cameras")
    assert page.getvalue() == "yard: waiting: no answer from rtsp://***@h\n4 cameras\n"


def test_use_logs_takes_the_place_of_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    use_logs()
    use_logs(as_json=True)
    log_event("e", "once")
    assert json.loads(capsys.readouterr().err)["message"] == "once"


def test_a_reader_that_has_gone_costs_the_line_only() -> None:
    page = io.StringIO()
    use_logs(stream=page)
    page.close()
    log_event("e", "said to nobody")


@given(
    st.text(),
    st.dictionaries(st.text(max_size=8), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ), max_size=4),
)  # fmt: skip
def test_whatever_is_said_is_one_line_of_json(message: str, fields: dict[str, object]) -> None:
    record = logging.LogRecord("everyframe", logging.INFO, __file__, 1, message, None, None)
    record.fields = fields
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert {"time", "level", "event", "message"} <= set(json.loads(line))
    assert "\n" not in PlainFormatter().format(record)
