"""Cameras on Ray: an actor, that is a process, for each camera, and one for the CNN that all of them ask.

A camera's process is small: it decodes, follows and publishes, and never loads the CNN. What it is told, its URL among it,
comes as the argument of a method, so that neither the process table nor the environment shows it. Ray starts the CNN's process
again by itself; that of a camera the supervisor starts anew, on the same counters and spool.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from everyframe.pipeline.engines.cluster import Cluster, first_line, ray_module
from everyframe.pipeline.errors import EngineError, EveryframeError
from everyframe.pipeline.live.crew import CnnNews, News, Setup
from everyframe.pipeline.live.family import Family, Rest
from everyframe.pipeline.live.types import CameraReport, LookAnswer, LookRequest
from everyframe.pipeline.settings import ModelSettings

ANSWER_S = 0.5
"""A round waits so long for news of all cameras."""
SILENT_S = 15.0
"""A process that has not answered for so long is killed."""
START_S = 180.0
"""For a process to start: on a machine that is busy with other things its imports take a minute, and killed it would begin anew."""
LOST_LOOK_S = 15.0
LOOKS_AT_ONCE = 64


class DetectorActor:
    """The CNN and its pool, in a process of its own."""

    def __init__(self, model: ModelSettings, cores: float) -> None:
        import cv2

        from everyframe.pipeline.live.cnn import Cnn

        cv2.setNumThreads(model.threads)
        self._cnn = Cnn(model, cores)

    def look(self, request: LookRequest) -> LookAnswer:
        return self._cnn.pool.serve(request)

    def forget(self, camera: str) -> None:
        self._cnn.pool.forget(camera)

    def facts(self) -> Any:
        return self._cnn.facts

    def news(self) -> CnnNews:
        return self._cnn.news()

    def pace(self, cores: float) -> None:
        self._cnn.pace(cores)


class RemoteLooker:
    """Satisfies `live.types.Looker`: asks the CNN's process, never waits for it. Used by one thread."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        self._open: dict[Any, tuple[str, int, float]] = {}

    def ask(self, request: LookRequest) -> None:
        self._open[self._detector.look.remote(request)] = request.camera, request.number, time.monotonic()

    def answers(self, camera: str) -> list[LookAnswer]:
        if not self._open:
            return []
        ray = ray_module()
        done, _ = ray.wait(list(self._open), num_returns=len(self._open), timeout=0)
        found = [self._answer(ref) for ref in done]
        late = time.monotonic() - LOST_LOOK_S
        for ref in [ref for ref, (_, _, asked) in self._open.items() if asked < late]:
            name, number, _ = self._open.pop(ref)
            found.append(LookAnswer(name, number, None, "no answer"))
        return found

    def _answer(self, ref: Any) -> LookAnswer:
        ray = ray_module()
        name, number, _ = self._open.pop(ref)
        try:
            answer: LookAnswer = ray.get(ref)
        except ray.exceptions.RayError as e:
            return LookAnswer(name, number, None, f"the CNN's process failed: {first_line(e)[:120]}")
        return answer


class CameraActor:
    """One camera, in a process of its own."""

    def __init__(self) -> None:
        import everyframe.pipeline.live.host  # noqa: F401 - so that a spare one opens its camera at once

        self._host: Any = None
        self._is_open = threading.Event()

    def open(self, setup: Setup, detector: Any) -> None:
        """Raises EveryframeError where the camera's folder can't be used."""
        import cv2

        from everyframe.pipeline.live.host import Host

        cv2.setNumThreads(1)
        self._host = Host(setup, RemoteLooker(detector), owns_process=True)
        self._is_open.set()

    def news(self) -> News:
        found: News = self._host.news()
        return found

    def pace(self, over: float) -> None:
        self._host.pace(over)

    def picture(self) -> bytes | None:
        found: bytes | None = self._host.picture()
        return found

    def stop(self, timeout_s: float) -> News | None:
        """None where it had not been opened by then."""
        began = time.monotonic()
        if not self._is_open.wait(timeout_s / 2):
            return None
        found: News = self._host.stop(timeout_s - (time.monotonic() - began))
        return found


@dataclass(slots=True)
class _Crewman:
    """A camera's actor in the driver. opened: the answer of its start; asked: of the last question, since when."""

    actor: Any
    opened: Any
    asked: Any = None
    since: float = field(default_factory=time.monotonic)
    pid: int = 0


