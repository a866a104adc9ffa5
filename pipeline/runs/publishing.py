"""Where the labels of a run go: label files, and Redis if there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from everyframe.pipeline.errors import SettingsError
from everyframe.pipeline.models import class_names
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import RunSettings
from everyframe.pipeline.sinks.base import Sink
from everyframe.pipeline.sinks.embedded import EmbeddedRedis
from everyframe.pipeline.sinks.entries import stream_key
from everyframe.pipeline.sinks.redis import Connection
from everyframe.pipeline.sinks.registry import RedisTarget, make_sinks


@dataclass(slots=True)
class Publishing:
    """Makes the sinks of each source. url: of the Redis that is published to, None without.

    read_from: what `everyframe labels` reads it back from after the run: the URL, or an embedded server's folder.
    """

    settings: RunSettings
    url: str | None = None
    read_from: str | None = None
    server: EmbeddedRedis | None = None

    @classmethod
    def open(cls, settings: RunSettings) -> Publishing:
        """Starts the embedded server, or sees that the server at the URL answers. Raises RedisError, SettingsError."""
        where = settings.redis or os.environ.get("REDIS_URL") or "none"
        if where == "none":
            return cls(settings)
        if where == "embedded":
            server = EmbeddedRedis(Path(settings.out) / "redis")
            return cls(settings, server.url, str(Path(settings.out) / "redis"), server)
        if "://" not in where:
            raise SettingsError("--redis: write a URL such as redis://localhost:6379/0, embedded or none")
        connection = Connection(where, settings.redis_wait, "--redis-wait")
        try:
            connection.do(connection.client.ping, "before the run")
        finally:
            connection.close()
        return cls(settings, where, where)

    def sinks_for(self, info: SourceInfo, name: str) -> list[Sink]:
        """The sinks of one source, known by `name` in this run."""
        s = self.settings
        target = None if self.url is None else RedisTarget(self.url, s.redis_maxlen, s.redis_wait)
        sinks = make_sinks(s.format, s.out, info, class_names(s.model), stem=name, redis=target)
        if self.server is not None:
            # The socket is gone after the run; the folder is what a user can name again.
            sinks[-1].location = f"{self.read_from} {stream_key(name)}"
        return sinks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.server is not None:
            self.server.stop()
