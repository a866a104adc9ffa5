"""What a run is told: frozen settings, checked when they are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["causal", "lookahead"]
Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "f32", "bf16"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The detector and how it is run.

    model: "nanodet-g" or a path to safetensors weights of the same architecture. imgsz: the longer side that the
    CNN sees, pixels. threads: CNN threads in each process.
    """

    model: str = "nanodet-g"
    imgsz: int = 640
    runtime: Runtime = "auto"
    precision: Precision = "auto"
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Everything that the labels are a function of, beside the video itself (the digest covers it).

    conf: lowest score of a reported object. classes: COCO names to report, empty for all. limit: frames per source.
    """

    policy: str = "motion"
    mode: Mode = "lookahead"
    classes: tuple[str, ...] = ()
    conf: float = 0.45
    seed: int = 0
    limit: int | None = None
    model: ModelSettings = ModelSettings()
