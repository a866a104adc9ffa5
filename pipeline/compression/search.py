"""The best design for a camera's pictures within a time per look: an evolution over designs, each judged and measured here.

After Cai et al., Once-for-All (ICLR 2020): one set of weights, an evolutionary search over what can be cut from it, times measured and not
counted in multiplications. Deviations: the weights need not be trained for it, as `refit` finds those of each cut anew from
pictures; both costs are searched at once (`evolve`), and no predictor stands for either.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np

from everyframe.operators.compress.evolve import Enough, Genes, Plan, Scores, evolve, fronts
from everyframe.operators.compress.slim import slimmable
from everyframe.operators.compress.subnet import Subnet
from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.slim import Slim, load_slim
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8
from everyframe.pipeline.compression.designs import Design, Space, Stopwatch, space_for
from everyframe.pipeline.compression.judge import HEIGHT, WIDTH, Verdict, facts, judge
from everyframe.pipeline.compression.make import Tell
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.specialize import LEAST_AGREEMENT, Wish, taught
from everyframe.pipeline.compression.studio import Made, Studio
from everyframe.pipeline.costs.measure import open_detector, translated
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.models import CLASSES, GUARD, IMGSZ, kind_of
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

WIDTHS = (1.0, 0.875, 0.75, 0.625, 0.5)
"""Of a net whose widths were not trained together."""
POPULATION, GENERATIONS = 16, 100
FINALISTS = 3
SEARCHED = 0.65
"""Share of the time for the search; the rest is for learning and the report."""
REPORTED = 0.1
"""Share that is left for the report."""
AROUND = (0.4, 1.2)
"""Times that are judged, in shares of the budget: the others tell nothing of it."""
LEARN, HELD, LATER = Part(0.0, 0.25), Part(0.25, 0.5), Part(0.5, 1.0)
"""As much to judge by as to learn from: what was found from pictures looks better on those of the next minute than an hour later."""
LEARN_ALL, HELD_ALL = Part(0.0, 0.5), Part(0.5, 1.0)
PICTURES, JUDGED_BY, REPORTED_ON = 200, 100, 100


@dataclass(frozen=True, slots=True)
class Goal:
    """What the user asks for. model: full, a file of NanoDet-g, or one of several widths. budget_ms: CPU ms of a look at most, None: the
    full model's over `speedup`. check: videos for the report; none: the second half of the others. minutes: in all, of all
    calls that went on. settle: steps of learning before a design is judged. steps: of the chosen one, at most. imgsz: longer side of
    what the teacher sees, and the largest that is tried. threads: to learn with."""

    videos: tuple[str, ...]
    out: str
    model: str = "full"
    budget_ms: float | None = None
    speedup: float = 8.0
    check: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    minutes: float = 30.0
    generations: int = GENERATIONS
    population: int = POPULATION
    settle: int = 0
    steps: int = 1000
    float32: bool = False
    imgsz: int = 640
    seed: int = 0
    threads: int = 1

    @property
    def state(self) -> Path:
        """Where the search is kept until it is done: of this goal alone."""
        same = replace(self, minutes=0.0, generations=0, check=(), steps=0, threads=0)
        key = hashlib.sha256(repr(asdict(same)).encode()).hexdigest()[:8]
        return Path(self.out).with_suffix(f".{key}.search.json")


@dataclass(frozen=True, slots=True)
class Found:
    """A design that was judged. ms: CPU of a look here. f1: against the teacher on the held pictures."""

    design: Design
    ms: float
    f1: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """judged: all designs, in the order in which they were tried. chosen: the best within the budget. steps: that it learned.
    later: on pictures that nothing was chosen by. minutes: that it took, of all calls."""

    judged: list[Found]
    budget_ms: float
    full_ms: float
    chosen: Found
    steps: int
    later: Verdict
    minutes: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while designs were judged. judged: those so far; the next call goes on from there."""

    def __init__(self, judged: list[Found], budget_ms: float) -> None:
        super().__init__()
        self.judged = judged
        self.budget_ms = budget_ms


def front(judged: Sequence[Found]) -> list[Found]:
    """Those than which none is both faster and better, the fastest first."""
    if not judged:
        return []
    points = np.array([(one.ms, 1 - one.f1) for one in judged])
    best = [judged[i] for i in fronts(points)[0]]
    return sorted({(one.ms, one.f1): one for one in best}.values(), key=lambda one: one.ms)


def search(goal: Goal, tell: Tell) -> Outcome:
    """Searches, makes what was chosen and writes it. Raises EveryframeError, `Interrupted`."""
    _check(goal)
    with translated():
        slim, teacher = opened_weights(goal.model)
        run = Run.begin(goal, slim, teacher, tell)
        run.go()
        chosen = run.chosen(FINALISTS)
        made = run.studio.finished(chosen.design, goal.steps, lambda: run.share_left() > REPORTED, tell)
        later = _written(goal, teacher, chosen.design, made, tell)
    goal.state.unlink(missing_ok=True)
    final = Found(chosen.design, chosen.ms, made.f1)
    return Outcome(run.found(), run.budget, run.full_ms, final, made.steps, later, run.seconds() / 60)


