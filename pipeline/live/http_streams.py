"""Answers that go on: server-sent events once a second, and pictures for as long as somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from anyio import CapacityLimiter, to_thread
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from everyframe import __version__
from everyframe.operators.types import Origin
from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.live.http_history import Sample, Sampler
from everyframe.pipeline.live.status import dropped, f1_json, finite, quantile, rungs_text
from everyframe.pipeline.live.types import PUBLISHED, RECEIVED, Board, CameraEvent, CameraReport
from everyframe.pipeline.pictures.overlay import STYLES

EVERY_S = 1.0
PICTURE_S = 0.2
"""A camera's picture is drawn at most once in this time, however many look."""
FIRST_PICTURE_S = 2.0
_DRAWING = 8  # pictures that are waited for at a time
_BACKLOG = 100  # events that a new viewer gets
_STRIP = 300  # frames of the rung strip
_BOUNDARY = "everyframe"


class Pictures:
    """The latest picture of each camera, drawn once for all who look. For one event loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._last: dict[str, tuple[float, bytes | None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._threads: CapacityLimiter | None = None

    async def latest(self, camera: str) -> bytes | None:
        """A JPEG of at most `PICTURE_S` ago."""
        async with self._locks.setdefault(camera, asyncio.Lock()):
            at, data = self._last.get(camera, (-1.0, None))
            if data is None or time.monotonic() - at >= PICTURE_S:
                # Threads of their own: pictures that don't come must not keep health and figures waiting.
                self._threads = self._threads or CapacityLimiter(_DRAWING)
                data = await to_thread.run_sync(
                    self._board.picture, camera, limiter=self._threads, abandon_on_cancel=True
                )
                self._last[camera] = time.monotonic(), data
            return data

    async def first(self, camera: str) -> bytes | None:
        """The latest one, waited for: nobody may have looked before, so that none is drawn yet."""
        until = time.monotonic() + FIRST_PICTURE_S
        while (data := await self.latest(camera)) is None and time.monotonic() < until:
            await asyncio.sleep(0.1)
        return data


async def picture_response(pictures: Pictures, camera: str) -> Response:
    """One JPEG; 204 where there is none now, which is no error to a browser."""
    data = await pictures.first(camera)
    if data is None:
        return Response(status_code=204)
    return Response(data, media_type="image/jpeg")


def pictures_response(pictures: Pictures, camera: str, sampler: Sampler, stopping: asyncio.Event) -> Response:
    """Pictures one after the other (multipart/x-mixed-replace), each when it is new, until the viewer goes, the camera is
    removed or the server stops."""

    async def parts() -> AsyncIterator[bytes]:
        shown: bytes | None = None
        while not stopping.is_set() and _is_known(sampler.latest, camera):
            data = await pictures.latest(camera)
            if data is not None and data != shown:
                # A browser shows a part when the next boundary comes: so it is sent behind, not before.
                opening = b"" if shown is not None else f"--{_BOUNDARY}\r\n".encode()
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                yield opening + head + data + f"\r\n--{_BOUNDARY}\r\n".encode()
                shown = data
            await _wait(stopping, PICTURE_S)

    return StreamingResponse(parts(), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")


def _is_known(sample: Sample | None, camera: str) -> bool:
    return sample is not None and any(report.name == camera for report in sample.cameras)


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


def events_response(board: Board, sampler: Sampler, stopping: asyncio.Event, last_id: str) -> Response:
    """Server-sent events (WHATWG HTML, 9.2): `hello` with what stays, then `state` once a second.

    last_id: the id of the last one that a viewer got before it lost the connection; it goes on behind it.
    """

    async def messages() -> AsyncIterator[ServerSentEvent]:
        while sampler.latest is None and not stopping.is_set():
            await _wait(stopping, 0.1)
        if sampler.latest is None:
            return
        yield ServerSentEvent(event="hello", data=_dumped(_hello(sampler)), retry=2000)
        epoch = sampler.latest.machine.epoch
        after = _resume(last_id, epoch)
        while not stopping.is_set():
            newest, events = await run_in_threadpool(board.events, after or 0)
            is_fresh, after = after is None, newest
            shown = [event_json(event) for event in events[-_BACKLOG:]]
            state = state_json(sampler.latest) | {"events": shown, "fresh": is_fresh}
            yield ServerSentEvent(event="state", data=_dumped(state), id=f"{epoch}-{after}")
            await _wait(stopping, EVERY_S)

    return EventSourceResponse(messages(), ping=15, send_timeout=30)


def _resume(last_id: str, epoch: int) -> int | None:
    """The number of the last event seen; None for a new viewer, also of a server that has begun anew."""
    before, _, number = last_id.partition("-")
    if before != str(epoch) or not number.isdigit():
        return None
    return int(number)


def _hello(sampler: Sampler) -> dict[str, Any]:
    origins = [
        {
            "name": origin.label,
            "colour": "#{2:02x}{1:02x}{0:02x}".format(*STYLES[origin].colour),
            "dashes": list(STYLES[origin].dashes),
        }
        for origin in Origin
    ]
    return {"version": __version__, "origins": origins, "history": sampler.history()}


def state_json(sample: Sample) -> dict[str, Any]:
    """What the page needs each second."""
    machine = sample.machine
    return {
        "at": round(sample.at, 1),
        "machine": {
            "ready": machine.is_ready,
            "cpus": machine.cpus,
            "cpu": round(machine.cpu, 3),
            "cnn": round(machine.cnn, 3),
            "memory": machine.rss_bytes,
            "waiting": machine.pool_waiting,
            "looks": machine.looks,
            "restarts": machine.restarts,
            "redis": mask_secrets(machine.redis),
        },
        "cameras": [_camera_json(report, sample.cores.get(report.name)) for report in sample.cameras],
    }


def _camera_json(report: CameraReport, cores: float | None) -> dict[str, Any]:
    return {
        "name": report.name,
        "state": report.state,
        "message": mask_secrets(report.message),
        "size": [report.width, report.height],
        "fps": round(report.fps, 1),
        "cpu": None if cores is None else round(cores, 3),
        "f1": f1_json(report),
        "level": report.level,
        "level_name": report.level_name,
        "lag": round(report.lag_s, 2),
        "spool": report.waiting,
        "received": report.counts.get(RECEIVED, 0),
        "published": report.counts.get(PUBLISHED, 0),
        "dropped": dropped(report.counts),
        "p99": None if report.publish is None else quantile(report.publish, 0.99),
        "price": finite(report.price),
        "policy": report.policy,
        "tracks": report.tracks,
        "rungs": rungs_text(report.rungs, _STRIP),
    }


def event_json(event: CameraEvent) -> dict[str, Any]:
    return {
        "at": round(event.at, 2),
        "camera": event.camera,
        "kind": event.kind,
        "track": event.track_id,
        "label": event.label,
        "place": event.place,
        "dwell": round(event.dwell_s, 1),
    }


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()
