"""How small a model for one camera must be: input size and channels at which a look is as fast as asked, measured here.

A fixed camera shows what it shows at one scale, so a net that learns it can do with a smaller picture; that costs less accuracy than
fewer channels do, and the net keeps all that it knew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everyframe.operators.compress.prune import prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.teach import silenced
from everyframe.operators.detectors.detector import NanoDetDetector
from everyframe.operators.detectors.letterbox import GRID
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.runtimes import available, make_runtime
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import HEIGHT, WIDTH, timed
from everyframe.pipeline.compression.make import Tell
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.settings import ModelSettings

SHARES = (0.0, 0.25, 0.5)
"""Of channels to leave out."""
SMALLEST = 224
EXAMPLES = 16
"""Pictures for the ranges of a model that is only timed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """share: of channels left out. imgsz: longer side of what the net sees, in pixels. speedup: of a look, as it was measured."""

    share: float
    imgsz: int
    speedup: float

    def __str__(self) -> str:
        return f"{self.imgsz} pixels, {self.share:.0%} of the channels left out"


def shapes_for(
    teacher: NanoDet, name: str, imgsz: int, speedup: float, learn: Sequence[Sequence[U8]], tell: Tell
) -> list[Shape]:
    """For each share of channels the largest picture at which a look is `speedup` times faster than the teacher's, in its fastest
    f32 runtime, at `imgsz`; one of several with the same size is left out. Raises OperatorError where none is."""
    full = open_detector(ModelSettings(name, imgsz, precision="f32"), WIDTH, HEIGHT)
    pictures = [video[0] for video in learn if len(video)][:2]
    inputs = inputs_of(learn, SMALLEST, EXAMPLES)
    found: list[Shape] = []
    fastest = 0.0
    for share in SHARES:
        # What has not learned sees things everywhere, and sorting those would be timed.
        net = quantize(silenced(prune(teacher, share), ()), inputs)
        size = imgsz
        while size >= SMALLEST and all(size > shape.imgsz for shape in found):
            small, whole = timed([opened(net, size), full], pictures)
            fastest = max(fastest, whole / small)
            if whole / small >= speedup:
                found.append(Shape(share, size, whole / small))
                tell(f"{found[-1]}: a look is {whole / small:.1f} x faster here")
                break
            size = _next(size, whole / small / speedup)
    if not found:
        raise OperatorError(f"the smallest model is {fastest:.1f} x faster here: ask for a --speedup of at most that")
    return found


def _next(size: int, reached: float) -> int:
    """A smaller size, a little larger than the one at which the speed would be reached if the time went with the area."""
    return min(size - GRID, int(1.1 * size * reached**0.5) // GRID * GRID)


def opened(net: NanoDet, imgsz: int, min_score: float = 0.2) -> NanoDetDetector:
    """A net that is not in a file, in the runtime that it is meant for."""
    fast = "openvino" in available() and net.quantized is not None
    runtime = make_runtime(net, "openvino", "int8", "cpu", 1) if fast else make_runtime(net, "torch", "f32", "cpu", 1)
    return NanoDetDetector(runtime, net, "camera", "camera", imgsz, min_score)
