"""What `everyframe watch` is told: merged, checked, masked; and what leads from one state of the file to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from everyframe.pipeline.errors import SettingsError
from everyframe.pipeline.live.settings import Changes, camera_names, changes, load_settings, seconds_of
from everyframe.pipeline.live.settings_yaml import to_yaml
from everyframe.pipeline.live.types import Camera, Line, Zone
from everyframe.pipeline.settings import Goal

FILE = """
cpus: 1.5
policy: stride:7
conf: 0.5
cameras:
  - name: gate
    url: rtsp://user:pass@camera/stream
    classes: person, car
    zones:
      - {name: door, points: [[0, 0], [0.5, 0], [0.5, 1]], classes: [person]}
    lines:
      - {name: street, start: [0, 0.5], end: [1, 0.5]}
  - url: rtsp://${CAMERA_HOST}/live/hall.sdp?token=abc
    target_f1: 0.85
    weight: 3
"""


def write(folder: Path, text: str) -> str:
    path = folder / "cameras.yaml"
    path.write_text(text)
    return str(path)


def test_a_camera_s_keys_win_over_options_and_these_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERA_HOST", "hall.example")
    found = load_settings(["clip.mp4"], {"conf": 0.3, "realtime": True}, write(tmp_path, FILE))
    gate, hall, clip = found.cameras
    assert (found.cpus, gate.name, clip.name) == (1.5, "gate", "clip")
    assert gate.labels.policy == clip.labels.policy == "stride:7"
    assert gate.labels.conf == hall.labels.conf == 0.3
    assert gate.labels.classes == ("person", "car") and not clip.labels.classes
    assert all(camera.labels.mode == "causal" and camera.realtime for camera in found.cameras)
    assert gate.zones == (Zone("door", ((0, 0), (0.5, 0), (0.5, 1)), ("person",)),)
    assert gate.lines == (Line("street", (0, 0.5), (1, 0.5)),)
    assert hall.url == "rtsp://hall.example/live/hall.sdp?token=abc"
    assert (hall.labels.policy, hall.labels.goal, hall.weight) == ("learned", Goal(target_f1=0.85), 3)


def test_what_is_shown_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_HOST", "hall.example")
    options = {"redis": "redis://:hunter2@host/0", "http_token": "t0ken", "http": ":1"}
    found = load_settings([], options, write(tmp_path, FILE))
    text = to_yaml(found) + repr(found) + repr(found.cameras)
    for secret in ("pass@", "abc", "hunter2"):
        assert secret not in to_yaml(found)
    assert "t0ken" not in to_yaml(found) and "user:pass" not in text
    again = load_settings([], {}, write(tmp_path, to_yaml(found)))
    assert [camera.labels for camera in again.cameras] == [camera.labels for camera in found.cameras]
    assert [camera.zones for camera in again.cameras] == [camera.zones for camera in found.cameras]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cameras: 3", "write a list"),
        ("cpu: 1", "unknown setting, did you mean 'cpus'?"),
        ("cpus: many", "write a number"),
        ("retain: soon", "write a time such as 24h"),
        ("retain: 1h\nredis_maxlen: 5", "exclude each other"),
        ("cameras: [{name: a}]", "a: url: write the camera's address"),
        ("cameras: [{name: a, url: x}, {name: a, url: y}]", "two cameras are named 'a'"),
        ("cameras: [{name: a/b, url: x}]", "name: write up to 60 letters"),
        ("cameras: [{name: .., url: x}]", "name: write up to 60 letters"),
        ("cameras: [{name: a, url: x, weigth: 1}]", "did you mean 'weight'?"),
        ("cameras: [{name: a, url: x, transport: tpc}]", "did you mean 'tcp'?"),
        ("cameras: [{name: a, url: x, policy: strid}]", "did you mean stride:N?"),
        ("cameras: [{name: a, url: x, zones: [{name: z, points: [[0, 0], [1, 1]]}]}]", "three points"),
        ("cameras: [{name: a, url: x, zones: [{name: z, points: [[0, 2], [1, 1], [0, 0]]}]}]", "from 0 to 1"),
        ("cameras: [{name: a, url: x, lines: [{name: z, start: [0, 0], end: [0, 0]}]}]", "one point"),
        ("cameras: [{name: a, url: 'rtsp://${NOT_SET_AT_ALL}/x'}]", "NOT_SET_AT_ALL"),
        ("cameras: [{name: a, url: x, target_f1: 0.9, budget_ms: 3}]", "exclude each other"),
        ("cameras: [{name: a, url: x, realtime: 3}]", "write true or false"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings([], {}, write(tmp_path, text))
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(
            [], {"spool_mb": -1.0}, write(tmp_path, "cpus: 0\ncameras: [{name: a, url: x, conf: 3}]")
        )
    assert all(word in str(error.value) for word in ("--spool-mb", "cpus in", "conf in"))


def test_a_password_is_in_no_sentence(tmp_path: Path) -> None:
    text = (
        "cameras: [{name: a, url: ['rtsp://u:hunter2@h/x']}, {name: b, url: 'rtsp://u:hunter2@h/', conf: 7}]"
    )
    with pytest.raises(SettingsError) as error:
        load_settings(["rtsp://u:hunter2@h/"], {"redis": 3}, write(tmp_path, text))
    assert "hunter2" not in str(error.value)


URLS = st.lists(
    st.sampled_from(
        [
            "rtsp://u:s3cret@h:1/a/b.sdp?token=s3cret",
            "http://[::1]/x",
            "a.mp4",
            "b/a.mp4",
            "rtsp://",
            "/dev/video0",
        ]
    )
)


@given(URLS, st.sets(st.sampled_from(["a", "h-b", "camera"])))
@hypothesis_settings(deadline=None)
def test_names_are_valid_unique_and_without_secrets(urls: list[str], taken: set[str]) -> None:
    names = camera_names(urls, taken)
    assert len(names) == len(urls) and len({*names, *taken}) == len(names) + len(taken)
    assert all("s3cret" not in name and "/" not in name and not name.startswith(".") for name in names)


@given(*(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)) for _ in range(2)))
@hypothesis_settings(deadline=None)
def test_changes_lead_from_one_to_the_other(old: dict[str, int], new: dict[str, int]) -> None:
    before, after = ([Camera(name, f"u{n}") for name, n in which.items()] for which in (old, new))
    found = changes(before, after)
    state = {camera.name: camera for camera in before if camera.name not in found.removed}
    state |= {camera.name: camera for camera in (*found.added, *found.changed)}
    assert state == {camera.name: camera for camera in after}
    assert bool(found) == (old != new) and found == (found if found else Changes())


def test_spans() -> None:
    assert [seconds_of(text, "x") for text in ("90", "90s", "1.5m", "24h", "7d")] == [
        90,
        90,
        90,
        86400,
        604800,
    ]
