"""`everyframe status`: how a running `everyframe watch` is doing, from another shell."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError, mask_secrets


def status(
    *,
    http: Annotated[
        str | None, Parameter(help="HOST:PORT or URL that `everyframe watch --http` serves.", group=o.OUTPUT)
    ] = None,
    http_token: Annotated[
        str | None, Parameter(help="Its token. Default: $EVERYFRAME_HTTP_TOKEN.", group=o.OUTPUT)
    ] = None,
    redis: Annotated[str | None, Parameter(help="Redis URL that it publishes to.", group=o.OUTPUT)] = None,
    state: Annotated[str, Parameter(help="Its state folder. [default: watch]", group=o.OUTPUT)] = "watch",
    json: o.JsonFlag = False,
) -> int:
    """Show the state of watched cameras; exit 1 where one is not live."""
    import orjson

    from everyframe.pipeline.live import statefile
    from everyframe.pipeline.live.status import status_text

    if http is not None and redis is not None:
        raise UsageError("--http and --redis exclude each other: give one of them")
    remark = ""
    if http is not None:
        found = _over_http(http, http_token or os.environ.get("EVERYFRAME_HTTP_TOKEN"))
    elif redis is not None:
        found = _from_redis(redis)
    else:
        found, remark = statefile.read(state)
    if json:
        print(orjson.dumps(found).decode())
    else:
        print(status_text(found, _width()), end="")
    if remark:
        print(f"everyframe: {remark}", file=sys.stderr)
    return 1 if remark or any(camera["state"] != "live" for camera in found["cameras"]) else 0


def _width() -> int:
    return os.get_terminal_size().columns if sys.stdout.isatty() else 160


def _over_http(where: str, token: str | None) -> dict[str, Any]:
    """What /api/status answers. Raises UsageError."""
    import http.client
    import urllib.error
    import urllib.request

    import orjson

    url = where if "://" in where else f"http://{'127.0.0.1' if where.startswith(':') else ''}{where}"
    shown = mask_secrets(url)
    request = urllib.request.Request(url.rstrip("/") + "/api/status")
    if not request.full_url.startswith(("http://", "https://")):
        raise UsageError(f"--http {shown} is no address: write it as HOST:PORT")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            found: dict[str, Any] = orjson.loads(answer.read())
    except urllib.error.HTTPError as e:
        advice = (
            "give its token with --http-token"
            if e.code in (401, 403)
            else "is it everyframe watch that listens there?"
        )
        raise UsageError(f"{shown} refused ({e.code}): {advice}") from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        reason = getattr(e, "reason", e)
        raise UsageError(
            f"{shown} does not answer ({reason}): is everyframe watch --http running there?"
        ) from e
    return found


def _from_redis(url: str) -> dict[str, Any]:
    """What cameras published of themselves."""
    from everyframe.pipeline.sinks.live_redis import read_statuses

    return {"machine": None, "cameras": read_statuses(url)}
