"""COCO JSON: images, annotations and categories, streamed to the disk so that memory does not grow with the video."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import orjson

from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.schema import plain_text, to_record
from everyframe.pipeline.sinks.files import FileSink


class CocoSink(FileSink):
    """Image ids are frame numbers from 1, category ids are `class_id` + 1, boxes are left, top, width, height.

    Annotations wait in a nameless file beside the images, because the format wants them after all images.
    """

    def __init__(self, path: Path, info: SourceInfo, names: tuple[str, ...]) -> None:
        super().__init__(path)
        self._info = info
        self._names = names
        self._next_id = 1

    def head(self) -> bytes:
        self._annotations = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115  (closed in finish or discard)
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self._names)]
        source = {"description": "Labels by everyframe", "source": plain_text(self._info.name)}
        return b'{"info":%s,"licenses":[],"categories":%s,"images":[' % (
            orjson.dumps(source),
            orjson.dumps(categories),
        )

    def lines(self, labels: list[FrameLabels]) -> bytes:
        images, annotations = [], []
        for frame in labels:
            record = to_record(frame, self._names)
            image_id = frame.frame_index + 1
            image: dict[str, Any] = {"id": image_id, "file_name": f"{record['source']}/{image_id:06d}.jpg"}
            for key in ("width", "height", "frame_index", "time_s", "origin"):
                image[key] = record[key]
            images.append(orjson.dumps(image))
            for o in record["objects"]:
                x1, y1, x2, y2 = o["xyxy"]
                width, height = round(x2 - x1, 2), round(y2 - y1, 2)
                annotation: dict[str, Any] = {"id": self._next_id, "image_id": image_id, "category_id": o["class_id"] + 1}
                annotation |= {"bbox": [x1, y1, width, height], "area": round(width * height, 2), "iscrowd": 0}
                annotation |= {key: o[key] for key in ("score", "track_id", "origin")}
                annotations.append(orjson.dumps(annotation))
                self._next_id += 1
        self._extend(annotations, is_first=self._annotations.tell() == 0)
        return self._joined(images, is_first=not self._written)

    def finish(self) -> bytes:
        """Appends the annotations to the images."""
        self._file.write(b'\n],"annotations":[')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._file, 1 << 20)
        self._annotations.close()
        return b"\n]}\n"

    def discard(self) -> None:
        if hasattr(self, "_annotations"):
            with contextlib.suppress(OSError):  # thrown away anyway
                self._annotations.close()
        super().discard()

    def _extend(self, items: list[bytes], is_first: bool) -> None:
        self._annotations.write(self._joined(items, is_first))

    @staticmethod
    def _joined(items: list[bytes], is_first: bool) -> bytes:
        if not items:
            return b""
        return (b"\n" if is_first else b",\n") + b",\n".join(items)