def opened_weights(model: str) -> tuple[Slim, str]:
    """What designs are cut from, and the model to be compared with: of a file of several widths the one it was made from.
    Raises OperatorError."""
    slim = load_slim(model)
    if slim is not None:
        said = weights.metadata(weights.read(model))
        return slim, said.get("teacher", "full")
    net = weights.load_nanodet(weights.read(model), model)
    net.quantized = None
    return slimmable(net, WIDTHS), model


@dataclass(slots=True)
class Run:
    """A search on its way. since: when this call began; before: seconds of earlier ones."""

    goal: Goal
    space: Space
    studio: Studio
    watch: Stopwatch
    budget: float
    full_ms: float
    judged: dict[Genes, Scores]
    since: float
    before: float
    tell: Tell

    @classmethod
    def begin(cls, goal: Goal, slim: Slim, teacher: str, tell: Tell) -> Run:
        """Reads the videos, has the teacher look, and takes up what an earlier call has left. Raises EveryframeError, OperatorError."""
        since = monotonic()
        learn, held = (LEARN_ALL, HELD_ALL) if goal.check else (LEARN, HELD)
        pictures = read_pictures(goal.videos, max(16, PICTURES // len(goal.videos)), learn, tell)
        stop = half_mirrored(read_pictures(goal.videos, max(8, JUDGED_BY // len(goal.videos)), held, tell))
        wish = Wish(goal.videos, goal.out, goal.classes, imgsz=goal.imgsz, teacher=teacher)
        lessons, kept = taught(wish, pictures, stop)
        studio = Studio(slim, lessons, kept, wish.ids, goal.settle, goal.seed, goal.threads)
        shown = [lessons[i * len(lessons) // 3].picture for i in range(3)]
        space = space_for(goal.imgsz, slim.widths, goal.float32)
        watch = Stopwatch(slim, shown)
        full_ms = watch.beside(open_detector(ModelSettings(teacher, goal.imgsz, precision="f32"), WIDTH, HEIGHT))
        budget = goal.budget_ms or full_ms / goal.speedup
        judged, before = _resumed(goal, space)
        if judged:
            tell(f"going on: {len(judged)} designs were judged before, in {before / 60:.1f} minutes")
        return cls(goal, space, studio, watch, budget, full_ms, judged, since, before, tell)

    def go(self) -> None:
        """Fills `judged`. Raises OperatorError where nothing is fast enough, `Interrupted`."""
        low, high = (self.budget * share for share in AROUND)

        def allowed(genes: Genes) -> bool:
            return low <= self.watch.ms(self.space.design(genes)) <= high

        first = self._first()
        goal = self.goal
        plan = Plan(self.space.counts, goal.population, goal.generations, goal.seed)
        try:
            evolve(plan, first, self._judge, self.judged, allowed)
        except KeyboardInterrupt as stop:
            raise Interrupted(self.found(), self.budget) from stop

    def _first(self) -> list[Genes]:
        """What one would try by hand near the budget: some that keep it, some dearer. Raises OperatorError where even the least does not."""
        least = self.space.cheapest
        middle = replace(least, imgsz=self.space.sizes[len(self.space.sizes) // 2], subnet=Subnet())
        fast = min(self.space.precisions, key=lambda precision: self.watch.ms(replace(middle, precision=precision)))
        low, high = (self.budget * share for share in AROUND)
        good: list[Genes] = []
        dear: list[Genes] = []
        for designs in self.space.plain(fast):
            for design in designs:
                ms = self.watch.ms(design)
                if ms > high:
                    break
                if ms >= low:
                    (good if ms <= self.budget else dear).append(self.space.genes(design))
        if good:
            return [*_spread(good, 2 * self.goal.population // 3), *_spread(dear, self.goal.population // 4)]
        least = replace(least, precision=fast)
        widest = Design(self.space.sizes[-1], Subnet(), fast)
        ms = self.watch.ms(least)
        if ms > self.budget:
            raise OperatorError(
                f"no design takes {self.budget:.2f} ms a look or less here: the nearest takes {ms:.2f} ms ({self.full_ms / ms:.1f} x faster "
                f"than the full model): ask for --budget-ms {math.ceil(ms * 100) / 100:g} or more"
            )
        return [self.space.genes(widest if self.watch.ms(widest) <= self.budget else least)]

    def _judge(self, genes: Genes) -> Scores:
        if self.share_left() < 1 - SEARCHED and self.judged:
            raise Enough
        design = self.space.design(genes)
        ms = self.watch.ms(design)
        f1 = self.studio.tried(design).f1
        self.tell(f"{len(self.judged) + 1}: {design}: {ms:.2f} ms, F1 {f1:.3f}")
        self._save({**self.judged, genes: (ms, 1 - f1)})
        return ms, 1 - f1

    def _save(self, judged: dict[Genes, Scores]) -> None:
        rows = [[list(genes), *scores] for genes, scores in judged.items()]
        state = {"sizes": list(self.space.counts), "seconds": self.seconds(), "judged": rows}
        write_whole(self.goal.state, json.dumps(state).encode())

    def seconds(self) -> float:
        """Of this call and those before."""
        return self.before + monotonic() - self.since

    def share_left(self) -> float:
        """Of the time; below 0 where it is over."""
        return 1 - self.seconds() / (60 * self.goal.minutes)

    def found(self) -> list[Found]:
        """All that was judged, in that order."""
        return [Found(self.space.design(genes), ms, 1 - loss) for genes, (ms, loss) in self.judged.items()]

    def chosen(self, finalists: int = 1) -> Found:
        """The best within the budget; of equals the fastest. Where none is within it, the fastest of all. finalists: that are made
        with care and judged again, as the best of many was lucky too."""
        found = sorted(self.found(), key=lambda one: (-one.f1, one.ms))
        within = [one for one in found if one.ms <= self.budget][:finalists]
        if len(within) > 1:
            again = [self.studio.finished(one.design, 0, lambda: False).f1 for one in within]
            self.tell("; ".join(f"{one.design}: F1 {f1:.3f} with care" for one, f1 in zip(within, again, strict=True)))
            return within[int(np.argmax(again))]
        return within[0] if within else min(found, key=lambda one: one.ms)


def half_mirrored(pictures: Sequence[Sequence[U8]]) -> list[list[U8]]:
    """Every second picture the other way round. To a net that was found anew from a fixed camera's pictures that is another
    place: it tells what will agree later from what merely fits the minutes that it was found from."""
    return [[np.ascontiguousarray(p[:, ::-1]) if i % 2 else p for i, p in enumerate(video)] for video in pictures]


def _spread(genes: Sequence[Genes], count: int) -> list[Genes]:
    if not genes:
        return []
    return [genes[i] for i in sorted(set(np.linspace(0, len(genes) - 1, count).round().astype(int).tolist()))]


def _resumed(goal: Goal, space: Space) -> tuple[dict[Genes, Scores], float]:
    """What an earlier call judged, and its seconds; what is no state of this search is passed over."""
    try:
        state = json.loads(goal.state.read_bytes())
        if tuple(state["sizes"]) != space.counts:
            return {}, 0.0
        judged = {tuple(map(int, genes)): (float(ms), float(loss)) for genes, ms, loss in state["judged"]}
        return judged, float(state["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, 0.0


def _written(goal: Goal, teacher: str, design: Design, made: Made, tell: Tell) -> Verdict:
    """The file, with what was found of it on pictures that it was not chosen by."""
    out = Path(goal.out)
    names = ", ".join(Path(video).name for video in goal.videos)
    said = {"recipe": f"searched: {design}, taught {made.steps}", "teacher": teacher, "videos": names[:500], IMGSZ: str(design.imgsz)}
    said |= {CLASSES: ",".join(goal.classes)} if goal.classes else {}
    write_whole(out, weights.pack(made.net, said))  # without its guard: the teacher is not to answer for it
    later = read_pictures(goal.check or goal.videos, REPORTED_ON, None if goal.check else LATER, tell)
    verdict = judge(str(out), teacher, later, ModelSettings(imgsz=goal.imgsz), goal.classes)
    fitted = made.steps or not design.subnet.whole
    write_whole(out, weights.pack(made.net, {**said, **facts(verdict), **({GUARD: LEAST_AGREEMENT} if fitted else {})}))
    return replace(verdict, bytes=out.stat().st_size)


def _check(goal: Goal) -> None:
    out = Path(goal.out)
    if kind_of(goal.model) != "nanodet":
        raise UsageError(f"{goal.model} cannot be searched: give full, a .safetensors file of NanoDet-g, or one of compress --recipe slim")
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise UsageError(f"--out: write a file name that ends in .safetensors, in a folder that is there; not {out}")
    if unknown := [name for name in goal.classes if name not in coco.NAMES]:
        raise UsageError(f"--classes: no class {unknown[0]!r}")
    for name, value, least in (
        ("--budget-ms", goal.budget_ms or 1.0, 1e-9), ("--speedup", goal.speedup, 1.0), ("--minutes", goal.minutes, 1e-9),
        ("--generations", goal.generations, 1), ("--population", goal.population, 4), ("--settle", goal.settle, 0), ("--steps", goal.steps, 0),
    ):  # fmt: skip
        if not value >= least:
            raise UsageError(f"{name}: give {'more than 0' if 0 < least < 1 else f'{least:g} or more'}, not {value:g}")
