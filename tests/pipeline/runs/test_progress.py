"""Progress: nothing, plain lines, or a bar, by what stderr is."""

from __future__ import annotations

import io
import os
from typing import TextIO

import pytest

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.runs.progress import Lines, Live, Silent, make_progress


def test_the_kind_fits_the_stream() -> None:
    assert isinstance(make_progress(quiet=True), Silent)
    assert isinstance(make_progress(quiet=False, stream=io.StringIO()), Lines)
    master, slave = os.openpty()
    with open(slave, "w") as terminal:
        assert isinstance(make_progress(quiet=False, stream=terminal), Live)
    os.close(master)


def test_lines_say_rate_and_time_left() -> None:
    stream = io.StringIO()
    with Lines(stream, every=0.0) as progress:
        progress.expect(10)
        progress.advance(4)
        progress.advance(6)
    first, last = stream.getvalue().splitlines()
    assert first.startswith("4 of 10 frames, ")
    assert first.endswith(" left")
    assert last.startswith("10 frames, ")
    assert "\x1b" not in stream.getvalue()


def test_lines_without_a_known_total() -> None:
    stream = io.StringIO()
    with Lines(stream, every=0.0) as progress:
        progress.expect(None)
        progress.advance(4)
    assert stream.getvalue().startswith("4 frames, ")


def test_a_bar_shows_on_a_terminal() -> None:
    master, slave = os.openpty()
    terminal: TextIO
    with open(slave, "w") as terminal, Live(terminal) as progress:
        progress.expect(10)
        progress.advance(10)
        progress.error(SourceError("clip.mp4 broke"))  # and the bar is drawn again below it
    shown = ""
    try:
        while piece := os.read(master, 1 << 16).decode():
            shown += piece
    except OSError:  # a terminal's way to say that the other end is closed
        pass
    os.close(master)
    assert "everyframe: clip.mp4 broke" in shown
    assert "10/10" in shown


def test_errors_show_even_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress(quiet=True) as progress:
        progress.note("never seen")
        progress.error(SourceError("redis://me:secret@host\nis away"))
    assert capsys.readouterr().err == "everyframe: redis://***@host is away\n"
