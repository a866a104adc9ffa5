"""What `everyframe watch` is told: from options and a YAML file of cameras, checked as a whole, every mistake named.

A camera's own keys win over options, options over the file's top level, that over defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter, ValidationError

from everyframe.pipeline.config import GOALS, load_config, make_settings, mistake, split
from everyframe.pipeline.errors import SettingsError, mask_secrets
from everyframe.pipeline.live.types import Camera, Line, Transport, Zone
from everyframe.pipeline.runs.inputs import names_for
from everyframe.pipeline.settings import EngineName, ModelSettings
from everyframe.pipeline.suggest import did_you_mean

LABEL_KEYS = ("policy", "classes", "conf", "seed", "audit", *GOALS)
MODEL_KEYS = tuple(f.name for f in fields(ModelSettings))
PLAY_KEYS = ("transport", "realtime", "loop", "open_timeout_s", "read_timeout_s", "weight")
OWN_KEYS = ("name", "url", "zones", "lines")
CAMERA_KEYS = (*OWN_KEYS, *LABEL_KEYS, *PLAY_KEYS)
SPOOL_MB, MAXLEN = 256.0, 100_000
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,59}", re.ASCII)
_ENV = re.compile(r"\$\{(\w+)\}", re.ASCII)
_SPAN = re.compile(r"(\d+(?:\.\d*)?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class _Play:
    """Keys of a camera that the labels don't depend on."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    url: str
    name: str
    transport: Transport = "tcp"
    realtime: bool = False
    loop: bool = False
    open_timeout_s: Annotated[float, Gt(0), Le(600)] = 10.0
    read_timeout_s: Annotated[float, Gt(0), Le(600)] = 10.0
    weight: Annotated[float, Gt(0), Le(1000)] = 1.0
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What concerns all cameras together, under the names of the options; also keys of the YAML file.

    cpus: cores to use at most. retain: age of the oldest records that Redis keeps, in its place redis_maxlen their
    number. spool_mb: disk for records that Redis can't take. duration: seconds after which to stop.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    cpus: Annotated[float, Gt(0), Le(1024)] | None = None
    redis: str | None = None
    redis_maxlen: Annotated[int, Ge(0)] | None = None
    retain: str | None = None
    out: str | None = None
    format: tuple[Literal["jsonl"], ...] = ("jsonl",)
    spool_mb: Annotated[float, Gt(0)] = SPOOL_MB
    http: str | None = None
    http_token: str | None = None
    log_json: bool = False
    engine: EngineName = "auto"
    address: str | None = None
    state: str = "watch"
    duration: Annotated[float, Gt(0)] | None = None


