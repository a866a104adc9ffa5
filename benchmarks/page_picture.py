"""The picture of the live page in docs/operations.md: `everyframe watch` on the demo's clip, seen by Chromium.

    python benchmarks/page_picture.py        about a minute
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from common import ROOT, tell
from playwright.sync_api import sync_playwright

from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.demo import CLASSES, fetch_clip

NAMES = ("crossing", "kerb", "tram stop", "lane")
APART_S = 2.0
"""Cameras are added one after the other, so that they don't all show the same picture."""
SHOWN_S = 25.0


def rows(clip: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    made = [
        {"name": name.replace(" ", "-"), "url": str(clip), "realtime": True, "loop": True, "classes": CLASSES.split(",")}
        for name in names
    ]
    if len(names) < len(NAMES):
        return made
    # one that is not there: nothing listens on port 9
    return [*made, {"name": "yard", "url": "rtsp://viewer:secret@127.0.0.1:9/stream"}]


def main() -> None:
    clip = fetch_clip(cache_dir() / "demo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "cameras.yaml"
        write(config, clip, 1)
        command = [sys.executable, "-m", "everyframe", "watch", "--config", str(config), "--state", f"{name}/state"]
        process = subprocess.Popen([*command, "--http", where, "--quiet", "--engine", "local"])
        try:
            await_page(process, f"http://{where}/readyz")
            for count in range(2, len(NAMES) + 1):
                time.sleep(APART_S)
                write(config, clip, count)
            take(f"http://{where}/", ROOT / "docs" / "page.png")
        finally:
            process.terminate()
            process.wait(30)


def write(config: Path, clip: Path, count: int) -> None:
    found = {"redis": "embedded", "target_f1": 0.9, "audit": 0.05, "cameras": rows(clip, NAMES[:count])}
    part = config.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(config)


def await_page(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("everyframe watch did not get ready")


def take(url: str, path: Path) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="light")
        page.goto(url)
        page.wait_for_selector(f".tile:nth-child({len(NAMES) + 1})")
        page.wait_for_timeout(SHOWN_S * 1000)
        page.screenshot(path=path)
        browser.close()
    tell(f"wrote {path}")


if __name__ == "__main__":
    main()
