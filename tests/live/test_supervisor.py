"""What the supervisor makes of what its crew tells: a crew that says what the test lets it say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.live import statefile
from everyframe.pipeline.live.crew import CnnNews, News, Setup
from everyframe.pipeline.live.family import Rest
from everyframe.pipeline.live.settings import load_settings
from everyframe.pipeline.live.types import Camera, CameraEvent, CameraReport
from everyframe.pipeline.live.watch import EVENTS, Watch


class ScriptedCrew:
    """started: setups in order. said: what each camera answers next; one that has died says its fault once."""

    is_apart = True

    def __init__(self) -> None:
        self.started: list[Setup] = []
        self.stopped: list[str] = []
        self.said: dict[str, News] = {}
        self.refuses: set[str] = set()
        self.deaf: set[str] = set()
        self.is_closed = False
        self.cnn_news = CnnNews(11, True)

    def open(self) -> None:
        pass

    def start(self, setup: Setup) -> None:
        name = setup.camera.name
        if name in self.refuses:
            raise SinkError("its folder cannot be written")
        self.started.append(setup)
        self.say(name)

    def say(self, name: str, fault: str = "", events: tuple[CameraEvent, ...] = (), **counts: int) -> None:
        self.said[name] = News(CameraReport(name, 1, "live", counts=counts), events, fault=fault)

    def news(self) -> dict[str, News]:
        found = dict(self.said)
        for name, heard in found.items():
            if heard.fault:
                del self.said[name]
            self.said.update({name: replace(heard, events=())} if not heard.fault else {})
        return found

    def cnn(self) -> CnnNews:
        return self.cnn_news

    def rest(self, now: float) -> Rest:
        return Rest()

    def pace(self, cnn_cores: float, over: float) -> None:
        pass

    def picture(self, camera: str) -> bytes | None:
        return camera.encode()

    def stop(self, cameras: Iterable[str], timeout_s: float) -> dict[str, News]:
        names = list(cameras)
        self.stopped += names
        return {name: self.said.pop(name) for name in names if name in self.said and name not in self.deaf}

    def close(self) -> None:
        self.is_closed = True

    def names(self) -> list[str]:
        return [setup.camera.name for setup in self.started]


@pytest.fixture
def crew() -> ScriptedCrew:
    return ScriptedCrew()


def supervisor(
    crew: ScriptedCrew, folder: Path, urls: Iterable[str] = ("rtsp://h/a", "rtsp://h/b"), **options: Any
) -> Watch:
    (folder / "state").mkdir(exist_ok=True)
    settings = load_settings([*urls], {"state": str(folder / "state"), **options})

    def setup(camera: Camera) -> Setup:
        return Setup(camera, folder / camera.name, ())

    return Watch(settings, crew, setup)


class Running:
    """The supervisor on a thread, for as long as the context."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.result: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.result = self.watch.run(self._stop)

    def __enter__(self) -> Self:
        self._thread.start()
        until = time.monotonic() + 30
        while not self.watch.machine().is_ready:
            assert time.monotonic() < until
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def test_a_camera_that_died_is_started_again_at_once_and_its_report_says_so(
    crew: ScriptedCrew, tmp_path: Path
) -> None:
    watch = supervisor(crew, tmp_path)
    watch.open()
    watch.round()
    assert crew.names() == ["h-a", "h-b"]
    crew.say("h-a", fault="it was killed")
    watch.round()
    assert crew.names() == ["h-a", "h-b", "h-a"]
    assert watch.machine().restarts == 1
    crew.say("h-a", fault="it was killed")
    watch.round()  # the second death in a row waits for a second
    assert crew.names() == ["h-a", "h-b", "h-a"]
    report = {r.name: r for r in watch.cameras()}["h-a"]
    assert report.state == "connecting" and "killed" in report.message


def test_a_camera_whose_folder_is_refused_does_not_keep_the_others_from_starting(
    crew: ScriptedCrew, tmp_path: Path
) -> None:
    crew.refuses = {"h-a"}
    watch = supervisor(crew, tmp_path)
    watch.open()
    watch.round()
    assert crew.names() == ["h-b"]
    assert "cannot be written" in {r.name: r for r in watch.cameras()}["h-a"].message