TOP_KEYS = tuple(f.name for f in fields(WatchOptions))
FILE_KEYS = (*TOP_KEYS, *MODEL_KEYS, *LABEL_KEYS, *PLAY_KEYS, "cameras")


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Everything. retain_s: None for `redis_maxlen`. config: the file that is watched for changes.

    rows: each camera's own keys as they were written; given, file: what holds for all of them.
    """

    cameras: tuple[Camera, ...]
    model: ModelSettings
    options: WatchOptions
    config: Path | None = None
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    file: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def cpus(self) -> float:
        return self.options.cpus or float(len(os.sched_getaffinity(0)))

    @property
    def retain_s(self) -> float | None:
        return None if self.options.retain is None else seconds_of(self.options.retain, "--retain")


@dataclass(frozen=True, slots=True)
class Changes:
    """What leads from one set of cameras to another. changed: cameras as they are to be."""

    added: tuple[Camera, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Camera, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def changes(old: Iterable[Camera], new: Iterable[Camera]) -> Changes:
    before = {camera.name: camera for camera in old}
    after = {camera.name: camera for camera in new}
    return Changes(
        tuple(camera for name, camera in after.items() if name not in before),
        tuple(name for name in before if name not in after),
        tuple(camera for name, camera in after.items() if name in before and before[name] != camera),
    )


def load_settings(
    urls: Sequence[str], options: Mapping[str, Any], config: str | None = None
) -> WatchSettings:
    """Settings from a command line. options: by name, None where not given. config: path of a YAML file.

    Raises SettingsError with one sentence that names every mistake.
    """
    file = {} if config is None else load_config(config)
    given = {key: value for key, value in options.items() if value is not None}
    return make_watch(urls, given, file, config)


def make_watch(
    urls: Sequence[str], options: Mapping[str, Any], file: Mapping[str, Any], config: str | None
) -> WatchSettings:
    mistakes = [
        f"{key} in {config}: unknown setting{did_you_mean(key, FILE_KEYS)}"
        for key in file
        if key not in FILE_KEYS
    ]
    top = {key: value for key, value in {**file, **options}.items() if key in TOP_KEYS}
    where = {key: "--" + key.replace("_", "-") if key in options else f"{key} in {config}" for key in top}
    if "format" in top:
        top["format"] = split(top["format"])
    if isinstance(top.get("retain"), int | float):
        top["retain"] = str(top["retain"])
    common = _checked(WatchOptions, top, where, TOP_KEYS, mistakes)
    if top.get("retain") is not None and top.get("redis_maxlen") is not None:
        mistakes.append("retain and redis_maxlen exclude each other: give one of them")
    if isinstance(top.get("retain"), str):
        _try(lambda: seconds_of(top["retain"], where["retain"]), mistakes)
    rows = _rows(urls, file.get("cameras"), config, mistakes)
    makers = [_try(lambda row=row: make_camera(row, options, file, config), mistakes) for row in rows]
    cameras = tuple(camera for camera in makers if camera is not None)
    model = _try(lambda: _labels({}, options, file, config).model, mistakes)
    if mistakes:
        raise SettingsError("; ".join(dict.fromkeys(mistakes)))
    assert common is not None and model is not None
    path = None if config is None else Path(config)
    return WatchSettings(cameras, model, common, path, tuple(rows), options, file)


def make_camera(
    row: Mapping[str, Any], options: Mapping[str, Any], file: Mapping[str, Any], config: str | None
) -> Camera:
    """One camera from its own keys. options, file: what holds for all, see above. Raises SettingsError."""
    label = str(row.get("name") or "a camera")
    mistakes = [
        f"{label}: unknown setting {key!r}{did_you_mean(key, CAMERA_KEYS)}"
        for key in row
        if key not in CAMERA_KEYS
    ]
    play = {key: value for key, value in {**file, **options, **row}.items() if key in (*OWN_KEYS, *PLAY_KEYS)}
    url = _try(lambda: expand_env(str(play.get("url", "")), label), mistakes)
    play |= {"url": url} if play.get("url") and url else {}
    where = {key: f"{label}: {key}" for key in (*OWN_KEYS, *PLAY_KEYS)}
    checked = _checked(_Play, play, where, CAMERA_KEYS, mistakes)
    labels = _try(lambda: _labels(row, options, file, config), mistakes)
    if checked is not None:
        mistakes += [f"{label}: {problem}" for problem in _problems(checked)]
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    assert checked is not None and labels is not None
    own = {f.name: getattr(checked, f.name) for f in fields(_Play)}
    return Camera(labels=labels, **own)


def _labels(
    row: Mapping[str, Any], options: Mapping[str, Any], file: Mapping[str, Any], config: str | None
) -> Any:
    """LabelSettings of a camera: the checks are those of `everyframe run`."""
    keys = (*LABEL_KEYS, *MODEL_KEYS)
    own = {key: value for key, value in row.items() if key in LABEL_KEYS}
    above = {key: value for key, value in options.items() if key in keys and key not in own}
    below = {key: value for key, value in file.items() if key in keys and key not in own}
    if any(key in own for key in (*GOALS, "policy")):  # a goal and a policy come as one
        above, below = ({k: v for k, v in m.items() if k not in (*GOALS, "policy")} for m in (above, below))
    elif any(key in above for key in (*GOALS, "policy")):
        below = {k: v for k, v in below.items() if k not in (*GOALS, "policy")}
    name = str(row.get("name") or "") or config or ""
    return make_settings({**above, "mode": "causal"}, {**below, **own}, name).label_settings()


def _problems(play: _Play) -> list[str]:
    found = []
    if not play.url.strip():
        found.append("url: it is empty; write one such as rtsp://camera/stream")
    if not _NAME.fullmatch(play.name):
        found.append(f"name: write up to 60 letters, digits and . _ -, not {play.name[:60]!r}")
    places: list[Zone | Line] = [*play.zones, *play.lines]
    names = [place.name for place in places]
    found += [
        f"two zones or lines are named {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1
    ]
    for place in places:
        points = place.points if isinstance(place, Zone) else (place.start, place.end)
        if any(not 0 <= value <= 1 for point in points for value in point):
            found.append(f"{place.name}: points are shares of the picture, from 0 to 1")
        if isinstance(place, Zone) and len(points) < 3:
            found.append(f"zone {place.name}: it needs three points or more")
        if isinstance(place, Line) and place.start == place.end:
            found.append(f"line {place.name}: its ends are one point")
    return found


def _rows(urls: Sequence[str], cameras: Any, config: str | None, mistakes: list[str]) -> list[dict[str, Any]]:
    """The keys of each camera, all with a name."""
    rows: list[dict[str, Any]] = [{"url": url} for url in urls]
    if isinstance(cameras, list) and all(isinstance(row, dict) for row in cameras):
        rows = [*({str(key): value for key, value in row.items()} for row in cameras), *rows]
    elif cameras is not None:
        mistakes.append(
            f"cameras in {config}: write a list, each with a url, as in '- url: rtsp://camera/stream'"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("url"), str):
            mistakes.append(f"{row.get('name') or f'camera {number}'}: url: write the camera's address")
    rows = [row for row in rows if isinstance(row.get("url"), str)]
    given = [str(row["name"]) for row in rows if row.get("name") is not None]
    mistakes += [f"two cameras are named {name!r}" for name in dict.fromkeys(given) if given.count(name) > 1]
    free = [row for row in rows if row.get("name") is None]
    for row, name in zip(free, camera_names([row["url"] for row in free], given), strict=True):
        row["name"] = name
    return rows


def camera_names(urls: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A name for each URL: host and path, or a file's stem, without anything secret; a number where it is taken."""
    used = set(taken)
    stems = iter(names_for([url for url in urls if "://" not in url]))
    names = []
    for url in urls:
        text = next(stems) if "://" not in url else _host_path(url)
        base = re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.")[:50] or "camera"
        name, number = base, 2
        while name in used:
            name, number = f"{base}-{number}", number + 1
        used.add(name)
        names.append(name)
    return names


