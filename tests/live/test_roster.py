"""Cameras added, removed and changed while it runs: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everyframe.pipeline.errors import SettingsError, UsageError
from everyframe.pipeline.live.roster import Roster
from everyframe.pipeline.live.settings import load_settings

FILE = "conf: 0.5\ncameras:\n  - {name: a, url: rtsp://h/a}\n  - {name: b, url: rtsp://h/b}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(FILE)
    return path


def roster(path: Path) -> Roster:
    return Roster(load_settings(["rtsp://h/line"], {}, str(path)))


def rewrite(path: Path, text: str) -> None:
    """As editors do: another file under the same name."""
    part = path.with_suffix(".new")
    part.write_text(text)
    os.replace(part, path)


def test_the_file_is_taken_over_and_cameras_of_the_command_line_stay(path: Path) -> None:
    cameras = roster(path)
    assert not cameras.file_has_changed()
    rewrite(
        path,
        "conf: 0.5\ncameras:\n  - {name: b, url: rtsp://h/b, weight: 2}\n  - {name: c, url: rtsp://h/c}\n",
    )
    assert cameras.file_has_changed() and not cameras.file_has_changed()
    done, remark = cameras.reload()
    assert [c.name for c in done.added] == ["c"] and done.removed == ("a",) and not remark
    assert [(c.name, c.weight) for c in done.changed] == [("b", 2)]
    assert set(cameras.cameras) == {"b", "c", "h-line"} and cameras.cameras["c"].labels.conf == 0.5
    assert not cameras.reload()[0]


@pytest.mark.parametrize(
    "text",
    [
        "cameras: 3",
        "conf: 7",
        FILE + "  - {name: h-line, url: rtsp://h/x}\n",
        "cameras: [",
        FILE + "cpus: -1\n",
    ],
)
def test_a_wrong_file_changes_nothing(path: Path, text: str) -> None:
    cameras = roster(path)
    before = dict(cameras.cameras)
    rewrite(path, text)
    assert cameras.file_has_changed()
    with pytest.raises(SettingsError, match="stay as they are"):
        cameras.reload()
    assert cameras.cameras == before
    rewrite(path, FILE)
    assert cameras.file_has_changed() and not cameras.reload()[0]


def test_other_settings_wait_for_the_next_start(path: Path) -> None:
    cameras = roster(path)
    rewrite(path, FILE + "cpus: 1.25\n")
    done, remark = cameras.reload()
    assert not done and "next start" in remark


def test_a_file_that_is_gone_for_a_moment_is_no_change(path: Path) -> None:
    cameras = roster(path)
    path.unlink()
    assert not cameras.file_has_changed()


def test_commands(path: Path) -> None:
    cameras = roster(path)
    done = cameras.command("add", {"url": "rtsp://u:s3cret@h/x", "classes": ["person"]})
    assert [(c.name, c.labels.classes, c.labels.conf) for c in done.added] == [("h-x", ("person",), 0.5)]
    done = cameras.command("change", {"name": "h-x", "weight": 4})
    assert [(c.weight, c.labels.classes, c.url) for c in done.changed] == [
        (4, ("person",), "rtsp://u:s3cret@h/x")
    ]
    assert not cameras.command("change", {"name": "h-x", "weight": 4})
    assert "s3cret" not in repr(cameras.rows())
    assert cameras.command("remove", {"name": "h-x"}).removed == ("h-x",)
    assert cameras.command("remove", {"name": "a"}).removed == ("a",)
    assert not cameras.reload()[0]  # the file has not changed: what a command removed stays away


@pytest.mark.parametrize(
    ("command", "row", "sentence"),
    [
        ("ad", {}, "did you mean 'add'?"),
        ("add", {}, "url"),
        ("add", {"name": "a", "url": "x"}, "already"),
        ("add", {"url": "x", "confi": 1}, "did you mean 'conf'?"),
        ("remove", {"name": "aa"}, "did you mean 'a'?"),
        ("change", {"name": "a", "conf": 4}, "write a number"),
        ("change", {"name": "a", "policy": "nothing"}, "no policy"),
    ],
)
def test_a_wrong_command_changes_nothing(
    path: Path, command: str, row: dict[str, object], sentence: str
) -> None:
    cameras = roster(path)
    before = dict(cameras.cameras)
    with pytest.raises(UsageError) as error:
        cameras.command(command, row)
    assert sentence in str(error.value) and cameras.cameras == before