def test_events_are_numbered_and_bounded(crew: ScriptedCrew, tmp_path: Path) -> None:
    watch = supervisor(crew, tmp_path)
    watch.open()
    events = tuple(CameraEvent("h-a", "new", 0.0, n, n, "car") for n in range(EVENTS + 20))
    crew.say("h-a", events=events[:3])
    watch.round()
    assert watch.events(0) == (3, list(events[:3])) and watch.events(2) == (3, [events[2]])
    crew.say("h-a", events=events[3:])
    watch.round()
    count, kept = watch.events(0)
    assert count == EVENTS + 20 and list(kept) == list(events[-EVENTS:])
    assert watch.events(count) == (count, [])


def test_commands_start_and_stop_cameras(crew: ScriptedCrew, tmp_path: Path) -> None:
    watch = supervisor(crew, tmp_path)
    watch.open()
    assert watch.command("add", {"url": "rtsp://u:s3cret@h/c"})["cameras"] == ["h-c"]
    assert watch.command("change", {"name": "h-a", "weight": 2})["cameras"] == ["h-a"]
    assert watch.command("remove", {"name": "h-b"})["cameras"] == ["h-b"]
    assert crew.names() == ["h-a", "h-b", "h-c", "h-a"] and crew.stopped == ["h-a", "h-b"]
    watch.round()
    assert {report.name for report in watch.cameras()} == {"h-a", "h-c"}
    with pytest.raises(UsageError):
        watch.command("remove", {"name": "h-b"})
    assert "s3cret" not in repr(watch.command("list", {}))
    assert watch.picture("h-a") == b"h-a" and watch.picture("h-b") is None


def test_a_changed_file_is_taken_over_and_a_wrong_one_refused(crew: ScriptedCrew, tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text("cameras: [{name: a, url: rtsp://h/a}]")
    (tmp_path / "state").mkdir()
    settings = load_settings([], {"state": str(tmp_path / "state")}, str(path))
    watch = Watch(settings, crew, lambda camera: Setup(camera, tmp_path, ()))
    watch.open()
    watch.round()
    path.write_text("cameras: [{name: a, url: rtsp://h/a}, {name: b, url: rtsp://h/b}]")
    watch.round()
    assert crew.names() == ["a", "b"]
    path.write_text("cameras: [{name: b, url: rtsp://h/b}, {name: b, url: rtsp://h/c}, ]")
    watch.round()
    assert crew.names() == ["a", "b"] and not crew.stopped
    path.write_text("cameras: [{name: b, url: rtsp://h/b}]  # and nothing else")
    watch.round()
    assert crew.stopped == ["a"]


def test_its_end_says_what_does_not_balance_and_who_was_killed(crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.deaf = {"h-b"}
    with Running(supervisor(crew, tmp_path, ("rtsp://h/a", "rtsp://h/b", "rtsp://h/c"))) as running:
        crew.say("h-a", received=10, published=7)
        crew.say("h-c", received=10, published=9, **{"dropped.overload": 1})
    assert running.result.unaccounted == {"h-a": 3} and running.result.killed == ("h-b",)
    assert crew.is_closed
    found, remark = statefile.read(tmp_path / "state")
    assert "was stopped" in remark and {camera["name"] for camera in found["cameras"]} == {
        "h-a",
        "h-b",
        "h-c",
    }


def test_it_ends_when_every_file_was_played_or_the_time_is_up(crew: ScriptedCrew, tmp_path: Path) -> None:
    watch = supervisor(crew, tmp_path, duration=0.2)
    assert watch.run(threading.Event()).unaccounted == {}
    crew = ScriptedCrew()
    watch = supervisor(crew, tmp_path)
    with Running(watch) as running:
        for name in ("h-a", "h-b"):
            crew.said[name] = News(CameraReport(name, 1, "stopped"), is_over=True)
        running._thread.join(30)
    assert running.result is not None


def test_the_cnn_s_new_process_is_counted(crew: ScriptedCrew, tmp_path: Path) -> None:
    watch = supervisor(crew, tmp_path)
    watch.open()
    watch.round()
    crew.cnn_news = CnnNews(12, True)
    watch.round()
    assert watch.machine().restarts == 1


def test_the_state_file_tells_what_is_old(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no state"):
        statefile.read(tmp_path)
    (tmp_path / statefile.NAME).write_bytes(b"{")
    with pytest.raises(UsageError, match="cannot read"):
        statefile.read(tmp_path)
    old = {"at": time.time() - 7200, "pid": 1, "is_over": False, "machine": None, "cameras": []}
    (tmp_path / statefile.NAME).write_bytes(orjson.dumps(old))
    assert "has not been heard for 2 h" in statefile.read(tmp_path)[1]
