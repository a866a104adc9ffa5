"""What `search` may choose from: input size, widths, depth and kernels of a net, and the precision in which it is computed."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from everyframe.operators.compress.evolve import Genes
from everyframe.operators.compress.ranges import rounded
from everyframe.operators.compress.subnet import PARTS, SMALLER, Subnet, cut
from everyframe.operators.compress.teach import silenced
from everyframe.operators.detectors.detector import NanoDetDetector
from everyframe.operators.detectors.letterbox import GRID, fit, to_input
from everyframe.operators.detectors.nanodet import BLOCKS, NanoDet
from everyframe.operators.detectors.runtimes import available, make_runtime
from everyframe.operators.detectors.slim import Slim
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import timed
from everyframe.pipeline.costs.machine import has_native_bf16
from everyframe.pipeline.costs.measure import cost_row
from everyframe.pipeline.costs.table import Cost, CostTable, default_table
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.settings import Precision

SMALLEST = 224
TIMED = 3
"""Pictures that a design is timed on."""
BESIDE = 256
"""Size of the picture of what they are timed beside: the full net in float32."""
AGAIN = 3
"""Times that a design is timed; the median counts."""


@dataclass(frozen=True, slots=True)
class Design:
    """imgsz: longer side of what the net sees, in pixels."""

    imgsz: int
    subnet: Subnet
    precision: Precision

    def __str__(self) -> str:
        return f"{self.imgsz} pixels, {self.subnet}, {self.precision}"


@dataclass(frozen=True, slots=True)
class Space:
    """Values of each dimension, the cheapest first."""

    sizes: tuple[int, ...]
    widths: tuple[float, ...]
    precisions: tuple[Precision, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values each gene has: size, widths of `PARTS`, blocks of the stages, kernels of `SMALLER`, precision."""
        kernels = (2,) * len(SMALLER)
        return (len(self.sizes), *(len(self.widths),) * len(PARTS), *(b + 1 for b in BLOCKS), *kernels, len(self.precisions))

    def design(self, genes: Genes) -> Design:
        """What a vector of genes stands for."""
        parts, stages = 1 + len(PARTS), 1 + len(PARTS) + len(BLOCKS)
        a, b, c, d = genes[parts:stages]
        widths = tuple(self.widths[g] for g in genes[1:parts])
        kernels = tuple((1, 3)[g] for g in genes[stages:-1])
        return Design(self.sizes[genes[0]], Subnet(widths, (a, b, c, d), kernels), self.precisions[genes[-1]])

    def genes(self, design: Design) -> Genes:
        """The other way. Raises ValueError for what is not in the space."""
        net = design.subnet
        widths = (self.widths.index(w) for w in net.widths)
        kernels = ((1, 3).index(k) for k in net.kernels)
        return (self.sizes.index(design.imgsz), *widths, *net.blocks, *kernels, self.precisions.index(design.precision))

    @property
    def cheapest(self) -> Design:
        """The least of all but precision, of which nobody knows before it is measured."""
        return self.design((0,) * (len(self.counts) - 1) + (len(self.precisions) - 1,))

    def plain(self, precision: Precision) -> list[list[Design]]:
        """What one would try by hand, of several widths for all parts from the widest on each: every size, the smallest first."""
        nets = [Subnet((w,) * len(PARTS)) for w in self.widths[::-2]]
        return [[Design(size, net, precision) for size in self.sizes] for net in nets]


def space_for(imgsz: int, widths: Sequence[float], float32: bool = False) -> Space:
    """All sizes up to `imgsz` and the precisions that this machine computes in. float32: not int8."""
    top = max(imgsz // GRID * GRID, GRID)
    sizes = tuple(range(min(SMALLEST, top), top + 1, GRID))
    precisions: list[Precision] = ["f32"]
    if has_native_bf16():
        precisions.append("bf16")
    if "openvino" in available() and not float32:
        precisions.append("int8")
    return Space(sizes, tuple(sorted(widths)), tuple(precisions))


def opened_as(net: NanoDet, design: Design, min_score: float) -> NanoDetDetector:
    """A net that is not in a file, in the design's precision, on OpenVINO where it is there."""
    mine = copy.deepcopy(net)  # torch would change its precision in place
    runtime = make_runtime(mine, "openvino" if "openvino" in available() else "torch", design.precision, "cpu", 1)
    return NanoDetDetector(runtime, mine, "design", "design", design.imgsz, min_score)


class Stopwatch:
    """CPU ms of a look of designs here, measured once and kept in the table of costs.

    Each is timed in turns with one that stays the same, whose time is kept too: other work on the machine slows both. slim: weights
    that designs are cut from; which they are does not move the time. pictures: BGR, of the size that will be looked at.
    """

    def __init__(self, slim: Slim, pictures: Sequence[U8], table: CostTable | None = None) -> None:
        self._slim = slim
        self._pictures = list(pictures)[:TIMED]
        self._table = table or default_table()
        self._beside: tuple[NanoDetDetector, float] | None = None

    def ms(self, design: Design) -> float:
        """CPU ms of a look, preparation left out."""
        row = self._row(design)
        known = self._table.get(row)
        if known is not None:
            return known
        found = self.beside(self._opened(design))
        self._table.put([replace(row, ms=found)])
        return found

    def beside(self, detector: LoadedDetector) -> float:
        """CPU ms of a look of any detector, measured now."""
        if self._beside is None:
            design = Design(BESIDE, Subnet(), "f32")
            other, row = self._opened(design), self._row(design)
            ms = self._table.get(row)
            if ms is None:
                ms = min(timed([other], self._pictures)[0] for _ in range(AGAIN))
                self._table.put([replace(row, ms=ms)])
            self._beside = other, ms
        other, ms = self._beside
        ratios = [mine / same for mine, same in (timed([detector, other], self._pictures) for _ in range(AGAIN))]
        return ms * statistics.median(ratios)

    def _row(self, design: Design) -> Cost:
        height, width = self._pictures[0].shape[:2]
        runtime = "openvino" if "openvino" in available() else "torch"
        return cost_row("search", fit(width, height, design.imgsz).outer, str(design.subnet), runtime, design.precision)

    def _opened(self, design: Design) -> NanoDetDetector:
        net = silenced(cut(self._slim, design.subnet), ())  # what sees things everywhere sorts for long
        if design.precision == "int8":
            net = rounded(net, [to_input(p, fit(p.shape[1], p.shape[0], design.imgsz)) for p in self._pictures[:1]])
        return opened_as(net, design, 0.2)
