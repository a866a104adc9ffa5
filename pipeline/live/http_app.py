"""The paths: health, metrics, state, events, pictures and the page. docs/operations.md says what each answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from everyframe.pipeline.live.http_access import Access, Gate, posted_token
from everyframe.pipeline.live.http_history import Sample, Sampler
from everyframe.pipeline.live.http_streams import (
    Pictures,
    events_response,
    picture_response,
    pictures_response,
)
from everyframe.pipeline.live.metrics import BoardCollector, make_metrics
from everyframe.pipeline.live.status import status_json
from everyframe.pipeline.live.types import Board, CameraReport

TICK_S = 1.0
STALE_S = 30.0
"""The parts answer at least this often, or /healthz says that they don't."""
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}
_LOG = logging.getLogger("everyframe.http")

Handler = Callable[[Request], Awaitable[Response]]


class Site:
    """What the paths share. `stop` may be called from any thread."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.sampler = Sampler(board)
        self.pictures = Pictures(board)
        self.scrape = make_metrics(BoardCollector(board, self.sampler.cores))
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def stopping(self) -> asyncio.Event:
        assert self._stopping is not None, "the server has not started"
        return self._stopping

    @contextlib.asynccontextmanager
    async def alive(self, _: Starlette) -> AsyncIterator[None]:
        """Samples the board once a second while the server runs."""
        self._stopping, self._loop = asyncio.Event(), asyncio.get_running_loop()
        with contextlib.suppress(Exception):
            await run_in_threadpool(self.sampler.tick)
        task = asyncio.create_task(self._sample())
        yield
        self._stopping.set()
        task.cancel()

    def stop(self) -> None:
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # closed already
                loop.call_soon_threadsafe(stopping.set)

    async def _sample(self) -> None:
        is_told = False
        while not self.stopping.is_set():
            await asyncio.sleep(TICK_S)
            try:
                await run_in_threadpool(self.sampler.tick)
                is_told = False
            except Exception as e:  # noqa: BLE001 - what the board can't say now it may say later
                if not is_told:
                    _LOG.error(f"the state of the cameras cannot be read ({type(e).__name__}: {e})")
                is_told = True


def health_of(sample: Sample | None, now: float) -> str:
    """Empty while the process lives and its parts answer, else what does not. now: `time.monotonic()`."""
    if sample is None or now - sample.heard > STALE_S:
        return "the supervisor does not answer"
    heard = sample.machine.heard
    if heard and now - heard > STALE_S:
        return f"the supervisor has made no round for {now - heard:.0f} s"
    return ""


def readiness_of(sample: Sample | None) -> str:
    """Empty once the detector is loaded and every camera was connected once, or could not be; else what is missing."""
    if sample is None:
        return "the supervisor has not answered yet"
    if not sample.machine.is_ready:
        return "the detector is being loaded"
    waits = [camera.name for camera in sample.cameras if not _is_settled(camera)]
    return f"connecting for the first time: {', '.join(waits)}" if waits else ""


def _is_settled(camera: CameraReport) -> bool:
    return camera.state != "connecting" or camera.width > 0


def make_app(site: Site, gate: Gate) -> Starlette:
    """The application; every answer passes `Access`."""
    routes = [
        Route("/healthz", _healthz(site, gate)),
        Route("/readyz", _readyz(site, gate)),
        Route("/metrics", _metrics(site)),
        Route("/api/status", _status(site)),
        Route("/events", _events(site)),
        Route("/camera/{name:path}", _camera(site)),
        Route("/", _page(gate), methods=["GET", "POST"]),
        *(Route(f"/{name}", _static(name)) for name in ("page.css", "page.js", "icon.svg")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Access, gate=gate)], lifespan=site.alive)


def _healthz(site: Site, gate: Gate) -> Handler:
    async def answer(request: Request) -> Response:
        return _verdict(health_of(site.sampler.latest, time.monotonic()), gate.admits(request.headers))

    return answer


def _readyz(site: Site, gate: Gate) -> Handler:
    async def answer(request: Request) -> Response:
        return _verdict(readiness_of(site.sampler.latest), gate.admits(request.headers))

    return answer


def _verdict(trouble: str, may_know: bool) -> Response:
    """ok, or 503; what is wrong names cameras, so it is told to those who may know."""
    if not trouble:
        return PlainTextResponse("ok\n")
    return PlainTextResponse(f"{trouble if may_know else 'not ok'}\n", 503)


def _metrics(site: Site) -> Handler:
    async def answer(request: Request) -> Response:
        body, kind = await run_in_threadpool(site.scrape, request.headers.get("accept", ""))
        return Response(body, media_type=None, headers={"Content-Type": kind})

    return answer


def _status(site: Site) -> Handler:
    async def answer(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(lambda: status_json(site.board.machine(), site.board.cameras())))

    return answer


def _events(site: Site) -> Handler:
    async def answer(request: Request) -> Response:
        return events_response(site.board, site.sampler, site.stopping, request.headers.get("last-event-id", ""))

    return answer


def _camera(site: Site) -> Handler:
    async def answer(request: Request) -> Response:
        name, _, kind = request.path_params["name"].rpartition(".")
        known = {c.name for c in site.sampler.latest.cameras} if site.sampler.latest else set()
        if name not in known or kind not in ("jpg", "mjpg"):
            return PlainTextResponse("no such picture: /camera/NAME.jpg or /camera/NAME.mjpg\n", 404)
        if kind == "jpg" or request.method == "HEAD":
            return await picture_response(site.pictures, name)
        return pictures_response(site.pictures, name, site.sampler, site.stopping)

    return answer


def _page(gate: Gate) -> Handler:
    page, login = _file("page.html"), _file("login.html")

    async def answer(request: Request) -> Response:
        given = request.query_params.get("token", "")
        if request.method == "POST":
            given = await posted_token(request)
        if gate.needs_token and given and gate.is_token(given):
            return gate.welcome(request)
        if request.method == "POST" or (gate.needs_token and not gate.admits(request.headers)):
            return Response(login, 401, media_type=_KINDS["html"], headers={"WWW-Authenticate": "Bearer"})
        if "token" in request.query_params:  # not needed, or wrong: out of the address bar all the same
            return Response(status_code=303, headers={"Location": "./"})
        return Response(page, media_type=_KINDS["html"])

    return answer


def _static(name: str) -> Handler:
    body, kind = _file(name), _KINDS[name.rpartition(".")[2]]

    async def answer(_: Request) -> Response:
        return Response(body, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


def _file(name: str) -> bytes:
    return (files("everyframe.pipeline.live") / "page" / name).read_bytes()