def _host_path(url: str) -> str:
    """Host and last part of the path. A URL that can't be split gives no part of itself away."""
    masked = _ENV.sub("", mask_secrets(url)).replace("***@", "")
    try:
        parts = urlsplit(masked)
        host = parts.hostname or ""
    except ValueError:
        return ""
    return "-".join(part for part in (host, Path(parts.path).stem) if part)


def expand_env(text: str, label: str) -> str:
    """`${NAME}` replaced by the environment's NAME. Raises SettingsError where it is not set."""
    missing = [name for name in _ENV.findall(text) if name not in os.environ]
    if missing:
        raise SettingsError(
            f"{label}: url: the environment has no {', '.join(missing)}: set it, or write the URL out"
        )
    return _ENV.sub(lambda found: os.environ[found[1]], text)


def seconds_of(text: str, what: str) -> float:
    """Seconds of "24h", "30m", "7d", "90s" or "90". Raises SettingsError."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or not float(found[1]):
        raise SettingsError(f"{what}: write a time such as 24h, 30m or 7d, not {text[:40]!r}")
    return float(found[1]) * _SECONDS[found[2]]


def _checked(
    kind: type[Any],
    values: Mapping[str, Any],
    where: Mapping[str, str],
    known: Iterable[str],
    mistakes: list[str],
) -> Any:
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as e:
        found = e.errors(include_input=False, include_url=False)  # the input may hold a password
        mistakes += [mistake(cast(dict[str, Any], dict(error)), values, where, known) for error in found]
        return None


def _try(make: Any, mistakes: list[str]) -> Any:
    try:
        return make()
    except SettingsError as e:
        mistakes.append(str(e))
        return None


def masked(settings: WatchSettings) -> WatchSettings:
    """The settings with every secret masked, to be shown."""
    cameras = tuple(replace(camera, url=mask_secrets(camera.url)) for camera in settings.cameras)
    o = settings.options
    hidden = replace(
        o,
        redis=None if o.redis is None else mask_secrets(o.redis),
        address=None if o.address is None else mask_secrets(o.address),
        http_token=None if o.http_token is None else "***",
    )
    return replace(settings, cameras=cameras, options=hidden)
