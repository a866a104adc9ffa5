"""The server over real sockets: paths, tokens, streams, addresses that can't be had, a stop that is quick."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import cv2
import numpy as np
import pytest
from boards import ClipBoard, dashcam

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.live.http import Server, parse_address, serve
from everyframe.pipeline.live.http_app import STALE_S, health_of, readiness_of
from everyframe.pipeline.live.http_history import Sample, Sampler
from everyframe.pipeline.live.types import CameraEvent

TOKEN = "correct-horse-battery"


@pytest.fixture
def board() -> Iterator[ClipBoard]:
    made = ClipBoard(dashcam(), ["yard", "gate 2/é"])
    made.step(12)
    yield made
    made.stop()


@pytest.fixture
def started() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(board: ClipBoard, where: str = "127.0.0.1:0", token: str | None = None) -> Server:
        servers.append(serve(board, where, token))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def port_of(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def ask(
    server: Server, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)) as line:
        line.request(method, path, body, headers or {})
        answer = line.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def until(found: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def read_states(server: Server, count: int, headers: dict[str, str] | None = None) -> list[tuple[str, str, Any]]:
    """(event, id, data) of the first messages of /events."""
    found = []
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)) as line:
        line.request("GET", "/events", headers=headers or {})
        answer = line.getresponse()
        assert answer.status == 200 and answer.getheader("content-type", "").startswith("text/event-stream")
        fields: dict[str, str] = {}
        while len(found) < count:
            text = answer.readline().decode().rstrip("\r\n")
            if not text and "data" in fields:
                found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
                fields = {}
            name, _, value = text.partition(": ")
            fields[name] = value
    return found


def test_health_and_readiness(board: ClipBoard, started: Callable[..., Server]) -> None:
    board.change("yard", state="connecting", width=0)
    board.set_machine(is_ready=False)
    server = started(board)
    assert ask(server, "/healthz")[::2] == (200, b"ok\n")
    assert ask(server, "/readyz")[::2] == (503, b"the detector is being loaded\n")
    board.set_machine(is_ready=True)
    until(lambda: ask(server, "/readyz")[2] == b"connecting for the first time: yard\n")
    board.change("yard", state="failed")  # given up: the others are not kept waiting
    until(lambda: ask(server, "/readyz")[0] == 200)


def test_health_fails_when_the_parts_do_not_answer(board: ClipBoard) -> None:
    now = time.monotonic()
    machine = board.machine()
    fresh = Sample(0.0, machine, (), {}, now)
    assert health_of(fresh, now) == ""
    assert "does not answer" in health_of(fresh, now + STALE_S + 1)
    assert "does not answer" in health_of(None, now)
    board.set_machine(heard=now - STALE_S - 30)
    assert "no round for 60 s" in health_of(Sample(0.0, board.machine(), (), {}, now), now)
    assert "not answered" in readiness_of(None)


def test_a_board_that_fails_does_not_end_the_server(
    board: ClipBoard, started: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = started(board)
    board.fault = RuntimeError("gone to rtsp://user:hidden@camera/1")
    status, _, body = ask(server, "/api/status")
    assert status == 500 and b"hidden" not in body
    board.fault = None
    assert ask(server, "/api/status")[0] == 200


def test_status_is_what_the_reports_say(board: ClipBoard, started: Callable[..., Server]) -> None:
    board.change("yard", message="refused by rtsp://admin:hunter2@cam/1")
    _, headers, body = ask(started(board), "/api/status")
    found = json.loads(body)
    assert headers["content-type"] == "application/json"
    yard = found["cameras"][0]
    assert yard["counts"]["received"] == 12 and yard["counts"]["rung.detected"] == 2
    assert yard["rungs"] == "0" + "1" * 9 + "0" + "1"
    assert 0 < yard["f1"]["low"] <= yard["f1"]["f1"] <= yard["f1"]["high"] <= 1
    assert yard["message"] == "refused by rtsp://***@cam/1"
    assert found["machine"]["cpus"] == 1.5
    board.change("yard", price=float("nan"))
    assert json.loads(ask(started(board), "/api/status")[2])["cameras"][0]["price"] is None


def test_pictures_are_drawn_only_when_asked_for(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    for path in ("/", "/page.js", "/metrics", "/api/status", "/healthz"):
        assert ask(server, path)[0] == 200
    read_states(server, 2)
    assert board.asked == []
    status, headers, body = ask(server, "/camera/yard.jpg")
    assert (status, headers["content-type"], board.asked) == (200, "image/jpeg", ["yard"])
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (360, 640, 3)
    assert ask(server, "/camera/gate%202%2F%C3%A9.jpg")[0] == 200
    for path in ("/camera/other.jpg", "/camera/yard.png", "/camera/yard", "/camera/..%2fyard.jpg", "/camera/.jpg"):
        assert ask(server, path)[0] == 404, path


def test_a_picture_that_is_not_there_is_no_error(started: Callable[..., Server]) -> None:
    board = ClipBoard(dashcam())
    status, _, body = ask(started(board), "/camera/yard.jpg")
    assert (status, body) == (204, b"")


def test_many_viewers_cost_one_drawing(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    began = time.monotonic()
    for _ in range(10):
        assert ask(server, "/camera/yard.jpg")[0] == 200
    # at most one in 0.2 s, however long the ten took
    assert len(board.asked) <= 1 + (time.monotonic() - began) / 0.2


def test_moving_pictures_change_and_end_with_the_camera(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)) as line:
        line.request("GET", "/camera/yard.mjpg")
        answer = line.getresponse()
        assert answer.getheader("content-type") == "multipart/x-mixed-replace; boundary=everyframe"
        assert answer.readline() == b"--everyframe\r\n"
        parts = []
        for _ in range(3):
            board.step(3)
            head = [answer.readline() for _ in range(3)]
            found = re.match(rb"Content-Length: (\d+)", head[1])
            assert head[0] == b"Content-Type: image/jpeg\r\n" and head[2] == b"\r\n" and found is not None
            parts.append(answer.read(int(found[1])))
            assert answer.readline() == b"\r\n" and answer.readline() == b"--everyframe\r\n"
        assert len(set(parts)) == 3
        assert all(part.startswith(b"\xff\xd8") and part.endswith(b"\xff\xd9") for part in parts)
        board.remove("yard")
        answer.read()  # ends


def test_pictures_that_do_not_come_keep_nothing_else_waiting(
    board: ClipBoard, started: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(board, "picture", lambda camera: release.wait(60) and None)
    server = started(board)
    lines = []
    for i in range(60):
        line = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        line.request("GET", f"/camera/yard.jpg?{i}")
        lines.append(line)
    sampled = server._site.sampler.latest
    until(lambda: server._site.sampler.latest is not sampled)
    for path in ("/healthz", "/api/status", "/metrics"):
        assert ask(server, path)[0] == 200
    server.stop(timeout=20)
    assert not server._thread.is_alive()
    release.set()
    for line in lines:
        line.close()


def test_events_tell_what_changes_and_go_on_where_they_were(
    board: ClipBoard, started: Callable[..., Server]
) -> None:
    board._events[:] = [CameraEvent("yard", "new", 5.0, i, i, "car") for i in range(150)]
    server = started(board)
    hello, first = read_states(server, 2)
    assert hello[0] == "hello" and hello[2]["origins"][1]["name"] == "propagated"
    assert re.fullmatch("#[0-9a-f]{6}", hello[2]["origins"][1]["colour"])
    assert first[0] == "state" and first[2]["fresh"]
    assert [event["track"] for event in first[2]["events"]] == list(range(50, 150))
    assert {camera["name"] for camera in first[2]["cameras"]} == {"yard", "gate 2/é"}
    board._events.append(CameraEvent("yard", "gone", 6.0, 150, 150, "car", dwell_s=2.0))
    _, again = read_states(server, 2, {"Last-Event-ID": first[1]})
    assert [event["track"] for event in again[2]["events"]] == [150] and not again[2]["fresh"]
    # of another life of the server: all that is kept
    _, other = read_states(server, 2, {"Last-Event-ID": "1-150"})
    assert other[2]["fresh"] and len(other[2]["events"]) == 100


def test_nothing_that_is_streamed_holds_up_the_end(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    lines = []
    for path in ("/events", "/camera/yard.mjpg", "/events"):
        line = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        line.request("GET", path)
        assert line.getresponse().status == 200
        lines.append(line)
    server.stop(timeout=20)
    assert not server._thread.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port_of(server)), 2)
    server.stop()
    for line in lines:
        line.close()
    again = started(board, server.address)  # the port is free at once
    assert ask(again, "/healthz")[0] == 200


def test_a_token_is_asked_for_everywhere_but_by_probes(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board, token=TOKEN)
    for path in ("/metrics", "/api/status", "/events", "/camera/yard.jpg", "/camera/yard.mjpg", "/page.js", "/none"):
        status, headers, body = ask(server, path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer"), path
        assert b"yard" not in body
        wrong = {"Authorization": f"Bearer {TOKEN}x", "Cookie": f"everyframe-{port_of(server)}=1"}
        assert ask(server, path, wrong)[0] == 401
        assert ask(server, path, {"Authorization": "Bearer é"})[0] == 401
    status, _, body = ask(server, "/")
    assert status == 401 and b'type="password"' in body
    assert ask(server, "/healthz")[0] == 200
    board.set_machine(is_ready=False)
    until(lambda: ask(server, "/readyz")[::2] == (503, b"not ok\n"))
    assert b"detector" in ask(server, "/readyz", {"Authorization": f"Bearer {TOKEN}"})[2]
    assert ask(server, "/metrics", {"Authorization": f"bearer {TOKEN}"})[0] == 200


@pytest.mark.parametrize("how", ["address", "form"])
def test_a_browser_keeps_a_cookie_and_not_the_token(
    board: ClipBoard, started: Callable[..., Server], how: str
) -> None:
    server = started(board, token=TOKEN)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    if how == "address":
        status, headers, _ = ask(server, f"/?token={TOKEN}")
    else:
        status, headers, _ = ask(server, "/", form, "POST", f"token={TOKEN}")
    assert (status, headers["location"]) == (303, "./")
    cookie = headers["set-cookie"]
    assert TOKEN not in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie
    pair = cookie.partition(";")[0]
    status, _, body = ask(server, "/", {"Cookie": f"other=1; {pair}"})
    assert status == 200 and b'id="cameras"' in body
    assert ask(server, "/api/status", {"Cookie": pair})[0] == 200
    assert ask(server, "/?token=wrong")[0] == 401
    assert ask(server, "/", form, "POST", "token=wrong")[0] == 401
    assert ask(server, "/", form, "POST", "token=" + "x" * 100_000)[0] == 401
    other = started(board, token="another-token")
    renamed = pair.replace(str(port_of(server)), str(port_of(other)))
    assert ask(other, "/api/status", {"Cookie": renamed})[0] == 401


def test_without_a_token_only_names_of_this_machine_are_answered(
    board: ClipBoard, started: Callable[..., Server]
) -> None:
    server = started(board)
    for host in ("localhost", "127.0.0.1", f"localhost:{port_of(server)}", "[::1]:80"):
        assert ask(server, "/api/status", {"Host": host})[0] == 200, host
    for host in ("evil.example", "evil.example:8080", "", "127.0.0.1.evil.example"):
        assert ask(server, "/api/status", {"Host": host})[0] == 421, host
    assert ask(server, "/?token=not-needed")[1]["location"] == "./"


def test_every_answer_has_the_headers_that_browsers_obey(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    for path in ("/", "/page.js", "/page.css", "/api/status", "/camera/yard.jpg", "/none", "/metrics"):
        headers = ask(server, path)[1]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert ask(server, "/", method="DELETE")[0] == 405


@pytest.mark.parametrize(
    ("where", "address"),
    [(":8080", ("127.0.0.1", 8080)), ("8080", ("127.0.0.1", 8080)), ("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:90", ("::1", 90))],
)  # fmt: skip
def test_addresses(where: str, address: tuple[str, int]) -> None:
    assert parse_address(where) == address


@pytest.mark.parametrize("where", ["", ":", "host:", "host:port", "::1:80", "1.2.3.4:70000", "host:-1", "host:٨٠"])
def test_what_is_no_address_is_refused_with_a_sentence(where: str) -> None:
    with pytest.raises(UsageError, match=r"^--http .* is no address: .* as in \S+$"):
        parse_address(where)


def test_other_addresses_need_a_token(board: ClipBoard, started: Callable[..., Server]) -> None:
    for token in (None, "", "  "):
        with pytest.raises(UsageError, match=r"other machines: give a token with --http-token, or use 127.0.0.1:80"):
            serve(board, "0.0.0.0:8099", token)
    with pytest.raises(UsageError, match="ASCII"):
        serve(board, "127.0.0.1:0", "two words")
    server = started(board, "0.0.0.0:0", TOKEN)
    assert ask(server, "/api/status", {"Authorization": f"Bearer {TOKEN}", "Host": "anything"})[0] == 200


def test_a_port_that_is_taken_and_a_host_that_is_not_ours(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    with pytest.raises(UsageError, match=r"port \d+ is taken: end the program that uses it, or name another port"):
        serve(board, server.address, None)
    with pytest.raises(UsageError, match=r"has no address 192\.0\.2\.1"):
        serve(board, "192.0.2.1:0", TOKEN)
    with pytest.raises(UsageError, match="is not known here"):
        serve(board, "no-such-host.invalid:80", TOKEN)


def test_requests_without_end_are_cut_off(board: ClipBoard, started: Callable[..., Server]) -> None:
    server = started(board)
    with closing(socket.create_connection(("127.0.0.1", port_of(server)), 20)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
        assert b"400" in line.recv(100)
    assert ask(server, "/healthz")[0] == 200


def test_cpu_of_a_camera_over_the_last_seconds(board: ClipBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("everyframe.pipeline.live.http_history.time.monotonic", lambda: clock[0])
    sampler = Sampler(board)
    board.change("yard", cpu_s=50.0)
    assert sampler.tick().cores == {}
    for second in range(1, 9):
        clock[0] += 1.0
        board.change("yard", cpu_s=50.0 + 0.25 * second)
        sampler.tick()
    assert sampler.cores()["yard"] == pytest.approx(0.25)
    clock[0] += 1.0
    board.change("yard", cpu_s=0.1, epoch=9)  # a new process begins at nought
    assert "yard" not in sampler.tick().cores
    clock[0] += 1.0
    board.change("yard", cpu_s=0.6)
    assert sampler.tick().cores["yard"] == pytest.approx(0.5)
    board.remove("yard")
    sampler.tick()
    history = sampler.history()
    assert list(history["cameras"]) == ["gate 2/é"] and len(history["at"]) == len(history["cpu"]) == 12
