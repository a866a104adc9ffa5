"""A net in several widths with one set of weights.

Yu et al., Slimmable Neural Networks (ICLR 2019), and Yu and Huang, Universally Slimmable Networks (ICCV 2019): every step
teaches the widest, the narrowest and one width between (sandwich rule). Deviations: channels are first put into the order of their
importance, in groups as `prune` has them, so that narrow widths keep what matters; the statistics that batch normalisation would
switch are gains and biases, set once from pictures so that mean and spread of every channel are as in the full net, then
learned; and as a teacher is there, all widths learn from it, not the narrow ones from the widest: its scores and
sides (`distil`), and the features that the neck gives (Romero et al., FitNets, ICLR 2015), which all pixels teach, not only objects.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from everyframe.operators.compress import checkpoint, distil
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.detectors.nanodet import CLASSES, Maps, NanoDet, convolutions
from everyframe.operators.detectors.slim import Slim, narrow, part, state_at
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, U8

WIDTHS = (1.0, 0.875, 0.75, 0.625)
SHARED_RATE, OWN_RATE = 5e-4, 2e-3
WARM = 0.1
"""Share of the steps in which the rate rises."""
FEATURES = 2.0
"""Weight of the features' distance beside the outputs'."""
EXAMPLE = 320


def slimmable(net: NanoDet, widths: Sequence[float] = WIDTHS) -> Slim:
    """The net with its channels in order of importance: the same outputs at full width. Raises `OperatorError`.

    Importance is the norm of all weights of a group (Li et al., 2017; Fang et al., 2023).
    """
    if sorted(widths, reverse=True) != list(widths) or widths[0] != 1 or not all(0.1 <= w <= 1 for w in widths):
        raise OperatorError(f"The widths {', '.join(map(str, widths))} are not usable: give 1 first, then smaller ones down to 0.1.")
    try:
        import torch_pruning as tp
    except ImportError as error:
        raise OperatorError('Widths need torch-pruning: run pip install "everyframe[compress]".') from error
    made = copy.deepcopy(net).requires_grad_(True)
    made.quantized = None
    names = {module: name for name, module in made.named_modules()}
    outs = [made.get_submodule(f"heads.{key}.out") for key in made.heads]
    graph = tp.DependencyGraph().build_dependency(made, torch.zeros(1, 3, EXAMPLE, EXAMPLE))
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    parts: dict[str, list[tuple[int, int]]] = {}
    for group in graph.get_all_groups(ignored_layers=outs, root_module_types=[nn.Conv2d]):
        order = importance(group).argsort(descending=True)
        for dependency, idxs in group:
            conv = dependency.target.module
            if not isinstance(conv, nn.Conv2d):
                continue
            here = torch.as_tensor(idxs)
            if dependency.handler.__name__ == "prune_out_channels":
                assert conv.bias is not None
                conv.weight.data[here] = conv.weight.data[here[order]]
                conv.bias.data[here] = conv.bias.data[here[order]]
            else:
                conv.weight.data[:, here] = conv.weight.data[:, here[order]]
                parts.setdefault(names[conv], []).append((int(here.min()), len(here)))
    inputs = {name: tuple(size for _, size in sorted(found)) for name, found in parts.items()}
    slim = Slim(made.requires_grad_(False), inputs, frozenset(names[out] for out in outs), tuple(widths), {})
    return replace(slim, own={width: _plain(slim, width) for width in widths if width != 1})


def _plain(slim: Slim, width: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Gains of 1 and the full net's biases."""
    own = {}
    for name, conv in convolutions(slim.net):
        assert conv.bias is not None
        outputs = len(part(slim, name, conv.weight, width))
        own[name] = (torch.ones(outputs), conv.bias.detach()[:outputs].clone())
    return own


def settle(slim: Slim, x: Tensor) -> Slim:
    """Gains and biases with which every channel of every width has mean and spread as in the full net. x: (n, 3, h, w) pictures."""
    stats: dict[str, tuple[Tensor, Tensor]] = {}
    full = copy.deepcopy(slim.net)
    for name, conv in convolutions(full):
        conv.register_forward_hook(lambda _, __, out, name=name: stats.__setitem__(name, _moments(out)))
    with torch.inference_mode():
        full(x)
    return replace(slim, own={width: _settled(slim, width, stats, x) for width in slim.own})


