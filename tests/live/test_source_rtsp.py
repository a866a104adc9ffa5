"""Cameras over RTSP, from a real server: what they send, and how they go away and come back."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest
from media import join, make_clip
from rtsp import RtspServer
from watching_source import Watched

from everyframe.pipeline.live.backoff import Pace
from everyframe.pipeline.live.types import RECEIVED, RECONNECTS
from everyframe.pipeline.sources.live import BEFORE_KEY

Rtsp = Callable[..., RtspServer]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a small camera, a key packet every ten."""
    return make_clip(tmp_path_factory.mktemp("clip") / "raw.264", 50, 160, 120, rate=25, gop=10)


def raw_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def shown_in_order(watched: Watched) -> bool:
    """Frames of each session come out in the order of their times."""
    times = [[s.pts for s in slots if s.pts is not None] for _, slots in watched.sessions]
    return all(a < b for part in times for a, b in pairwise(part))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_frame_arrives(rtsp: Rtsp, raw: Path, transport: str) -> None:
    with Watched(rtsp(raw).url, transport=transport) as watched:
        watched.until(lambda: watched.frames >= 40, "40 frames")
    assert len(watched.sessions) == 1 and shown_in_order(watched)
    session = watched.sessions[0][0]
    assert (session.info.width, session.info.height, session.info.decode_all) == (160, 120, None)
    assert [s for s, _ in watched.states][:2] == ["connecting", "live"] and watched.states[-1][0] == "stopped"
    assert not any(a.is_suspect for a in watched.arrivals)
    watched.check_balance()


def test_no_frame_waits_for_the_next(rtsp: Rtsp, raw: Path) -> None:
    """Without B pictures a frame leaves with its own packet, although FFmpeg gives the first packets no dts."""
    with Watched(rtsp(raw).url) as watched:
        watched.until(lambda: len(watched.slots) >= 20, "20 frames")
    assert len(watched.slots) == len(watched.arrivals)


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "silent"])
def test_it_comes_back(rtsp: Rtsp, raw: Path, silent: bool) -> None:
    server = rtsp(raw)
    with Watched(server.url, read_timeout_s=1.0, open_timeout_s=2.0) as watched:
        watched.until(lambda: watched.frames >= 5, "frames")
        (server.pause if silent else server.kill)()
        watched.until_state("waiting", "nothing" if silent else "ended")
        (server.resume if silent else server.start)()
        watched.until(lambda: len(watched.sessions) >= 2 and len(watched.sessions[-1][1]) >= 5, "frames again")
    assert watched.counts[RECONNECTS] >= 1
    watched.check_balance()


def test_stop_does_not_wait_for_a_silent_camera(rtsp: Rtsp, raw: Path) -> None:
    server = rtsp(raw)
    with Watched(server.url, read_timeout_s=60.0) as watched:
        watched.until(lambda: watched.frames >= 5, "frames")
        server.pause()
        received = -1
        while received != watched.counts[RECEIVED]:  # what is on its way arrives
            received = watched.counts[RECEIVED]
            time.sleep(0.3)
        assert watched.close() < 2.0
        readers = [thread for thread in threading.enumerate() if thread.name == "cam-read"]
        assert len(readers) == 1
        server.resume()
        readers[0].join(30)
        assert not readers[0].is_alive()  # what was left behind ends with the next packet
    assert watched.states[-1][0] == "stopped"


def test_away_from_the_beginning(rtsp: Rtsp, raw: Path) -> None:
    server = rtsp(raw)
    server.kill()
    with Watched(server.url) as watched:
        watched.until_state("waiting", "refuses connections")
        server.start()
        watched.until(lambda: watched.frames >= 5, "frames")
    assert watched.counts[RECONNECTS] == 0


def test_wrong_password(rtsp: Rtsp, raw: Path) -> None:
    server = rtsp(raw, login="user:right")
    with Watched(server.url_with("user:wr0ng-s3cret"), slow=Pace(60, 60, 60)) as watched:
        sentence = watched.until_state("waiting", "password")
        assert "wr0ng-s3cret" not in str(watched.states) and "Next try in 60.0 s" in sentence
        assert watched.close() < 2.0
    with Watched(server.url_with("user:right")) as watched:
        watched.until(lambda: watched.frames >= 5, "frames")
        assert "right" not in str(watched.states)


def test_unknown_path_and_host(rtsp: Rtsp, raw: Path) -> None:
    with Watched(rtsp(raw).url.replace("/clip", "/other")) as watched:
        watched.until_state("waiting", "404")
    with Watched("rtsp://no-such-camera.invalid/clip") as watched:
        watched.until_state("waiting", "host name")


def test_resolution_changes_in_mid_stream(rtsp: Rtsp, tmp_path: Path) -> None:
    small = make_clip(tmp_path / "a.264", 15, 160, 120, rate=25, gop=15)
    large = make_clip(tmp_path / "b.264", 15, 320, 240, rate=25, gop=15)
    with Watched(rtsp(join(tmp_path / "c.264", [small, large])).url) as watched:
        watched.until(lambda: len(watched.sessions) >= 4, "four changes")
    sizes = [session.info.width for session, _ in watched.sessions]
    assert all({a, b} == {160, 320} for a, b in pairwise(sizes))
    for session, slots in watched.sessions:
        assert {slot.frame.width for slot in slots if slot.frame is not None} <= {session.info.width}
    assert watched.counts[RECONNECTS] == 0
    watched.check_balance()


