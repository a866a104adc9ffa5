"""`everyframe cameras`: adds, removes, changes and lists the cameras of a running `everyframe watch`, over Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError

Action = Literal["add", "remove", "change", "list"]


def cameras(
    action: Annotated[Action, Parameter(help="add, remove, change or list.")],
    camera: Annotated[
        str | None,
        Parameter(help="add: its URL, where watch replaces ${NAME} from its environment; else its name."),
    ] = None,
    *,
    name: Annotated[
        str | None, Parameter(help="add: its name. Default: made from the URL.", group=o.LABELS)
    ] = None,
    set: Annotated[
        list[str] | None,
        Parameter(
            help="KEY=VALUE under the names of the YAML file, as in weight=2; may be repeated.",
            group=o.LABELS,
            negative=(),
        ),
    ] = None,
    redis: Annotated[
        str | None, Parameter(help="Redis URL that watch publishes to. Default: $REDIS_URL.", group=o.OUTPUT)
    ] = None,
    wait: Annotated[float, Parameter(help="Seconds to wait for the answer. [default: 10]", group=o.OUTPUT)] = 10.0,
    json: o.JsonFlag = False,
) -> int:
    """Add, remove, change or list the cameras of a running `everyframe watch --redis`; exit 1 where it is refused."""
    import orjson

    from everyframe.pipeline.sinks.control import send_command

    url = redis or os.environ.get("REDIS_URL") or ""
    if "://" not in url:
        raise UsageError("name the Redis that watch publishes to, as in --redis redis://localhost:6379/0")
    if not 0 < wait <= 600:
        raise UsageError("--wait: write seconds, above 0 and up to 600")
    row = _row(action, camera, name, set or ())
    try:
        answer = send_command(url, action, row, wait)
    except UsageError as e:  # what the running one refuses is a failure, not a wrong command line
        print(f"everyframe: {e}", file=sys.stderr)
        return 1
    print(orjson.dumps(answer).decode() if json else _text(action, answer), flush=True)
    return 0


def _row(action: Action, camera: str | None, name: str | None, given: Sequence[str]) -> dict[str, Any]:
    """A camera's settings as the command takes them. Raises UsageError."""
    if action == "list":
        if camera is not None or name is not None or given:
            raise UsageError("cameras list takes no camera and no settings")
        return {}
    if not camera:
        what = "its URL, as in cameras add rtsp://camera/stream" if action == "add" else "its name"
        raise UsageError(f"cameras {action}: name the camera by {what}")
    if action != "add" and name is not None:
        raise UsageError(f"--name is for cameras add alone: cameras {action} {camera}")
    if action == "remove" and given:
        raise UsageError("cameras remove takes no --set")
    if action == "change" and not given:
        raise UsageError(f"cameras change {camera}: say what with --set, as in --set weight=2")
    row: dict[str, Any] = _settings(given)
    for key in ("name", "url") if action == "add" else ("name",):
        if key in row:
            raise UsageError(f"--set {key}: a camera's {key} is given by itself, not by --set")
    if action != "add":
        return {"name": camera, **row}
    return {"url": camera, **({"name": name} if name is not None else {}), **row}


def _settings(given: Sequence[str]) -> dict[str, Any]:
    """Values are read as YAML: numbers, lists and zones too."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key:
            raise UsageError("--set: write KEY=VALUE, as in --set weight=2")
        try:
            found[key] = YAML(typ="safe", pure=True).load(value)
        except YAMLError as e:  # whose text repeats the value, which may be secret
            raise UsageError(f"--set {key}: its value is not valid YAML: quote it") from e
    return found


def _text(action: Action, answer: dict[str, Any]) -> str:
    """One line for each camera."""
    rows = answer.get("cameras", [])
    if action == "list":
        return "\n".join(f"{row['name']}  {row['url']}  {row['policy']}" for row in rows) or "no cameras"
    done = {"add": "added", "remove": "removed", "change": "changed"}[action]
    return "\n".join(f"{done} {name}" for name in rows) or "nothing to change"