def _settled(slim: Slim, width: float, stats: dict[str, tuple[Tensor, Tensor]], x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """One pass: each convolution's output is put right before the next sees it."""
    net, own = narrow(replace(slim, levels={}), width), {}

    def put_right(name: str, out: Tensor) -> Tensor:
        mean, spread = _moments(out)
        wanted, wide = (value[: len(mean)] for value in stats[name])
        gain = (wide / spread.clamp(min=1e-6)).clamp(0.2, 5.0)
        old_gain, old_bias = slim.own[width][name]
        own[name] = ((old_gain * gain).clone(), ((old_bias - mean) * gain + wanted).clone())
        return (out - mean.view(-1, 1, 1)) * gain.view(-1, 1, 1) + wanted.view(-1, 1, 1)

    for name, conv in convolutions(net):
        conv.register_forward_hook(lambda _, __, out, name=name: put_right(name, out))
    with torch.no_grad():
        net(x)
    return own


def _moments(out: Tensor) -> tuple[Tensor, Tensor]:
    return out.mean((0, 2, 3)), out.std((0, 2, 3))


def teach(slim: Slim, teacher: NanoDet, pictures: Sequence[Sequence[U8]], course: distil.Course, tell: distil.Progress | None = None) -> Slim:
    """All widths, taught together; a copy. slim: of `slimmable(teacher)`. pictures: of each video BGR (h, w, 3) uint8.

    A quarter of the cuts are four pictures of different videos in one (mosaic: Bochkovskiy et al., YOLOv4, 2020). Goes on from
    `course.checkpoint`. Raises `OperatorError`.
    """
    pictures = [video for video in pictures if len(video)]
    if not pictures:
        raise OperatorError("There is no picture to learn from: give a video that can be decoded.")
    reference = slimmable(teacher, slim.widths).net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = _Learner.of(slim)
    step = learner.resume(course.checkpoint)
    rng = np.random.default_rng((course.seed, step))
    mean = math.nan
    last = min(course.steps, course.until or course.steps)
    while step < last:
        share = step / course.steps
        pace = distil.pace(max(step, round(share / WARM * distil.WARM_STEPS)), share)
        loss = learner.step(reference, _batch(pictures, rng, course.scales), rng, pace)
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        step += 1
        if not math.isfinite(loss):
            raise OperatorError("Training diverged: start again with another --seed.")
        if tell is not None and (step % 20 == 0 or step in (1, course.steps)):
            tell(step, share, mean)
        if course.checkpoint is not None and (step % 100 == 0 or step == last):
            learner.save(step, course.checkpoint)
    return learner.finished()


def _batch(pictures: Sequence[Sequence[U8]], rng: np.random.Generator, scales: tuple[int, int]) -> Tensor:
    cuts = []
    for _ in range(distil.BATCH):
        if rng.random() < 0.25:
            half = [distil.sample(pictures, rng, scales)[::2, ::2] for _ in range(4)]
            cuts.append(np.concatenate([np.concatenate(half[:2], 1), np.concatenate(half[2:], 1)], 0))
        else:
            cuts.append(distil.sample(pictures, rng, scales))
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


class _Both(nn.Module):
    """Features and outputs of a net in one call."""

    def __init__(self, net: NanoDet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Maps, Maps]:
        features: Maps = self.net.features(x)
        return features, self.net.head(features)


@dataclass(frozen=True, slots=True)
class _Learner:
    """What is learned, and its optimizer."""

    slim: Slim
    both: _Both
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, slim: Slim) -> _Learner:
        net = copy.deepcopy(slim.net).requires_grad_(True)
        own = {
            width: {name: (gain.clone().requires_grad_(True), bias.clone().requires_grad_(True)) for name, (gain, bias) in mine.items()}
            for width, mine in slim.own.items()
        }
        small = [tensor for mine in own.values() for pair in mine.values() for tensor in pair]
        groups = [{"params": list(net.parameters()), "rate": SHARED_RATE}, {"params": small, "rate": OWN_RATE, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=SHARED_RATE, weight_decay=1e-4)
        return cls(replace(slim, net=net, own=own), _Both(net), optimizer)

    def step(self, teacher: NanoDet, x: Tensor, rng: np.random.Generator, pace: float) -> float:
        """The sum of losses of three widths."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * pace
        low = torch.autocast("cpu", torch.bfloat16, enabled=distil.has_bf16())
        with torch.no_grad(), low:
            features = teacher.features(x)
            wanted = distil.flat(teacher.head(features))
        self.optimizer.zero_grad()
        total = 0.0
        for width in sandwich(self.slim.widths, rng):
            state = {f"net.{key}": value for key, value in state_at(self.slim, width).items()}
            with low:
                mine, given = functional_call(self.both, state, (x,))
            loss = distil.loss_of(distil.flat(given), wanted, torch.ones(CLASSES)) + FEATURES * _apart(mine, features)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        params = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, 10.0)
        self.optimizer.step()
        return total

    def save(self, step: int, path: Path) -> None:
        parts = {"net": self.slim.net.state_dict(), "own": self.slim.own, "optimizer": self.optimizer.state_dict()}
        checkpoint.save(path, {**parts, "step": step})

    def resume(self, path: Path | None) -> int:
        """The step that was reached before; 0 where there is no checkpoint of a like net."""
        own = self.slim.own
        try:
            if saved := checkpoint.load(path):
                pairs = [(own[width][name], saved["own"][width][name]) for width in own for name in own[width]]
                self.slim.net.load_state_dict(saved["net"])
                for mine, kept in pairs:
                    mine[0].data.copy_(kept[0])
                    mine[1].data.copy_(kept[1])
                self.optimizer.load_state_dict(saved["optimizer"])
                return int(saved["step"])
        except checkpoint.UNLIKE:
            pass
        return 0

    def finished(self) -> Slim:
        own = {width: {name: (gain.detach(), bias.detach()) for name, (gain, bias) in mine.items()} for width, mine in self.slim.own.items()}
        return replace(self.slim, net=self.slim.net.requires_grad_(False).eval(), own=own)


def sandwich(widths: Sequence[float], rng: np.random.Generator) -> list[float]:
    """The widest, one between where there is one, and the narrowest."""
    between = widths[1:-1]
    drawn = [between[int(rng.integers(len(between)))]] if between else []
    return [widths[0], *drawn, *widths[-1:]] if len(widths) > 1 else [widths[0]]


def _apart(mine: Maps, wanted: Maps) -> Tensor:
    """Squared distance of features, in variances of the wanted ones, mean over the levels; of the channels that are there."""
    levels = []
    for have, want in zip(mine, wanted, strict=True):
        same = want[:, : have.shape[1]].float()
        levels.append((have.float() - same).pow(2).mean() / same.var().clamp(min=1e-6))
    return torch.stack(levels).mean()


def in_int8(slim: Slim, inputs: Sequence[F32]) -> Slim:
    """All widths in int8 with one set of whole levels: a width's scales are the shared ones times its gains, its ranges and
    corrected biases those that `quantize` finds for it. inputs: as there. Raises `OperatorError`."""
    full = quantize(narrow(slim, 1.0), inputs)
    assert full.quantized is not None
    rounded = replace(slim, net=full, levels=full.quantized.scales, ranges={1.0: full.quantized.ranges})
    own: dict[float, dict[str, tuple[Tensor, Tensor]]] = {}
    ranges = dict(rounded.ranges)
    for width in slim.own:
        made = quantize(narrow(replace(rounded, levels={}), width), inputs)
        assert made.quantized is not None
        ranges[width] = made.quantized.ranges
        biases = made.state_dict()
        own[width] = {name: (gain, biases[f"{name}.bias"].clone()) for name, (gain, _) in slim.own[width].items()}
    return replace(rounded, own=own, ranges=ranges)
