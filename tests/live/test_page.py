"""The live page in a real browser: Debian's Chromium without a window."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from boards import ClipBoard, dashcam
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from everyframe.pipeline.live.http import Server, serve
from everyframe.pipeline.live.types import CameraEvent

CHROMIUM = shutil.which("chromium")
TOKEN = "correct-horse-battery"
PATIENCE_MS = 30_000
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page and all that it complained of and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self) -> Seen:
        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        def on_request(request: Request) -> None:
            self.asked.append(request.url)

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", on_request)
        return self


@pytest.fixture
def board() -> Iterator[ClipBoard]:
    made = ClipBoard(dashcam(), ["yard", "gate"])
    made.play()
    yield made
    made.stop()


@pytest.fixture
def server(board: ClipBoard) -> Iterator[Server]:
    made = serve(board, ":0", None)
    yield made
    made.stop()


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield Seen(context.new_page()).watch()
    context.close()


def text_of(page: Page, camera: str, name: str) -> str:
    return page.locator(f"[data-camera='{camera}'] [data-of={name}]").inner_text()


def wait_for(page: Page, script: str, wanted: Callable[[Any], bool]) -> Any:
    """The value of a script once it is as wanted. Playwright's own wait evals text in the page, which its policy forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not wanted(value := page.evaluate(script)):
        assert time.monotonic() < end, f"{script} stays {value!r}"
        page.wait_for_timeout(50)
    return value


def wait_for_change(page: Page, script: str, times: int = 2) -> None:
    """Until the value of a script has changed so many times."""
    before = page.evaluate(script)
    for _ in range(times):
        before = wait_for(page, script, lambda value, old=before: value != old)


def test_tiles_appear_pictures_change_numbers_move(seen: Seen, server: Server, board: ClipBoard) -> None:
    page = seen.page
    page.goto(server.url)
    expect(page.locator(".tile")).to_have_count(2)
    expect(page.locator(".tile h2")).to_have_text(["yard", "gate"])
    expect(page.locator("[data-camera=yard] .state")).to_have_text("live")
    for camera in ("yard", "gate"):
        wait_for_change(page, f"document.querySelector('[data-camera={camera}] img').src")
    shown = page.evaluate("[...document.querySelectorAll('.tile img')].map((i) => [i.complete, i.naturalWidth])")
    assert shown == [[True, 640], [True, 640]]
    wait_for_change(page, "document.getElementById('link').textContent")
    expect(page.locator("#legend li")).to_have_text(
        ["detected", "propagated", "held", "interpolated", "region", "residual", "flow"]
    )
    assert re.fullmatch(r"0\.\d\d \(0\.\d\d–[01]\.\d\d\)", text_of(page, "yard", "f1"))  # noqa: RUF001
    assert re.fullmatch(r"\d+ ms", text_of(page, "yard", "p99"))
    expect(page.locator("#load-text")).to_have_text(re.compile(r"CPU \d\.\d\d of 1\.5 cores, CNN \d\.\d\d, 90 MB"))
    expect(page.locator("#events li").first).to_have_text(re.compile(r"(yard|gate): \w+ \d+ is new"))
    label = page.locator("[data-camera=yard] .strip").get_attribute("aria-label") or ""
    assert re.search(r"\d+ detected", label) and re.search(r"\d+ propagated", label)
    assert seen.complaints == []
    assert all(url.startswith(server.url) for url in seen.asked)


def test_the_strip_has_the_colours_of_the_legend(seen: Seen, server: Server, board: ClipBoard) -> None:
    board.stop()
    board.change("yard", rungs=bytes([0] + [1] * 9) * 3)
    page = seen.page
    page.goto(server.url)
    expect(page.locator("[data-camera=yard] .strip")).to_have_attribute(
        "aria-label", "Last 30 frames: 3 detected, 27 propagated"
    )
    pixels = page.evaluate(
        """() => { const c = document.querySelector('[data-camera=yard] .strip');
        const at = (x) => [...c.getContext('2d').getImageData(x, 5, 1, 1).data];
        return [at(0), at(270), at(271), at(299)]; }"""
    )
    assert pixels == [[0, 0, 0, 0], [60, 200, 92, 255], [255, 165, 0, 255], [255, 165, 0, 255]]


