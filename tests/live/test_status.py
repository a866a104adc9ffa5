"""The state as JSON and as text, in a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import threading
import time
from collections.abc import Callable

import pytest
from boards import ClipBoard, dashcam
from hypothesis import given
from hypothesis import strategies as st

from everyframe.pipeline.live.status import (
    StatusTable,
    quantile,
    status_json,
    status_line,
    status_of,
    status_text,
)
from everyframe.pipeline.live.types import CameraReport, Histogram


@pytest.fixture
def board() -> ClipBoard:
    made = ClipBoard(dashcam(), ["yard", "gate"])
    made.step(12)
    return made


def until(found: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_json_holds_all_fields_and_no_number_that_json_lacks(board: ClipBoard) -> None:
    board.change("gate", price=float("inf"), message="lost http://u:p@h")
    found = json.loads(json.dumps(status_of(board), allow_nan=False))
    names = set(CameraReport.__slots__) - {"audits"} | {"f1"}
    assert set(found["cameras"][0]) == names
    assert found["cameras"][1]["price"] is None and found["cameras"][1]["message"] == "lost http://***@h"
    assert found["machine"]["cpus"] == 1.5 and "heard" not in found["machine"]


def test_one_line_says_how_all_is(board: ClipBoard) -> None:
    board.change("gate", state="waiting", fps=0.0, waiting=30, counts={"published": 5, "dropped.overload": 2, "dropped.disk": 1})
    board.set_machine(cpu=0.5, cnn=0.25, redis="Redis does not answer")
    assert status_line(status_of(board)) == (
        "1 of 2 cameras live, 20 frames/s, 0.50 of 1.5 cores (CNN 0.25), 17 published, 30 in the spool, 3 dropped, "
        "Redis does not answer"
    )
    assert "cores" not in status_line(status_json(None, board.cameras()))


def test_text_has_a_row_for_each_camera(board: ClipBoard) -> None:
    board.change("gate", name="[bold]odd[/bold]", state="failed", message="401: check the password", level=3, level_name="key frames")
    text = status_text(status_of(board))
    rows = text.splitlines()
    assert len(rows) == 4 and "\x1b" not in text
    assert rows[2].split()[:4] == ["yard", "live", "20.0", str(board.cameras()[0].tracks)]
    assert rows[3].startswith("[bold]odd[/bold]") and "failed  401: check the password" in rows[3] and "key frames" in rows[3]
    assert all(len(row) <= 160 for row in rows)
    narrow = status_text(status_of(board), 60).splitlines()
    assert all(len(row) <= 60 for row in narrow)
    assert status_text({"machine": None, "cameras": []}).startswith("0 of 0 cameras live")


def test_a_line_now_and_then_where_there_is_no_terminal(board: ClipBoard, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("everyframe")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        with StatusTable(board, every_s=0.05, stream=io.StringIO()):
            until(lambda: len(caplog.records) >= 2)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.records[0].getMessage().startswith("2 of 2 cameras live")
    assert caplog.records[0].event == "status"  # type: ignore[attr-defined]
    count = len(caplog.records)
    time.sleep(0.2)
    assert len(caplog.records) == count


def test_a_table_is_drawn_again_and_again_on_a_terminal(board: ClipBoard) -> None:
    master, slave = pty.openpty()
    drawn: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(master, 4096):
                drawn.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with os.fdopen(slave, "w") as terminal, StatusTable(board, stream=terminal):
        until(lambda: b"yard" in b"".join(drawn))
        board.change("yard", name="dock")
        until(lambda: b"dock" in b"".join(drawn))
    reader.join(5)
    os.close(master)
    assert b"\x1b[" in b"".join(drawn)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_quantiles_lie_in_their_bucket(counts: list[int], share: float) -> None:
    bounds = (10.0, 20.0, 40.0)
    found = quantile(Histogram(bounds, tuple(counts), 0.0), share)
    values = sorted([low for low, n in zip((10.0, 20.0, 40.0, 40.0), counts, strict=True) for _ in range(n)])
    if not values:
        assert found is None
        return
    assert found is not None
    top = values[min(int(share * len(values)), len(values) - 1)]
    bottom = {10.0: 0.0, 20.0: 10.0, 40.0: 20.0}[top]
    assert bottom - 1e-9 <= found <= top or found in bounds
