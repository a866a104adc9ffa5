"""When what died is started again; what is in use; whether the books balance."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from everyframe.pipeline.live.balance import dropped, missing
from everyframe.pipeline.live.crew import CnnNews
from everyframe.pipeline.live.family import Rest
from everyframe.pipeline.live.load import Load, Rate
from everyframe.pipeline.live.revival import HEALTHY_S, LONGEST_S, Revival
from everyframe.pipeline.live.types import CameraReport


@given(st.lists(st.floats(0, 200), min_size=1, max_size=30))
@hypothesis_settings(deadline=None)
def test_the_first_death_is_mended_at_once_and_waits_are_bounded(lives: list[float]) -> None:
    now, revival = 0.0, Revival(0.0)
    for life in lives:
        now += life
        before = revival
        revival = revival.died(now)
        assert revival.due is not None and 0 <= revival.due - now <= LONGEST_S + 1e-6
        if before.deaths == 0 or now - before.began > HEALTHY_S:
            assert revival.due == now
        else:
            assert revival.due >= now + 1 - 1e-6
        now = revival.due
        revival = revival.started(now)
        assert revival.due is None


def test_one_that_keeps_dying_is_started_more_and_more_seldom() -> None:
    revival, waits, now = Revival(0.0), [], 0.0
    for _ in range(8):
        revival = revival.died(now)
        assert revival.due is not None
        waits.append(revival.due - now)
        now = revival.due
        revival = revival.started(now)
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_rate_forgets_what_went_back() -> None:
    rate = Rate()
    for second in range(20):
        rate.take(float(second), 0.5 * second)
    assert abs(rate.value - 0.5) < 1e-3
    assert rate.take(20.0, 0.0) >= 0


def test_cores_of_processes_add_up() -> None:
    load = Load(2.0, is_apart=True)
    report = CameraReport("a", 0, "live")
    for second in range(30):
        cameras = [replace(report, name=name, cpu_s=0.25 * second, rss_bytes=100) for name in "ab"]
        cnn = CnnNews(1, True, cpu_s=0.5 * second, process_cpu_s=0.6 * second, rss_bytes=1000)
        cores = load.take(float(second), cameras, cnn, Rest(0.5 * second, 7_000_000))
    assert abs(cores.cnn - 0.5) < 0.02
    assert 1.55 < cores.total < 1.7 and abs(cores.total - cores.cnn - cores.cameras) < 1e-9
    made = load.report(7, cores, "", 1, cnn, 3.0)
    assert made.cpu == cores.total and made.cpus == 2.0 and made.rss_bytes > 7_001_200 and made.restarts == 1


def test_books() -> None:
    counts = {"received": 10, "published": 3, "dropped.overload": 2, "dropped.restart": 1, "rung.hold": 9}
    assert dropped(counts) == 3
    assert missing(counts, waiting=4) == 0 and missing(counts, waiting=3) == 1
