"""The report's page: what it says, that nothing in it runs or is fetched, and how it looks in a real browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.archive.report_html import SHOWN, render, write_report
from everyframe.pipeline.archive.types import AllocationRow, ArchiveReport, SourceReport, SourceRow
from everyframe.pipeline.errors import SinkError

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & \x00\u202e</table></style>"
BEGUN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def source(name: str = "a", status: str = "done", reason: str = "", cpu_s: float = 60.0) -> SourceReport:
    row = SourceRow("gate", name, f"s3://key:hunter2@bucket/{name}", None, 9000, 360.0, 1280, 720, "h264", status, reason)  # type: ignore[arg-type]
    return SourceReport(row, cpu_s, 1, "motion", cnn=0.05, f1=(0.93, 0.9, 0.95))


def report(*sources: SourceReport, text: str = "x") -> ArchiveReport:
    return ArchiveReport(
        text, BEGUN, BEGUN, sources, 18000, 720.0, 120.0, 70.0, (0.931, 0.912, 0.948), 240,
        {"decode": 50.0, "cnn": 60.0, text: 10.0}, {"detected": 900, "interpolated": 17100, text: 1},
        {"policy": text, "redis": "redis://u:hunter2@host/0"}, (AllocationRow(text, 360.0, 40.0, None, text),), 2.0, True, (text,),
    )  # fmt: skip


class _Tags(HTMLParser):
    """Every tag and attribute of a page, and whether tags are closed in order."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_it_says_what_was_done() -> None:
    page = parsed(render(report(source("a"), source("b", "failed", "b is empty."), source("c", "broken", "cut short."))))
    for told in (
        "1 of 3", "1 broken, 1 failed", "18,000", "6.0 h", "of 2 h given", "0.931", "0.912 to 0.948", "240 audits",
        "b is empty.", "cut short.", "interrupted", "gate / a", "5.0%", "60.0 s (50.0%)",
    ):  # fmt: skip
        assert told in page.text, told


def test_hostile_names_are_text() -> None:
    page = render(report(source(HOSTILE, "failed", HOSTILE), text=HOSTILE))
    found = parsed(page)
    assert not found.tags & {"script", "img", "iframe", "link", "object", "a"}
    assert not any(name.startswith("on") or name in ("src", "href") for name in found.attributes)
    assert "<script>alert(1)</script>" in found.text  # as text
    assert "\x00" not in page


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=60)
def test_any_text_gives_a_sound_page(text: str) -> None:
    parsed(render(report(source(text, "failed", text), text=text)))


def test_secrets_are_masked_and_nothing_is_fetched() -> None:
    page = render(report(source("a", "failed", "http://u:hunter2@h/x?token=hunter2 is gone.")))
    assert "hunter2" not in page
    assert not re.search(r"url\(|@import|src=|href=", page)


def test_an_empty_archive_and_a_large_one() -> None:
    empty = ArchiveReport("nothing", BEGUN, BEGUN, ())
    assert "0 of 0" in parsed(render(empty)).text and "nan" not in render(empty)
    many = [source(f"s{i}", cpu_s=float(i)) for i in range(SHOWN + 7)]
    page = parsed(render(report(*many)))
    assert "and 7 more" in page.text and page.text.index("s56") < page.text.index("s20")


def test_a_file_or_one_sentence(tmp_path: Path) -> None:
    write_report(tmp_path / "deep" / "report.html", report(source("\udcff name")))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", report())


@pytest.fixture(scope="module")
def size_of() -> Callable[[Path, int], tuple[int, list[str]]]:
    chromium = which("chromium")
    if chromium is None:
        pytest.skip("no browser: install Debian's chromium")
    from playwright.sync_api import sync_playwright

    def look(path: Path, width: int) -> tuple[int, list[str]]:
        """(width that the page takes, messages in the console) in a window of some width."""
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": 800})
            told: list[str] = []
            page.on("console", lambda message: told.append(message.text))
            page.on("dialog", lambda dialog: told.append("dialog"))
            page.goto(path.as_uri())
            taken = page.evaluate("document.documentElement.scrollWidth")
            if shot := os.environ.get("EVERYFRAME_SHOTS"):
                page.screenshot(path=f"{shot}/report_{width}.png", full_page=True)
            browser.close()
            return int(taken), told

    return look


@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it_without_scrolling_sideways(
    tmp_path: Path, size_of: Callable[[Path, int], tuple[int, list[str]]], width: int
) -> None:
    path = tmp_path / "report.html"
    write_report(path, report(*(source(f"{HOSTILE}{i}", "done" if i % 2 else "failed", "x" * 200) for i in range(6)), text=HOSTILE))
    taken, told = size_of(path, width)
    assert taken <= width and told == []
