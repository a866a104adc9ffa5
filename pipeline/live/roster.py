"""Which cameras there are to be: from the command line, from the YAML file, which is watched, and by commands.

Every change is made as a whole, or refused with a sentence and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everyframe.pipeline.errors import EveryframeError, SettingsError, UsageError, mask_secrets
from everyframe.pipeline.live.settings import (
    Changes,
    WatchSettings,
    camera_names,
    changes,
    load_settings,
    make_camera,
)
from everyframe.pipeline.live.types import Camera
from everyframe.pipeline.suggest import did_you_mean

Row = Mapping[str, Any]
COMMANDS = ("add", "remove", "change")


class Roster:
    """cameras: as they are to be, by name."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._rows: dict[str, Row] = {str(row["name"]): row for row in settings.rows}
        self.cameras: dict[str, Camera] = {camera.name: camera for camera in settings.cameras}
        listed = settings.file.get("cameras")
        in_file = [str(row["name"]) for row in settings.rows][
            : len(listed) if isinstance(listed, list) else 0
        ]
        self._filed = {name: self.cameras[name] for name in in_file}
        self._seen = _stamp(settings.config)

    def command(self, name: str, row: Row) -> Changes:
        """Does what a command asks. row: a camera's keys. Raises UsageError, SettingsError."""
        if name not in COMMANDS:
            raise UsageError(f"there is no command {name[:40]!r}{did_you_mean(name, COMMANDS)}")
        row = {str(key): value for key, value in row.items()}
        if name == "add":
            return self._add(row)
        camera = str(row.get("name", ""))
        if camera not in self.cameras:
            raise UsageError(f"there is no camera {camera[:60]!r}{did_you_mean(camera, self.cameras)}")
        if name == "remove":
            del self.cameras[camera], self._rows[camera]
            return Changes(removed=(camera,))
        row = {**self._rows[camera], **row}
        made = self._make(row)
        old, self.cameras[camera], self._rows[camera] = self.cameras[camera], made, row
        return Changes(changed=(made,) if made != old else ())

    def _add(self, row: Row) -> Changes:
        if not isinstance(row.get("url"), str):
            raise UsageError("add: write the camera's url")
        row = {**row, "name": row.get("name") or camera_names([row["url"]], self.cameras)[0]}
        if str(row["name"]) in self.cameras:
            raise UsageError(
                f"there is a camera {str(row['name'])[:60]!r} already: change it, or choose another name"
            )
        made = self._make(row)
        self.cameras[made.name], self._rows[made.name] = made, row
        return Changes(added=(made,))

    def _make(self, row: Row) -> Camera:
        return make_camera(row, self._settings.given, self._settings.file, None)

    def file_has_changed(self) -> bool:
        """Whether the YAML file is another than when it was last read."""
        stamp = _stamp(self._settings.config)
        if stamp == self._seen:
            return False
        self._seen = stamp
        return stamp is not None

    def reload(self) -> tuple[Changes, str]:
        """Takes over what the YAML file says now. Cameras of the command line and of commands stay. Also a remark, or nothing.

        Raises SettingsError.
        """
        assert self._settings.config is not None
        try:
            new = load_settings([], self._settings.given, str(self._settings.config))
        except EveryframeError as e:
            raise SettingsError(f"{e}; the cameras stay as they are") from e
        found = changes(self._filed.values(), new.cameras)
        taken = [camera.name for camera in found.added if camera.name in self.cameras]
        if taken:
            raise SettingsError(
                f"there is a camera {taken[0]!r} already, not from this file; the cameras stay as they are"
            )
        rows = {str(row["name"]): row for row in new.rows}
        removed = tuple(name for name in found.removed if name in self.cameras)
        for name in removed:
            del self.cameras[name], self._rows[name]
        added = (*found.added, *(c for c in found.changed if c.name not in self.cameras))
        changed = tuple(c for c in found.changed if c.name in self.cameras)
        for camera in (*added, *changed):
            self.cameras[camera.name], self._rows[camera.name] = camera, rows[camera.name]
        self._filed = {camera.name: camera for camera in new.cameras}
        other = new.options != self._settings.options or new.model != self._settings.model
        remark = "settings other than those of cameras take effect at the next start" if other else ""
        return Changes(added, removed, changed), remark

    def rows(self) -> list[dict[str, Any]]:
        """What commands are told of the cameras, without secrets."""
        return [
            {"name": name, "url": mask_secrets(str(row["url"])), "policy": self.cameras[name].labels.policy}
            for name, row in self._rows.items()
        ]


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What tells two states of a file apart; None where it can't be read, as in the middle of being replaced."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
