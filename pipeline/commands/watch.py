"""`everyframe watch`: cameras in, labels of every frame out, until it is told to stop."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.live.help import WATCH_HELP

if TYPE_CHECKING:
    from everyframe.pipeline.live.watch import WatchResult


def _option(key: str, group: Any) -> Parameter:
    return Parameter(help=WATCH_HELP[key], group=group, negative=())


def watch(
    *cameras: Annotated[
        str,
        Parameter(
            help="rtsp(s):// and http(s):// URLs, /dev/video*, or files with --realtime. ${NAME} is read from the environment."
        ),
    ],
    config: Annotated[
        str | None,
        Parameter(
            help="YAML file of cameras and settings; changes are taken over while it runs.", group=o.ENGINE
        ),
    ] = None,
    policy: o.PolicyOption = None,
    target_f1: o.TargetOption = None,
    budget_ms: o.BudgetOption = None,
    classes: o.ClassesOption = None,
    conf: o.ConfOption = None,
    audit: o.AuditOption = None,
    seed: o.SeedOption = None,
    realtime: Annotated[bool | None, _option("realtime", o.LABELS)] = None,
    loop: Annotated[bool | None, _option("loop", o.LABELS)] = None,
    transport: Annotated[str | None, _option("transport", o.LABELS)] = None,
    cnn: o.OneCnnOptions = o.ONE_CNN,
    redis: o.RedisOption = None,
    redis_maxlen: Annotated[int | None, _option("redis_maxlen", o.OUTPUT)] = None,
    retain: Annotated[str | None, _option("retain", o.OUTPUT)] = None,
    out: Annotated[str | None, _option("out", o.OUTPUT)] = None,
    format: Annotated[list[str] | None, _option("format", o.OUTPUT)] = None,
    spool_mb: Annotated[float | None, _option("spool_mb", o.OUTPUT)] = None,
    state: Annotated[str | None, _option("state", o.OUTPUT)] = None,
    http: Annotated[str | None, _option("http", o.OUTPUT)] = None,
    http_token: Annotated[str | None, _option("http_token", o.OUTPUT)] = None,
    log_json: Annotated[bool | None, _option("log_json", o.OUTPUT)] = None,
    cpus: Annotated[float | None, _option("cpus", o.ENGINE)] = None,
    engine: Annotated[str | None, _option("engine", o.ENGINE)] = None,
    address: o.AddressOption = None,
    duration: Annotated[float | None, _option("duration", o.ENGINE)] = None,
    print_config: Annotated[bool, o.flag("Print the settings in force as YAML and stop.", o.ENGINE)] = False,
    quiet: Annotated[bool, o.flag("No table and no summary; the log still shows.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Label every frame of cameras for ever, the CNN on few of them."""
    from everyframe.pipeline.live.run import watch_cameras
    from everyframe.pipeline.live.settings import load_settings
    from everyframe.pipeline.live.settings_yaml import to_yaml

    token = http_token or os.environ.get("EVERYFRAME_HTTP_TOKEN") or None
    options = o.given(
        cnn, policy=policy, target_f1=target_f1, budget_ms=budget_ms, classes=classes, conf=conf, audit=audit,
        seed=seed, realtime=realtime, loop=loop, transport=transport, redis=redis, redis_maxlen=redis_maxlen,
        retain=retain, out=out, format=format, spool_mb=spool_mb, state=state, http=http, http_token=token,
        log_json=log_json, cpus=cpus, engine=engine, address=address, duration=duration,
    )  # fmt: skip
    settings = load_settings(cameras, options, config)
    if print_config:
        print(to_yaml(settings), end="")
        return 0
    if not settings.cameras and config is None:
        raise UsageError(
            "no camera given: name a URL, as in everyframe watch rtsp://camera/stream, or --config"
        )
    result, is_interrupted = watch_cameras(settings, quiet)
    _report(result, quiet, json)
    if is_interrupted:
        return 130
    return 1 if result.unaccounted else 0


def _report(result: WatchResult, quiet: bool, as_json: bool) -> None:
    """The summary on stdout: a table, or one JSON line."""
    import orjson

    from everyframe.pipeline.live.status import status_json, status_text

    found = status_json(result.machine, result.cameras)
    if as_json:
        found |= {"wall_s": result.wall_s, "unaccounted": result.unaccounted, "killed": list(result.killed)}
        print(orjson.dumps(found).decode(), flush=True)
    elif not quiet:
        print(status_text(found), end="", flush=True)
    if result.unaccounted:
        names = ", ".join(result.unaccounted)
        print(
            f"everyframe: frames of {names} are neither published, spooled nor counted: please report it",
            file=sys.stderr,
        )
