"""Sources: globs, doubles and names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.runs.inputs import expand, names_for

PARTS = st.sampled_from(["a", "b", "clip", "clip.v2"])
PATHS = st.builds(lambda folder, stem, end: f"/{folder}/{stem}{end}", PARTS, PARTS, st.sampled_from([".mp4", ".ts", ""]))


def test_globs_are_expanded_in_order_without_doubles_or_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.mp4", "a.mp4", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.mp4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert expand(["b.mp4", "*.mp4", "./a.mp4"]) == ["b.mp4", "a.mp4"]
    assert expand(["*.mkv"]) == ["*.mkv"]
    (tmp_path / "[odd].mp4").touch()
    assert expand(["[odd].mp4"]) == ["[odd].mp4"]


def test_names_are_as_short_as_they_can_be() -> None:
    assert names_for(["/x/a.mp4", "/x/b.mp4"]) == ["a", "b"]
    assert names_for(["/x/a.mp4", "/x/a.mkv", "/x/b.mp4"]) == ["a.mp4", "a.mkv", "b"]
    assert names_for(["/x/a.mp4", "/y/a.mp4"]) == ["x-a.mp4", "y-a.mp4"]
    assert names_for(["/1/x/a.mp4", "/2/x/a.mp4"]) == ["a-1", "a-2"]


@given(st.lists(PATHS, unique=True, max_size=8))
@settings(deadline=None)
def test_names_differ(paths: list[str]) -> None:
    names = names_for(paths)
    assert len(set(names)) == len(paths)
    assert all(names)