def test_states_levels_and_messages_are_told(seen: Seen, server: Server, board: ClipBoard) -> None:
    page = seen.page
    page.goto(server.url)
    expect(page.locator("#health li").first).to_have_text("2 of 2 cameras live")
    board.change("gate", state="waiting", message="no answer from rtsp://u:p@cam; <b>again</b> in 4 s", level=3)
    board.set_machine(redis="Redis does not answer: 40 records wait on disk")
    gate = page.locator("[data-camera=gate]")
    expect(gate.locator(".state")).to_have_text("waiting")
    expect(gate.locator(".message")).to_have_text("no answer from rtsp://***@cam; <b>again</b> in 4 s")
    expect(page.locator("#health")).to_contain_text("1 of 2 cameras live")
    expect(page.locator("#health")).to_contain_text("overload, level 3")
    expect(page.locator("#health .bad")).to_have_text(
        ["Redis does not answer: 40 records wait on disk", "overload, level 3"]
    )
    expect(page).to_have_title("(1 away) everyframe")
    board.remove("gate")
    expect(page.locator(".tile")).to_have_count(1)


def test_pictures_are_asked_for_only_while_somebody_looks(seen: Seen, server: Server, board: ClipBoard) -> None:
    page = seen.page
    page.goto(server.url)
    expect(page.locator(".tile")).to_have_count(2)
    wait_for_change(page, "document.querySelector('.tile img').src")
    page.goto("about:blank")
    asked = -1
    end = time.monotonic() + 30
    while asked != len(board.asked):  # what was on its way may still come
        assert time.monotonic() < end, "pictures are asked for though nobody looks"
        asked = len(board.asked)
        time.sleep(1.5)
    page.set_viewport_size({"width": 400, "height": 150})  # the tiles are below what is in view
    page.goto(server.url)
    expect(page.locator(".tile")).to_have_count(2)
    wait_for_change(page, "document.getElementById('link').textContent")
    assert len(board.asked) == asked
    page.locator(".tile").last.scroll_into_view_if_needed()
    wait_for_change(page, "[...document.querySelectorAll('.tile img')].map((i) => i.src).join()", 1)
    assert len(board.asked) > asked


def test_a_tile_grows_by_keyboard_and_moves(seen: Seen, server: Server, board: ClipBoard) -> None:
    page = seen.page
    page.goto(server.url)
    expect(page.locator(".tile")).to_have_count(2)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Enlarge yard"
    page.keyboard.press("Enter")
    expect(page.locator("#large-head")).to_have_text("yard")
    wait_for(page, "document.getElementById('large-picture').naturalWidth", lambda width: width == 640)
    picture = """() => { const c = document.createElement('canvas'); c.width = 64; c.height = 36;
        c.getContext('2d').drawImage(document.getElementById('large-picture'), 0, 0, 64, 36); return c.toDataURL(); }"""
    wait_for_change(page, picture)
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    wait_for(page, "document.getElementById('large-picture').getAttribute('src')", lambda src: src is None)
    assert seen.complaints == []


def test_events_of_one_camera(seen: Seen, server: Server, board: ClipBoard) -> None:
    board.stop()
    board._events[:] = [
        CameraEvent("yard", "entered", 5.0, 1, 7, "person", "door"),
        CameraEvent("gate", "in", 6.0, 2, 3, "car", "<i>line</i>"),
        CameraEvent("gate", "gone", 9.0, 80, 3, "car", dwell_s=3.2),
    ]
    page = seen.page
    page.goto(server.url)
    items = page.locator("#events li")
    said = re.compile(r"gate: car 3 is gone after 3 s"), re.compile(r"gate: car 3 crossed <i>line</i>, in")
    expect(items).to_have_text([*said, re.compile(r"yard: person 7 entered door")])
    page.get_by_label("Camera", exact=True).select_option("gate")
    expect(items).to_have_text(list(said))
    page.get_by_label("Camera", exact=True).select_option("yard")
    expect(items).to_have_count(1)


