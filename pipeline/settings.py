"""What a run is told: frozen settings. `pipeline.config` fills and checks them from options, YAML and Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MultipleOf

from everyframe.operators.base import Prices
from everyframe.policies import base
from everyframe.policies.base import Rung

Mode = base.Mode
Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "f32", "bf16", "int8"]
EngineName = Literal["auto", "local", "ray"]
Format = Literal["jsonl", "mot", "coco", "csv", "video"]
STEERED = "learned"
"""The policy that goals are for; with a price after a colon it is left alone."""
FULL = ("nanodet-g", "full")
"""Names of the model that ships, the first of them its own."""
AUDIT, TARGET_F1 = 0.01, 0.9
"""What that policy does where nothing else is asked."""
SHARD_FRAMES = 5000
"""Least frames of an archive's shard. More than of a run's: what a policy learns of a camera it learns anew in each."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The detector and how it is run.

    model: "nanodet-g", safetensors weights of the same architecture, an ONNX file or a Python adapter (`pipeline.models`). imgsz: the longer side that the
    CNN sees, pixels. threads: CNN threads in each process.
    """

    model: str = "nanodet-g"
    imgsz: int = 640
    runtime: Runtime = "auto"
    precision: Precision = "auto"
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Capacity:
    """A further model that a policy may look with in place of the run's own; its rung is "detect@NAME".

    name: as the user gave it. cost: of a look here, in looks of the run's model; NaN until `pipeline.costs.prices` has measured it.
    error: share of its labels that is expected to differ from those of the run's model.
    """

    name: str
    model: ModelSettings
    cost: float = math.nan
    error: float = 0.05

    @property
    def rung(self) -> Rung:
        return Rung(f"{base.LOOK}@{self.name}", self.cost, "whole", self.error)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the user asked of a policy that can be asked: one of these, or nothing.

    target_f1: pooled F1 against the dense detector. budget_ms: CPU ms per frame. speedup: against the CNN on every frame.
    """

    target_f1: float | None = None
    budget_ms: float | None = None
    speedup: float | None = None


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Everything that the labels are a function of, beside the video itself (the digest covers it).

    conf: lowest score of a reported object. classes: COCO names to report, empty for all. limit: frames per source.
    audit: share of frames that see the CNN only to be compared. goal: what the policy is to reach. prices: what rungs cost here; the engine looks them up where a policy needs them and none are given. capacities: further models to look with.
    """

    policy: str = "motion"
    mode: Mode = "lookahead"
    classes: tuple[str, ...] = ()
    conf: float = 0.45
    seed: int = 0
    limit: int | None = None
    audit: float = 0.0
    goal: Goal = Goal()
    model: ModelSettings = ModelSettings()
    prices: Prices = field(default_factory=Prices)
    capacities: tuple[Capacity, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything that `everyframe run` can be told, under the names of its options; also the keys of a YAML preset.

    Ranges are in the annotations, meanings in `HELP`.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    policy: str = "motion"
    mode: Mode = "lookahead"
    classes: tuple[str, ...] = ()
    conf: Annotated[float, Ge(0.01), Le(1)] = 0.45
    limit: Annotated[int, Ge(1)] | None = None
    seed: Annotated[int, Ge(0)] = 0
    audit: Annotated[float, Ge(0), Le(1)] | None = None
    target_f1: Annotated[float, Ge(0.5), Le(0.99)] | None = None
    budget_ms: Annotated[float, Gt(0)] | None = None
    speedup: Annotated[float, Ge(1)] | None = None
    model: str = FULL[0]
    capacities: tuple[str, ...] = ()
    imgsz: Annotated[int, Ge(64), Le(4096), MultipleOf(32)] = 640
    runtime: Runtime = "auto"
    precision: Precision = "auto"
    device: str = "cpu"
    threads: Annotated[int, Ge(1), Le(256)] = 1
    engine: EngineName = "auto"
    workers: Annotated[int, Ge(1), Le(1024)] | None = None
    address: str | None = None
    out: str = "out"
    format: tuple[Format, ...] = ("jsonl",)
    redis: str | None = None
    redis_maxlen: Annotated[int, Ge(0)] = 1_000_000
    redis_wait: Annotated[float, Ge(0), Le(3600)] = 10.0

    def label_settings(self) -> LabelSettings:
        """The part that the labels depend on."""
        model = ModelSettings(self.model, self.imgsz, self.runtime, self.precision, self.device, self.threads)
        audit = self.audit if self.audit is not None else AUDIT if self.policy == STEERED else 0.0
        goal = Goal(self.target_f1, self.budget_ms, self.speedup)
        if self.policy == STEERED and goal == Goal():
            goal = Goal(TARGET_F1)
        others = tuple(Capacity(name, replace(model, model=name, precision="auto")) for name in self.capacities)
        return LabelSettings(
            self.policy, self.mode, self.classes, self.conf, self.seed, self.limit, audit, goal, model, capacities=others
        )


HELP: dict[str, str] = {
    "policy": "Which frames are decoded and which see the CNN: motion, learned, stride:N, flow:N, region:N, lattice:N, residual, "
    "iframes, random:P or dense; docs/cli.md says what each does.",
    "mode": "causal: a label uses the past only. lookahead: the next key frame too (better, for files).",
    "classes": "COCO class names to report, as in person,car. Empty: all 80.",
    "conf": "Lowest score of a reported object, 0.01 to 1.",
    "limit": "Stop after this many frames of each source.",
    "seed": "Seed of policies that draw at random.",
    "audit": "Share of frames, 0 to 1, that see the CNN only to be compared: the run tells its own F1. Default: 0.01 for "
    "the policy learned, else 0.",
    "target_f1": "Accuracy that the policy learned aims at: F1 against the CNN on every frame. Default: 0.9.",
    "budget_ms": "CPU ms per frame that the policy learned aims at, in place of an accuracy.",
    "speedup": "How many times cheaper than the CNN on every frame the policy learned aims to be, in place of an accuracy.",
    "model": "nanodet-g; a .safetensors file of the same architecture; an .onnx file of your own with the outputs of YOLOX, "
    "NanoDet-Plus, YOLOv8 or DETR; or a .py file with a class Detector: docs/models.md.",
    "capacities": "Cheaper models that the policies motion and learned may look with in place of --model, which labels are held "
    "to, as in fast; several with commas.",
    "imgsz": "Longer side of the picture that the CNN sees, pixels, a multiple of 32.",
    "runtime": "What runs the CNN. auto: the fastest on this machine, measured once and remembered.",
    "precision": "auto: the fastest at equal accuracy on this machine.",
    "device": "cpu, cuda or cuda:N.",
    "threads": "CNN threads in each worker.",
    "engine": "local: this process. ray: one worker for each source or part of a long file. auto: ray if it pays.",
    "workers": "Number of Ray workers. Default: one for each CPU.",
    "address": "Address of a running Ray cluster. Default: a cluster on this machine for this run.",
    "out": "Folder for label files.",
    "format": "Label files to write: jsonl, mot, coco, csv, video; several with commas.",
    "redis": "Where to publish: a redis:// URL, embedded (a server for this run) or none. Default: $REDIS_URL or none.",
    "redis_maxlen": "About how many records a Redis Stream keeps; 0 keeps all.",
    "redis_wait": "Seconds to wait for Redis when it is away.",
}
"""One sentence for each field of `RunSettings`: option help and comments of `--print-config`."""
