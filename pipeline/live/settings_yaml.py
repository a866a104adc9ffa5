"""The settings in force as YAML that `--config` reads; secrets masked."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

from ruamel.yaml import YAML

from everyframe.pipeline.live.settings import MODEL_KEYS, PLAY_KEYS, TOP_KEYS, WatchSettings, masked
from everyframe.pipeline.live.types import Camera


def to_yaml(settings: WatchSettings) -> str:
    """All of it, cameras with every key of their own."""
    shown = masked(settings)
    values: dict[str, Any] = {key: _plain(getattr(shown.options, key)) for key in TOP_KEYS}
    values |= {key: getattr(shown.model, key) for key in MODEL_KEYS}
    values = {key: value for key, value in values.items() if value is not None}
    values["cameras"] = [_camera(camera) for camera in shown.cameras]
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    page = io.StringIO()
    yaml.dump(values, page)
    return page.getvalue()


def _camera(camera: Camera) -> dict[str, Any]:
    labels = camera.labels
    row: dict[str, Any] = {"name": camera.name, "url": camera.url}
    row |= {key: _plain(getattr(labels, key)) for key in ("policy", "classes", "conf", "seed", "audit")}
    row |= {key: value for key, value in asdict(labels.goal).items() if value is not None}
    row |= {key: getattr(camera, key) for key in PLAY_KEYS}
    row |= {key: _plain([asdict(place) for place in getattr(camera, key)]) for key in ("zones", "lines")}
    return {key: value for key, value in row.items() if value != []}


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML knows no others."""
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value