class RayCrew:
    """Satisfies `live.crew.Crew`."""

    is_apart = True

    def __init__(self, model: ModelSettings, cores: float, address: str | None = None) -> None:
        self._model = model
        self._cores = cores
        self._is_local = address is None
        self._cluster = Cluster(os.cpu_count() or 1, address)
        self._cameras: dict[str, _Crewman] = {}
        self._family = Family(os.getpid())
        self._detector: Any = None
        self._spare: Any = None  # starting a process takes seconds: one stands by for a camera that dies
        self._cnn = CnnNews()
        self._facts: Any = None
        self._cnn_asked: Any = None

    def open(self) -> None:
        self._cluster.start(self._model.threads)
        ray = ray_module()
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": LOOKS_AT_ONCE}
        self._detector = ray.remote(**options)(DetectorActor).remote(self._model, self._cores)
        try:
            self._facts = ray.get(self._detector.facts.remote(), timeout=START_S)
        except ray.exceptions.RayTaskError as e:
            raise e.cause if isinstance(e.cause, EveryframeError) else EngineError(first_line(e)) from e
        except ray.exceptions.RayError as e:
            raise EngineError(f"the CNN's process did not start: {first_line(e)}; try --engine local") from e

    def start(self, setup: Setup) -> None:
        name = setup.camera.name
        self._kill(name)
        actor, self._spare = self._spare or self._made(), None
        self._cameras[name] = _Crewman(
            actor, actor.open.remote(replace(setup, facts=self._facts), self._detector)
        )

    def _made(self) -> Any:
        make = ray_module().remote(num_cpus=0, max_restarts=0, max_concurrency=4)
        return make(CameraActor).remote()

    def news(self) -> dict[str, News]:
        if self._spare is None and all(man.opened is None for man in self._cameras.values()):
            self._spare = self._made()
        for man in self._cameras.values():
            if man.asked is None:
                man.asked, man.since = (
                    (man.actor.news.remote() if man.opened is None else man.opened),
                    time.monotonic(),
                )
        done = self._done([man.asked for man in self._cameras.values()], ANSWER_S)
        found = {}
        for name, man in list(self._cameras.items()):
            if man.asked in done:
                heard = self._heard(name, man)
            elif time.monotonic() - man.since > (SILENT_S if man.opened is None else START_S):
                heard = self._fault(name, "it did not answer")
            else:
                continue
            if heard is not None:
                found[name] = heard
        return found

    def _heard(self, name: str, man: _Crewman) -> News | None:
        """What a camera answered; None where that was its start."""
        ray = ray_module()
        asked, man.asked = man.asked, None
        try:
            answer = ray.get(asked)
        except ray.exceptions.RayTaskError as e:
            return self._fault(
                name, str(e.cause) if isinstance(e.cause, EveryframeError) else first_line(e)[:200]
            )
        except ray.exceptions.RayError:
            return self._fault(name, "it was killed")
        if man.opened is not None:
            man.opened = None
            return None
        man.pid = answer.pid
        if answer.fault:
            self._kill(name)
        heard: News = answer
        return heard

    def _fault(self, name: str, why: str) -> News:
        self._kill(name)
        return News(CameraReport(name, 0, "connecting"), fault=why)

    def cnn(self) -> CnnNews:
        ray = ray_module()
        if self._cnn_asked is None:
            self._cnn_asked = self._detector.news.remote()
        if self._done([self._cnn_asked], ANSWER_S / 2):
            asked, self._cnn_asked = self._cnn_asked, None
            try:
                self._cnn = ray.get(asked)
            except ray.exceptions.RayError as e:
                self._cnn = CnnNews(fault=first_line(e)[:200])
            if self._cnn.fault and self._cnn.pid:  # it lives, but its net does not: Ray starts it anew
                ray.kill(self._detector, no_restart=False)
        return self._cnn

    def rest(self, now: float) -> Rest:
        """Of Ray's own processes and the spare one, where the cluster is this machine's."""
        if not self._is_local:
            return Rest()
        return self._family.take(now, set(self.process_ids().values()))

    def pace(self, cnn_cores: float, over: float) -> None:
        self._detector.pace.remote(cnn_cores)
        for man in self._cameras.values():
            if man.opened is None:
                man.actor.pace.remote(over)

    def picture(self, camera: str) -> bytes | None:
        ray = ray_module()
        man = self._cameras.get(camera)
        if man is None or man.opened is not None:
            return None
        try:
            found: bytes | None = ray.get(man.actor.picture.remote(), timeout=2.0)
        except ray.exceptions.RayError:
            return None
        return found

    def stop(self, cameras: Iterable[str], timeout_s: float) -> dict[str, News]:
        ray = ray_module()
        refs = {}
        for name in cameras:
            man = self._cameras.get(name)
            if man is not None:
                refs[man.actor.stop.remote(timeout_s)] = name
        found = {}
        for ref in self._done(list(refs), timeout_s + 0.5):
            with suppress(ray.exceptions.RayError):
                found[refs[ref]] = ray.get(ref) or News(CameraReport(refs[ref], 0, "stopped"))
        for name in cameras:
            self._kill(name)
            self._detector.forget.remote(name)
        return found

    def close(self) -> None:
        for name in list(self._cameras):
            self._kill(name)
        self._cluster.close([actor for actor in (self._detector, self._spare) if actor is not None])

    def process_ids(self) -> dict[str, int]:
        """Of cameras, and of the CNN under the empty name."""
        return {name: man.pid for name, man in self._cameras.items()} | {"": self._cnn.pid}

    def _done(self, refs: list[Any], timeout_s: float) -> set[Any]:
        if not refs:
            return set()
        return set(ray_module().wait(refs, num_returns=len(refs), timeout=timeout_s)[0])

    def _kill(self, name: str) -> None:
        man = self._cameras.pop(name, None)
        if man is None:
            return
        ray_module().kill(man.actor)
        if self._is_local and man.pid:
            with suppress(
                OSError
            ):  # one that is stopped does not hear Ray; its number may be another's by now
                if b"ray::CameraActor" in Path(f"/proc/{man.pid}/cmdline").read_bytes():
                    os.kill(man.pid, signal.SIGKILL)