def test_it_goes_on_when_the_server_comes_back(seen: Seen, board: ClipBoard) -> None:
    first = serve(board, ":0", None)
    page = seen.page
    page.goto(first.url)
    expect(page.locator("#link")).to_have_text(re.compile("^Updated"))
    count = page.locator("#events li").count()
    first.stop()
    expect(page.locator("#link")).to_have_text("Connection lost. Trying again …")
    expect(page.locator(".tile.stale")).to_have_count(2)
    second = serve(board, first.address, None)
    try:
        expect(page.locator("#link")).to_have_text(re.compile("^Updated"))
        expect(page.locator(".tile.stale")).to_have_count(0)
        wait_for_change(page, "document.querySelector('.tile img').src")
        wait_for_change(page, "document.getElementById('link').textContent", 1)
        told = page.locator("#events li").all_inner_texts()
        assert len(told) >= count and len(set(told)) == len(told)  # none twice
    finally:
        second.stop()


def test_the_token_is_asked_for_and_leaves_the_address_bar(seen: Seen, board: ClipBoard) -> None:
    server = serve(board, ":0", TOKEN)
    try:
        page = seen.page
        page.goto(f"{server.url}?token=wrong")
        page.get_by_label("Token").fill("still wrong")
        page.get_by_role("button").click()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button").click()
        expect(page.locator(".tile")).to_have_count(2)
        assert page.url == server.url
        page.context.clear_cookies()
        page.goto(f"{server.url}?token={TOKEN}")
        expect(page.locator(".tile")).to_have_count(2)
        assert page.url == server.url
        wait_for_change(page, "document.querySelector('.tile img').src", 1)
        assert TOKEN not in str(page.context.cookies())
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sixteen_cameras_on_a_phone(browser: Browser, scheme: str) -> None:
    names = [f"camera {n:02d} with a long name that does not fit" for n in range(16)]
    board = ClipBoard(dashcam(), names).play(fps=5)
    server = serve(board, ":0", None)
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True,
        color_scheme="dark" if scheme == "dark" else "light",
    )  # fmt: skip
    try:
        seen = Seen(context.new_page()).watch()
        page = seen.page
        page.goto(server.url)
        expect(page.locator(".tile")).to_have_count(16)
        wait_for_change(page, "document.querySelector('.tile img').src", 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert len(set(board.asked)) < 16  # those out of view are not drawn
        page.locator(".tile").last.scroll_into_view_if_needed()
        last = "[...document.querySelectorAll('.tile img')].at(-1).naturalWidth"
        wait_for(page, last, lambda width: width == 640)
        assert contrast_of(page) >= 4.5
        assert seen.complaints == []
    finally:
        context.close()
        server.stop()
        board.stop()


def contrast_of(page: Page) -> float:
    """The least contrast of text against its ground (WCAG 2.2, 1.4.3), over the parts of a tile and the head."""
    pairs = page.evaluate(
        """() => [...document.querySelectorAll('h1, h2, dt, dd, .state, #health li, #link, figcaption, .events p')]
        .filter((e) => e.offsetParent).map((e) => { let g = e;
        while (g && getComputedStyle(g).backgroundColor === 'rgba(0, 0, 0, 0)') g = g.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(g || document.documentElement).backgroundColor]; })"""
    )
    assert len(pairs) > 50
    return min(_contrast(*(_luminance(colour) for colour in pair)) for pair in pairs)


def _luminance(colour: str) -> float:
    shares = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
