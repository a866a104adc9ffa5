"""The page, health, metrics and status of a real `everyframe watch`, seen in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from prometheus_client.parser import text_string_to_metric_families as parse
from watching import QUICK, wait_for, watched

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 60_000
TOKEN = "correct-horse-battery"


def get(url: str, token: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def metrics(body: bytes) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in parse(body.decode()) for s in family.samples}


def test_cameras_are_seen_from_connection_to_stop(data_dir: Path, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    clip = data_dir / "street" / "street.mp4"
    config = tmp_path / "cameras.yaml"
    rows = [{"name": name, "url": str(clip), "realtime": True, "loop": True} for name in ("yard", "gate")]
    config.write_text(json.dumps({"redis": "embedded", "audit": 0.05, "cameras": rows}))
    with watched(tmp_path / "run", "--config", str(config), "--http-token", TOKEN, *QUICK) as running:
        url = f"http://127.0.0.1:{running.port}/"
        wait_for(lambda: running.is_up() and _is_ready(url), 120, "ready")
        assert get(url + "metrics")[0] == 401
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"{url}?token={TOKEN}")
            expect.set_options(timeout=PATIENCE_MS)
            expect(page.locator(".tile h2")).to_have_text(["yard", "gate"])
            expect(page.locator("[data-camera=yard] .state")).to_have_text("live")
            for _ in range(2):
                before = page.evaluate("document.querySelector('.tile img').src")
                wait_for(lambda old=before: page.evaluate("document.querySelector('.tile img').src") != old, 60)
            assert page.evaluate("document.querySelector('.tile img').naturalWidth") == 640
            label = "document.querySelector('.strip').getAttribute('aria-label')"
            wait_for(lambda: "propagated" in (page.evaluate(label) or ""), 60)
            expect(page.locator("#events li").first).to_be_visible()
            assert complaints == []
            browser.close()
        before = metrics(get(url + "metrics", TOKEN)[1])
        for name in ("yard", "gate"):
            assert before["everyframe_camera_up", name] == 1
            assert before["everyframe_publish_latency_seconds_count", name] > 0
        wait_for(
            lambda: metrics(get(url + "metrics", TOKEN)[1])["everyframe_labels_published_total", "yard"]
            > before["everyframe_labels_published_total", "yard"],
            60,
        )
        after = metrics(get(url + "metrics", TOKEN)[1])
        falls = {key for key, value in before.items() if key[0].endswith(("_total", "_bucket", "_count")) and after[key] < value}
        assert falls == set()
        assert after[("everyframe_looks_total",)] > 0
        status = [sys.executable, "-m", "everyframe", "status", "--http", f":{running.port}"]
        done = subprocess.run([*status, "--http-token", TOKEN], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 and done.stdout.startswith("2 of 2 cameras live"), done.stderr
        done = subprocess.run(status, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2 and "token" in done.stderr and done.stderr.count("\n") == 1
        cameras = running.check(running.stop())
        assert set(cameras) == {"yard", "gate"}
        lines = [json.loads(line) for line in running.words().splitlines()]
        assert {"time", "level", "event", "message"} <= set(lines[0])
        assert TOKEN not in running.words()


def _is_ready(url: str) -> bool:
    try:
        return get(url + "healthz")[0] == 200 and get(url + "readyz")[0] == 200
    except OSError:
        return False
