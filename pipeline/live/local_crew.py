"""Cameras and the CNN as threads of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import cv2

from everyframe.pipeline.errors import EveryframeError
from everyframe.pipeline.live.cnn import Cnn
from everyframe.pipeline.live.crew import CnnNews, News, Setup
from everyframe.pipeline.live.family import Family, Rest
from everyframe.pipeline.live.host import Host
from everyframe.pipeline.live.pool import LocalLooker
from everyframe.pipeline.live.types import CameraReport
from everyframe.pipeline.settings import ModelSettings


class LocalCrew:
    """Satisfies `live.crew.Crew`."""

    is_apart = False

    def __init__(self, model: ModelSettings, cores: float) -> None:
        self._model = model
        self._cores = cores
        self._cnn: Cnn | None = None
        self._hosts: dict[str, Host] = {}
        self._family = Family(os.getpid())
        self._lock = threading.Lock()  # pictures are asked for by other threads

    def open(self) -> None:
        cv2.setNumThreads(self._model.threads)
        self._cnn = Cnn(self._model, self._cores)
        self._looker = LocalLooker(self._cnn.pool)

    def start(self, setup: Setup) -> None:
        assert self._cnn is not None
        host = Host(replace(setup, facts=self._cnn.facts), self._looker)
        with self._lock:
            self._hosts[setup.camera.name] = host

    def news(self) -> dict[str, News]:
        found = {}
        for name, host in list(self._hosts.items()):
            found[name] = host.news()
            if found[name].fault:
                self.stop([name], 1.0)
        return found

    def cnn(self) -> CnnNews:
        return CnnNews(os.getpid()) if self._cnn is None else self._cnn.news()

    def rest(self, now: float) -> Rest:
        return self._family.take(now, ())

    def pace(self, cnn_cores: float, over: float) -> None:
        if self._cnn is not None:
            self._cnn.pace(cnn_cores)
        for host in self._hosts.values():
            host.pace(over)

    def picture(self, camera: str) -> bytes | None:
        with self._lock:
            host = self._hosts.get(camera)
        return None if host is None else host.picture()

    def stop(self, cameras: Iterable[str], timeout_s: float) -> dict[str, News]:
        with self._lock:
            hosts = {name: self._hosts.pop(name) for name in cameras if name in self._hosts}
        found: dict[str, News] = {}
        if not hosts:
            return found
        with ThreadPoolExecutor(len(hosts)) as threads:
            asked = {name: threads.submit(host.stop, timeout_s) for name, host in hosts.items()}
            for name, answer in asked.items():
                try:
                    found[name] = answer.result()
                except (EveryframeError, OSError) as e:
                    found[name] = News(CameraReport(name, 0, "stopped"), fault=str(e))
        for name in found:
            if self._cnn is not None:
                self._cnn.pool.forget(name)
        return found

    def close(self) -> None:
        with suppress(EveryframeError):
            self.stop(list(self._hosts), 1.0)
        if self._cnn is not None:
            self._cnn.close()