@pytest.mark.parametrize("gop", [1, 600])
def test_groups_of_any_length(rtsp: Rtsp, tmp_path: Path, gop: int) -> None:
    clip = make_clip(tmp_path / "a.264", 60, 96, 64, rate=25, gop=gop)
    with Watched(rtsp(clip).url) as watched:
        watched.until(lambda: watched.frames >= 30, "30 frames")
        keys = [a.packet.facts.is_key for a in watched.arrivals if a.packet is not None]
    assert all(keys) if gop == 1 else sum(keys) <= 2
    assert len(watched.sessions) == 1
    watched.check_balance()


def test_joining_between_key_packets(rtsp: Rtsp, tmp_path: Path) -> None:
    server = rtsp(make_clip(tmp_path / "a.264", 50, 96, 64, rate=25, gop=50))
    with Watched(server.url) as first:
        first.until(lambda: first.frames >= 5, "frames")
        with Watched(server.url) as second:
            second.until(lambda: second.frames >= 3, "frames after the next key packet")
    assert second.counts[BEFORE_KEY] > 0
    assert second.arrivals[0].packet is not None and second.arrivals[0].packet.facts.is_key
    second.check_balance()


def test_b_frames_are_shown_in_order(rtsp: Rtsp, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", 40, 96, 64, rate=25, gop=20, bframes=2)
    with Watched(rtsp(clip).url) as watched:
        watched.until(lambda: len(watched.sessions) >= 2, "the clip once")
    assert len(watched.sessions[0][1]) == 40 and shown_in_order(watched)
    assert watched.sessions[0][0].info.decode_all is None
    watched.check_balance()


@pytest.mark.parametrize("rate", [1, 60])
def test_slow_and_fast_cameras(rtsp: Rtsp, tmp_path: Path, rate: int) -> None:
    clip = make_clip(tmp_path / "a.264", 60, 96, 64, rate=rate, gop=10)
    with Watched(rtsp(clip, rate=rate).url) as watched:
        watched.until(lambda: watched.frames >= (3 if rate == 1 else 100), "frames")
    assert len(watched.sessions) == 1 and shown_in_order(watched)
    watched.check_balance()


def test_after_a_lost_packet_nothing_is_trusted_until_the_next_key(rtsp: Rtsp, raw: Path, tmp_path: Path) -> None:
    packets = raw_packets(raw)
    lossy = tmp_path / "lossy.264"
    lossy.write_bytes(b"".join(packet for number, packet in enumerate(packets) if number != 14))
    with Watched(rtsp(lossy).url) as watched:
        watched.until(lambda: len(watched.arrivals) >= 49, "the clip once")
        suspects = [a.is_suspect for a in watched.arrivals[:49]]
    assert suspects == [14 <= number < 19 for number in range(49)]
    watched.check_balance()


def test_packets_are_lost_on_the_way(rtsp: Rtsp, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.264", 50, 320, 240, rate=25, gop=10)
    with Watched(rtsp(clip, loss=0.03).url, transport="udp") as watched:
        watched.until(lambda: len(watched.arrivals) >= 100, "two rounds of the clip", 60)
    suspects = [a.is_suspect for a in watched.arrivals]
    corrupt = [slot for slot in watched.slots if slot.frame is not None and slot.frame.is_corrupt]
    assert any(suspects) and corrupt
    for a, b in pairwise(watched.arrivals):  # once doubted, doubted until a key packet
        assert b.packet is not None and (b.is_suspect or not a.is_suspect or b.packet.facts.is_key)
    assert watched.frames > 50 and shown_in_order(watched)


def test_garbage_between_pictures(rtsp: Rtsp, raw: Path, tmp_path: Path) -> None:
    packets = raw_packets(raw)
    noise = bytes((i * 89 + 7) % 251 + 1 for i in range(3000))
    packets[14] = packets[14][:6] + noise  # a slice of nonsense
    spoilt = tmp_path / "spoilt.264"
    spoilt.write_bytes(b"".join(packets))
    with Watched(rtsp(spoilt).url) as watched:
        watched.until(lambda: len(watched.arrivals) >= 75, "the clip once and a half")
    assert watched.frames > 60 and shown_in_order(watched)


def test_thirty_connections_leave_nothing_open(rtsp: Rtsp, tmp_path: Path) -> None:
    server = rtsp(make_clip(tmp_path / "a.mp4", 3, 64, 48, rate=60, gop=3))

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    with Watched(server.url, usual=Pace(0.01, 0.01, 0.0)) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 3, "three connections")
        files, threads = opened(), threading.active_count()
        watched.until(lambda: watched.counts[RECONNECTS] >= 30, "thirty connections")
        watched.until(lambda: opened() <= files + 4 and threading.active_count() <= threads + 1, "what was opened is closed")
    watched.check_balance()


def test_a_port_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/clip"
        with Watched(url, open_timeout_s=0.5, read_timeout_s=0.5) as watched:
            watched.until_state("waiting", "does not answer")
            assert watched.close() < 2.0
